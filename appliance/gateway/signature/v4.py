"""Version 4: a chain of SHA-256 digests over the canonical request, in a header, a query, or chunk by chunk (pure)."""

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from appliance.gateway.signature.claims import (
    STAMP,
    AccessDenied,
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    Claim,
    ExpiresOutOfRange,
    Query,
    Scope,
    SignatureDoesNotMatch,
    first_fields,
    is_equal,
    parse_stamp,
    read_signing_time,
)
from appliance.httpd import Headers

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_MAX_EXPIRES_S = 7 * 24 * 3600
_SPACES = re.compile(r"[ \t]+")  # `split` would take others for spaces, too
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*")
# Part of the signature in another way, so a client need not list them.
_COVERED_ANYWAY = frozenset(("x-amz-content-sha256", "x-amz-date"))


class ChunkVerifier:
    """The running chain of signatures over the chunks of one body; each signature signs the one before it."""

    def __init__(self, key: bytes, stamp: str, scope: Scope, seed: str) -> None:
        self._key = key
        self._context = f"{stamp}\n{scope}"
        self._previous = seed

    def check_chunk(self, sha256: str, signature: str) -> None:
        """Check the next chunk, by the digest of its data. Raises SignatureDoesNotMatch."""
        self._check(f"{ALGORITHM}-PAYLOAD\n{self._context}\n{self._previous}\n{EMPTY_SHA256}\n{sha256}", signature)

    def check_trailer(self, sha256: str, signature: str) -> None:
        """Check the trailer after the last chunk. Raises SignatureDoesNotMatch."""
        self._check(f"{ALGORITHM}-TRAILER\n{self._context}\n{self._previous}\n{sha256}", signature)

    def _check(self, text: str, signature: str) -> None:
        expected = sign(self._key, text.encode("latin-1"))
        if not is_equal(expected, signature):
            raise SignatureDoesNotMatch
        self._previous = expected


@lru_cache(maxsize=1024)
def signing_key(secret: str, scope: Scope) -> bytes:
    """The version 4 key of a secret for one day and region; kept, as it costs four digests."""
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def sign(key: bytes, text: bytes) -> str:
    """The signature that `signing_key` gives a string to sign."""
    return hmac.digest(key, text, "sha256").hex()


def parse_header(method: str, path: str, query: Query, headers: Headers, credentials: str) -> Claim:
    fields = _parse_fields(credentials)
    try:
        access_key, scope = parse_credential(fields["Credential"])
        signed_names, signature = fields["SignedHeaders"].split(";"), fields["Signature"]
    except (KeyError, ValueError) as error:
        raise AuthorizationHeaderMalformed(
            f"The authorization header is malformed: {_why(error, 'Authorization header')}"
        ) from None
    signed_at = read_signing_time(headers)
    if signed_at.strftime("%Y%m%d") != scope.date:
        raise AuthorizationHeaderMalformed("The authorization header is malformed; the date of the credential differs.")
    # Clients that leave the header out sign the digest of the body. Only that of no body is known before it arrives.
    payload_hash = headers.get("x-amz-content-sha256") or EMPTY_SHA256
    canonical = _canonical_request(method, path, query, headers, signed_names, payload_hash)
    return Claim(
        kind="v4",
        access_key=access_key,
        signature=signature,
        strings_to_sign=(_string_to_sign(signed_at, scope, canonical),),
        payload_hash=payload_hash,
        signed_at=signed_at,
        expires_at=None,
        scope=scope,
    )


def parse_presigned(method: str, path: str, query: Query, headers: Headers) -> Claim:
    fields = first_fields(query)
    try:
        access_key, scope = parse_credential(fields["X-Amz-Credential"])
        signed_names, signature = fields["X-Amz-SignedHeaders"].split(";"), fields["X-Amz-Signature"]
        signed_at = parse_stamp(fields["X-Amz-Date"])
        expires_at = signed_at + timedelta(seconds=_parse_expires(fields["X-Amz-Expires"]))
        check_presigned(fields["X-Amz-Algorithm"], signed_at, scope)
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
        strings_to_sign=(_string_to_sign(signed_at, scope, canonical),),
        payload_hash=payload_hash,
        signed_at=signed_at,
        expires_at=expires_at,
        scope=scope,
    )


def _parse_fields(credentials: str) -> dict[str, str]:
    pairs = (part.strip(" \t").partition("=") for part in credentials.split(","))
    return {name: value for name, _, value in pairs}


def parse_credential(text: str) -> tuple[str, Scope]:
    """Access key and scope. Raises ValueError. The key may contain slashes."""
    access_key, date, region, service, terminator = text.rsplit("/", 4)
    if service != "s3" or terminator != "aws4_request" or not access_key:
        raise ValueError(f"incorrect scope {date}/{region}/{service}/{terminator}; this is s3")
    return access_key, Scope(date, region)


def _parse_expires(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text) or not 0 < int(text) <= _MAX_EXPIRES_S:
        # The status of ceph/s3-tests; Amazon's own is 400.
        raise ExpiresOutOfRange("X-Amz-Expires must be between 1 second and a week")
    return int(text)


def check_presigned(algorithm: str, signed_at: datetime, scope: Scope) -> None:
    if algorithm != ALGORITHM:
        raise ValueError(f"X-Amz-Algorithm only supports {ALGORITHM}")
    if signed_at.strftime("%Y%m%d") != scope.date:
        raise ValueError("the dates of X-Amz-Date and X-Amz-Credential differ")


def _why(error: Exception, where: str) -> str:
    return f"the {where} requires {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _string_to_sign(signed_at: datetime, scope: Scope, canonical: str) -> bytes:
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{signed_at.strftime(STAMP)}\n{scope}\n{digest}".encode("latin-1")


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
    return ",".join(_SPACES.sub(" ", value.strip(" \t")) for value in headers.get_all(name))


def _canonical_path(path: str) -> str:
    """S3's rule: decoded and encoded once, slashes and dots untouched."""
    return path if _PLAIN_PATH.fullmatch(path) else quote(unquote_to_bytes(path.encode("latin-1")), safe="/~")


def _canonical_query(query: Query) -> str:
    pairs = sorted((_quote(name), _quote(value)) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _quote(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")
