"""Files in a commit: put, delete, find, list, and the directory view of them.

A *snapshot* is where to look: the line of its commit, then the lines it was forked from. Directories exist because files
do; an explicit one is an entry whose path ends in a slash. File and directory of one name exclude each other, and that is
checked at the write.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Protocol

from appliance.errors import FileNotFound, InvalidPath, PathConflict
from appliance.names import CommitId, Revision, check_path, is_commit_id, parents, parse_revision
from appliance.store.blobs import Content
from appliance.store.commits import Commit, check_readable, find_readable, get_commit, get_head
from appliance.store.database import Db

Metadata = Mapping[str, str]

_AFTER_SLASH = "0"  # the character that follows "/": `dir0` is the first path behind everything below `dir/`
_LAST = "\U0010ffff"


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


_COLUMNS = "path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, id, line_id, from_seq"


class Place(Protocol):
    """Something that has at most one entry for a path: rows of `_COLUMNS`, in path order."""

    def find(self, db: Db, path: str) -> Any:
        """Return the row of a path or None."""

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        """Yield the rows from the path `start` on, lazily."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A line after which nothing has changed: its open entries are all there is."""

    line: int

    def find(self, db: Db, path: str) -> Any:
        sql = f"SELECT {_COLUMNS} FROM entries WHERE line_id = ? AND path = ? AND until_seq IS NULL"
        return db.row(sql, (self.line, path))

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        sql = f"SELECT {_COLUMNS} FROM entries WHERE line_id = ? AND path >= ? AND until_seq IS NULL ORDER BY path"
        return db.execute(sql, (self.line, start))


@dataclass(frozen=True, slots=True)
class Past:
    """A line as it was at its commit `seq`."""

    line: int
    seq: int

    def find(self, db: Db, path: str) -> Any:
        sql = f"""
            SELECT {_COLUMNS}, until_seq FROM entries WHERE line_id = ? AND path = ? AND from_seq <= ?
            ORDER BY from_seq DESC LIMIT 1
        """
        row = db.row(sql, (self.line, path, self.seq))
        return row[:-1] if row is not None and (row[-1] is None or row[-1] > self.seq) else None

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        sql = f"""
            SELECT {_COLUMNS} FROM entries INDEXED BY entries_history
            WHERE line_id = ? AND path >= ? AND from_seq <= ? AND (until_seq IS NULL OR until_seq > ?)
            ORDER BY path
        """
        return db.execute(sql, (self.line, start, self.seq, self.seq))


@dataclass(frozen=True, slots=True)
class Staging:
    """What a datum has written so far."""

    datum: int

    def find(self, db: Db, path: str) -> Any:
        return db.row(f"{self._SELECT} AND path = ?", (self.datum, path))

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        return db.execute(f"{self._SELECT} AND path >= ? ORDER BY path", (self.datum, start))

    _SELECT: ClassVar[str] = """
        SELECT path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, 0, 0, 0
        FROM datum_files WHERE datum_id = ?
    """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where to look for the files of a commit, nearest first. Without places it is empty.

    `history` has the lines of its commit and the newest commit of each that is part of it.
    """

    places: tuple[Place, ...]
    commit: Commit | None = None
    history: tuple[tuple[int, int], ...] = ()


EMPTY = Snapshot(())


def open_commit(db: Db, commit: Commit) -> Snapshot:
    """Return the snapshot of a commit; one that failed is empty."""
    if commit.error is not None:
        return Snapshot((), commit)
    places: list[Place] = []
    history: list[tuple[int, int]] = []
    line: int | None = commit.line
    seq = commit.seq
    while line is not None:
        base, base_seq, changed = db.row("SELECT base_line_id, base_seq, changed_seq FROM lines WHERE id = ?", (line,))
        places.append(Tip(line) if seq >= changed else Past(line, seq))
        history.append((line, seq))
        line, seq = base, base_seq
    return Snapshot(tuple(places), commit, tuple(history))


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
    """Return the entry that a row of `_COLUMNS` describes."""
    path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, number, line, from_seq = row
    text = etag.hex() if isinstance(etag, bytes) else etag or ""
    content = Content(size_bytes, text, blob_id, list_id)
    return Entry(number, path, _KINDS[kind], content, modified_ns, metadata_of(metadata), line, from_seq)


def metadata_of(text: str | None) -> Metadata:
    """Return metadata as it was before `pack`."""
    return json.loads(text) if text else {}


def _pack_etag(etag: str) -> bytes | str:
    """Return an ETag as it is kept: plain MD5s take 16 bytes."""
    return bytes.fromhex(etag) if len(etag) == 32 else etag


def pack(content: Content, metadata: Metadata | None) -> tuple[int, bytes | str, int | None, int | None, str | None]:
    """Return (size_bytes, etag, blob_id, list_id, metadata) as the columns of entries and datum files hold them."""
    text = json.dumps(dict(metadata), separators=(",", ":")) if metadata else None
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


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing: entries and common prefixes together in bytewise order. `last` is where to go on after."""

    items: tuple[Entry | str, ...]
    truncated: bool
    last: str | None


