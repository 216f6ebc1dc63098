"""Conditional requests: which of If-Match, If-None-Match, If-(Un)Modified-Since decide what (RFC 9110 §13.2.2). Pure."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Header = Callable[[str], str | None]
Outcome = Literal["proceed", "not-modified", "failed"]


def evaluate(header: Header, etag: str, modified_ns: int, *, prefix: str = "") -> Outcome:
    """Return what the conditions in a request say about an object with this (unquoted) ETag.

    With the prefix `x-amz-copy-source-` they are about the source of a copy. Dates that can not be read count as absent.
    """
    if (wanted := header(prefix + "if-match")) is not None:
        if not matches(wanted, etag):
            return "failed"
    elif _is_after(modified_ns, header(prefix + "if-unmodified-since")) is True:
        return "failed"
    if (unwanted := header(prefix + "if-none-match")) is not None:
        return "not-modified" if matches(unwanted, etag) else "proceed"
    return "not-modified" if _is_after(modified_ns, header(prefix + "if-modified-since")) is False else "proceed"


def matches(header: str, etag: str) -> bool:
    """Tell whether a list of ETags, quoted or not, or `*`, includes this one."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags


def _is_after(modified_ns: int, date: str | None) -> bool | None:
    """Tell whether something changed after a date, by whole seconds as HTTP dates have; None without a date."""
    moment = parse_date(date) if date else None
    return None if moment is None else modified_ns // 1_000_000_000 > int(moment.timestamp())


def parse_date(text: str) -> datetime | None:
    """Return an HTTP or ISO 8601 date, None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
