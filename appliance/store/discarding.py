"""What a datum staged and what became nothing, removed in small writes.

Whoever can wait removes it in steps. A write that can not, because it ends a job, removes what is little at once and leaves
the rest to the collector: the datum is on the list `discarded` until then.
"""

from appliance.store.database import Db

_AT_ONCE = 1000


def has_files(db: Db, datum_row: int) -> bool:
    """Tell whether a datum has staged anything."""
    return db.value("SELECT 1 FROM datum_files WHERE datum_id = ? LIMIT 1", (datum_row,)) is not None


def remove_files(db: Db, datum_row: int, limit: int) -> bool:
    """Remove up to so many files that a datum has staged; tell whether there may be more."""
    sql = """
        DELETE FROM datum_files WHERE datum_id = ?1 AND path IN (SELECT path FROM datum_files WHERE datum_id = ?1 LIMIT ?2)
    """
    return db.execute(sql, (datum_row, limit)).rowcount == limit


def discard(db: Db, datum_row: int) -> None:
    """Let what a datum has staged be nobody's. It must not be running any more."""
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum_row}",))
    if remove_files(db, datum_row, _AT_ONCE):
        db.execute("INSERT OR IGNORE INTO discarded (datum_id) VALUES (?)", (datum_row,))
    db.changes.garbage = True


def clear(db: Db, datum_row: int) -> None:
    """Remove all that a datum has staged, for a new try of it."""
    while remove_files(db, datum_row, _AT_ONCE):
        pass
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum_row}",))
    db.execute("DELETE FROM discarded WHERE datum_id = ?", (datum_row,))


def remove_discarded(db: Db, limit: int) -> bool:
    """Remove up to so many files of datums on the list; tell whether there are more."""
    datum = db.value("SELECT datum_id FROM discarded LIMIT 1")
    if datum is None:
        return False
    if not remove_files(db, datum, limit):
        db.execute("DELETE FROM discarded WHERE datum_id = ?", (datum,))
    return True
