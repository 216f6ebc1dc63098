"""Datums that are run once more to be looked at: copies of recorded ones, which belong to their job and do not count.

A copy is running for as long as somebody looks, has a negative position, and what it writes stays with it.
"""

import heapq
import itertools
import time
from collections.abc import Iterator

from appliance.store import snapshots
from appliance.store.database import Db
from appliance.store.datums import StoredDatum
from appliance.store.diffs import Change, is_same
from appliance.store.snapshots import Entry


def open_copy(db: Db, datum: StoredDatum) -> int:
    """Make a copy of a datum, with nothing written, and return its row."""
    sql = """
        INSERT INTO datums (job_id, position, datum_id, hash, state, inputs, started_ns)
        SELECT job_id, min(-1, (SELECT min(position) - 1 FROM datums WHERE job_id = d.job_id)), datum_id, hash, 'running',
               inputs, ? FROM datums d WHERE id = ? RETURNING id
    """
    row: int = db.value(sql, (time.time_ns(), datum.row))
    return row


def drop_copy(db: Db, row: int) -> None:
    """Forget a copy and what it wrote. Harmless if it is gone with its job."""
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{row}",))
    db.execute("DELETE FROM datums WHERE id = ? AND position < 0", (row,))
    db.changes.garbage = True


def drop_copies(db: Db) -> None:
    """Forget the copies that a killed appliance has left."""
    for (row,) in db.execute("SELECT id FROM datums WHERE position < 0").fetchall():
        drop_copy(db, row)


def iter_changes(db: Db, datum: StoredDatum, copy: int) -> Iterator[Change]:
    """Yield what a copy wrote differently than what is recorded as the output of its datum, in order of paths."""
    recorded = db.value("SELECT output_of FROM datums WHERE id = ?", (datum.row,))
    sides = (_iter_written(db, recorded, 0), _iter_written(db, copy, 1))
    for _, group in itertools.groupby(heapq.merge(*sides, key=lambda item: item[:2]), key=lambda item: item[0]):
        pair: list[Entry | None] = [None, None]
        for _, side, entry in group:
            pair[side] = entry
        if not is_same(db, *pair):
            yield pair[0], pair[1]


def _iter_written(db: Db, row: int | None, side: int) -> Iterator[tuple[str, int, Entry]]:
    sql = """
        SELECT path, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata, 0, 0, 0 FROM datum_files
        WHERE datum_id = ? ORDER BY path
    """
    return ((found[0], side, snapshots.entry_of(found)) for found in db.execute(sql, (row,)))
