"""Data directories that earlier releases wrote: opened, checked, read and written by today's code.

`directories/` has one for each released schema, packed, with `expected.json`: for each commit the SHA-256 of its files, or
the name of the error that reading it raises.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import create_repos, fork, put, tree

from appliance import errors
from appliance.store import Store
from appliance.store.collecting import collect

DIRECTORIES = sorted((Path(__file__).parent / "directories").glob("*.tar.xz"))


def contents(store: Store, revision: str) -> dict[str, str] | str:
    repo, _, commit = revision.partition("@")
    try:
        return {path: hashlib.sha256(data).hexdigest() for path, data in tree(store, repo, commit).items()}
    except errors.ApplianceError as error:
        return type(error).__name__


def test_there_is_a_directory_of_the_first_schema() -> None:
    assert "initial.tar.xz" in {file.name for file in DIRECTORIES}


@pytest.fixture(params=DIRECTORIES, ids=lambda file: file.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data directory that an earlier release left."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    (directory,) = tmp_path.iterdir()
    return directory


@pytest.fixture
def opened(old: Path) -> Iterator[Store]:
    """The same, opened by today's code."""
    store = Store(old, "durable")
    try:
        yield store
    finally:
        store.close()


def test_old_directory_has_its_files(old: Path, opened: Store) -> None:
    expected = json.loads((old / "expected.json").read_text())
    assert {revision: contents(opened, revision) for revision in expected} == expected
    assert check(opened) == []


def test_old_directory_can_be_written_and_collected(old: Path, opened: Store) -> None:
    expected = json.loads((old / "expected.json").read_text())
    create_repos(opened, "new")
    put(opened, "new", "/a", b"1")
    fork(opened, "images", "older", head="master^")
    put(opened, "images", "/more", b"2", branch="older")
    collect(opened)
    assert tree(opened, "images", "older")["/more"] == b"2"
    assert {revision: contents(opened, revision) for revision in expected} == expected
    assert check(opened) == []


def test_old_directory_needs_no_second_migration(old: Path) -> None:
    Store(old, "durable").close()
    before = (old / "appliance.db").read_bytes()
    Store(old, "durable").close()
    assert (old / "appliance.db").read_bytes() == before
