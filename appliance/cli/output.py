"""How results are shown: sizes, times, tables, `Key: value` lines and raw objects.

Everything returns text, except the last functions, which print. Texts are those of `pachctl` 2.0.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click

Facts = Mapping[str, Any]
"""A result of a call: JSON, with times in nanoseconds under names that end in `_ns`."""

_S = 1_000_000_000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_BAR_CELLS = 8
_REASON_CHARACTERS = 25
_ROWS_MEASURED = 1000
_COLOURS = {
    "success": "green",
    "running": "green",
    "failure": "red",
    "failed": "red",
    "killed": "red",
    "unrunnable": "red",
    "starting": "yellow",
    "egressing": "yellow",
    "finishing": "yellow",
    "paused": "yellow",
}
_INTERNAL = {"row", "repo_id", "line", "seq", "parent", "commit_row"}


@dataclass(frozen=True, slots=True)
class Style:
    """How a command was asked to print."""

    raw: bool = False
    yaml: bool = False
    full_timestamps: bool = False

    def when(self, time_ns: int | None) -> str:
        """Return a time for a cell or line; `-` for none."""
        if time_ns is None:
            return "-"
        return timestamp(time_ns) if self.full_timestamps else ago(time_ns, time.time_ns())


# -- cells


def size(size_bytes: int) -> str:
    """Return a size in binary units with four significant digits: `3B`, `1.5KiB`."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"


def timestamp(time_ns: int, *, exact: bool = False) -> str:
    """Return a time in RFC 3339, to the second or, `exact`, to the nanosecond."""
    second, rest_ns = divmod(time_ns, _S)
    fraction = f".{rest_ns:09}".rstrip("0").rstrip(".") if exact else ""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def ago(time_ns: int, now_ns: int) -> str:
    """Return how long ago a time is: `2 minutes ago`."""
    return f"{duration(max(0, now_ns - time_ns))} ago"


def duration(length_ns: int) -> str:
    """Return a length of time in words and whole units, as the library of Pachyderm and docker does."""
    seconds, minutes, hours = length_ns // _S, length_ns // (60 * _S), (length_ns + 1800 * _S) // (3600 * _S)
    if minutes < 1:
        return {0: "Less than a second", 1: "1 second"}.get(seconds, f"{seconds} seconds")
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    return f"{days // 30} months" if days < 730 else f"{days // 365} years"


def span(started_ns: int | None, finished_ns: int | None) -> str:
    """Return how long something took, or takes until now; `-` before it started."""
    if started_ns is None:
        return "-"
    return duration(max(0, (finished_ns or time.time_ns()) - started_ns))


def state(word: str) -> str:
    """Return a state in its colour."""
    return click.style(word, fg=_COLOURS[word]) if word in _COLOURS else word


def state_and_reason(word: str, reason: str) -> str:
    """Return a state with the beginning of its reason; that of a success is shown whole."""
    if not reason:
        return state(word)
    if word != "success" and len(reason) > _REASON_CHARACTERS:
        reason = reason[:_REASON_CHARACTERS].strip() + "..."
    return f"{state(word)}: {reason}"


def datum_progress(job: Facts) -> str:
    """Return `processed + skipped / total`; what err_cmd recovered is named where there is some."""
    done = [job["processed"], job["skipped"], *([job["recovered"]] if job["recovered"] else [])]
    return f"{' + '.join(map(str, done))} / {job['total']}"


def bar(succeeded: int, unfinished: int, failed: int) -> str:
    """Return eight cells in proportion; they differ without colours too."""
    total = succeeded + unfinished + failed
    ends = ((succeeded, "▇", "green"), (succeeded + unfinished, "░", "yellow"), (total, "x", "red"))
    cells = [next((mark, fg) for end, mark, fg in ends if cell * total < end * _BAR_CELLS) for cell in range(_BAR_CELLS)]
    return "".join(click.style(mark, fg=fg) for mark, fg in cells)


# -- tables, lines and objects


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below a header in aligned columns; escape sequences of colours take no room."""
    return "".join(iter_table(header, rows))


def iter_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table. Its columns are as wide as the first rows want; a longer cell after those stands out."""
    waiting = iter(rows)
    first = [[one_line(cell) for cell in row] for row in (header, *islice(waiting, _ROWS_MEASURED))]
    widths = [max(_width(row[column]) for row in first) for column in range(len(header))]
    for row in chain(first, ([one_line(cell) for cell in row] for row in waiting)):
        line = " ".join(cell + " " * (wide - _width(cell)) for cell, wide in zip(row, widths, strict=True))
        yield f"{line.rstrip()}\n"


def one_line(cell: str) -> str:
    """Return text without line breaks and tabs, which would break a table."""
    return " ".join(cell.split()) if any(mark in cell for mark in "\n\r\t") else cell


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


def lines(described: Mapping[str, str | None]) -> str:
    """Return `Key: value` lines; a value of None is left out."""
    return "".join(f"{key}: {value}\n" for key, value in described.items() if value is not None)


def indented(part: Any) -> str | None:
    """Return a part of a spec for a line of its own; None for none."""
    return "\n" + json.dumps(part, indent=2, ensure_ascii=False) if part else None


def objects(found: Iterable[Any], *, yaml: bool = False) -> str:
    """Return objects one after another."""
    if not yaml:
        return "".join(json.dumps(item, indent=2, ensure_ascii=False) + "\n" for item in found)
    from yaml import safe_dump

    return "".join(safe_dump(item, sort_keys=False, allow_unicode=True, explicit_start=True) for item in found)


def public(found: Any) -> Any:
    """Return a result for other programs: times in RFC 3339, without the store's own numbers. A spec stays as it is."""
    if isinstance(found, list):
        return [public(item) for item in found]
    if not isinstance(found, Mapping):
        return found
    return dict(_public_field(key, value) for key, value in found.items() if key not in _INTERNAL)


def _public_field(key: str, value: Any) -> tuple[str, Any]:
    if key.endswith("_ns"):
        return key.removesuffix("_ns"), None if value is None else timestamp(value, exact=True)
    return key, value if key == "spec" else public(value)


# -- printing


def print_list(style: Style, header: Sequence[str], found: Iterable[Facts], row: Callable[[Facts], Sequence[str]]) -> None:
    """Print results as they come, as a table or raw."""
    if style.raw:
        print_objects(style, found)
        return
    for line in iter_table(header, map(row, found)):
        click.echo(line, nl=False)


def print_one(style: Style, found: Facts, describe: Callable[[Facts], Mapping[str, str | None]]) -> None:
    """Print a result as lines, or raw."""
    if style.raw:
        print_objects(style, [found])
    else:
        click.echo(lines(describe(found)), nl=False)


def print_objects(style: Style, found: Iterable[Facts]) -> None:
    """Print results raw, as they come."""
    for item in found:
        click.echo(objects([public(item)], yaml=style.yaml), nl=False)
