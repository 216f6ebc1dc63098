"""Puts of many files that arrive one by one and become one commit.

Each file is staged under its path as soon as its bytes are published, so memory does not grow with their number and the
collector sees that somebody needs the bytes. Nothing shows in any commit before `put_all`; a put that nobody ends is
dropped by the collector after some days.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.errors import UploadNotFound
from appliance.names import CommitId, check_path
from appliance.store import files, history
from appliance.store.blobs import Content, settle
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.filling import fill
from appliance.store.snapshots import Metadata, find, metadata_of, open_commit, pack


@dataclass(frozen=True, slots=True)
class Total:
    """What a put has received so far."""

    files: int
    size_bytes: int


def begin_put(db: Db) -> str:
    """Begin a put and return its id."""
    put_id = secrets.token_hex(16)
    db.execute("INSERT INTO staged_puts (id, created_ns) VALUES (?, ?)", (put_id, time.time_ns()))
    return put_id


def add_file(
    db: Db,
    put_id: str,
    path: str,
    content: Content,
    metadata: Metadata | None = None,
    *,
    strict: bool = False,
    position: int | None = None,
) -> None:
    """Stage one file (or, with a slash behind the path, an explicit directory). Raises UploadNotFound, InvalidPath.

    Files are put in the order of their positions, by default that in which they come; one that is sent again is replaced.
    """
    _check(db, put_id)
    check_path(path, strict=strict)
    size_bytes, etag, blob_id, list_id, text = pack(settle(db, content), metadata)
    sql = """
        INSERT OR REPLACE INTO staged_files (put_id, position, path, size_bytes, etag, blob_id, list_id, metadata)
        VALUES (?1, coalesce(?8, (SELECT coalesce(max(position), 0) + 1 FROM staged_files WHERE put_id = ?1)),
                ?2, ?3, ?4, ?5, ?6, ?7)
    """
    db.execute(sql, (put_id, path, size_bytes, etag, blob_id, list_id, text, position))


def add_files(db: Db, put_id: str, added: Sequence[tuple[str, Content, Metadata | None]], *, strict: bool = False) -> None:
    """Stage some hundred files in their order. Raises UploadNotFound, InvalidPath."""
    _check(db, put_id)
    position = db.value("SELECT coalesce(max(position), 0) + 1 FROM staged_files WHERE put_id = ?", (put_id,))
    rows = [
        (put_id, position + place, check_path(path, strict=strict), *pack(content, metadata))
        for place, (path, content, metadata) in enumerate(added)
    ]
    if rows:
        db.insert("staged_files (put_id, position, path, size_bytes, etag, blob_id, list_id, metadata)", rows)


def get_total(db: Db, put_id: str) -> Total:
    """Return what a put has received. Raises UploadNotFound."""
    _check(db, put_id)
    return Total(*db.row("SELECT count(*), coalesce(sum(size_bytes), 0) FROM staged_files WHERE put_id = ?", (put_id,)))


def put_all(db: Db, put_id: str, repo: str, revision: str, *, append: bool = False, keep_same: bool = False) -> CommitId:
    """Put everything that was staged in one commit, end the put and return the commit's id.

    With `keep_same`, a path that has exactly the staged content and metadata keeps its version, and with it its time.

    Raises UploadNotFound, and what `history.begin_write` and `files.put_file` raise; then nothing is put and the put is
    still there, to be discarded or tried again.
    """
    _check(db, put_id)
    writing = history.begin_write(db, repo, revision)
    put_staged(db, put_id, writing.commit, append=append, keep_same=keep_same)
    history.end_write(db, writing)
    discard_put(db, put_id)
    return writing.commit.id


def put_staged(db: Db, put_id: str, commit: Commit, *, append: bool = False, keep_same: bool = False) -> None:
    """Put everything that was staged into an open commit. Raises what `files.put_file` raises."""
    if fill(db, put_id, commit):
        return
    for path, content, metadata in _iter_staged(db, put_id):
        if keep_same and _is_there(db, commit, path, content, metadata):
            continue
        if path.endswith("/"):
            files.make_directory(db, commit, path, metadata)
        elif append:
            files.append_file(db, commit, path, content, metadata)
        else:
            files.put_file(db, commit, path, content, metadata)


def discard_put(db: Db, put_id: str) -> None:
    """End a put without a trace; harmless if it has ended."""
    db.execute("DELETE FROM staged_puts WHERE id = ?", (put_id,))
    db.changes.garbage = True


def _is_there(db: Db, commit: Commit, path: str, content: Content, metadata: Metadata | None) -> bool:
    found = find(db, open_commit(db, commit), path)
    return found is not None and (found.content, found.metadata) == (content, metadata or {})


def _check(db: Db, put_id: str) -> None:
    if db.value("SELECT 1 FROM staged_puts WHERE id = ?", (put_id,)) is None:
        raise UploadNotFound(f"put {put_id} not found: it has ended or expired")


def _iter_staged(db: Db, put_id: str) -> Iterator[tuple[str, Content, Metadata | None]]:
    sql = """
        SELECT path, size_bytes, etag, blob_id, list_id, metadata FROM staged_files WHERE put_id = ? ORDER BY position
    """
    return (_staged(*row) for row in db.execute(sql, (put_id,)))


def _staged(
    path: str, size_bytes: int, etag: Any, blob_id: int | None, list_id: int | None, metadata: str | None
) -> tuple[str, Content, Metadata | None]:
    text = etag.hex() if isinstance(etag, bytes) else etag
    return path, Content(size_bytes, text, blob_id, list_id), metadata_of(metadata) or None
