"""Snapshots: the files of a commit, found by path or read in order.

A *snapshot* is where to look: the line of its commit, then the lines it was forked from. Directories exist because files
do; an explicit one is an entry whose path ends in a slash.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Protocol

from appliance.errors import FileNotFound
from appliance.names import CommitId, Revision, find_meta_owner, is_commit_id, parse_revision
from appliance.store.blobs import Content
from appliance.store.commits import Commit, check_readable, find_readable, get_commit, get_head
from appliance.store.database import Db

Metadata = Mapping[str, str]


class Kind(IntEnum):
    """What an entry is."""

    NOTHING = 0
    FILE = 1
    DIRECTORY = 2


_KINDS = tuple(Kind)  # by number; asking the enumeration costs ten times as much


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a path. An explicit directory's path ends in a slash."""

    row: int
    path: str
    kind: Kind
    content: Content
    modified_ns: int
    metadata: Metadata
    line: int
    from_seq: int


_encode = json.JSONEncoder(separators=(",", ":")).encode

LAST = "\U0010ffff"
COLUMNS = "path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, id, line_id, from_seq"


@dataclass(frozen=True, slots=True)
class Source:
    """Where SQLite finds the entries of a place: in a table, those that meet a condition with these values."""

    table: str
    visible: str
    values: dict[str, int]


class Place(Protocol):
    """Something that has at most one entry for a path: rows of `COLUMNS`, in path order.

    In the place of a blob's number may be the bytes themselves, of what was made up.
    """

    def find(self, db: Db, path: str) -> Any:
        """Return the row of a path or None."""

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        """Yield the rows from the path `start` on, lazily."""

    def rolled(self, db: Db, prefix: str, delimiter: str, start: str) -> Iterator[Any]:
        """Yield the first path of each group of a listing and each path in none, from `start` on, lazily, with its row.

        The row is all None for a group. SQLite skips from group to group by itself: a query for each took four times as long.
        """


_ROLLED = """
    WITH RECURSIVE item(path) AS (
        SELECT (SELECT path FROM {table} WHERE {visible} AND path >= :start ORDER BY path LIMIT 1)
        UNION ALL
        SELECT (SELECT path FROM {table} WHERE {visible} AND path > CASE instr(substr(item.path, :skip), :delimiter)
                WHEN 0 THEN item.path
                ELSE substr(item.path, 1, :skip + instr(substr(item.path, :skip), :delimiter) + :length - 2) || :last END
            ORDER BY path LIMIT 1)
        FROM item WHERE item.path IS NOT NULL
    )
    SELECT item.path, {columns} FROM item
    LEFT JOIN (SELECT * FROM {table} WHERE {visible}) e
        ON e.path = item.path AND instr(substr(item.path, :skip), :delimiter) = 0
    WHERE item.path IS NOT NULL
"""


def _rolled(db: Db, prefix: str, delimiter: str, start: str, source: Source) -> Iterator[Any]:
    sql = _ROLLED.format(table=source.table, visible=source.visible, columns=f"e.{COLUMNS.replace(', ', ', e.')}")
    given = {"start": start, "skip": len(prefix) + 1, "delimiter": delimiter, "length": len(delimiter), "last": LAST}
    return db.execute(sql, given | source.values)


@dataclass(frozen=True, slots=True)
class Tip:
    """A line after which nothing has changed: its open entries are all there is."""

    line: int

    def find(self, db: Db, path: str) -> Any:
        sql = f"SELECT {COLUMNS} FROM entries WHERE line_id = ? AND path = ? AND until_seq IS NULL"
        return db.row(sql, (self.line, path))

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        sql = f"SELECT {COLUMNS} FROM entries WHERE line_id = ? AND path >= ? AND until_seq IS NULL ORDER BY path"
        return db.execute(sql, (self.line, start))

    def rolled(self, db: Db, prefix: str, delimiter: str, start: str) -> Iterator[Any]:
        return _rolled(db, prefix, delimiter, start, self.source)

    @property
    def source(self) -> Source:
        """What it has, without what hides something."""
        return Source("entries", "line_id = :line AND until_seq IS NULL AND kind <> 0", {"line": self.line})


