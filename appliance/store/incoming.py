"""The database of an export, which may come from anybody, until it is known to be one that we could have written.

It is looked at in a directory of its own and nothing of it is in the store before all of this holds: SQLite finds it sound,
it has exactly the tables that our migrations make, every value is of its column's type, and the checker finds nothing.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from appliance.errors import InvalidRequest
from appliance.store.checking import check_rows
from appliance.store.database import Db
from appliance.store.exporting import TABLES
from appliance.store.findings import Problem
from appliance.store.schema import list_migrations, migrate, migrations

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
_GREATEST_ID = 2**52
_TYPES = {"INTEGER": "integer", "TEXT": "text", "BLOB": "blob"}


class Incoming:
    """An export's database that was found to be sound. `db` is its connection."""

    def __init__(self, file: Path, schema: Sequence[str], go_on: Callable[[], None]) -> None:
        """Open and check it; `go_on` is called in between and may raise to end that. Raises InvalidRequest."""
        self._go_on = go_on
        self.db = sqlite3.connect(file, factory=Db, isolation_level=None, check_same_thread=False)
        try:
            self._check(schema)
        except sqlite3.DatabaseError as error:
            self.db.close()
            raise InvalidRequest(f"the export is damaged: {error}") from None
        except BaseException:
            self.db.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    @contextmanager
    def snapshot(self) -> Iterator[Db]:
        """Lend the connection, as a store does; nobody else writes here."""
        yield self.db

    def _check(self, schema: Sequence[str]) -> None:
        self.db.execute("PRAGMA trusted_schema = OFF")
        self.db.execute("PRAGMA cell_size_check = ON")
        if (said := self.db.value("PRAGMA integrity_check(1)")) != "ok":
            raise InvalidRequest(f"the export is damaged: {said}")
        if self.db.execute(_SCHEMA).fetchall() != _expected_schema(schema):
            raise InvalidRequest("the export has other tables than an appliance writes")
        migrate(self.db)
        for table in _list_tables(self.db):
            self._check_values(table)
        if self.db.value("SELECT 1 FROM repos WHERE kind <> 'user'"):
            raise InvalidRequest("the export has repos that were deleted")
        for found in check_rows(self):
            if isinstance(found, Problem):
                raise InvalidRequest(f"the export is damaged: {found.text}")
            self._go_on()

    def _check_values(self, table: str) -> None:
        """Refuse rows in tables that an export does not have, and values that are not of the type their column is of."""
        if table not in TABLES:
            if not table.startswith(("sqlite_", "_sqlite_")) and self.db.value(f"SELECT 1 FROM {table} LIMIT 1"):
                raise InvalidRequest(f"the export has rows in {table}, where an appliance writes none")
            return
        columns = {name: _TYPES[kind] for _, name, kind, *_ in self.db.execute(f"PRAGMA table_info({table})") if kind}
        wrong = " OR ".join(f"typeof({name}) NOT IN ('{kind}', 'null')" for name, kind in columns.items())
        if self.db.value(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1"):
            raise InvalidRequest(f"the export has values in {table} that are not of their column's type")
        if "id" in columns and self.db.value(f"SELECT 1 FROM {table} WHERE id NOT BETWEEN 1 AND ?", (_GREATEST_ID,)):
            raise InvalidRequest(f"the export has ids in {table} that no row has")
        texts = ", ".join(name for name, kind in columns.items() if kind == "text")
        for _row in self.db.execute(f"SELECT {texts} FROM {table}") if texts else ():
            pass  # that they are UTF-8 is seen as they are read


def _expected_schema(schema: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Return what the first of our migrations make. Raises InvalidRequest for any that are not ours, in our order."""
    ours = list_migrations()
    if not schema or list(schema) != ours[: len(schema)]:
        raise InvalidRequest("the export was written by a newer appliance, or by none")
    db = Database(memory=True)
    last = ours[len(schema)] if len(schema) < len(ours) else None
    migrations.apply(db, stop_before=last)
    return [tuple(row) for row in db.conn.execute(_SCHEMA)]


def _list_tables(db: Db) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
