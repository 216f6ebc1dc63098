"""Who signed a request: AWS signatures of version 4 and 2, in a header or in the query of a presigned URL (pure).

`parse_claim` reads what a request says of itself, `verify_claim` checks it against a secret. Between the two the caller
finds the secret, and afterwards it compares `Claim.payload_hash` with the body. Regions are not looked at.

    AuthError
    ├── AccessDenied                        expired, not dated, or a header the signature should cover and does not
    ├── AuthorizationHeaderMalformed
    ├── AuthorizationQueryParametersError
    ├── InvalidAccessKeyId                  raised by the caller, who knows the keys
    ├── InvalidArgument                     a malformed version 2, or two signatures at once
    ├── RequestTimeTooSkewed
    └── SignatureDoesNotMatch
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from appliance.errors import ApplianceError
from appliance.httpd import Headers

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MAX_SKEW = timedelta(minutes=15)
_MAX_EXPIRES_S = 7 * 24 * 3600
_V4 = "AWS4-HMAC-SHA256"
_STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*")
# Part of the signature in another way, so a client need not list them.
_COVERED_ANYWAY = frozenset(("x-amz-content-sha256", "x-amz-date"))
_V2_NAMES = (
    "accelerate acl analytics cors defaultObjectAcl delete encryption inventory legal-hold lifecycle location logging"
    " metrics notification object-lock partNumber policy policyStatus publicAccessBlock replication requestPayment"
    " response-cache-control response-content-disposition response-content-encoding response-content-language"
    " response-content-type response-expires restore retention select select-type storageClass tagging torrent uploadId"
    " uploads versionId versioning versions website"
)
_V2_SUBRESOURCES = frozenset(_V2_NAMES.split())

Query = list[tuple[str, str]]  # decoded names and values, in the order they were sent


class AuthError(ApplianceError):
    """A request whose sender is not who it says. `code` and `status` are S3's."""

    code = "AccessDenied"
    status = 403


class AccessDenied(AuthError):
    """The signature may be right and is not good for this request, or no longer."""


class AuthorizationHeaderMalformed(AuthError):
    """A version 4 Authorization header that can not be read."""

    code = "AuthorizationHeaderMalformed"
    status = 400


class AuthorizationQueryParametersError(AuthError):
    """A version 4 presigned query that can not be read."""

    code = "AuthorizationQueryParametersError"
    status = 400


class InvalidAccessKeyId(AuthError):
    """Nobody has this access key."""

    code = "InvalidAccessKeyId"


class InvalidArgument(AuthError):
    """A version 2 signature that can not be read, or more than one signature."""

    code = "InvalidArgument"
    status = 400


class RequestTimeTooSkewed(AuthError):
    """Signed more than 15 minutes from now."""

    code = "RequestTimeTooSkewed"