@dataclass(frozen=True, slots=True)
class Past:
    """A line as it was at its commit `seq`."""

    line: int
    seq: int

    def find(self, db: Db, path: str) -> Any:
        sql = f"""
            SELECT {COLUMNS}, until_seq FROM entries WHERE line_id = ? AND path = ? AND from_seq <= ?
            ORDER BY from_seq DESC LIMIT 1
        """
        row = db.row(sql, (self.line, path, self.seq))
        return row[:-1] if row is not None and (row[-1] is None or row[-1] > self.seq) else None

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        sql = f"""
            SELECT {COLUMNS} FROM entries INDEXED BY entries_history
            WHERE line_id = ? AND path >= ? AND from_seq <= ? AND (until_seq IS NULL OR until_seq > ?)
            ORDER BY path
        """
        return db.execute(sql, (self.line, start, self.seq, self.seq))

    def rolled(self, db: Db, prefix: str, delimiter: str, start: str) -> Iterator[Any]:
        return _rolled(db, prefix, delimiter, start, self.source)

    @property
    def source(self) -> Source:
        """What it has, without what hides something."""
        visible = "line_id = :line AND from_seq <= :seq AND (until_seq IS NULL OR until_seq > :seq) AND kind <> 0"
        return Source("entries INDEXED BY entries_history", visible, {"line": self.line, "seq": self.seq})


@dataclass(frozen=True, slots=True)
class Staging:
    """What a datum has written so far."""

    datum: int

    def find(self, db: Db, path: str) -> Any:
        return db.row(f"SELECT {COLUMNS} FROM {self._FILES} WHERE datum_id = ? AND path = ?", (self.datum, path))

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        sql = f"SELECT {COLUMNS} FROM {self._FILES} WHERE datum_id = ? AND path >= ? ORDER BY path"
        return db.execute(sql, (self.datum, start))

    def rolled(self, db: Db, prefix: str, delimiter: str, start: str) -> Iterator[Any]:
        return _rolled(db, prefix, delimiter, start, Source(self._FILES, "datum_id = :datum", {"datum": self.datum}))

    _FILES: ClassVar[str] = "(SELECT *, 0 AS id, 0 AS line_id, 0 AS from_seq FROM datum_files)"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where to look for the files of a commit, nearest first. Without places it is empty.

    `history` has the lines of its commit and the newest commit of each that is part of it.
    """

    places: tuple[Place, ...]
    commit: Commit | None = None
    history: tuple[tuple[int, int], ...] = ()

    @property
    def is_made_up(self) -> bool:
        """Whether what it shows is no entry of its lines, so that these do not tell what changed."""
        return not all(isinstance(place, Tip | Past) for place in self.places)


EMPTY = Snapshot(())


def open_commit(db: Db, commit: Commit) -> Snapshot:
    """Return the snapshot of a commit; one that failed is empty, unless it shows the datums of its job."""
    if find_meta_owner(commit.repo) is not None:
        # Late, for the two need each other: what a job's datums saw is in other commits.
        from appliance.store.meta import open_files

        return Snapshot((open_files(db, commit),), commit, ((commit.line, commit.seq),))
    if commit.error is not None:
        return Snapshot((), commit)
    return open_seq(db, commit.line, commit.seq, commit)


def open_seq(db: Db, line: int | None, seq: int, commit: Commit | None = None) -> Snapshot:
    """Return what a line shows at one of its commits."""
    places: list[Place] = []
    history: list[tuple[int, int]] = []
    while line is not None:
        base, base_seq, changed = db.row("SELECT base_line_id, base_seq, changed_seq FROM lines WHERE id = ?", (line,))
        places.append(Tip(line) if seq >= changed else Past(line, seq))
        history.append((line, seq))
        line, seq = base, base_seq
    return Snapshot(tuple(places), commit, tuple(history))


def freeze(snapshot: Snapshot) -> Snapshot:
    """Return the same files, found in a way that what the same write changes afterwards does not reach."""
    if snapshot.is_made_up:
        return snapshot
    return Snapshot(tuple(Past(line, seq) for line, seq in snapshot.history), snapshot.commit, snapshot.history)


def open_revision(db: Db, repo: str, revision: str) -> Snapshot:
    """Return what readers of `repo@revision` see. Raises NotFound kinds, Conflict for an unfinished output commit."""
    if parse_revision(revision) == Revision(revision) and not is_commit_id(revision):
        return open_branch(db, repo, revision)
    return open_commit(db, check_readable(get_commit(db, repo, revision)))


def open_branch(db: Db, repo: str, branch: str) -> Snapshot:
    """Return what readers of a branch see; empty before its first commit is finished. Raises RepoNotFound, BranchNotFound."""
    commit = find_readable(db, get_head(db, repo, branch))
    return open_commit(db, commit) if commit else EMPTY


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Return the entry that a row of `COLUMNS` describes."""
    path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, number, line, from_seq = row
    text = etag.hex() if isinstance(etag, bytes) else etag or ""
    content = Content(size_bytes, text, *((None, None, blob_id) if isinstance(blob_id, bytes) else (blob_id, list_id)))
    return Entry(number, path, _KINDS[kind], content, modified_ns, metadata_of(metadata), line, from_seq)


