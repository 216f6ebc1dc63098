"""The versions of a path: what each commit made of it, newest first, deletes included; S3's list of versions.

A version is an entry, named by the commit it is from; a delete marker is where an entry ends and none begins, named by the
commit that ended it, or a row of `delete_markers` (schema.py). On a fork an entry of nothing is a marker as well.
"""

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from appliance.names import CommitId, new_commit_id
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.listings import common_prefix
from appliance.store.snapshots import COLUMNS, LAST, Entry, Kind, Snapshot, entry_of


@dataclass(frozen=True, slots=True)
class Version:
    """What one commit made of a path: an entry, or with None a delete marker. `id` is unique for the path.

    `line` and `seq` are where its commit is, `row` is the number of a marker that has a row.
    """

    path: str
    id: CommitId
    entry: Entry | None
    modified_ns: int
    line: int
    seq: int
    row: int | None = None
    is_latest: bool = False


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A page of versions; a string is a common prefix."""

    items: tuple[Version | str, ...]
    truncated: bool


def list_versions(
    db: Db, head: Snapshot, *, prefix: str, delimiter: str, after: str | None, after_id: str | None, limit: int
) -> VersionPage:
    """Return up to `limit` versions of what is below `prefix`, by path, each newest first, behind a version or a whole path.

    The version `after_id` of the path `after` may be gone: its place in the history is where the page begins. Where even
    that is not known any more, the page begins with the newest version of the path. Costs what it returns.
    """
    items: list[Version | str] = []
    for item in _iter_items(db, head, prefix, delimiter, after, after_id) if limit else ():
        if len(items) == limit:
            return VersionPage(tuple(items), truncated=True)
        items.append(item)
    return VersionPage(tuple(items), truncated=False)


def _iter_items(
    db: Db, head: Snapshot, prefix: str, delimiter: str, after: str | None, after_id: str | None
) -> Iterator[Version | str]:
    passed = common_prefix(after, prefix, delimiter) if after and after.startswith(prefix) else None
    if after is not None and after_id and passed is None and after.startswith(prefix):
        yield from _iter_rest(db, head, after, after_id)
    path = _next_path(db, head, passed + LAST if passed else max(after or "", prefix), at=prefix > (after or ""))
    while path is not None and path.startswith(prefix):
        group = common_prefix(path, prefix, delimiter)
        if group is None:
            yield from iter_versions(db, head, path)
        elif _is_known(db, head, path):
            yield group
            path = group + LAST
        path = _next_path(db, head, path)


def _next_path(db: Db, head: Snapshot, path: str, *, at: bool = False) -> str | None:
    """Return the first path with a history behind `path`, or at it."""
    found: list[str] = []
    for line, _ in head.history:
        for table in ("entries INDEXED BY entries_history", "delete_markers"):
            compare = ">=" if at else ">"
            row = db.row(
                f"SELECT path FROM {table} WHERE line_id = ? AND path {compare} ? ORDER BY path LIMIT 1", (line, path)
            )
            if row is not None:
                found.append(row[0])
    return min(found, default=None)


def _is_known(db: Db, head: Snapshot, path: str) -> bool:
    """Tell whether a path has a version in this history; what only later commits of its lines say is none."""
    return next(iter_versions(db, head, path), None) is not None


def _iter_rest(db: Db, head: Snapshot, path: str, version_id: str) -> Iterator[Version]:
    """Yield the versions of a path that are older than one of them, which may be gone."""
    newest = next(iter_versions(db, head, path), None)
    line, seq, row = _find_place(db, head, path, version_id)
    lines = [known for known, _ in head.history]
    for version in _iter_versions(db, head, path, lines.index(line) if line in lines else 0, seq):
        if (version.line, version.seq) == (line, seq) and _is_passed(version, row, version_id):
            continue
        yield replace(version, is_latest=newest is not None and version.id == newest.id)


def _is_passed(version: Version, row: int | None, version_id: str) -> bool:
    """Tell whether a version at the same place as another one comes before it, or is it."""
    if version.row is None:
        return True
    return version.row >= row if row is not None else version.id == version_id


def iter_versions(db: Db, head: Snapshot, path: str) -> Iterator[Version]:
    """Yield the versions of a path in the history of a snapshot, newest first."""
    is_latest = True
    for version in _iter_versions(db, head, path):
        yield replace(version, is_latest=True) if is_latest else version
        is_latest = False


def _iter_versions(db: Db, head: Snapshot, path: str, first: int = 0, seq: int | None = None) -> Iterator[Version]:
    """Yield versions from the line numbered `first` in the history on, and of that line from its commit `seq` on."""
    for number, (line, end) in enumerate(head.history[first:]):
        yield from _iter_line(db, line, path, end if seq is None or number > 0 else min(seq, end))


def _iter_line(db: Db, line: int, path: str, end: int) -> Iterator[Version]:
    """Yield what a line says of a path up to its commit `end`, newest first.

    At one place the entry that begins there comes first, then the markers that have rows; the one without row is none
    where others have.
    """
    named_at = None
    sources = (_iter_intervals(db, line, path, end), _iter_rows(db, line, path, end))
    for _, rank, version in heapq.merge(*sources, key=lambda item: item[:2]):
        if rank == _NAMED:
            named_at = version.seq
        elif rank == _UNNAMED and version.seq == named_at:
            continue
        yield version


_BEGUN, _NAMED, _UNNAMED = range(3)


def _iter_intervals(db: Db, line: int, path: str, end: int) -> Iterator[tuple[int, int, Version]]:
    sql = f"""
        SELECT {COLUMNS}, until_seq FROM entries WHERE line_id = ? AND path = ? AND from_seq <= ? ORDER BY from_seq DESC
    """
    following: int | None = None
    for *columns, until in db.execute(sql, (line, path, end)):
        entry = entry_of(tuple(columns))
        if entry.kind != Kind.NOTHING and until is not None and until <= end and until != following:
            yield -until, _UNNAMED, _make(db, path, line, until, None)
        following = entry.from_seq
        made = _make(db, path, line, following, entry)
        yield -following, _BEGUN if made.entry else _UNNAMED, made


def _make(db: Db, path: str, line: int, seq: int, entry: Entry | None) -> Version:
    sql = "SELECT lower(hex(global_id)), coalesce(finished_ns, started_ns) FROM commits WHERE line_id = ? AND seq = ?"
    commit_id, made_ns = db.row(sql, (line, seq))
    is_file = entry is not None and entry.kind != Kind.NOTHING
    modified_ns = made_ns if entry is None else entry.modified_ns
    return Version(path, CommitId(commit_id), entry if is_file else None, modified_ns, line, seq)


def _iter_rows(db: Db, line: int, path: str, end: int) -> Iterator[tuple[int, int, Version]]:
    sql = """
        SELECT id, seq, lower(hex(version)), created_ns FROM delete_markers WHERE line_id = ? AND path = ? AND seq <= ?
        ORDER BY seq DESC, id DESC
    """
    for row, seq, version, created_ns in db.execute(sql, (line, path, end)):
        yield -seq, _NAMED, Version(path, CommitId(version), None, created_ns, line, seq, row)


def find_version(db: Db, head: Snapshot, path: str, version_id: str) -> Version | None:
    """Return exactly the version of a path with this id, None if this history has none."""
    line, seq, _ = _find_place(db, head, path, version_id)
    ends: Mapping[int, int] = dict(head.history)
    if line is None or seq is None or line not in ends:
        return None
    for version in _iter_line(db, line, path, min(seq, ends[line])):
        if version.seq < seq:
            return None
        if version.id == version_id:
            return version
    return None


def _find_place(db: Db, head: Snapshot, path: str, version_id: str) -> tuple[int | None, int | None, int | None]:
    """Return line, seq and row of a marker with a row, else line and seq of a commit, whether or not it has the path."""
    try:
        number = bytes.fromhex(version_id)
    except ValueError:
        return None, None, None
    sql = "SELECT line_id, seq, id FROM delete_markers WHERE version = ? AND path = ?"
    known = {line for line, _ in head.history}
    for found in db.execute(sql, (number, path)):
        if found[0] in known:
            line, seq, row = found
            return line, seq, row
    if head.commit is None:
        return None, None, None
    sql = "SELECT line_id, seq FROM commits WHERE repo_id = ? AND global_id = ?"
    commit: Any = db.row(sql, (head.commit.repo_id, number))
    return (*commit, None) if commit is not None and commit[0] in known else (None, None, None)


def is_forgotten(db: Db, commit: Commit, path: str) -> bool:
    """Tell whether a commit had a version of a path that was forgotten."""
    sql = "SELECT 1 FROM forgotten_versions WHERE line_id = ? AND seq = ? AND path = ?"
    return db.value(sql, (commit.line, commit.seq, path)) is not None


def add_markers(db: Db, commit: Commit, paths: Iterable[str], version_id: CommitId | None = None) -> CommitId:
    """Record that deletes of paths found nothing at a commit, under one id, which is returned."""
    sql = "INSERT INTO delete_markers (line_id, path, seq, version, created_ns) VALUES (?, ?, ?, ?, ?)"
    chosen = version_id or new_commit_id()
    for path in paths:
        _name_unnamed(db, commit, path)
        db.execute(sql, (commit.line, path, commit.seq, bytes.fromhex(chosen), time.time_ns()))
    return chosen


def _name_unnamed(db: Db, commit: Commit, path: str) -> None:
    """Give the marker without row at a commit its row, so that another can come behind it."""
    newest = next(_iter_line(db, commit.line, path, commit.seq), None)
    if newest is not None and newest.entry is None and newest.seq == commit.seq and newest.row is None:
        name_marker(db, commit.line, path, commit.seq)


def name_marker(db: Db, line: int, path: str, seq: int) -> None:
    """Record a delete at a commit that has no entry to end any more."""
    sql = """
        INSERT INTO delete_markers (line_id, path, seq, version, created_ns)
        SELECT line_id, ?, seq, global_id, coalesce(finished_ns, started_ns) FROM commits WHERE line_id = ? AND seq = ?
    """
    db.execute(sql, (path, line, seq))
