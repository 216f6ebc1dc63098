"""Programs work in a writable branch while it is committed."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mount.conftest import Mounted, Serving
from mount.helpers import names
from store.helpers import create_repos, tree

from appliance.errors import Conflict
from appliance.mount import committing
from appliance.store import Store


@pytest.fixture
def mounted(store: Store, place: Path, quiet: None) -> Iterator[Mounted]:
    """A mount where `data`, which is empty, can be changed."""
    create_repos(store, "data")
    with Serving(store, place, "*") as mounted:
        yield mounted


def test_work_goes_on_while_commits_land(store, mounted):
    """Whatever was done before or behind a commit, or in the middle of one, is there, and no call fails."""
    done, failed = threading.Event(), []

    def commit_again_and_again() -> None:
        while not done.is_set():
            with suppress(Conflict):  # a file is open for writing
                mounted.mount.commit("data", "master")

    def work(worker: str) -> None:
        try:
            for number in range(12):
                directory = mounted.path / f"data/{worker}{number}"
                directory.mkdir()
                (directory / "aside").write_text(str(number))
                (directory / "aside").rename(directory / "file")
                assert names(directory) == ["file"]
                assert (directory / "file").read_text() == str(number)
                directory.rename(mounted.path / f"data/moved-{worker}{number}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in "ab"]
    committing = threading.Thread(target=commit_again_and_again)
    for thread in (*threads, committing):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    committing.join()
    mounted.mount.commit("data", "master")
    assert failed == []
    expected = {f"/moved-{worker}{number}/file": str(number).encode() for worker in "ab" for number in range(12)}
    assert tree(store, "data") == expected


def test_who_replaces_a_file_is_never_seen_without_one(mounted):
    """An open that finds what was replaced before it got there goes to what is there now."""
    file, aside = mounted.path / "data/file", mounted.path / "data/aside"
    file.write_text("0")
    done = threading.Event()

    def replace() -> None:
        for number in range(100):
            aside.write_text(str(number))
            aside.rename(file)
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        while not done.is_set():
            file.read_text()
            file.stat()
    finally:
        thread.join()


@pytest.mark.parametrize("end", [committing.commit, committing.discard])
def test_staged_files_go_when_nobody_looks_at_a_snapshot_that_has_them(store, mounted, end):
    (mounted.path / "data/new").touch()
    staged, left = store.directory / committing.DIRECTORY, []
    end(store, "data", "master", on_written=lambda: left.extend(names(staged)))
    assert left != []
    assert names(staged) == []


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_removed_file_that_is_open_can_be_looked_at_behind_the_commit(mounted, is_committed):
    file = mounted.path / "data/file"
    file.write_text("text")
    if is_committed:
        mounted.mount.commit("data", "master")
    with file.open() as opened:
        file.unlink()
        (mounted.path / "data/other").touch()
        mounted.mount.commit("data", "master")
        assert os.fstat(opened.fileno()).st_size == 4
        assert opened.read() == "text"