class SignatureDoesNotMatch(AuthError):
    """Signed with another secret, or changed on the way."""

    code = "SignatureDoesNotMatch"

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "The request signature we calculated does not match the signature you provided. Check your key and "
            "signing method."
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """What a version 4 signing key is good for."""

    date: str
    region: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/s3/aws4_request"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about its sender; nothing of it is verified.

    `payload_hash` is the value of x-amz-content-sha256 that was signed, and None for version 2, which does not sign the
    body. `signed_at` is None for presigned version 2, `expires_at` for the header kinds, `scope` for version 2.
    """

    kind: Literal["v4", "v4-presigned", "v2", "v2-presigned"]
    access_key: str
    signature: str
    string_to_sign: bytes
    payload_hash: str | None
    signed_at: datetime | None
    expires_at: datetime | None
    scope: Scope | None


class ChunkVerifier:
    """The running chain of signatures over the chunks of one body; each signature signs the one before it."""

    def __init__(self, key: bytes, stamp: str, scope: Scope, seed: str) -> None:
        self._key = key
        self._context = f"{stamp}\n{scope}"
        self._previous = seed

    def check_chunk(self, sha256: str, signature: str) -> None:
        """Check the next chunk, by the digest of its data. Raises SignatureDoesNotMatch."""
        self._check(f"{_V4}-PAYLOAD\n{self._context}\n{self._previous}\n{EMPTY_SHA256}\n{sha256}", signature)

    def check_trailer(self, sha256: str, signature: str) -> None:
        """Check the trailer after the last chunk. Raises SignatureDoesNotMatch."""
        self._check(f"{_V4}-TRAILER\n{self._context}\n{self._previous}\n{sha256}", signature)

    def _check(self, text: str, signature: str) -> None:
        expected = hmac.digest(self._key, text.encode("latin-1"), "sha256").hex()
        if not _equal(expected, signature):
            raise SignatureDoesNotMatch
        self._previous = expected


def parse_claim(method: str, target: str, headers: Headers, *, bucket: str | None = None) -> Claim | None:
    """What the request says about its sender, or None if it is anonymous.

    `target` is raw, as sent. `bucket` is the bucket a virtual-host style request has in its Host header, which version
    2 signs as part of the path. Raises the errors of malformed signatures, and AccessDenied if the date is missing or a
    header that has to be signed is not. An Authorization header of another scheme counts as none.
    """
    path, _, raw_query = target.partition("?")
    query = _parse_query(raw_query)
    names = {name for name, _ in query}
    scheme, _, credentials = (headers.get("authorization") or "").partition(" ")
    presigned_v4 = not names.isdisjoint(("X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"))
    presigned_v2 = "Signature" in names and "AWSAccessKeyId" in names
    if (scheme in (_V4, "AWS")) + presigned_v4 + presigned_v2 > 1:
        raise InvalidArgument("Only one auth mechanism allowed")
    if scheme == _V4:
        return _parse_v4(method, path, query, headers, credentials)
    if scheme == "AWS":
        return _parse_v2(method, path, query, headers, credentials, bucket)
    if presigned_v4:
        return _parse_v4_presigned(method, path, query, headers)
    if presigned_v2:
        return _parse_v2_presigned(method, path, query, headers, bucket)
    return None


def verify_claim(claim: Claim, secret: str, *, now: datetime) -> ChunkVerifier | None:
    """Check a claim against the secret of its access key. Gives what verifies signed chunks, None for version 2.

    Raises RequestTimeTooSkewed, AccessDenied (a presigned URL that expired or is not valid yet) or
    SignatureDoesNotMatch.
    """
    _check_time(claim, now)
    if claim.scope is None:
        expected = base64.b64encode(hmac.digest(secret.encode(), claim.string_to_sign, "sha1")).decode()
    else:
        key = signing_key(secret, claim.scope)
        expected = hmac.digest(key, claim.string_to_sign, "sha256").hex()
    if not _equal(expected, claim.signature):
        raise SignatureDoesNotMatch
    if claim.scope is None or claim.signed_at is None:
        return None
    return ChunkVerifier(key, claim.signed_at.strftime(_STAMP), claim.scope, claim.signature)


@lru_cache(maxsize=1024)
def signing_key(secret: str, scope: Scope) -> bytes:
    """The version 4 key of a secret for one day and region; kept, as it costs four digests."""
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _check_time(claim: Claim, now: datetime) -> None:
    if claim.expires_at is None:
        if claim.signed_at is None or abs(now - claim.signed_at) > MAX_SKEW:
            raise RequestTimeTooSkewed("The difference between the request time and the current time is too large.")
        return
    if claim.expires_at < now:
        raise AccessDenied("Request has expired")
    if claim.signed_at is not None and claim.signed_at - now > MAX_SKEW:
        raise AccessDenied("Request is not valid yet")


def _equal(expected: str, given: str) -> bool:
    return given.isascii() and hmac.compare_digest(expected, given)


# Version 4


def _parse_v4(method: str, path: str, query: Query, headers: Headers, credentials: str) -> Claim:
    fields = _parse_v4_fields(credentials)
    try:
        access_key, scope = _parse_credential(fields["Credential"])
        signed_names, signature = fields["SignedHeaders"].split(";"), fields["Signature"]
    except (KeyError, ValueError) as error:
        raise AuthorizationHeaderMalformed(
            f"The authorization header is malformed: {_why(error, 'Authorization header')}"
        ) from None
    signed_at = _signing_time(headers)
    if signed_at.strftime("%Y%m%d") != scope.date:
        raise AuthorizationHeaderMalformed("The authorization header is malformed; the date of the credential differs.")
    # Clients that leave the header out sign the digest of the body. Only that of no body is known before it arrives.
    payload_hash = headers.get("x-amz-content-sha256") or EMPTY_SHA256
    canonical = _canonical_request(method, path, query, headers, signed_names, payload_hash)
    return Claim(
        kind="v4",
        access_key=access_key,
        signature=signature,
        string_to_sign=_string_to_sign(signed_at, scope, canonical),
        payload_hash=payload_hash,
        signed_at=signed_at,
        expires_at=None,
        scope=scope,
    )


def _parse_v4_presigned(method: str, path: str, query: Query, headers: Headers) -> Claim:
    fields = _first_fields(query)
    try:
        access_key, scope = _parse_credential(fields["X-Amz-Credential"])
        signed_names, signature = fields["X-Amz-SignedHeaders"].split(";"), fields["X-Amz-Signature"]
        signed_at = _parse_stamp(fields["X-Amz-Date"])
        expires_at = signed_at + timedelta(seconds=_parse_expires(fields["X-Amz-Expires"]))
        _check_presigned(fields["X-Amz-Algorithm"], signed_at, scope)
    except (KeyError, ValueError, OverflowError) as error:
        raise AuthorizationQueryParametersError(_why(error, "query")) from None
    payload_hash = fields.get("X-Amz-Content-Sha256")
    if payload_hash is None and "x-amz-content-sha256" in signed_names:
        payload_hash = headers.get("x-amz-content-sha256")
    payload_hash = payload_hash or UNSIGNED_PAYLOAD
    unsigned_query = [(name, value) for name, value in query if name != "X-Amz-Signature"]
    canonical = _canonical_request(method, path, unsigned_query, headers, signed_names, payload_hash)
    return Claim(
        kind="v4-presigned",
        access_key=access_key,
        signature=signature,
        string_to_sign=_string_to_sign(signed_at, scope, canonical),
        payload_hash=payload_hash,
        signed_at=signed_at,
        expires_at=expires_at,
        scope=scope,
    )


def _first_fields(query: Query) -> dict[str, str]:
    """The first value of each parameter; what is not ASCII is left out, as nothing that signs has it."""
    return {name: value for name, value in reversed(query) if value.isascii()}


def _parse_v4_fields(credentials: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in credentials.split(","))
    return {name: value for name, _, value in pairs}


def _parse_credential(text: str) -> tuple[str, Scope]:
    """Access key and scope. Raises ValueError. The key may contain slashes."""
    access_key, date, region, service, terminator = text.rsplit("/", 4)
    if service != "s3" or terminator != "aws4_request" or not access_key:
        raise ValueError(f"incorrect scope {date}/{region}/{service}/{terminator}; this is s3")
    return access_key, Scope(date, region)


def _parse_stamp(text: str) -> datetime:
    if not _STAMP_FORM.fullmatch(text):
        raise ValueError(f"{text} is not a date of the form {_STAMP}")
    return datetime.fromisoformat(text)  # forty times quicker than strptime


def _parse_expires(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MAX_EXPIRES_S:
        raise ValueError("X-Amz-Expires must be between 1 second and a week")
    return int(text)


def _check_presigned(algorithm: str, signed_at: datetime, scope: Scope) -> None:
    if algorithm != _V4:
        raise ValueError(f"X-Amz-Algorithm only supports {_V4}")
    if signed_at.strftime("%Y%m%d") != scope.date:
        raise ValueError("the dates of X-Amz-Date and X-Amz-Credential differ")


def _why(error: Exception, where: str) -> str:
    return f"the {where} requires {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _signing_time(headers: Headers) -> datetime:
    """When a request says it was signed. Raises AccessDenied."""
    text = headers.get("x-amz-date") or headers.get("date")
    if text is None:
        raise AccessDenied("AWS authentication requires a valid Date or x-amz-date header")
    for parse in (_parse_stamp, parsedate_to_datetime):
        try:
            parsed = parse(text)
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise AccessDenied("AWS authentication requires a valid Date or x-amz-date header")


def _string_to_sign(signed_at: datetime, scope: Scope, canonical: str) -> bytes:
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return f"{_V4}\n{signed_at.strftime(_STAMP)}\n{scope}\n{digest}".encode("latin-1")


def _canonical_request(
    method: str, path: str, query: Query, headers: Headers, signed_names: list[str], payload_hash: str
) -> str:
    _check_signed_names(headers, signed_names)
    lines = [f"{name}:{_canonical_value(headers, name)}\n" for name in signed_names]
    return "\n".join(
        (method, _canonical_path(path), _canonical_query(query), "".join(lines), ";".join(signed_names), payload_hash)
    )


def _check_signed_names(headers: Headers, signed_names: list[str]) -> None:
    """As S3 does: nothing that steers the request may be added to it after the signing."""
    for name, _ in headers.items():
        lower = name.lower()
        must = lower == "host" or (lower.startswith("x-amz-") and lower not in _COVERED_ANYWAY)
        if must and lower not in signed_names:
            raise AccessDenied(f"There were headers present in the request which were not signed: {lower}")


def _canonical_value(headers: Headers, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in headers.get_all(name))


def _canonical_path(path: str) -> str:
    """S3's rule: decoded and encoded once, slashes and dots untouched."""
    return path if _PLAIN_PATH.fullmatch(path) else quote(unquote_to_bytes(path.encode("latin-1")), safe="/~")


