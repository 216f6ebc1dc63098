"""Databases as places that a pipeline's output goes to: their addresses. What talks to one is `tables`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from appliance.errors import InvalidRequest, Unsupported

_DRIVERS: Final = ("postgres", "postgresql")
_OPTIONS: Final = {"sslmode", "sslrootcert", "application_name"}
_FORMATS: Final = ("CSV", "JSON")


@dataclass(frozen=True, slots=True)
class Database:
    """Where files go. `file_format` is CSV or JSON (an object on each line).

    `columns` are those of a CSV file's header, which then is its first line, in any order; without them its values are the
    table's columns in turn. Of JSON they are the keys that count, by default the table's columns.
    """

    host: str
    port: int
    user: str
    name: str
    options: tuple[tuple[str, str], ...] = ()
    password: str = field(default="", repr=False)
    file_format: str = "CSV"
    columns: tuple[str, ...] = ()

    def shown(self) -> str:
        """Its address for messages."""
        return f"postgres://{self.host}:{self.port}/{self.name}"


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of rows. `open` is called again for each try."""

    path: str
    open: Callable[[], Iterator[bytes]]


def parse_database(url: str, file_format: str, columns: Sequence[str] = (), password: str = "") -> Database:
    """Read `postgres://user@host:port/database` and what goes there.

    Raises InvalidRequest, and Unsupported for another database or without psycopg.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise InvalidRequest("error parsing egress.sql_database.url") from None
    if parts.scheme not in _DRIVERS:
        raise Unsupported(f"egress.sql_database to {parts.scheme or 'nowhere'}://: only postgres:// is supported")
    if parts.password is not None:
        raise InvalidRequest("a password does not belong into egress.sql_database.url: egress.sql_database.secret names it")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if unknown := sorted({name for name, _ in options} - _OPTIONS):
        raise InvalidRequest(f'unknown query parameter "{unknown[0]}" in egress.sql_database.url')
    name = unquote(parts.path.strip("/"))
    if not (parts.hostname and parts.username and name):
        raise InvalidRequest("egress.sql_database.url is postgres://user@host:port/database")
    if file_format not in _FORMATS:
        raise InvalidRequest(f"unknown file format {file_format}")
    if find_spec("psycopg") is None:
        raise Unsupported("egress.sql_database needs psycopg: install the appliance with its extra `sql`")
    user = unquote(parts.username)
    return Database(parts.hostname, port, user, name, tuple(options), password, file_format, tuple(columns))
