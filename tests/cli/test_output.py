"""Sizes, times, tables and objects as they are printed."""

import json

import pytest
import yaml

from appliance.cli.output import (
    Style,
    ago,
    bar,
    datum_progress,
    duration,
    lines,
    objects,
    public,
    size,
    span,
    state_and_reason,
    table,
    timestamp,
)

S = 1_000_000_000
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86400 * S


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0B"),
        (3, "3B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (1_048_575, "1024KiB"),
        (10 * 1024**2, "10MiB"),
        (1234567890, "1.15GiB"),
        (3 * 1024**7, "3072EiB"),
    ],
)
def test_size(size_bytes: int, shown: str) -> None:
    assert size(size_bytes) == shown


@pytest.mark.parametrize(
    ("length_ns", "shown"),
    [
        (S - 1, "Less than a second"),
        (S, "1 second"),
        (59 * S, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE - 1, "About a minute"),
        (59 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 30 * MINUTE, "2 hours"),
        (47 * HOUR, "47 hours"),
        (48 * HOUR, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (60 * DAY, "2 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_duration(length_ns: int, shown: str) -> None:
    assert duration(length_ns) == shown


def test_ago_is_never_in_the_future() -> None:
    assert ago(10 * S, 130 * S) == "2 minutes ago"
    assert ago(130 * S, 10 * S) == "Less than a second ago"


def test_timestamp() -> None:
    assert timestamp(1_700_000_000 * S + 120) == "2023-11-14T22:13:20Z"
    assert timestamp(1_700_000_000 * S + 120, exact=True) == "2023-11-14T22:13:20.00000012Z"
    assert timestamp(1_700_000_000 * S, exact=True) == "2023-11-14T22:13:20Z"


def test_missing_time_is_a_dash() -> None:
    assert Style().when(None) == "-"
    assert span(None, None) == "-"
    assert span(S, 4 * S) == "3 seconds"
    assert Style(full_timestamps=True).when(0) == "1970-01-01T00:00:00Z"


def test_state_has_the_beginning_of_its_reason() -> None:
    assert state_and_reason("created", "") == "created"
    assert state_and_reason("created", "a reason of many more characters than fit") == "created: a reason of many more cha..."
    assert state_and_reason("success", "there were no datums to process").endswith(": there were no datums to process")


def test_datum_progress_names_recovered_datums_only_where_there_are_some() -> None:
    counts = {"processed": 2, "skipped": 1, "recovered": 0, "total": 4}
    assert datum_progress(counts) == "2 + 1 / 4"
    assert datum_progress({**counts, "recovered": 1}) == "2 + 1 + 1 / 4"


@pytest.mark.parametrize(
    ("counts", "cells"), [((3, 0, 0), "▇▇▇▇▇▇▇▇"), ((1, 1, 0), "▇▇▇▇░░░░"), ((0, 0, 1), "xxxxxxxx"), ((2, 1, 1), "▇▇▇▇░░xx")]
)
def test_bar(counts: tuple[int, int, int], cells: str) -> None:
    import click

    assert click.unstyle(bar(*counts)) == cells


def test_table_is_aligned_and_has_no_trailing_space() -> None:
    assert table(("NAME", "SIZE"), [("a", "10B"), ("long-name", "")]) == "NAME      SIZE\na         10B\nlong-name\n"


def test_table_without_rows_has_a_header() -> None:
    assert table(("NAME", "SIZE"), []) == "NAME SIZE\n"


def test_colour_takes_no_room_in_a_table() -> None:
    shown = table(("STATE", "NEXT"), [(state_and_reason("success", ""), "x")])
    assert "\x1b[32msuccess\x1b[0m x" in shown
    assert shown.startswith("STATE   NEXT\n")


def test_line_breaks_do_not_break_a_table() -> None:
    assert table(("A",), [("one\ntwo\tthree",)]) == "A\none two three\n"


def test_lines_leave_out_what_is_none() -> None:
    assert lines({"Name": "a", "Parent": None, "Size": "0B"}) == "Name: a\nSize: 0B\n"


def test_objects_come_one_after_another() -> None:
    found = [{"name": "ä"}, {"name": "b"}]
    assert objects(found) == '{\n  "name": "ä"\n}\n{\n  "name": "b"\n}\n'
    assert list(yaml.safe_load_all(objects(found, yaml=True))) == found


def test_public_object_has_times_and_no_numbers_of_the_store() -> None:
    found = {"row": 7, "head": {"line": 1, "id": "x", "started_ns": S}, "finished_ns": None}
    assert public([found]) == [{"head": {"id": "x", "started": "1970-01-01T00:00:01Z"}, "finished": None}]


def test_spec_stays_as_it_is() -> None:
    found = {"spec": {"transform": {"env": {"row": "1", "time_ns": "2"}}}}
    assert json.loads(objects([public(found)])) == found
