"""Files into the tables of a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from external.postgres import PASSWORD, USER, Postgres, postgres

from appliance.errors import ApplianceError, InvalidRequest, TransferFailed, Unsupported
from appliance.external.databases import Database, TableFile, parse_database
from appliance.external.tables import fill_tables


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def db(server: Postgres) -> Postgres:
    """The server with a table of orders that has a row."""
    server.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    server.ask("CREATE TABLE orders (id integer PRIMARY KEY, name text, price numeric)")
    server.ask("INSERT INTO orders VALUES (99, 'old', 1)")
    return server


def to(db: Postgres, file_format: str = "CSV", *columns: str, password: str = PASSWORD) -> Database:
    return parse_database(db.url, file_format, columns, password)


def files(**contents: bytes) -> Callable[[], list[TableFile]]:
    """Files by paths that have two underscores for a slash; their pieces end anywhere."""

    def opened(content: bytes) -> Callable[[], Iterator[bytes]]:
        return lambda: (content[start : start + 7] for start in range(0, len(content), 7))

    return lambda: [TableFile("/" + name.replace("__", "/"), opened(content)) for name, content in contents.items()]


def orders(db: Postgres) -> list[tuple[Any, ...]]:
    return [(number, name, None if price is None else str(price)) for number, name, price in db.ask("TABLE orders")]


def test_rows_of_several_files_replace_what_was_there(db: Postgres) -> None:
    fill_tables(to(db), files(orders__1=b"1,one,1.50\n2,two,2\n", orders__2=b'3,"a ""b"",\nc",3'))
    assert orders(db) == [(1, "one", "1.50"), (2, "two", "2"), (3, 'a "b",\nc', "3")]


def test_empty_values_are_null_and_quoted_ones_are_not(db: Postgres) -> None:
    fill_tables(to(db), files(orders__1=b'1,,\n2,"",2\n'))
    assert orders(db) == [(1, None, None), (2, "", "2")]


def test_header_says_which_columns_come(db: Postgres) -> None:
    one, two = b"name,id\r\none,1\r\n", b"id,name\n2,two\n"
    fill_tables(to(db, "CSV", "id", "name"), files(orders__1=one, orders__2=two, orders__3=b""))
    assert orders(db) == [(1, "one", None), (2, "two", None)]


def test_lines_of_json_keep_all_digits(db: Postgres) -> None:
    lines = b'{"id": 1, "name": "\xc3\xa9\\n\\"", "price": 0.10000000000000000001}\n\n{"name": null, "id": 2, "more": 1}'
    fill_tables(to(db, "JSON"), files(orders=lines))
    assert orders(db) == [(1, 'é\n"', "0.10000000000000000001"), (2, None, None)]


def test_columns_choose_keys_of_json(db: Postgres) -> None:
    fill_tables(to(db, "JSON", "id"), files(orders=b'{"id": 1, "name": "left out"}'))
    assert orders(db) == [(1, None, None)]


def test_tables_of_other_schemas_and_odd_names(db: Postgres) -> None:
    db.ask('DROP SCHEMA IF EXISTS sales CASCADE; CREATE SCHEMA sales; CREATE TABLE sales."a ""b" (x text)')
    fill_tables(to(db), lambda: [TableFile('/sales.a "b/1', lambda: iter([b"here\n"]))])
    assert db.ask('TABLE sales."a ""b"') == [("here",)]


def test_table_without_files_is_left_alone(db: Postgres) -> None:
    fill_tables(to(db), files())
    assert orders(db) == [(99, "old", "1")]


@pytest.mark.parametrize(
    ("file_format", "columns", "content", "message"),
    [
        ("CSV", (), b"1,one,1\nx,two,2\n", '/orders/2: invalid input syntax for type integer: "x"'),
        ("CSV", (), b"1,one\n", '/orders/2: missing data for column "price"'),
        ("CSV", ("id", "name"), b"id,price\n1,1\n", "/orders/2: its header has other columns than id, name"),
        ("CSV", ("id",), b"\n1\n", "/orders/2: its header is empty"),
        ("CSV", ("id",), b"\xff\n1\n", "/orders/2: its header is no line of CSV"),
        ("JSON", (), b'{"id": 1}\n[]\n', "/orders/2: line 2: Expected `object`, got `array`"),
        ("JSON", (), b'{"id": "\xff"}\n', "/orders/2: line 1: "),
        ("JSON", ("nothing",), b"{}", '/orders/2: column "nothing" of relation "orders" does not exist'),
    ],
)
def test_what_the_table_does_not_take_is_named_and_nothing_changes(
    db: Postgres, file_format: str, columns: tuple[str, ...], content: bytes, message: str
) -> None:
    db.ask("CREATE TABLE aside (id integer)")
    good = {"CSV": b"id\n7\n" if columns == ("id",) else b"7\n", "JSON": b'{"id": 7}'}[file_format]
    given = files(aside=good, orders__2=content) if not columns else files(orders__2=content)
    with pytest.raises(TransferFailed) as caught:
        fill_tables(to(db, file_format, *columns), given)
    assert str(caught.value).startswith(f"{db.shown}: {message}")
    assert orders(db) == [(99, "old", "1")]
    assert db.ask("TABLE aside") == []


def test_missing_table_is_named(db: Postgres) -> None:
    with pytest.raises(TransferFailed, match='/nowhere/1: relation "nowhere" does not exist'):
        fill_tables(to(db), files(nowhere__1=b"1\n"))


def test_wrong_password_is_refused_at_once_and_not_shown(db: Postgres) -> None:
    with pytest.raises(TransferFailed) as caught:
        fill_tables(to(db, password="wrong-and-secret"), files(orders=b""))
    assert "password authentication failed" in str(caught.value)
    assert "wrong-and-secret" not in str(caught.value)


def test_connection_that_breaks_is_made_again_and_all_begins_anew(db: Postgres) -> None:
    broken: list[int] = []

    def content() -> Iterator[bytes]:
        yield b"1,one,1\n"
        if not broken:
            broken.append(1)
            db.ask(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}' AND pid <> pg_backend_pid()"
            )
            yield from (b"2,two,2\n" for _ in range(1000))

    fill_tables(to(db), lambda: [TableFile("/orders/1", content)])
    assert (broken, orders(db)) == ([1], [(1, "one", "1")])


def test_error_of_our_store_is_passed_on_and_nothing_changes(db: Postgres) -> None:
    def content() -> Iterator[bytes]:
        yield b"1,one,1\n"
        raise ApplianceError("ours")

    with pytest.raises(ApplianceError, match=r"^ours$"):
        fill_tables(to(db), lambda: [TableFile("/orders/1", content)])
    assert orders(db) == [(99, "old", "1")]


def test_nothing_changes_when_it_is_stopped_at_the_end(db: Postgres) -> None:
    stopped = threading.Event()

    def content() -> Iterator[bytes]:
        yield b"1,one,1\n"
        stopped.set()

    with pytest.raises(TransferFailed, match="stopped"):
        fill_tables(to(db), lambda: [TableFile("/orders/1", content)], stop=stopped.is_set)
    assert orders(db) == [(99, "old", "1")]


def test_no_password_in_a_repr() -> None:
    assert PASSWORD not in repr(parse_database("postgres://me@host/db", "CSV", (), PASSWORD))


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("mysql://me@host/db", Unsupported, "only postgres:// is supported"),
        ("postgres://me:secret@host/db", InvalidRequest, "a password does not belong into"),
        ("postgres://host/db", InvalidRequest, "is postgres://user@host:port/database"),
        ("postgres://me@host", InvalidRequest, "is postgres://user@host:port/database"),
        ("postgres://me@host/db?password=secret", InvalidRequest, 'unknown query parameter "password"'),
        ("postgres://me@host:x/db", InvalidRequest, "error parsing"),
    ],
)
def test_what_is_no_database_is_refused_without_showing_secrets(url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        parse_database(url, "CSV")
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["PARQUET", "", "csv"])
def test_unknown_file_format_is_refused(file_format: str) -> None:
    with pytest.raises(InvalidRequest, match=f"unknown file format {file_format}"):
        parse_database("postgres://me@host/db", file_format)
