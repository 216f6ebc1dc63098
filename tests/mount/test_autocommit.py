"""Commits soon after a file is closed."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.test_writing import committed
from store.helpers import create_repos

from appliance.store import Changes, Store, commits

WAIT_S = 20


@pytest.fixture
def moved(store: Store) -> threading.Event:
    """Set when the head of `data` has moved."""
    create_repos(store, "data")
    event = threading.Event()

    def listen(changes: Changes) -> None:
        if ("data", "master") in changes.heads:
            event.set()

    store.listen(listen)
    return event


@pytest.fixture
def data(store: Store, moved: threading.Event, place: Path, quiet: None) -> Iterator[Path]:
    with Serving(store, place, "data", autocommit=True):
        yield place / "data"


def count_commits(store: Store) -> int:
    with store.snapshot() as db:
        return sum(1 for _ in commits.iter_commits(db, "data"))


def test_a_closed_file_is_committed(store, data, moved):
    (data / "foo").write_bytes(b"foo")
    assert moved.wait(WAIT_S)
    assert committed(store) == {"/foo": b"foo"}


def test_what_an_editor_does_to_save_is_one_commit(store, data, moved):
    (data / "foo.tmp").write_bytes(b"foo")
    os.replace(data / "foo.tmp", data / "foo")  # noqa: PTH105 - the call is the subject
    assert moved.wait(WAIT_S)
    assert committed(store) == {"/foo": b"foo"}
    assert count_commits(store) == 1


def test_a_file_that_is_still_open_is_waited_for(store, data, moved):
    with (data / "open").open("wb") as file:
        (data / "closed").write_bytes(b"")
        file.write(b"x")
    assert moved.wait(WAIT_S)
    assert committed(store) == {"/closed": b"", "/open": b"x"}
    assert count_commits(store) == 1
