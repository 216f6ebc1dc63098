"""What names lead to in directories that were looked into: looking again costs nothing, and nothing outdated is told."""

import os

import pytest
from mount.helpers import names
from store.helpers import create_repos, delete, put, put_all, start

from appliance.mount.inodes import Inode
from appliance.mount.known import WHOLE, Known
from appliance.mount.nodes import Directory, Page
from appliance.mount.tops import Top
from appliance.names import new_commit_id
from appliance.store import Changes, repos
from appliance.store.pages import Item, Version

TOP, NUMBER = Directory(Top("data"), new_commit_id(), "/"), Inode(7)


class Reader:
    """Pages of a directory with so many files, and which were asked for."""

    def __init__(self, count: int, *, is_fixed: bool = True) -> None:
        self.items = [Item(f"{number:06}", Version(number + 1, 1, 1)) for number in range(count)]
        self.is_fixed = is_fixed
        self.starts: list[str] = []

    def __call__(self, start: str, limit: int) -> Page | None:
        self.starts.append(start)
        found = [item for item in self.items if item.mark >= start][:limit]
        return Page(TOP, found, len(found) < limit, True, 0) if self.is_fixed else None


def test_one_look_tells_all_of_a_small_directory():
    known, read = Known(), Reader(10)
    assert known.find(NUMBER, "000003") is None
    found = known.look(NUMBER, "000003", read)
    assert found is not None
    assert found[1] == read.items[3]
    assert [known.find(NUMBER, name)[1] for name in ("000004", "none")] == [read.items[4], None]
    assert read.starts == [""]


def test_in_a_large_directory_only_the_names_around_are_known():
    known, read = Known(), Reader(10 * WHOLE)
    assert known.look(NUMBER, "000000", read)[1] == read.items[0]
    assert known.find(NUMBER, "002000") is None
    assert known.look(NUMBER, "002000", read)[1] == read.items[2000]
    assert known.find(NUMBER, "002001")[1] == read.items[2001]
    assert known.look(NUMBER, "none", read) is None
    assert read.starts == ["", "002000", "none"]


def test_nothing_of_an_open_commit_is_known():
    known, read = Known(), Reader(10, is_fixed=False)
    assert known.look(NUMBER, "000003", read) is None
    assert known.find(NUMBER, "000003") is None


@pytest.mark.parametrize(
    "changes", [Changes(repos=True), Changes(garbage=True), Changes(forgotten={("data", "/a")}), Changes(removed={"data"})]
)
def test_nothing_is_known_after_something_vanished(changes):
    known = Known()
    known.look(NUMBER, "000003", Reader(10))
    known.announce(Changes(heads={("data", "master")}))
    assert known.find(NUMBER, "000003") is not None
    known.announce(changes)
    assert known.find(NUMBER, "000003") is None


def test_as_many_names_are_known_as_there_is_room_for():
    known = Known()
    for number in range(1000):
        known.look(Inode(number), "000000", Reader(100))
    assert known.find(Inode(0), "000000") is None
    assert known.find(Inode(999), "000000") is not None
    known.forget(Inode(999))
    assert known.find(Inode(999), "000000") is None


def test_names_that_are_not_there_are_told_again_and_again(store, mount):
    create_repos(store, "data")
    put_all(store, "data", {"/dir/a": b"a", "/dir/sub/b": b"b"})
    mount.settle()
    for _ in range(2):
        assert not os.path.lexists(mount.path / "data/dir/none")
        assert not os.path.lexists(os.fsencode(mount.path / "data/dir") + b"/\xff")
        assert names(mount.path / "data/dir/sub") == ["b"]


def test_deleted_repo_is_gone_from_working_directories_too(store, mount):
    create_repos(store, "data")
    put_all(store, "data", {"/dir/a": b"a", "/dir/b": b"b"})
    mount.settle()
    directory = os.open(mount.path / "data/dir", os.O_RDONLY)
    assert os.stat("a", dir_fd=directory).st_size == 1
    store.write(lambda db: repos.delete_repo(db, "data"))
    with pytest.raises(OSError, match="Stale file handle"):
        os.stat("b", dir_fd=directory)
    os.close(directory)


def test_a_version_that_was_overwritten_since_it_was_found_is_looked_up_anew(store, mount):
    create_repos(store, "data")
    start(store, "data")
    put(store, "data", "/foo", b"old")
    for number in range(20):
        found = os.open(mount.path / "data/foo", os.O_PATH)
        put(store, "data", "/foo", b"%d" % number)
        assert (mount.path / "data/foo").read_bytes() == b"%d" % number
        os.close(found)
    delete(store, "data", "/foo")
    assert not (mount.path / "data/foo").exists()
