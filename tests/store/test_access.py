"""Owners and modes of a data directory, a disk that is read-only at the start, and clocks that were wrong."""

import errno
import os
from pathlib import Path

import pytest
from disk.client import WRITING, open_disk
from mount.conftest import place as place
from store.checks import check
from store.helpers import LARGE, create_repos, fork, put, read, tree

from appliance.errors import DiskFailed
from appliance.store import Store, commits

YEAR_NS = 365 * 24 * 3600 * 10**9


def filled(directory: Path) -> dict[str, bytes]:
    """Make a store with a file and close it; return what is in it."""
    store = Store(directory)
    create_repos(store, "images")
    put(store, "images", "/a", LARGE)
    found = tree(store, "images")
    store.close()
    return found


@pytest.mark.parametrize("wrong", [0o000, 0o777])
@pytest.mark.parametrize(("name", "right"), [("", 0o700), ("blobs", 0o700), ("staging", 0o700), ("appliance.db", 0o600)])
def test_wrong_mode_is_repaired(tmp_path: Path, name: str, right: int, wrong: int) -> None:
    expected, place = filled(tmp_path / "data"), tmp_path / "data" / name
    place.chmod(wrong)
    store = Store(tmp_path / "data")
    assert (place.stat().st_mode & 0o777, tree(store, "images")) == (right, expected)
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["", "blobs", "appliance.db"])
def test_wrong_owner_is_refused(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "data")
    place = tmp_path / "data" / name
    os.chown(place, 12345, 12345)
    with pytest.raises(DiskFailed, match=f"{place} belongs to user 12345, and this process is user 0: run it as the owner"):
        Store(tmp_path / "data")
    os.chown(place, 0, 0)
    Store(tmp_path / "data").close()


def test_read_only_disk_is_refused_at_the_start(tmp_path: Path, place: Path) -> None:
    with open_disk(tmp_path) as disk:
        expected = filled(disk.path / "data")
        disk.fail((*WRITING, "open"), errno.EROFS)
        with pytest.raises(DiskFailed, match="Read-only file system"):
            Store(disk.path / "data")
        assert disk.heal() > 0
        store = Store(disk.path / "data")
        assert tree(store, "images") == expected
        store.close()


def test_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(DiskFailed, match=r"data directory .*/data can not be used"):
        Store(tmp_path / "data")


def set_clock_back(store: Store) -> None:
    """Leave what is there as a clock that was a year ahead would have written it."""
    columns = [
        *(("repos", "created_ns"), ("branches", "created_ns")),
        *(("commits", "started_ns"), ("commits", "finished_ns"), ("entries", "modified_ns")),
    ]
    for table, column in columns:
        store.write(lambda db, sql=f"UPDATE {table} SET {column} = {column} + {YEAR_NS}": db.execute(sql).rowcount)


def test_commits_stay_in_order_when_the_clock_goes_back(store: Store) -> None:
    create_repos(store, "images")
    before = [put(store, "images", "/a", b"1"), put(store, "images", "/b", b"2")]
    set_clock_back(store)
    after = [put(store, "images", "/a", b"3"), put(store, "images", "/c", b"4")]
    with store.snapshot() as db:
        found = list(commits.iter_commits(db, "images"))
    assert [commit.id for commit in found] == [*before, *after][::-1]
    assert found[0].started_ns < found[-1].started_ns
    assert [read(store, "images", commit, "/a") for commit in (*before, *after)] == [b"1", b"1", b"3", b"3"]
    assert read(store, "images", "master~3", "/a") == b"1"


def test_fork_made_before_the_clock_went_back_can_be_written(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    fork(store, "images", "other", "master")
    set_clock_back(store)
    put(store, "images", "/a", b"2", branch="other")
    assert (tree(store, "images"), tree(store, "images", "other")) == ({"/a": b"1"}, {"/a": b"2"})
    check(store)
