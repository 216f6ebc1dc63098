"""Signatures in the fields of a form: over its policy, by version 4 or 2 (pure)."""

from collections.abc import Mapping
from datetime import UTC, datetime

from appliance.gateway.signature import v4
from appliance.gateway.signature.claims import AccessDenied, Claim, InvalidArgument, Scope, parse_stamp

# The policy says itself until when it is good.
_FOREVER = datetime.max.replace(tzinfo=UTC)


def parse_form(fields: Mapping[str, str]) -> Claim | None:
    """Return what the fields of a form, by names in lower case, say about its sender; None if it is anonymous.

    Raises InvalidArgument for a signature that can not be read or has fields missing.
    """
    if "x-amz-signature" in fields or "x-amz-credential" in fields or "x-amz-algorithm" in fields:
        return _parse_v4(fields)
    if "signature" in fields or "awsaccesskeyid" in fields:
        access_key, signature, policy = (_need(fields, name) for name in ("AWSAccessKeyId", "signature", "policy"))
        return _claim(access_key, signature, policy)
    if "policy" in fields:
        raise AccessDenied("A form with a policy has to be signed")
    return None


def _parse_v4(fields: Mapping[str, str]) -> Claim:
    names = ("x-amz-credential", "x-amz-signature", "x-amz-algorithm", "x-amz-date", "policy")
    credential, signature, algorithm, date, policy = (_need(fields, name) for name in names)
    if not credential.isascii():
        raise InvalidArgument("x-amz-credential has characters that no credential has")
    try:
        access_key, scope = v4.parse_credential(credential)
        signed_at = parse_stamp(date)
        v4.check_presigned(algorithm, signed_at, scope)
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    return _claim(access_key, signature, policy, signed_at, scope)


def _claim(
    access_key: str, signature: str, policy: str, signed_at: datetime | None = None, scope: Scope | None = None
) -> Claim:
    return Claim(
        kind="form",
        access_key=access_key,
        signature=signature,
        strings_to_sign=(policy.encode(),),
        payload_hash=v4.UNSIGNED_PAYLOAD,
        signed_at=signed_at,
        expires_at=_FOREVER,
        scope=scope,
    )


def _need(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name.lower())
    if not value:
        message = (
            f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
        )
        raise InvalidArgument(message)
    return value
