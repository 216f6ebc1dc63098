"""The collector: removes what nothing refers to, and gives its space back, while the store is in use.

It goes through the store in steps, each a short snapshot or a small write, so that nobody waits for it and its memory does
not grow. In this order: the rows of pipelines, jobs and repos that were deleted, puts that nobody ended, lists and blobs that
nothing refers to, their files, files that never had a row, free pages of the database, its log. Killed at any point it leaves
nothing that the next run would not find.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from appliance.store import Store, burying, discarding
from appliance.store.database import Db
from appliance.store.findings import Step
from appliance.store.holds import Digest

STALE_NS = 7 * 24 * 3600 * 10**9
"""After this long a put that nobody ended is given up."""

_LOOKED_AT = 2000  # rows in a snapshot
_REMOVED = 200  # rows in a write
_PAGES = 200
_WAITING = 5000  # files whose rows are gone, at most
_DRAIN_S = 60.0
_TURN_S = 0.5

# Deleted repos in which nothing is buried that has to go first: that of a pipeline deleted meanwhile is for the next run.
_EMPTY_REPOS = """
    SELECT id FROM repos r WHERE kind = 'deleted' AND NOT EXISTS (SELECT 1 FROM branches b WHERE b.repo_id = r.id)
    AND NOT EXISTS (SELECT 1 FROM commits c JOIN jobs j ON j.commit_id = c.id WHERE c.repo_id = r.id)
