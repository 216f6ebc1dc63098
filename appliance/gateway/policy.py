"""The policy of a form: until when it is good, and what the form's fields may be (pure).

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.gateway.errors import S3Error

# Fields that a policy says nothing of.
_FREE = {"awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
# Checksums say what the file is, not what becomes of it; clients add them to forms that others have signed.
_FREE_PREFIXES = ("x-ignore-", "x-amz-checksum-")
_SIMPLE_OPERATORS = ("eq", "starts-with")
_LISTS = {"content-type"}  # each of their comma-separated values has to begin so


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the file may be, in bytes; `most` is None for as large as any object."""

    least: int = 0
    most: int | None = None

    def check(self, size_bytes: int) -> None:
        """Raise S3Error EntityTooSmall, EntityTooLarge."""
        if size_bytes < self.least:
            raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        if self.most is not None and size_bytes > self.most:
            raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")


def check(policy: str, fields: Mapping[str, str], now: datetime) -> Sizes:
    """Check fields, by their names in lower case and `bucket` among them, against a policy in base64.

    Raises S3Error InvalidPolicyDocument for a policy that can not be read, AccessDenied for fields it does not allow.
    """
    document = _decode(policy)
    if _parse_expiration(document.get("expiration")) < now:
        raise _denied("Policy expired.")
    conditions = document.get("conditions")
    if not isinstance(conditions, list):
        raise _invalid("Policy missing conditions.")
    covered, sizes = set(_FREE), Sizes()
    for condition in conditions:
        operator, name, value = _parse(condition)
        if operator == "content-length-range":
            sizes = Sizes(_parse_size(name), _parse_size(value))
            continue
        covered.add(name)
        if not _holds(operator, name, fields.get(name, ""), value):
            raise _denied(f"Policy Condition failed: {json.dumps([operator, f'${name}', value])[:500]}")
    extra = sorted(name for name in fields if name not in covered and not name.startswith(_FREE_PREFIXES))
    if extra:
        raise _denied(f"Extra input fields: {', '.join(extra)[:500]}")
    return sizes


def _decode(policy: str) -> dict[str, Any]:
    try:
        document = json.loads(base64.b64decode("".join(policy.split()), validate=True))
    except (ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    return document


def _parse_expiration(text: Any) -> datetime:
    if text is None:
        raise _invalid("Policy missing expiration.")
    with suppress(ValueError):
        if isinstance(text, str) and _DATE.fullmatch(text):
            return datetime.fromisoformat(text)
    raise _invalid(f"Invalid 'expiration' value: '{str(text)[:100]}'")


def _parse(condition: Any) -> tuple[str, Any, Any]:
    """Return operator, name of the field in lower case, and value; for sizes the operator and the two limits."""
    if isinstance(condition, dict):
        if len(condition) != 1:
            raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
        ((name, value),) = condition.items()
        if not isinstance(value, str):
            raise _invalid("Invalid Simple-Condition: value must be a string.")
        return "eq", name.lower(), value
    if not isinstance(condition, list) or len(condition) != 3 or not isinstance(condition[0], str):
        raise _invalid("Invalid Condition: wrong number of arguments.")
    operator, name, value = condition[0].lower(), condition[1], condition[2]
    if operator == "content-length-range":
        return operator, name, value
    if operator not in _SIMPLE_OPERATORS:
        raise _invalid(f"Invalid Condition: unknown operation '{operator[:40]}'.")
    if not (isinstance(name, str) and name.startswith("$") and isinstance(value, str)):
        raise _invalid("Invalid Condition: a field begins with $, and its value is a string.")
    return operator, name[1:].lower(), value


def _parse_size(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("Invalid content-length-range.")
    return value


def _holds(operator: str, name: str, given: str, value: str) -> bool:
    if operator == "eq":
        return given == value
    parts = [part.strip() for part in given.split(",")] if name in _LISTS else [given]
    return all(part.startswith(value) for part in parts)


def _invalid(why: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {why}")


def _denied(why: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {why}")
