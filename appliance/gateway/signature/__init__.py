"""Who signed a request: AWS signatures of version 4 and 2, in a header or in the query of a presigned URL (pure).

`parse_claim` reads what a request says of itself, `verify_claim` checks it against a secret. Between the two the caller
finds the secret, and afterwards it compares `Claim.payload_hash` with the body. Regions are not looked at.

claims      what a request says, and the errors
v4, v2      how each version says it, and what it signs
forms       the same in the fields of a form
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from appliance.gateway.signature import v2, v4
from appliance.gateway.signature.claims import (
    STAMP,
    AccessDenied,
    AuthError,
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    Claim,
    InvalidAccessKeyId,
    InvalidArgument,
    RequestTimeTooSkewed,
    Scope,
    SignatureDoesNotMatch,
    is_equal,
    parse_query,
)
from appliance.gateway.signature.forms import parse_form
from appliance.gateway.signature.v4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, ChunkVerifier, signing_key
from appliance.httpd import Headers

__all__ = [
    "EMPTY_SHA256",
    "MAX_SKEW",
    "UNSIGNED_PAYLOAD",
    "AccessDenied",
    "AuthError",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "ChunkVerifier",
    "Claim",
    "InvalidAccessKeyId",
    "InvalidArgument",
    "RequestTimeTooSkewed",
    "Scope",
    "SignatureDoesNotMatch",
    "is_equal",
    "parse_claim",
    "parse_form",
    "signing_key",
    "verify_claim",
]

MAX_SKEW = timedelta(minutes=15)


def parse_claim(method: str, target: str, headers: Headers, *, bucket: str | None = None) -> Claim | None:
    """What the request says about its sender, or None if it is anonymous.

    `target` is raw, as sent. `bucket` is the bucket a virtual-host style request has in its Host header, which version
    2 signs as part of the path. Raises the errors of malformed signatures, and AccessDenied if the date is missing or a
    header that has to be signed is not. An Authorization header of another scheme counts as none.
    """
    path, _, raw_query = target.partition("?")
    query = parse_query(raw_query)
    names = {name for name, _ in query}
    scheme, _, credentials = (headers.get("authorization") or "").partition(" ")
    presigned_v4 = not names.isdisjoint(("X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"))
    presigned_v2 = "Signature" in names and "AWSAccessKeyId" in names
    if (scheme in (v4.ALGORITHM, "AWS")) + presigned_v4 + presigned_v2 > 1:
        raise InvalidArgument("Only one auth mechanism allowed")
    if scheme == v4.ALGORITHM:
        return v4.parse_header(method, path, query, headers, credentials)
    if scheme == "AWS":
        return v2.parse_header(method, path, query, headers, credentials, bucket)
    if presigned_v4:
        return v4.parse_presigned(method, path, query, headers)
    if presigned_v2:
        return v2.parse_presigned(method, path, query, headers, bucket)
    return None


def verify_claim(claim: Claim, secret: str, *, now: datetime) -> ChunkVerifier | None:
    """Check a claim against the secret of its access key. Gives what verifies signed chunks, None for version 2.

    Raises RequestTimeTooSkewed, AccessDenied (a presigned URL that expired or is not valid yet) or
    SignatureDoesNotMatch.
    """
    _check_time(claim, now)
    if claim.scope is None or claim.signed_at is None:
        _compare(claim, lambda text: v2.sign(secret, text))
        return None
    key = signing_key(secret, claim.scope)
    _compare(claim, lambda text: v4.sign(key, text))
    return ChunkVerifier(key, claim.signed_at.strftime(STAMP), claim.scope, claim.signature)


def _compare(claim: Claim, sign: Callable[[bytes], str]) -> None:
    if not any(is_equal(sign(text), claim.signature) for text in claim.strings_to_sign):
        raise SignatureDoesNotMatch


def _check_time(claim: Claim, now: datetime) -> None:
    if claim.expires_at is None:
        if claim.signed_at is None or abs(now - claim.signed_at) > MAX_SKEW:
            raise RequestTimeTooSkewed("The difference between the request time and the current time is too large.")
        return
    if claim.expires_at < now:
        raise AccessDenied("Request has expired")
    if claim.signed_at is not None and claim.signed_at - now > MAX_SKEW:
        raise AccessDenied("Request is not valid yet")
