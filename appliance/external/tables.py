"""Files out into the tables of somebody else's database: PostgreSQL, through psycopg, which is an extra (`sql`).

The first element of a path is the table (`/orders/part1.csv`, `/sales.orders/part1.csv`), which is emptied when its first
file comes; all tables change in one transaction or not at all. The database reads CSV itself, so whatever it takes for
numbers, times and NULL is right. Imported only where it is used.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from time import sleep
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from appliance.errors import TransferFailed
from appliance.external.databases import Database, TableFile
from appliance.external.failures import never, one_line

_LONGEST_LINE_BYTES: Final = 16 << 20
_TRIES: Final = 4
# Waiting for who holds a table is bounded, too.
_SETTINGS: Final = "-c lock_timeout=60s"
# What is said where no new try helps; a refused connection has no code to tell by.
_FOR_GOOD: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
_PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError)


def fill_tables(database: Database, files: Callable[[], Iterable[TableFile]], *, stop: Callable[[], bool] = never) -> None:
    """Replace what is in the tables that files are for, in one transaction. `files` is asked again for each try.

    What may pass (a connection that breaks, a server that starts, a deadlock) is tried again, some times, from the start.
    Raises TransferFailed, naming the file and the database's own words; then nothing has changed.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            _fill(database, files(), stop)
        except _PASSING as error:
            if attempt == _TRIES or not _may_pass(error) or not _pause(attempt, stop):
                raise _failed(database, error) from None
        except psycopg.Error as error:
            raise _failed(database, error) from None
        else:
            return


def _fill(database: Database, files: Iterable[TableFile], stop: Callable[[], bool]) -> None:
    with psycopg.connect(
        make_conninfo("", **dict(database.options)),
        host=database.host,
        port=database.port,
        user=database.user,
        dbname=database.name,
        password=database.password,
        connect_timeout=10,
        tcp_user_timeout=60_000,
        options=_SETTINGS,
    ) as connection:
        emptied: set[str] = set()
        with connection.cursor() as cursor:
            for file in files:
                table = _Table(cursor, database, file)
                if table.name not in emptied:
                    table.empty()
                    emptied.add(table.name)
                table.fill(stop)
        _check(stop, database)


class _Table:
    """The table a file is for."""

    def __init__(self, cursor: psycopg.Cursor[Any], database: Database, file: TableFile) -> None:
        self._cursor, self._database, self._file = cursor, database, file
        self.name = file.path.strip("/").partition("/")[0]

    def empty(self) -> None:
        """Delete its rows."""
        self._execute(sql.SQL("DELETE FROM {}").format(self._identifier()))

    def fill(self, stop: Callable[[], bool]) -> None:
        """Insert the file's rows."""
        if self._database.file_format == "JSON":
            self._fill_from_json(stop)
        else:
            self._fill_from_csv(stop)

    def _fill_from_csv(self, stop: Callable[[], bool]) -> None:
        pieces = self._file.open()
        header: list[str] = []
        if self._database.columns:
            first, pieces = self._read_header(pieces)
            if not first:
                return
            header = self._parse_header(first)
        with (
            _naming(self._database, self._file),
            self._cursor.copy(self._copy_statement(header, "WITH (FORMAT csv)")) as copy,
        ):
            for piece in pieces:
                _check(stop, self._database)
                copy.write(piece)

    def _fill_from_json(self, stop: Callable[[], bool]) -> None:
        columns = list(self._database.columns) or self._list_columns()
        with _naming(self._database, self._file), self._cursor.copy(self._copy_statement(columns, "")) as copy:
            for number, line in enumerate(_iter_lines(self._file.open()), 1):
                _check(stop, self._database)
                if line.strip():
                    copy.write_row(self._parse_row(number, line, columns))

    def _parse_row(self, number: int, line: bytes, columns: list[str]) -> list[str | None]:
        try:
            row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            return [_column_text(row.get(column)) for column in columns]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._refused(f"line {number}: {error}") from None

    def _read_header(self, pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
        """Return the first line, and the rest."""
        read = b""
        for piece in pieces:
            read += piece
            if b"\n" in read:
                break
            if len(read) > _LONGEST_LINE_BYTES:
                raise self._refused("its header has no end")
        first, _, rest = read.partition(b"\n")
        if read and not first.strip():
            raise self._refused("its header is empty")
        return first, chain((rest,), pieces)

    def _parse_header(self, line: bytes) -> list[str]:
        try:
            header = next(csv.reader([line.decode("utf-8-sig").rstrip("\r")]), [])
        except (UnicodeDecodeError, csv.Error):
            raise self._refused("its header is no line of CSV") from None
        if sorted(header) != sorted(self._database.columns):
            wanted = ", ".join(self._database.columns)
            raise self._refused(f"its header has other columns than {wanted}")
        return header

    def _list_columns(self) -> list[str]:
        self._execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(self._identifier()))
        return [column.name for column in self._cursor.description or ()]

    def _copy_statement(self, columns: Sequence[str], how: str) -> sql.Composed:
        named = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
        # Only our own words: "WITH (FORMAT csv)" or nothing.
        return sql.SQL("COPY {} {} FROM STDIN {}").format(self._identifier(), named, sql.SQL(how))

    def _identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.name.split(".", 1))

    def _execute(self, statement: sql.Composed) -> None:
        with _naming(self._database, self._file):
            self._cursor.execute(statement)

    def _refused(self, why: str) -> TransferFailed:
        return TransferFailed(f"{self._database.shown()}: {self._file.path}: {why}")


@contextmanager
def _naming(database: Database, file: TableFile) -> Iterator[None]:
    """Say of a file what the database does not take of it; what may pass goes on as it is."""
    try:
        yield
    except _PASSING:
        raise
    except psycopg.Error as error:
        raise _failed(database, error, file.path) from None


def _failed(database: Database, error: Exception, path: str = "") -> TransferFailed:
    diagnosis = getattr(error, "diag", None)
    said = diagnosis.message_primary if diagnosis is not None and diagnosis.message_primary else str(error)
    where = f"{database.shown()}: {path}" if path else database.shown()
    return TransferFailed(f"{where}: {one_line(said, (database.password,) if database.password else ())}")


def _may_pass(error: Exception) -> bool:
    return not any(said in str(error) for said in _FOR_GOOD)


def _pause(attempt: int, stop: Callable[[], bool]) -> bool:
    """Wait before the next try, half a second at first; False if everything ends meanwhile."""
    for _ in range(2**attempt):
        if stop():
            return False
        sleep(0.25)
    return True


def _check(stop: Callable[[], bool], database: Database) -> None:
    if stop():
        raise TransferFailed(f"{database.shown()}: stopped")


def _iter_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > _LONGEST_LINE_BYTES:
            raise TransferFailed("a line of JSON is longer than 16 MiB")
    if rest:
        yield rest


def _column_text(raw: msgspec.Raw | None) -> str | None:
    """A JSON value as the database reads it: a string's text, null, and else JSON, so that numbers keep all their digits."""
    if raw is None:
        return None
    text = bytes(raw)
    if text == b"null":
        return None
    return msgspec.json.decode(text, type=str) if text.startswith(b'"') else text.decode()
