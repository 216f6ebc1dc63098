"""What must hold in every store whatever was done to it: a small checker that trusts nothing but SQL and the disk."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from appliance.store import Db, Store, commits, snapshots
from appliance.store.checking import check as run_check
from appliance.store.findings import Problem

OVERLAPS = """
    SELECT a.line_id, a.path, a.from_seq, a.until_seq, b.from_seq FROM entries a JOIN entries b
    ON a.line_id = b.line_id AND a.path = b.path AND a.from_seq < b.from_seq
    WHERE a.until_seq IS NULL OR a.until_seq > b.from_seq
"""
BACKWARDS = "SELECT line_id, path, from_seq, until_seq FROM entries WHERE until_seq <= from_seq"
HALF = """
    SELECT line_id, path, from_seq FROM entries
    WHERE (kind = 1 OR size_bytes > 0) <> ((blob_id IS NULL) <> (list_id IS NULL))
"""
SLASHES = "SELECT line_id, path, kind FROM entries WHERE kind <> 0 AND (kind = 2) <> (path LIKE '%/')"
SIZES = """
    SELECT e.path, e.size_bytes FROM entries e LEFT JOIN blobs b ON b.id = e.blob_id
    LEFT JOIN extent_lists l ON l.id = e.list_id
    WHERE (e.kind = 1 OR e.size_bytes > 0) AND e.size_bytes <> coalesce(b.size_bytes, l.size_bytes)
"""
EXTENTS = """
    SELECT x.list_id, x.position FROM extents x JOIN blobs b ON b.id = x.blob_id
    WHERE x.blob_offset < 0 OR x.size_bytes <= 0 OR x.blob_offset + x.size_bytes > b.size_bytes
"""
LISTS = """
    SELECT l.id, l.size_bytes FROM extent_lists l
    WHERE l.size_bytes <> (SELECT coalesce(sum(size_bytes), 0) FROM extents x WHERE x.list_id = l.id)
"""
TIPS = "SELECT id, tip_seq FROM lines l WHERE tip_seq <> (SELECT max(seq) FROM commits c WHERE c.line_id = l.id)"
UPLOADS = """
    SELECT id, target FROM uploads WHERE target NOT IN
    (SELECT 'branch/' || id FROM branches UNION SELECT 'datum/' || id FROM datums)
"""
QUERIES = (OVERLAPS, BACKWARDS, HALF, SLASHES, SIZES, EXTENTS, LISTS, TIPS, UPLOADS, "PRAGMA foreign_key_check")


def check(store: Store) -> list[Path]:
    """Assert that the store contradicts itself nowhere; return blob files without a row, which failed puts leave."""
    with store.snapshot() as db:
        assert db.value("PRAGMA integrity_check") == "ok"
        problems = [*_wrong_rows(db), *_wrong_blobs(store, db), *_wrong_counts(db)]
        garbage = _unreferenced(store, db)
    problems += [str(found) for found in run_check(store, deep=True) if isinstance(found, Problem)]
    problems += [f"left in staging: {path.name}" for path in (store.directory / "staging").iterdir()]
    assert not problems, "\n".join(problems)
    return garbage


def _wrong_rows(db: Db) -> Iterator[str]:
    for sql in QUERIES:
        yield from (f"{row} by {' '.join(sql.split())}" for row in db.execute(sql))


def _wrong_blobs(store: Store, db: Db) -> Iterator[str]:
    for digest, size_bytes, md5, data in db.execute("SELECT digest, size_bytes, md5, data FROM blobs"):
        file = store.blobs.path(digest)
        if data is None and not file.is_file():
            yield f"blob {digest.hex()} has no file"
            continue
        content = data if data is not None else file.read_bytes()
        found = (hashlib.sha256(content).digest(), len(content), hashlib.md5(content).digest())
        if found != (digest, size_bytes, md5):
            yield f"blob {digest.hex()} differs from its row"


def _wrong_counts(db: Db) -> Iterator[str]:
    for commit in list(commits.iter_commits(db)):
        if commit.is_open and commit.origin == "AUTO":
            continue  # counted when its job ends
        entries = list(snapshots.iter_entries(db, snapshots.open_commit(db, commit)))
        listed = (sum(e.content.size_bytes for e in entries), sum(e.kind == snapshots.Kind.FILE for e in entries))
        if listed != (commit.size_bytes, commit.file_count):
            yield f"{commit.repo}@{commit.id} records {commit.size_bytes} B, {commit.file_count} files; lists {listed}"


def _unreferenced(store: Store, db: Db) -> list[Path]:
    known = {store.blobs.path(row[0]) for row in db.execute("SELECT digest FROM blobs WHERE data IS NULL")}
    return [path for path in (store.directory / "blobs").glob("*/*") if path not in known]