"""
_USED_BY = ("entries", "extents", "parts", "datum_files", "staged_files")


@dataclass(frozen=True, slots=True)
class Collected:
    """What a run has removed: blobs, their bytes, and the space that the directory takes less."""

    blobs: int = 0
    size_bytes: int = 0
    freed_bytes: int = 0


class Collector:
    """One run. `total` is what it has removed so far."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Digest] = []
        self.total = Collected()

    def run(self) -> Iterator[Step]:
        """Collect, and yield where the run is. Whoever asks for the next step decides how fast it goes.

        Each step has the store's `collecting` to itself, so two runs do not disturb each other.
        """
        steps = self._steps()
        while True:
            if not self._store.collecting.acquire(timeout=_TURN_S):
                yield Step("waiting for an export or import", 0, 1)
                continue
            try:
                step = next(steps, None)
            finally:
                self._store.collecting.release()
            if step is None:
                return
            yield step

    def _steps(self) -> Iterator[Step]:
        before = self._database_bytes()
        yield from self._remove_buried()
        yield from self._remove_discarded()
        yield from self._remove_repos()
        yield from self._remove_stale_puts()
        yield from self._remove_lists()
        yield from self._remove_blobs()
        yield from self._remove_files()
        yield from self._shrink()
        self._add(freed_bytes=max(0, before - self._database_bytes()))

    # -- rows

    def _remove_buried(self) -> Iterator[Step]:
        removed = 0
        while self._store.write(lambda db: burying.remove_buried(db, _REMOVED)):
            removed += _REMOVED
            yield Step("rows of deleted pipelines and jobs", removed, removed)

    def _remove_discarded(self) -> Iterator[Step]:
        removed = 0
        while self._store.write(lambda db: discarding.remove_discarded(db, _REMOVED)):
            removed += _REMOVED
            yield Step("outputs of datums that failed", removed, removed)

    def _remove_repos(self) -> Iterator[Step]:
        with self._store.snapshot() as db:
            deleted = [row for (row,) in db.execute(_EMPTY_REPOS)]
        for done, repo in enumerate(deleted):
            removed = 0
            while self._store.write(partial(_remove_rows, repo=repo)):
                removed += _REMOVED
                yield Step("rows of deleted repos", removed, removed)
            yield Step("deleted repos", done + 1, len(deleted))

    def _remove_stale_puts(self) -> Iterator[Step]:
        before_ns = time.time_ns() - STALE_NS
        while self._store.write(lambda db: _remove_stale(db, before_ns)):
            yield Step("stale puts", 1, 1)

    def _remove_lists(self) -> Iterator[Step]:
        users = ("entries", "parts", "datum_files", "staged_files")
        unused = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {user} u WHERE u.list_id = g.id)" for user in users)
        for step, found in self._find("extent_lists", unused):
            for rows in _slices(found, 10):  # each may have thousands of extents
                self._store.write(partial(_delete, table="extent_lists", unused=unused, rows=rows))
            yield step

    def _remove_blobs(self) -> Iterator[Step]:
        unused = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {user} u WHERE u.blob_id = g.id)" for user in _USED_BY)
        for step, found in self._find("blobs", unused):
            for rows in _slices(found, _REMOVED):
                self._note(self._store.write(partial(_delete_blobs, unused=unused, rows=rows)))
                if len(self._waiting) >= _WAITING:
                    self._unlink()
            yield step
        self._unlink()

    def _find(self, table: str, unused: str) -> Iterator[tuple[Step, list[int]]]:
        """Yield the rows that nothing refers to now; whoever removes them has to look again."""
        low = 0
        while True:
            with self._store.snapshot() as db:
                sql = f"SELECT max(id) FROM (SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?)"
                high = db.value(sql, (low, _LOOKED_AT))
                if high is None:
                    return
                sql = f"SELECT id FROM {table} g WHERE id > ? AND id <= ? AND {unused}"
                found = [row for (row,) in db.execute(sql, (low, high))]
                last = db.value(f"SELECT max(id) FROM {table}")
            yield Step(table, high, last), found
            low = high

    # -- files

    def _note(self, removed: Sequence[tuple[Digest, int, bool]]) -> None:
        self._add(blobs=len(removed), size_bytes=sum(size for _, size, _ in removed))
        self._waiting.extend(digest for digest, _, has_file in removed if has_file)

    def _unlink(self) -> None:
        """Remove the files of rows that are gone, once that is durable and nobody reads a snapshot that has them."""
        if self._waiting and self._store.settle(_DRAIN_S):
            for digest in self._waiting:
                self._remove_file(digest)
        self._waiting.clear()  # what is left then has no row, and is found by that

    def _remove_files(self) -> Iterator[Step]:
        """Remove files without a row: of puts that failed, or of a collector that was killed."""
        directories = sorted((self._store.directory / "blobs").iterdir())
        for done, directory in enumerate(directories):
            if not self._store.settle(_DRAIN_S):
                continue
            names = (entry.name for entry in directory.iterdir())
            while batch := list(islice(names, _LOOKED_AT)):
                for digest in self._without_rows(directory, batch):
                    self._remove_file(digest)
            yield Step("files", done + 1, len(directories))

    def _without_rows(self, directory: Path, names: Sequence[str]) -> list[Digest]:
        digests = [digest for name in names if (digest := _parse_digest(directory.name + name)) is not None]
        with self._store.snapshot() as db:
            return [digest for digest in digests if not _has_file(db, digest)]

    def _remove_file(self, digest: Digest) -> None:
        def is_needed() -> bool:
            with self._store.snapshot() as db:
                return _has_file(db, digest)

        self._add(freed_bytes=self._store.blobs.holds.remove(digest, is_needed))

    # -- the database

    def _shrink(self) -> Iterator[Step]:
        total: int | None = None
        while free := self._store.write(_shrink):
            total = max(total or 0, free)
            yield Step("free pages", total - free, total)
        self._store.settle(0)

    def _database_bytes(self) -> int:
        names = ("appliance.db", "appliance.db-wal")
        files = [self._store.directory / name for name in names]
        return sum(file.stat().st_size for file in files if file.exists())

    def _add(self, *, blobs: int = 0, size_bytes: int = 0, freed_bytes: int = 0) -> None:
        total = self.total
        self.total = replace(
            total,
            blobs=total.blobs + blobs,
            size_bytes=total.size_bytes + size_bytes,
            freed_bytes=total.freed_bytes + freed_bytes,
        )


