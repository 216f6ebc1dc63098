"""Sizes, durations and times as people write them. Pure."""

import re
from datetime import UTC, datetime

from appliance.errors import InvalidRequest

_LONGEST_S = 315_576_000_000  # of a protobuf Duration
_DURATION_PART = re.compile(r"([0-9]{0,20}(?:\.[0-9]{0,20})?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([kKmMgGtTpP])?([iI])?[bB]?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_duration(text: str) -> float:
    """Return the seconds of `30s`, `1h30m`, `1.5s` (Go's notation); 0 for an empty text. Raises InvalidRequest."""
    if text in ("", "0"):
        return 0
    parts = _DURATION_PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or any(number in ("", ".") for number, _ in parts):
        raise InvalidRequest(f'"{text}" is no duration such as "30s" or "1h30m"')
    total_s = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if total_s > _LONGEST_S:
        raise InvalidRequest(f'the duration "{text}" is too long')
    return total_s


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Return the nanoseconds UTC of a time as RFC 3339 has it, `2006-01-02T15:04:05Z`. Raises InvalidRequest."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise InvalidRequest(f'"{text}" is no time such as "2006-01-02T15:04:05Z"')
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def parse_size(text: str) -> int:
    """Return the bytes of `100M`, `1.5GiB`, `4096`; without an `i` in powers of 1000. Raises InvalidRequest."""
    found = _SIZE.fullmatch(text.strip())
    if not found or (found[3] and not found[2]):
        raise InvalidRequest(f'"{text}" is no size such as "100M" or "1.5GiB"')
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[(prefix or "").lower()])
