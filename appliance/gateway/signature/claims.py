"""What a request says of its sender, in a shape that both versions share; and what there is to say against it (pure).

AuthError
├── AccessDenied                        expired, not dated, or a header the signature should cover and does not
├── AuthorizationHeaderMalformed
├── AuthorizationQueryParametersError
│   └── ExpiresOutOfRange
├── InvalidAccessKeyId                  raised by the caller, who knows the keys
├── InvalidArgument                     a malformed version 2, or two signatures at once
├── RequestTimeTooSkewed
└── SignatureDoesNotMatch
"""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import unquote_to_bytes

from appliance.errors import ApplianceError
from appliance.httpd import Headers

STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")

_FIRST_YEAR = 1970

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


class ExpiresOutOfRange(AuthorizationQueryParametersError):
    """A presigned query that is to be good for no time, or for more than a week."""

    status = 403


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

    Any of `strings_to_sign` may have been signed. `payload_hash` is the value of x-amz-content-sha256 that was signed, and
    None for version 2, which does not sign the body. `signed_at` is None for presigned version 2, `expires_at` for the
    header kinds, `scope` for version 2.
    """

    kind: Literal["v4", "v4-presigned", "v2", "v2-presigned", "form"]
    access_key: str
    signature: str
    strings_to_sign: tuple[bytes, ...]
    payload_hash: str | None
    signed_at: datetime | None
    expires_at: datetime | None
    scope: Scope | None


def parse_query(raw: str) -> Query:
    """Names and values. A plus is a space, as it is for whoever acts on the request afterwards."""
    parts = (part.partition("=") for part in raw.split("&") if part)
    return [(_unquote(name), _unquote(value)) for name, _, value in parts]


def _unquote(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    # Surrogates carry bytes that are not UTF-8 through to be encoded again.
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8", "surrogateescape")


def first_fields(query: Query) -> dict[str, str]:
    """The first value of each parameter; what is not ASCII is left out, as nothing that signs has it."""
    return {name: value for name, value in reversed(query) if value.isascii()}


def read_signing_time(headers: Headers) -> datetime:
    """When a request says it was signed. Raises AccessDenied."""
    text = headers.get("x-amz-date", headers.get("date")) or ""
    for parse in (parse_stamp, parsedate_to_datetime):
        try:
            parsed = parse(text)
            signed_at = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        if signed_at.year >= _FIRST_YEAR:
            return signed_at
    raise AccessDenied("AWS authentication requires a valid Date or x-amz-date header")


def parse_stamp(text: str) -> datetime:
    if not _STAMP_FORM.fullmatch(text):
        raise ValueError(f"{text} is not a date of the form {STAMP}")
    return datetime.fromisoformat(text)  # forty times quicker than strptime


def is_equal(expected: str, given: str) -> bool:
    return given.isascii() and hmac.compare_digest(expected, given)