def collect(store: Store) -> Collected:
    """Collect everything at once."""
    collector = Collector(store)
    for _step in collector.run():
        pass
    return collector.total


def _slices(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _remove_rows(db: Db, repo: int) -> bool:
    """Remove some rows of a deleted repo; tell whether there are more."""
    left = _REMOVED
    while left > 0:
        line = db.value("SELECT max(id) FROM lines WHERE repo_id = ?", (repo,))  # young ones rest on old ones
        if line is None:
            db.execute("DELETE FROM repos WHERE id = ?", (repo,))
            return False
        left -= _remove_line(db, line, left)
    return True


def _remove_line(db: Db, line: int, limit: int) -> int:
    """Remove up to `limit` entries of a line, else of its commits, else the line itself; return how many rows that were."""
    sql = "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE line_id = ? LIMIT ?)"
    if removed := db.execute(sql, (line, limit)).rowcount:
        return removed
    youngest = "(SELECT id FROM commits WHERE line_id = ? ORDER BY seq DESC LIMIT ?)"
    db.execute(f"DELETE FROM commit_provenance WHERE upstream_id IN {youngest}", (line, limit))
    if removed := db.execute(f"DELETE FROM commits WHERE id IN {youngest}", (line, limit)).rowcount:
        return removed
    return db.execute("DELETE FROM lines WHERE id = ?", (line,)).rowcount


def _remove_stale(db: Db, before_ns: int) -> bool:
    """Remove some of what was staged for a put that began before then; tell whether there was any."""
    put = db.value("SELECT id FROM staged_puts WHERE created_ns < ?", (before_ns,))
    if put is None:
        return False
    sql = """
        DELETE FROM staged_files WHERE put_id = ?1
        AND position IN (SELECT position FROM staged_files WHERE put_id = ?1 ORDER BY position DESC LIMIT ?2)
    """
    if not db.execute(sql, (put, _REMOVED)).rowcount:
        db.execute("DELETE FROM staged_puts WHERE id = ?", (put,))
    return True


def _delete(db: Db, table: str, unused: str, rows: Sequence[int]) -> None:
    """Delete those of the rows that are still unused, remembering that their numbers were given."""
    _spend_ids(db, table)
    db.execute(f"DELETE FROM {table} AS g WHERE id IN ({_numbers(rows)}) AND {unused}")


def _delete_blobs(db: Db, unused: str, rows: Sequence[int]) -> list[tuple[Digest, int, bool]]:
    """The same for blobs; return (digest, size, has a file) of those deleted."""
    _spend_ids(db, "blobs")
    sql = f"DELETE FROM blobs AS g WHERE id IN ({_numbers(rows)}) AND {unused} RETURNING digest, size_bytes, data IS NULL"
    removed = db.execute(sql).fetchall()
    db.executemany("DELETE FROM damaged_blobs WHERE digest = ?", [(digest,) for digest, _, _ in removed])
    return removed


def _spend_ids(db: Db, table: str) -> None:
    sql = f"""
        INSERT INTO spent_ids (table_name, id) SELECT '{table}', max(id) FROM {table} WHERE true
        ON CONFLICT (table_name) DO UPDATE SET id = max(id, excluded.id)
    """
    db.execute(sql)


def _numbers(rows: Sequence[int]) -> str:
    return ", ".join(str(row) for row in rows)


def _has_file(db: Db, digest: Digest) -> bool:
    return db.value("SELECT 1 FROM blobs WHERE digest = ? AND data IS NULL", (digest,)) is not None


def _parse_digest(name: str) -> Digest | None:
    """Return the digest that a file is named by; None for a name that is not ours."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return Digest(digest) if digest.hex() == name and len(digest) == 32 else None


def _shrink(db: Db) -> int:
    """Give some free pages of the database back and return how many there are still."""
    db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    free: int = db.value("PRAGMA freelist_count")
    return free
