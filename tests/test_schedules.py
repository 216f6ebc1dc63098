"""Cron expressions and descriptors, and quantities as people write them."""

from datetime import UTC, datetime

import pytest

from appliance.errors import InvalidRequest
from appliance.quantities import parse_size
from appliance.schedules import parse_schedule


def ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("*/5 * * * *", ns(2026, 3, 1, 12, 5)),
        ("@hourly", ns(2026, 3, 1, 13)),
        ("@daily", ns(2026, 3, 2)),
        ("@weekly", ns(2026, 3, 8)),
        ("@monthly", ns(2026, 4, 1)),
        ("@yearly", ns(2027, 1, 1)),
        ("@every 90s", ns(2026, 3, 1, 12, 3, 30)),
        ("0 0 29 2 *", ns(2028, 2, 29)),
    ],
)
def test_next_time(text: str, after: int) -> None:
    assert parse_schedule(text).next_after(ns(2026, 3, 1, 12, 2)) == after


def test_next_time_is_behind_a_time_at_which_it_is_due() -> None:
    assert parse_schedule("0 * * * *").next_after(ns(2026, 3, 1, 12)) == ns(2026, 3, 1, 13)


@pytest.mark.parametrize("now", [ns(2026, 3, 1, 12), ns(2026, 3, 1, 12) + 1, ns(2026, 3, 1, 12, 59, 59)])
def test_last_time_includes_now(now: int) -> None:
    assert parse_schedule("@hourly").last_upto(now) == ns(2026, 3, 1, 12)


def test_last_time_just_before_the_hour() -> None:
    assert parse_schedule("@hourly").last_upto(ns(2026, 3, 1, 12) - 1) == ns(2026, 3, 1, 11)


def test_never_is_never_due() -> None:
    schedule = parse_schedule("@never")
    assert (schedule.next_after(0), schedule.last_upto(ns(2026, 1, 1))) == (None, None)


@pytest.mark.parametrize(
    "text", ["", "x", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "@every", "@every x", "@every 0s"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("4096", 4096), ("100M", 100_000_000), ("1.5GiB", 1_610_612_736), ("3 kB", 3000), ("2Ki", 2048), ("7B", 7)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "-1", "1X", "1iB", "1e9", "M"])
def test_nonsense_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_size(text)