def _canonical_query(query: Query) -> str:
    pairs = sorted((_quote(name), _quote(value)) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _quote(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")


def _parse_query(raw: str) -> Query:
    """Names and values. A plus is a space, as it is for whoever acts on the request afterwards."""
    parts = (part.partition("=") for part in raw.split("&") if part)
    return [(_unquote(name), _unquote(value)) for name, _, value in parts]


def _unquote(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    # Surrogates carry bytes that are not UTF-8 through to be encoded again.
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8", "surrogateescape")


# Version 2


def _parse_v2(method: str, path: str, query: Query, headers: Headers, credentials: str, bucket: str | None) -> Claim:
    access_key, colon, signature = credentials.strip().rpartition(":")
    if not colon or not access_key or not _is_sha1(signature):
        raise InvalidArgument("AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
    signed_at = _signing_time(headers)
    date = "" if "x-amz-date" in headers else headers.get("date") or ""
    return Claim(
        kind="v2",
        access_key=access_key,
        signature=signature,
        string_to_sign=_v2_string_to_sign(method, path, query, headers, date, bucket),
        payload_hash=None,
        signed_at=signed_at,
        expires_at=None,
        scope=None,
    )


def _parse_v2_presigned(method: str, path: str, query: Query, headers: Headers, bucket: str | None) -> Claim:
    fields = _first_fields(query)
    access_key, expires = fields.get("AWSAccessKeyId"), fields.get("Expires", "")
    if not access_key or not re.fullmatch("[0-9]{1,11}", expires):
        raise AccessDenied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    # A plus in an unencoded signature has become a space.
    signature = fields.get("Signature", "").replace(" ", "+")
    if not _is_sha1(signature):
        raise InvalidArgument("Signature is not the base64 text of 20 bytes")
    return Claim(
        kind="v2-presigned",
        access_key=access_key,
        signature=signature,
        string_to_sign=_v2_string_to_sign(method, path, query, _with_query(headers, query), expires, bucket),
        payload_hash=None,
        signed_at=None,
        expires_at=datetime.fromtimestamp(int(expires), UTC),
        scope=None,
    )


def _with_query(headers: Headers, query: Query) -> Headers:
    """Headers, and those that botocore has put in the query of the URL after signing them."""
    moved = [
        (name, value.encode("utf-8", "surrogateescape").decode("latin-1"))
        for name, value in query
        if (name.startswith("x-amz-") or name in ("content-md5", "content-type")) and name not in headers
    ]
    return Headers([*headers.items(), *moved])


def _is_sha1(signature: str) -> bool:
    try:
        return len(base64.b64decode(signature, validate=True)) == hashlib.sha1().digest_size
    except (binascii.Error, ValueError):
        return False


def _v2_string_to_sign(method: str, path: str, query: Query, headers: Headers, date: str, bucket: str | None) -> bytes:
    amz_names = sorted({name.lower() for name, _ in headers.items() if name.lower().startswith("x-amz-")})
    lines = [
        method,
        (headers.get("content-md5") or "").strip(),
        (headers.get("content-type") or "").strip(),
        date,
        *(f"{name}:{','.join(value.strip() for value in headers.get_all(name))}" for name in amz_names),
        (f"/{bucket}" if bucket else "") + path + _v2_subresources(query),
    ]
    return "\n".join(lines).encode("latin-1")


def _v2_subresources(query: Iterable[tuple[str, str]]) -> str:
    """The parameters that choose what is acted on. Their values are signed decoded."""
    chosen = sorted(pair for pair in query if pair[0] in _V2_SUBRESOURCES)
    parts = [f"{name}={value}" if value else name for name, value in chosen]
    text = "?" + "&".join(parts) if parts else ""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
