"""Version 2: a SHA-1 over a few headers and the path, not over the body; in a header or a query (pure)."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from appliance.gateway.signature.claims import AccessDenied, Claim, InvalidArgument, Query, first_fields, read_signing_time
from appliance.httpd import Headers

_NAMES = (
    "accelerate acl analytics cors defaultObjectAcl delete encryption inventory legal-hold lifecycle location logging"
    " metrics notification object-lock partNumber policy policyStatus publicAccessBlock replication requestPayment"
    " response-cache-control response-content-disposition response-content-encoding response-content-language"
    " response-content-type response-expires restore retention select select-type storageClass tagging torrent uploadId"
    " uploads versionId versioning versions website"
)
_SUBRESOURCES = frozenset(_NAMES.split())


def sign(secret: str, text: bytes) -> str:
    """The signature that a secret gives a string to sign."""
    return base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()


def parse_header(method: str, path: str, query: Query, headers: Headers, credentials: str, bucket: str | None) -> Claim:
    access_key, colon, signature = credentials.strip(" \t").rpartition(":")
    if not colon or not access_key or not _is_sha1(signature):
        raise InvalidArgument("AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
    signed_at = read_signing_time(headers)
    date = "" if "x-amz-date" in headers else headers.get("date") or ""
    return Claim(
        kind="v2",
        access_key=access_key,
        signature=signature,
        strings_to_sign=_strings_to_sign(method, path, query, headers, date, bucket),
        payload_hash=None,
        signed_at=signed_at,
        expires_at=None,
        scope=None,
    )


def parse_presigned(method: str, path: str, query: Query, headers: Headers, bucket: str | None) -> Claim:
    fields = first_fields(query)
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
        strings_to_sign=_strings_to_sign(method, path, query, _with_query(headers, query), expires, bucket),
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


def _strings_to_sign(
    method: str, path: str, query: Query, headers: Headers, date: str, bucket: str | None
) -> tuple[bytes, ...]:
    """What may have been signed. Of a bucket, botocore signs `/bucket/` and sends `/bucket`, which is the same thing."""
    amz_names = sorted({name.lower() for name, _ in headers.items() if name.lower().startswith("x-amz-")})
    lines = [
        method,
        (headers.get("content-md5") or "").strip(" \t"),
        (headers.get("content-type") or "").strip(" \t"),
        date,
        *(f"{name}:{_joined(headers, name)}" for name in amz_names),
    ]
    resource, subresources = (f"/{bucket}" if bucket else "") + path, _subresources(query)
    resources = (resource,) if resource.count("/") != 1 or resource == "/" else (resource, f"{resource}/")
    return tuple("\n".join((*lines, found + subresources)).encode("latin-1") for found in resources)


def _subresources(query: Iterable[tuple[str, str]]) -> str:
    """The parameters that choose what is acted on. Their values are signed decoded."""
    chosen = sorted(pair for pair in query if pair[0] in _SUBRESOURCES)
    parts = [f"{name}={value}" if value else name for name, value in chosen]
    text = "?" + "&".join(parts) if parts else ""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _joined(headers: Headers, name: str) -> str:
    return ",".join(value.strip(" \t") for value in headers.get_all(name))
