"""What differs between commits, and which commits touched a path. Costs what changed, whatever the commits hold.

Two snapshots share the lines they were forked from up to some commit; only what began or ended on a line after that commit
of it can differ.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from appliance.store import snapshots
from appliance.store.blobs import get_digest
from appliance.store.commits import Commit, get_by_row
from appliance.store.database import Db
from appliance.store.snapshots import Entry, Kind, Snapshot

Change = tuple[Entry | None, Entry | None]
"""What a path was and what it is; never None twice."""


def iter_diff(db: Db, old: Snapshot, new: Snapshot, path: str = "/") -> Iterator[Change]:
    """Yield what differs at or below `path`, in order of paths."""
    if old.is_made_up or new.is_made_up:
        yield from iter_diff_moved(db, old, path, new, path)
        return
    for changed in _iter_changed_paths(db, old, new, path):
        before, after = snapshots.find(db, old, changed), snapshots.find(db, new, changed)
        if (before is not None or after is not None) and not is_same(db, before, after):
            yield before, after


def iter_diff_moved(db: Db, old: Snapshot, old_path: str, new: Snapshot, new_path: str) -> Iterator[Change]:
    """Yield what differs between two paths of any names, and below them, by what comes behind; looks at every entry."""
    sides = (_iter_relative(db, old, old_path, 0), _iter_relative(db, new, new_path, 1))
    for _, group in itertools.groupby(heapq.merge(*sides, key=lambda item: item[:2]), key=lambda item: item[0]):
        pair: list[Entry | None] = [None, None]
        for _, side, entry in group:
            pair[side] = entry
        if not is_same(db, *pair):
            yield pair[0], pair[1]


def _iter_relative(db: Db, snapshot: Snapshot, path: str, side: int) -> Iterator[tuple[str, int, Entry]]:
    entry = snapshots.find(db, snapshot, path) if path != "/" else None
    if entry is not None:
        yield "", side, entry
        return
    base = path.rstrip("/") + "/"
    for below in snapshots.iter_entries(db, snapshot, base):
        yield below.path.removeprefix(base), side, below


def is_same(db: Db, one: Entry | None, other: Entry | None) -> bool:
    """Tell whether two versions of a path hold the same, metadata included."""
    if one is None or other is None:
        return one is other
    if (one.kind, one.metadata) != (other.kind, other.metadata):
        return False
    if one.content.list_id is None or other.content.list_id is None:
        return one.content == other.content
    if (one.content.size_bytes, one.content.etag) != (other.content.size_bytes, other.content.etag):
        return False
    return get_digest(db, one.content) == get_digest(db, other.content)


def _iter_changed_paths(db: Db, old: Snapshot, new: Snapshot, path: str) -> Iterator[str]:
    """Yield every path that may differ, once, in order. SQLite sorts each line's, on disk if they are many."""
    streams = [_iter_touched(db, *span, path) for span in _spans(old, new)]
    merged = heapq.merge(*streams)
    return (changed for changed, _ in itertools.groupby(merged))


def _spans(old: Snapshot, new: Snapshot) -> list[tuple[int, int, int]]:
    """Return (line, after seq, up to seq) of all history that is in only one of two snapshots."""
    one, other = dict(old.history), dict(new.history)
    spans = []
    for line in one.keys() | other.keys():
        low, high = sorted((one.get(line, 0), other.get(line, 0)))
        if low < high:
            spans.append((line, low, high))
    return spans


def _iter_touched(db: Db, line: int, after: int, upto: int, path: str) -> Iterator[str]:
    base = path.rstrip("/")
    below = "" if base == "" else "AND (path = ?4 OR (path >= ?4 || '/' AND path < ?4 || '0'))"
    sql = f"""
        SELECT path FROM entries INDEXED BY entries_from WHERE line_id = ?1 AND from_seq > ?2 AND from_seq <= ?3 {below}
        UNION
        SELECT path FROM entries INDEXED BY entries_until WHERE line_id = ?1 AND until_seq > ?2 AND until_seq <= ?3 {below}
        ORDER BY path
    """  # the index of paths would spare the sorting, and read the whole line
    parameters = (line, after, upto) if base == "" else (line, after, upto, base)
    return (found for (found,) in db.execute(sql, parameters))


@dataclass(frozen=True, slots=True)
class Touch:
    """A commit that added (`+`), changed (`*`) or deleted (`-`) a path. `entry` is the version it made, if any."""

    commit: Commit
    op: Literal["+", "*", "-"]
    entry: Entry | None


def iter_touching(db: Db, commit: Commit, path: str) -> Iterator[Touch]:
    """Yield the commits at or before `commit` that touched a file or explicit directory, newest first.

    Costs an index step for each version of the path (Pachyderm's `find commit` walks every commit).
    """
    places = snapshots.open_commit(db, commit).history
    for index in range(len(places)):
        yield from _iter_touching_line(db, places[index:], path)


def _iter_touching_line(db: Db, places: tuple[tuple[int, int], ...], path: str) -> Iterator[Touch]:
    """Yield what touched the path on the first of these lines; the others are what that line rests on."""
    line, seq = places[0]
    younger: int | None = None
    for *row, until in _versions(db, line, path, seq):
        entry = snapshots.entry_of(tuple(row))
        if until is not None and until <= seq and until != younger:
            yield Touch(_commit_at(db, line, until), "-", None)
        existed = _existed_before(db, places, path, entry.from_seq)
        if entry.kind != Kind.NOTHING:
            yield Touch(_commit_at(db, line, entry.from_seq), "*" if existed else "+", entry)
        elif existed:
            yield Touch(_commit_at(db, line, entry.from_seq), "-", None)
        younger = entry.from_seq


def _versions(db: Db, line: int, path: str, seq: int) -> Iterator[Any]:
    sql = f"""
        SELECT {snapshots.COLUMNS}, until_seq FROM entries WHERE line_id = ? AND path = ? AND from_seq <= ?
        ORDER BY from_seq DESC
    """
    return db.execute(sql, (line, path, seq))


def _existed_before(db: Db, places: tuple[tuple[int, int], ...], path: str, from_seq: int) -> bool:
    (line, _), *bases = places
    earlier = [snapshots.Past(line, from_seq - 1), *(snapshots.Past(base, seq) for base, seq in bases)]
    return snapshots.find(db, Snapshot(tuple(earlier)), path) is not None


def _commit_at(db: Db, line: int, seq: int) -> Commit:
    return get_by_row(db, db.value("SELECT id FROM commits WHERE line_id = ? AND seq = ?", (line, seq)))
