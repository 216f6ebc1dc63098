"""Conditional requests: which of If-Match, If-None-Match, If-(Un)Modified-Since decide what (RFC 9110 §13.2.2)."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from appliance.gateway.buckets import Bucket
from appliance.gateway.errors import S3Error, precondition_failed
from appliance.store import Db, snapshots

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


def check_conditions(db: Db, bucket: Bucket, path: str, header: Header) -> None:
    """Raise what If-Match and If-None-Match say about a write to a path as it is now."""
    if_match, if_none_match = header("if-match"), header("if-none-match")
    if if_match is None and if_none_match is None:
        return
    entry = snapshots.find(db, bucket.open(db), path)
    if if_match is not None and entry is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    if entry is None:
        return
    etag = entry.content.etag
    if (if_match is not None and not matches(if_match, etag)) or (if_none_match is not None and matches(if_none_match, etag)):
        raise precondition_failed()


def range_holds(header: Header, quoted_etag: str, last_modified: str) -> bool:
    """Tell whether a Range counts: with If-Range only for the version it was meant for (RFC 9110 §13.1.5)."""
    wanted = header("if-range")
    return wanted is None or wanted.strip() in (quoted_etag, last_modified)


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
