"""Changing the files of an open commit: put, delete, make a directory.

File and directory of one name exclude each other, and that is checked at the write.
"""

import time
from collections.abc import Iterable

from appliance.errors import Conflict, InvalidPath, InvalidRequest, PathConflict
from appliance.names import check_path, parents
from appliance.store.blobs import Content, join, joined_etag, settle
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.listings import is_directory
from appliance.store.snapshots import Entry, Kind, Metadata, Snapshot, find, freeze, get_file, iter_entries, open_commit, pack

EMPTY_CONTENT = Content(0, "d41d8cd98f00b204e9800998ecf8427e")


def put_file(db: Db, commit: Commit, path: str, content: Content, metadata: Metadata | None = None) -> Entry:
    """Make `path` hold `content` in an open commit, whatever was there.

    Raises InvalidPath, and PathConflict if a part of the path is a file or the path itself is a directory.
    """
    check_kind(path, Kind.FILE)
    snapshot = open_commit(db, commit)
    check_free(db, snapshot, path)
    return _replace(db, commit, snapshot, path, Kind.FILE, content, metadata)


def append_file(db: Db, commit: Commit, path: str, content: Content, metadata: Metadata | None = None) -> Entry:
    """Make `path` hold what it held followed by `content`; no bytes are moved. Raises as `put_file`."""
    before = find(db, open_commit(db, commit), path)
    if before is None or before.kind != Kind.FILE:
        return put_file(db, commit, path, content, metadata)
    both = (before.content, content)
    joined = join(db, ((item, 0, item.size_bytes) for item in both), joined_etag(both))
    return put_file(db, commit, path, joined, before.metadata if metadata is None else metadata)


def copy_tree(db: Db, source: Snapshot, path: str, commit: Commit, target: str, *, append: bool = False) -> int:
    """Put what is at or below `path` of a snapshot at or below `target` in an open commit; no bytes are moved.

    Returns how many entries that were. Raises FileNotFound, InvalidRequest for a directory copied into itself, and what
    `put_file` raises.
    """
    place = append_file if append else put_file
    entry = find(db, source, path) if path != "/" else None
    if entry is not None:
        place(db, commit, target, entry.content, entry.metadata)
        return 1
    if source.commit is not None and source.commit.row == commit.row and f"{target}/".startswith(f"{path.rstrip('/')}/"):
        raise InvalidRequest(f"cannot copy {path} into itself")
    count = 0
    for entry in iter_entries(db, freeze(source), path.rstrip("/") + "/"):
        below = target.rstrip("/") + entry.path.removeprefix(path.rstrip("/"))
        if entry.kind == Kind.DIRECTORY:
            make_directory(db, commit, below, entry.metadata, entry.content)
        else:
            place(db, commit, below, entry.content, entry.metadata)
        count += 1
    if not count:
        get_file(db, source, path)  # says that there is none
    return count


def make_directory(
    db: Db, commit: Commit, path: str, metadata: Metadata | None = None, content: Content = EMPTY_CONTENT
) -> Entry:
    """Make an explicit directory (`/a/`) in an open commit; harmless if it is one. Raises InvalidPath, PathConflict.

    Its content, if any, is only S3's to see: a key that ends in a slash may have some.
    """
    check_kind(path, Kind.DIRECTORY)
    snapshot = open_commit(db, commit)
    check_free(db, snapshot, path)
    return _replace(db, commit, snapshot, path, Kind.DIRECTORY, content, metadata)


Change = tuple[Entry | None, Entry | None]
"""What is there, and what is to be there, at one path."""


def rewrite(db: Db, commit: Commit, changes: Iterable[Change]) -> None:
    """Replace many entries that were there before an open commit.

    A fifth of the cost of as many puts. What is around the paths, and the sizes of the commit, are the caller's to know.
    Raises Conflict if what is there is something else by now.
    """
    line, seq, now_ns = commit.line, commit.seq, time.time_ns()
    is_fork = db.value("SELECT base_line_id FROM lines WHERE id = ?", (line,)) is not None
    gone = (int(Kind.NOTHING), now_ns, *pack(Content(0, ""), None))
    for before, after in changes:
        if before is not None and before.line == line:
            _end(db, before, seq)
        if after is not None:
            db.execute(_INSERT, (line, after.path, seq, int(after.kind), now_ns, *pack(after.content, after.metadata)))
        elif before is not None and is_fork:
            db.execute(_INSERT, (line, before.path, seq, *gone))
    db.execute("UPDATE lines SET changed_seq = max(changed_seq, ?) WHERE id = ?", (seq, line))


def _end(db: Db, entry: Entry, seq: int) -> None:
    sql = "UPDATE entries SET until_seq = ? WHERE id = ? AND path = ? AND until_seq IS NULL AND from_seq < ?"
    if db.execute(sql, (seq, entry.row, entry.path, seq)).rowcount == 0:
        raise Conflict(f"{entry.path} was changed meanwhile")


def undo(db: Db, commit: Commit) -> None:
    """Forget what the tip of a line changed, if anything: what it began never was, what it ended goes on."""
    line, seq = commit.line, commit.seq
    if db.value("SELECT changed_seq FROM lines WHERE id = ?", (line,)) < seq:
        return
    db.changes.garbage = True
    db.execute("DELETE FROM entries WHERE line_id = ? AND from_seq = ?", (line, seq))
    db.execute("UPDATE entries SET until_seq = NULL WHERE line_id = ? AND until_seq = ?", (line, seq))
    changed = db.row(
        """
        SELECT (SELECT max(from_seq) FROM entries WHERE line_id = ?1),
               (SELECT max(until_seq) FROM entries WHERE line_id = ?1 AND until_seq IS NOT NULL)
        """,
        (line,),
    )
    db.execute("UPDATE lines SET changed_seq = ? WHERE id = ?", (max(changed[0] or 0, changed[1] or 0), line))


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


def set_metadata(db: Db, entry: Entry, metadata: Metadata) -> None:
    """Change what is said of a version of a file, in every commit that shows it; its content and dates stay."""
    db.execute("UPDATE entries SET metadata = ? WHERE id = ?", (pack(entry.content, metadata)[4], entry.row))


def _replace(
    db: Db, commit: Commit, snapshot: Snapshot, path: str, kind: Kind, content: Content, metadata: Metadata | None
) -> Entry:
    """End the version of a path that holds now and begin another (or, with NOTHING, none)."""
    content = settle(db, content)
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
