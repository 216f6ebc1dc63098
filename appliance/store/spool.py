"""Rows put aside while something is worked out, to be read again in order: on disk, so that memory does not grow with them.

A spool is a temporary database of its own, which SQLite keeps in memory while it is small and else in a file without a name
in the temporary directory (`TMPDIR`). It is in no transaction with the store, and gone with whoever opened it.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count

from appliance.store.disk import explain_sqlite

_CACHE_KIB = 8192


class Spool:
    """An open spool; from any thread, but one at a time."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._names = (f"shelf_{number}" for number in count())

    def shelve(self, items: Iterable[tuple[str, bytes]]) -> "Shelf":
        """Put all items with their keys on a shelf of their own. They may come from other shelves."""
        name = next(self._names)
        self._db.execute(f"CREATE TABLE {name} (position INTEGER PRIMARY KEY, key TEXT NOT NULL, item BLOB NOT NULL)")
        self._db.executemany(f"INSERT INTO {name} (key, item) VALUES (?, ?)", items)
        self._db.execute(f"CREATE INDEX {name}_key ON {name} (key)")
        return Shelf(self._db, name)

    def make_list(self) -> Callable[[bytes], bool]:
        """Return what notes a name on a list of its own, and tells whether it was not there before."""
        table = next(self._names)
        self._db.execute(f"CREATE TABLE {table} (name BLOB PRIMARY KEY) WITHOUT ROWID")
        insert = f"INSERT OR IGNORE INTO {table} VALUES (?)"
        return lambda name: self._db.execute(insert, (name,)).rowcount > 0


class Shelf:
    """Items under keys. Those of a key are in the order in which they came, keys in bytewise order."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db, self._name = db, name

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self._db.execute(f"SELECT key, item FROM {self._name} ORDER BY key, position"))

    def iter_key(self, key: str, *, skip: int = 0) -> Iterator[bytes]:
        """Yield what is under a key, without the first few."""
        sql = f"SELECT item FROM {self._name} WHERE key = ? ORDER BY position LIMIT -1 OFFSET ?"
        return (item for (item,) in self._db.execute(sql, (key, skip)))


@contextmanager
def open_spool() -> Iterator[Spool]:
    """Open an empty spool. Inside, what the disk says about it is raised as OutOfSpace or DiskFailed."""
    db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            db.execute(f"PRAGMA {setting}").fetchall()
        db.execute("BEGIN")  # never to end: nobody wants to have it kept
        yield Spool(db)
    except sqlite3.Error as error:
        if (explained := explain_sqlite(error)) is None:
            raise
        raise explained from error
    finally:
        db.close()
