"""A job's output, put into the tables of a real PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from external.postgres import PASSWORD, Postgres, postgres
from pipelines.helpers import COPY, Lab, Serving, spec_text
from store.helpers import claim, create_repos, process, put

from appliance.errors import InvalidRequest, Unsupported
from appliance.external.secrets import Secret, Secrets
from appliance.pipelines.spec import parse_specs, to_json
from appliance.store import Store, pipelines, running
from appliance.store.pipelines import NewPipeline


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def db(server: Postgres, tmp_path: Path) -> Postgres:
    """The server with a table of orders; the appliance in `tmp_path / "data"` has its password."""
    server.ask("DROP TABLE IF EXISTS orders; CREATE TABLE orders (id integer, name text)")
    Secrets(tmp_path / "data").put(Secret("database", {"password": PASSWORD}))
    return server


def to(db: Postgres, key: str = "password", **how: Any) -> dict[str, Any]:
    wanted = {"url": db.url, "file_format": {"type": "CSV"}, "secret": {"name": "database", "key": key}}
    return {"egress": {"sql_database": wanted | how}}


def test_output_replaces_the_rows_of_its_tables(db: Postgres, lab: Lab) -> None:
    assert lab.run(COPY, {"/orders/a.csv": b"1,one\n", "/orders/b.csv": b"2,two\n"}, **to(db)).state == "success"
    assert db.ask("TABLE orders ORDER BY id") == [(1, "one"), (2, "two")]
    lab.succeeded(lab.put({"/orders/b.csv": b"3,three\n"}))
    assert db.ask("TABLE orders ORDER BY id") == [(1, "one"), (3, "three")]


def test_json_goes_there_too(db: Postgres, lab: Lab) -> None:
    how = {"file_format": {"type": "JSON", "columns": ["id"]}}
    assert lab.run(COPY, {"/orders": b'{"id": 1, "name": "left out"}'}, **to(db, **how)).state == "success"
    assert db.ask("TABLE orders") == [(1, None)]


def test_rows_that_are_not_taken_fail_the_job_and_change_nothing(db: Postgres, lab: Lab) -> None:
    db.ask("INSERT INTO orders VALUES (99, 'old')")
    job = lab.run(COPY, {"/orders/a.csv": b"1,one\nx,two\n"}, **to(db))
    said = f'egress error: {db.shown}: /orders/a.csv: invalid input syntax for type integer: "x"'
    assert (job.state, job.reason, db.ask("TABLE orders")) == ("failure", said, [(99, "old")])


@pytest.mark.parametrize(("name", "key", "said"), [("database", "x", " has no key x"), ("other", "password", " not found")])
def test_missing_secret_fails_the_job(db: Postgres, lab: Lab, name: str, key: str, said: str) -> None:
    job = lab.run(COPY, {"/orders/a.csv": b""}, **to(db, secret={"name": name, "key": key}))
    assert (job.state, job.reason) == ("failure", f"egress error: secret {name}{said}")


def test_what_could_never_run_is_refused_when_the_pipeline_is_created(db: Postgres, lab: Lab) -> None:
    with pytest.raises(Unsupported, match="only postgres:// is supported"):
        lab.pipeline(COPY, **to(db, url="snowflake://me@host/db"))
    with pytest.raises(InvalidRequest, match="unknown file format PARQUET"):
        lab.pipeline(COPY, **to(db, file_format={"type": "PARQUET"}))


def test_job_killed_while_it_filled_tables_is_taken_up_again(
    db: Postgres, tmp_path: Path, namespaces: None, quiet: None
) -> None:
    """Nothing runs again; that the rows were there already, or not, makes no difference."""
    (spec,) = parse_specs(spec_text("exit 1", **to(db)))
    db.ask("INSERT INTO orders VALUES (1, 'one')")
    new = NewPipeline("edges", to_json(spec), "", "master", [("images", "master")], "salt")
    with closing(Store(tmp_path / "data", "fast")) as store:
        create_repos(store, "images")
        put(store, "images", "/a", b"1")
        store.write(lambda db: pipelines.create_pipeline(db, new))
        job = claim(store, "edges", ["one"])
        process(store, job, {"one": {"/orders/a.csv": b"1,one\n"}})
        store.write(lambda db: running.set_egressing(db, job.row))
    with Serving(tmp_path / "data") as app:
        ended = Lab(app).succeeded()
    assert (ended.restarts, ended.processed, db.ask("TABLE orders")) == (1, 1, [(1, "one")])