def list_page(db: Db, snapshot: Snapshot, *, prefix: str, delimiter: str, after: str | None, limit: int) -> Page:
    """Return up to `limit` entries below `prefix` that come behind `after`.

    With a delimiter, paths that share the text up to its first occurrence behind the prefix are rolled into one item (a
    string); a rolled-up group costs one seek, however many it holds. `after` may be a path or such a prefix.
    """
    if limit == 0:
        return Page((), truncated=False, last=None)
    items: list[Entry | str] = []
    for item in _iter_items(db, snapshot, prefix, delimiter, after):
        if len(items) == limit:
            last = items[-1]
            return Page(tuple(items), truncated=True, last=last if isinstance(last, str) else last.path)
        items.append(item)
    return Page(tuple(items), truncated=False, last=None)


def _iter_items(db: Db, snapshot: Snapshot, prefix: str, delimiter: str, after: str | None) -> Iterator[Entry | str]:
    scan = Scan(db, snapshot, max(prefix, after or ""))
    passed = _group(after, prefix, delimiter) if after and after.startswith(prefix) else None
    if passed is not None:
        scan.seek(passed + _LAST)
    while (entry := scan.next()) is not None and entry.path.startswith(prefix):
        if after is not None and entry.path <= after:
            continue
        group = _group(entry.path, prefix, delimiter)
        if group is None:
            yield entry
        elif group != passed:
            passed = group
            scan.seek(group + _LAST)
            yield group


def _group(path: str, prefix: str, delimiter: str) -> str | None:
    """Return the common prefix a path is rolled into, None if it stands for itself."""
    found = path.find(delimiter, len(prefix)) if delimiter else -1
    return path[: found + len(delimiter)] if found >= 0 else None


def is_directory(db: Db, snapshot: Snapshot, path: str) -> bool:
    """Tell whether a path without trailing slash is a directory, explicit or implied. The root always is."""
    if path == "/":
        return True
    entry = Scan(db, snapshot, path + "/").next()
    return entry is not None and entry.path.startswith(path + "/")


@dataclass(frozen=True, slots=True)
class Child:
    """A name in a directory; `entry` is None for a directory."""

    name: str
    entry: Entry | None


def iter_children(db: Db, snapshot: Snapshot, path: str, *, after: str = "") -> Iterator[Child]:
    """Yield what is directly in a directory behind the name `after`; nothing for what is no directory.

    The order is that of paths with the slash of directories counted, so it is stable and `after` finds its place.
    """
    base = path.rstrip("/") + "/"
    scan = Scan(db, snapshot, base + after)
    while (entry := scan.next()) is not None and entry.path.startswith(base):
        name, slash, _ = entry.path.removeprefix(base).partition("/")
        if slash:
            scan.seek(base + name + _AFTER_SLASH)
        if name and name + slash > after:
            yield Child(name, None if slash else entry)


def put_file(db: Db, commit: Commit, path: str, content: Content, metadata: Metadata | None = None) -> Entry:
    """Make `path` hold `content` in an open commit, whatever was there.

    Raises InvalidPath, and PathConflict if a part of the path is a file or the path itself is a directory.
    """
    check_kind(path, Kind.FILE)
    snapshot = open_commit(db, commit)
    check_free(db, snapshot, path)
    return _replace(db, commit, snapshot, path, Kind.FILE, content, metadata)


def make_directory(db: Db, commit: Commit, path: str, metadata: Metadata | None = None) -> Entry:
    """Make an explicit directory (`/a/`) in an open commit; harmless if it is one. Raises InvalidPath, PathConflict."""
    check_kind(path, Kind.DIRECTORY)
    snapshot = open_commit(db, commit)
    check_free(db, snapshot, path)
    empty = Content(0, "d41d8cd98f00b204e9800998ecf8427e")
    return _replace(db, commit, snapshot, path, Kind.DIRECTORY, empty, metadata)


