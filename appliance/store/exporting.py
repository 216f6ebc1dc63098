"""Exports: everything, or some repos with all their history, as one file of one moment, while the store is in use.

The rows are copied out of one snapshot into a database of their own, which is the list of the blobs that follow. Only tables
that are named here are copied: what others keep in this database, secrets above all, never leaves it. Neither does what is
still being received.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from appliance.errors import InvalidRequest, StoreDamaged
from appliance.names import find_meta_owner
from appliance.store import Store, burying, commits, damage
from appliance.store.archive import BLOBS, DATABASE, END, FORMAT, MANIFEST, Member, header, padding
from appliance.store.blobs import READ_BYTES, Digest
from appliance.store.database import Db, connect
from appliance.store.schema import list_migrations, migrate

_REMOVED = 1000
_LINES = "line_id IN (SELECT id FROM out.lines)"
_CONTENT = "SELECT {0} FROM out.entries UNION SELECT {0} FROM out.datum_files"

# Tables in an order in which what is referred to comes first, and the rows of each that belong to the chosen repos.
_ROWS = {
    "repos": "kind = 'user' AND name IN (SELECT value FROM json_each(:repos))",
    "lines": "repo_id IN (SELECT id FROM out.repos)",
    "commits": _LINES,
    "branches": "repo_id IN (SELECT id FROM out.repos)",
    "branch_settings": "branch_id IN (SELECT id FROM out.branches)",
    "commit_provenance": "commit_id IN (SELECT id FROM out.commits) AND upstream_id IN (SELECT id FROM out.commits)",
    # The output branch of a pipeline that stays behind is a branch like any other.
    "branch_provenance": """
        branch_id IN (SELECT id FROM out.branches) AND upstream_id IN (SELECT id FROM out.branches)
        AND (:whole OR branch_id NOT IN (SELECT branch_id FROM main.pipelines))
    """,
    "pipelines": ":whole",
    "pipeline_versions": ":whole",
    "cron_inputs": ":whole",
    "jobs": ":whole",
    "datums": ":whole AND position >= 0",
    "datum_files": """
        :whole AND datum_id IN (SELECT id FROM out.datums) AND datum_id NOT IN (SELECT datum_id FROM main.discarded)
    """,
    "log_lines": ":whole",
    "entries": _LINES,
    "delete_markers": _LINES,
    "forgotten_versions": _LINES,
    "extent_lists": f"id IN ({_CONTENT.format('list_id')})",
    "extents": "list_id IN (SELECT id FROM out.extent_lists)",
    "object_parts": "list_id IN (SELECT id FROM out.extent_lists)",
    "blobs": f"id IN ({_CONTENT.format('blob_id')} UNION SELECT blob_id FROM out.extents)",
}
TABLES = tuple(_ROWS)


def iter_export(store: Store, repos: Sequence[str] = ()) -> Iterator[bytes]:
    """Yield an export of some repos, or of everything with its pipelines, in pieces.

    Pipelines belong to exports of everything: a repo that a pipeline writes to comes without it. Nothing is collected
    meanwhile. Raises RepoNotFound, and StoreDamaged if bytes are missing or wrong, both before the first piece but for wrong
    bytes, which only show as they are read.
    """
    aside = store.directory / "staging" / secrets.token_hex(16)
    with store.collecting, _removed(aside):
        chosen = _write_database(store, aside, repos)
        # Not bound to a thread: whoever asks for a piece may ask from another one than for the piece before.
        with closing(sqlite3.connect(aside, check_same_thread=False)) as exported:
            _check_files(store, exported)
            yield from _iter_manifest(chosen)
            yield from _iter_database(aside)
            for row in _iter_blobs(exported):
                yield from _iter_blob(store, *row)
    yield END


@contextmanager
def _removed(aside: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            aside.with_name(aside.name + suffix).unlink(missing_ok=True)


def _write_database(store: Store, aside: Path, repos: Sequence[str]) -> list[str]:
    """Copy the rows of one moment into a database of the same schema; return the names of the repos."""
    with closing(sqlite3.connect(aside)) as empty:
        migrate(empty)
    db = connect(store.directory / "appliance.db", store.durability, Db)
    try:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("ATTACH ? AS out", (str(aside),))
        db.execute("PRAGMA out.synchronous = OFF")  # nobody needs it after a crash
        _begin(store, db)
        chosen = [_check_repo(db, name) for name in repos] or _list_repos(db)
        _copy_rows(db, chosen, whole=not repos)
        db.execute("COMMIT")
    finally:
        db.close()
    return chosen


def _begin(store: Store, db: Db) -> None:
    """Begin a transaction at a moment when nothing is half removed: what was buried may still hold what others share."""
    while True:
        db.execute("BEGIN")
        if not burying.is_anything_buried(db):
            return
        db.execute("ROLLBACK")
        while store.write(lambda db: burying.remove_buried(db, _REMOVED)):
            pass


def _check_repo(db: Db, name: str) -> str:
    commits.get_repo_id(db, name)
    if pipeline := find_meta_owner(name):
        raise InvalidRequest(f"repo {name} can not be exported without pipeline {pipeline}: export everything")
    return name


def _list_repos(db: Db) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM main.repos WHERE kind = 'user' ORDER BY name")]


def _copy_rows(db: Db, chosen: Sequence[str], *, whole: bool) -> None:
    parameters = {"repos": json.dumps(chosen), "whole": whole}
    for table, condition in _ROWS.items():
        columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
        db.execute(f"INSERT INTO out.{table} ({columns}) SELECT {columns} FROM main.{table} WHERE {condition}", parameters)
    _give_up_commits(db)


def _give_up_commits(db: Db) -> None:
    """Let the commits have failed that a job was still to finish, where no job comes along: nothing is in them."""
    sql = """
        UPDATE out.commits SET finished_ns = ?, size_bytes = 0, file_count = 0, error = 'exported before its job had ended'
        WHERE finished_ns IS NULL AND origin = 'AUTO' AND id NOT IN (SELECT commit_id FROM out.jobs)
        RETURNING line_id, seq
    """
    for line, seq in db.execute(sql, (time.time_ns(),)).fetchall():
        db.execute("DELETE FROM out.entries WHERE line_id = ? AND from_seq = ?", (line, seq))
        db.execute("UPDATE out.entries SET until_seq = NULL WHERE line_id = ? AND until_seq = ?", (line, seq))
        db.execute("UPDATE out.lines SET changed_seq = min(changed_seq, ?) WHERE id = ?", (seq - 1, line))


def _iter_blobs(exported: sqlite3.Connection) -> Iterator[tuple[int, Digest, int]]:
    return exported.execute("SELECT id, digest, size_bytes FROM blobs WHERE data IS NULL ORDER BY id")


def _check_files(store: Store, exported: sqlite3.Connection) -> None:
    for _, digest, size_bytes in _iter_blobs(exported):
        store.blobs.get_intact(digest, size_bytes)
    for digest, data in exported.execute("SELECT digest, data FROM blobs WHERE data IS NOT NULL"):
        if hashlib.sha256(data).digest() != digest:
            raise StoreDamaged(f"blob {digest.hex()} is damaged")


def _iter_manifest(repos: Sequence[str]) -> Iterator[bytes]:
    text = json.dumps({"format": FORMAT, "schema": list_migrations(), "repos": len(repos)}).encode()
    yield header(Member(MANIFEST, len(text))) + text + padding(len(text))


def _iter_database(file: Path) -> Iterator[bytes]:
    size_bytes = file.stat().st_size
    yield header(Member(DATABASE, size_bytes))
    with file.open("rb") as source:
        while piece := source.read(READ_BYTES):
            yield piece
    yield padding(size_bytes)


def _iter_blob(store: Store, row: int, digest: Digest, size_bytes: int) -> Iterator[bytes]:
    """Yield a blob as it is read. Raises StoreDamaged at its end if it was not what it should be."""
    yield header(Member(BLOBS + digest.hex(), size_bytes))
    sha256, left = hashlib.sha256(), size_bytes
    with store.blobs.get_intact(digest, size_bytes).open("rb", buffering=0) as file:
        while left and (piece := file.read(min(left, READ_BYTES))):
            sha256.update(piece)
            left -= len(piece)
            yield piece
    if sha256.digest() != digest:
        with store.snapshot() as db:
            raise StoreDamaged(f"blob {digest.hex()} is damaged, {damage.describe_users(db, row)}")
    yield padding(size_bytes)
