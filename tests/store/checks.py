"""What must hold in every store whatever was done to it: what the checker finds, and, so that a mistake of its shows, some of
the same looked at in the plainest way there is.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from appliance.names import find_meta_owner
from appliance.store import Db, Store, commits, snapshots
from appliance.store.checking import check as run_check
from appliance.store.findings import Problem

OVERLAPS = """
    SELECT a.line_id, a.path, a.from_seq, a.until_seq, b.from_seq FROM entries a JOIN entries b
    ON a.line_id = b.line_id AND a.path = b.path AND a.from_seq < b.from_seq
    WHERE a.until_seq IS NULL OR a.until_seq > b.from_seq
"""


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
    yield from (f"versions overlap: {row}" for row in db.execute(OVERLAPS))


def _wrong_blobs(store: Store, db: Db) -> Iterator[str]:
    for digest, size_bytes, md5, data in db.execute("SELECT digest, size_bytes, md5, data FROM blobs"):
        file = store.blobs.path(digest)
        if data is None and not file.is_file():
            yield f"blob {digest.hex()} has no file"
            continue
        content = data if data is not None else file.read_bytes()
        found = (hashlib.sha256(content).digest(), len(content), hashlib.md5(content).digest() if md5 or data else b"")
        if found != (digest, size_bytes, md5):
            yield f"blob {digest.hex()} differs from its row"


def _wrong_counts(db: Db) -> Iterator[str]:
    for commit in list(commits.iter_commits(db)):
        if commit.is_open and commit.origin == "AUTO":
            continue  # counted when its job ends
        if find_meta_owner(commit.repo) is not None:
            assert (commit.size_bytes, commit.file_count) == (0, 0)  # nothing of what it shows is its own
            continue
        entries = list(snapshots.iter_entries(db, snapshots.open_commit(db, commit)))
        listed = (sum(e.content.size_bytes for e in entries), sum(e.kind == snapshots.Kind.FILE for e in entries))
        if listed != (commit.size_bytes, commit.file_count):
            yield f"{commit.repo}@{commit.id} records {commit.size_bytes} B, {commit.file_count} files; lists {listed}"


def _unreferenced(store: Store, db: Db) -> list[Path]:
    known = {store.blobs.path(row[0]) for row in db.execute("SELECT digest FROM blobs WHERE data IS NULL")}
    return [path for path in (store.directory / "blobs").glob("*/*") if path not in known]