def rewrite(db: Db, commit: Commit, changes: Iterable[tuple[Entry | None, Entry | None]]) -> None:
    """Replace many entries of an open commit that has changed nothing yet: (what is there, what is to be there) pairs.

    A fifth of the cost of as many puts. What is around the paths, and the sizes of the commit, are the caller's to know.
    """
    line, seq, now_ns = commit.line, commit.seq, time.time_ns()
    is_fork = db.value("SELECT base_line_id FROM lines WHERE id = ?", (line,)) is not None
    gone = (int(Kind.NOTHING), now_ns, *pack(Content(0, ""), None))
    for before, after in changes:
        if before is not None and before.line == line:
            db.execute("UPDATE entries SET until_seq = ? WHERE id = ?", (seq, before.row))
        if after is not None:
            db.execute(_INSERT, (line, after.path, seq, int(after.kind), now_ns, *pack(after.content, after.metadata)))
        elif before is not None and is_fork:
            db.execute(_INSERT, (line, before.path, seq, *gone))
    db.execute("UPDATE lines SET changed_seq = max(changed_seq, ?) WHERE id = ?", (seq, line))


_INSERT = """
    INSERT INTO entries (line_id, path, from_seq, kind, modified_ns, size_bytes, etag, blob_id, list_id, metadata)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def check_kind(path: str, kind: Kind) -> None:
    """Raise InvalidPath for a file with a slash behind its path or a directory without."""
    if path.endswith("/") != (kind == Kind.DIRECTORY):
        raise InvalidPath(f"path ({path}) invalid: a slash at the end stands for a directory")


def check_free(db: Db, snapshot: Snapshot, path: str) -> None:
    """Raise PathConflict unless a file (or, with a slash behind it, a directory) can be put at `path`; InvalidPath too."""
    check_path(path)
    _check_parents(db, snapshot, path)
    if path.endswith("/"):
        if find(db, snapshot, path.rstrip("/")) is not None:
            raise PathConflict(f'could not create directory at "{path.rstrip("/")}"; a file is already there')
    elif is_directory(db, snapshot, path):
        raise PathConflict(f'could not put file at "{path}"; a file of type directory is already there')


def _check_parents(db: Db, snapshot: Snapshot, path: str) -> None:
    for parent in parents(path):
        if find(db, snapshot, parent) is not None:
            raise PathConflict(f'could not create directory at "{parent}"; a file of type file is already there')


def delete_path(db: Db, commit: Commit, path: str) -> bool:
    """Remove exactly one entry from an open commit; tell whether there was one."""
    snapshot = open_commit(db, commit)
    if find(db, snapshot, path) is None:
        return False
    _replace(db, commit, snapshot, path, Kind.NOTHING, Content(0, ""), None)
    return True


def delete_tree(db: Db, commit: Commit, directory: str) -> int:
    """Remove everything below a directory from an open commit and return how many entries that were."""
    prefix = directory.rstrip("/") + "/"
    paths = [entry.path for entry in iter_entries(db, open_commit(db, commit), prefix)]
    for path in paths:
        delete_path(db, commit, path)
    return len(paths)


def _replace(
    db: Db, commit: Commit, snapshot: Snapshot, path: str, kind: Kind, content: Content, metadata: Metadata | None
) -> Entry:
    """End the version of a path that holds now and begin another (or, with NOTHING, none)."""
    before = find(db, snapshot, path)
    line, seq, now_ns, row = commit.line, commit.seq, time.time_ns(), 0
    is_fork = len(snapshot.places) > 1
    if before is not None or is_fork:
        # A version that this same commit began is undone, not ended: nobody can ever ask for it.
        db.execute("DELETE FROM entries WHERE line_id = ? AND path = ? AND from_seq = ?", (line, path, seq))
        sql = "UPDATE entries SET until_seq = ? WHERE line_id = ? AND path = ? AND until_seq IS NULL"
        db.execute(sql, (seq, line, path))
    if kind != Kind.NOTHING or is_fork:  # on a fork, nothing must be said aloud to hide the base
        row = db.execute(_INSERT, (line, path, seq, int(kind), now_ns, *pack(content, metadata))).lastrowid or 0
    db.execute("UPDATE lines SET changed_seq = max(changed_seq, ?) WHERE id = ?", (seq, line))
    size_bytes = content.size_bytes - (before.content.size_bytes if before else 0)
    count = (kind == Kind.FILE) - (before is not None and before.kind == Kind.FILE)
    sql = "UPDATE commits SET size_bytes = size_bytes + ?, file_count = file_count + ? WHERE id = ?"
    db.execute(sql, (size_bytes, count, commit.row))
    return Entry(row, path, kind, content, now_ns, metadata or {}, line, seq)