def metadata_of(text: str | None) -> Metadata:
    """Return metadata as it was before `pack`."""
    return json.loads(text) if text else {}


def _pack_etag(etag: str) -> bytes | str:
    """Return an ETag as it is kept: plain MD5s take 16 bytes."""
    return bytes.fromhex(etag) if len(etag) == 32 else etag


def pack(content: Content, metadata: Metadata | None) -> tuple[int, bytes | str, int | None, int | None, str | None]:
    """Return (size_bytes, etag, blob_id, list_id, metadata) as the columns of entries and datum files hold them.

    Content that is nowhere yet has to be recorded before.
    """
    assert content.data is None
    text = _encode(dict(metadata)) if metadata else None
    return content.size_bytes, _pack_etag(content.etag), content.blob_id, content.list_id, text


def find(db: Db, snapshot: Snapshot, path: str) -> Entry | None:
    """Return the entry of exactly this path, None if there is none; implied directories have none."""
    for place in snapshot.places:
        row = place.find(db, path)
        if row is not None:
            return entry_of(row) if row[1] != Kind.NOTHING else None
    return None


def get_file(db: Db, snapshot: Snapshot, path: str) -> Entry:
    """Return the file at `path` or raise FileNotFound; directories are not files."""
    entry = find(db, snapshot, path)
    if entry is None or entry.kind != Kind.FILE:
        commit = snapshot.commit
        where = f"repo {commit.repo} at commit {commit.id}" if commit else "an empty commit"
        raise FileNotFound(f"file {path} not found in {where}")
    return entry


def find_row(db: Db, row: int, modified_ns: int) -> Entry | None:
    """Return a version by its row, None if it is gone: an open commit's rows are used again."""
    found = db.row(f"SELECT {COLUMNS} FROM entries WHERE id = ? AND modified_ns = ?", (row, modified_ns))
    return entry_of(found) if found is not None else None


def get_version(db: Db, entry: Entry) -> CommitId:
    """Return the id of the commit that made this version of the file."""
    sql = "SELECT lower(hex(global_id)) FROM commits WHERE line_id = ? AND seq = ?"
    return CommitId(db.value(sql, (entry.line, entry.from_seq)))


class Scan:
    """The entries of a snapshot from some path on, in bytewise order of their paths; can skip ahead.

    Costs an index step for each entry and a seek for each skip, whatever else the repo holds.
    """

    def __init__(self, db: Db, snapshot: Snapshot, start: str) -> None:
        self._places = [_PlaceScan(db, place, start) for place in snapshot.places]

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Return the next entry and step behind it."""
        while (row := self._next_row()) is not None:
            if row[1] != Kind.NOTHING:
                return entry_of(row)
        return None

    def _next_row(self) -> Any:
        """Return the nearest place's row of the next path; the same path in the others is hidden by it."""
        if len(self._places) == 1:  # no fork: nearly always, and then a listing costs half as much
            return self._places[0].step()
        rows = [place.row for place in self._places if place.row is not None]
        if not rows:
            return None
        path = min(row[0] for row in rows)
        for place in self._places:
            if place.row is not None and place.row[0] == path:
                place.step()
        return next(row for row in rows if row[0] == path)

    def seek(self, path: str) -> None:
        """Go on at the first path not before `path`."""
        for place in self._places:
            place.seek(path)


class _PlaceScan:
    """The same for one place; `row` is the next one."""

    def __init__(self, db: Db, place: Place, start: str) -> None:
        self._db, self._place = db, place
        self._rows = place.rows(db, start)
        self.row: Any = next(self._rows, None)

    def step(self) -> Any:
        """Go to the next row and return the one before."""
        row, self.row = self.row, next(self._rows, None)
        return row

    def seek(self, path: str) -> None:
        if self.row is not None and self.row[0] < path:
            self._rows = self._place.rows(self._db, path)
            self.row = next(self._rows, None)


def iter_entries(db: Db, snapshot: Snapshot, prefix: str = "/") -> Iterator[Entry]:
    """Yield every entry whose path starts with `prefix`, in bytewise order."""
    for entry in Scan(db, snapshot, prefix):
        if not entry.path.startswith(prefix):
            return
        yield entry
