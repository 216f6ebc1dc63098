"""What happens below /pfs while heads move, repos come and go, and commits are open."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mount.helpers import names
from store.helpers import LARGE, create_repos, delete, finish, fork, put, put_all, start

from appliance.store import forgetting, repos, snapshots, squash
from appliance.store.collecting import collect

STAY = """
import os, sys
os.chdir(sys.argv[1])
print(sorted(os.listdir(".")), flush=True)
sys.stdin.readline()
print(sorted(os.listdir(".")), open("foo").read(), os.path.exists("new"), flush=True)
"""


@pytest.fixture
def data(store, mount):
    """The directory of a repo `data` with a file `foo`."""
    create_repos(store, "data")
    put(store, "data", "/foo", b"old")
    mount.settle()
    assert (mount.path / "data/foo").read_bytes() == b"old"
    return mount.path / "data"


def test_new_head_is_seen_by_stat_ls_and_cat(store, mount, data):
    put_all(store, "data", {"/foo": b"newer", "/bar": b"bar"})
    mount.settle()
    assert (data / "foo").stat().st_size == 5
    assert names(data) == ["bar", "foo"]
    assert (data / "foo").read_bytes() == b"newer"


def test_deleted_file_is_gone_with_the_new_head(store, mount, data):
    delete(store, "data", "/foo")
    mount.settle()
    assert not (data / "foo").exists()


def test_hundred_heads_in_a_row_are_each_seen(store, mount, data):
    for number in range(100):
        put(store, "data", "/foo", str(number).encode())
        mount.settle()
        assert (data / "foo").read_text() == str(number)


def test_a_write_is_seen_by_whoever_reads_behind_its_answer(store, data):
    """Without waiting for anything else."""
    for number in range(100):
        put(store, "data", "/foo", str(number).encode())
        assert (data / "foo").read_text() == str(number)


def test_two_writers_and_their_readers_are_never_behind(store, mount, data):
    create_repos(store, "other")

    def write_and_read(repo: str) -> list[str]:
        texts = []
        for number in range(50):
            put(store, repo, f"/{number}", b"")
            texts.append(",".join(name for name in names(mount.path / repo) if name == str(number)))
        return texts

    with ThreadPoolExecutor() as threads:
        found = list(threads.map(write_and_read, ["data", "other", "data"]))
    assert found == [[str(number) for number in range(50)]] * 3


def test_a_commit_by_id_that_is_removed_is_gone_at_once(store, mount, data):
    dropped = put(store, "data", "/foo", b"dropped")
    put(store, "data", "/bar", b"bar")
    by_id, before = mount.path / f"data@{dropped}", mount.path / "data@master^"
    assert [(path / "foo").read_bytes() for path in (by_id, before)] == [b"dropped", b"dropped"]
    store.write(lambda db: squash.squash_commit(db, "data", dropped))
    assert not by_id.exists()
    assert (before / "foo").read_bytes() == b"old"
    assert (data / "foo").read_bytes() == b"dropped"


def test_who_is_on_the_way_into_a_head_that_is_dropped_finds_the_one_before(store, mount, data):
    """The kernel looks for the whole path once more."""
    put_all(store, "data", {"/dir/bar": b"dropped"})
    directory = os.open(data, os.O_RDONLY)
    assert names(data / "dir") == ["bar"]
    store.write(lambda db: squash.drop_commit(db, "data", "master"))
    with pytest.raises(OSError) as raised:
        os.stat("dir/bar", dir_fd=directory)
    os.close(directory)
    assert raised.value.errno == errno.ESTALE
    assert names(data) == ["foo"]


def test_a_file_held_by_a_path_in_a_dropped_commit_is_stale_once_it_is_collected(store, mount, data):
    put(store, "data", "/dropped", LARGE)
    held = os.open(data / "dropped", os.O_PATH)
    store.write(lambda db: squash.drop_commit(db, "data", "master"))
    collect(store)
    with pytest.raises(OSError) as raised:
        Path(f"/proc/self/fd/{held}").read_bytes()
    os.close(held)
    assert raised.value.errno == errno.ESTALE


def test_the_commit_of_a_file_is_its_heir_once_that_was_squashed(store, mount, data):
    squashed = put(store, "data", "/new", b"new")
    heir = put(store, "data", "/other", b"other")
    assert os.getxattr(data / "new", "user.pfs.commit") == squashed.encode()
    with (data / "new").open("rb") as file:
        store.write(lambda db: squash.squash_commit(db, "data", squashed))
        assert os.getxattr(file.fileno(), "user.pfs.commit") == heir.encode()


def test_a_commit_by_id_of_a_deleted_repo_is_gone_at_once(store, mount, data):
    by_id = mount.path / f"data@{put(store, 'data', '/foo', b'new')}"
    assert (by_id / "foo").read_bytes() == b"new"
    store.write(lambda db: repos.delete_repo(db, "data"))
    assert not by_id.exists()


def test_open_file_keeps_its_bytes(store, mount, data):
    put(store, "data", "/large", LARGE)
    mount.settle()
    with (data / "large").open("rb") as file:
        put(store, "data", "/large", b"other")
        delete(store, "data", "/large")
        mount.settle()
        assert file.read() == LARGE


def test_working_directory_keeps_its_snapshot(store, mount, data):
    command = [sys.executable, "-c", STAY, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "['foo']\n"
        put_all(store, "data", {"/foo": b"changed", "/new": b"new"})
        mount.settle()
        assert names(data) == ["foo", "new"]
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "['foo'] old False\n"


def test_open_directory_goes_on_listing_its_snapshot(store, mount, data):
    put_all(store, "data", {f"/many/{number:04}": b"" for number in range(2000)})
    mount.settle()
    with os.scandir(data / "many") as listing:
        first = next(listing).name
        delete(store, "data", "/many/")
        mount.settle()
        assert [first, *(entry.name for entry in listing)] == [f"{number:04}" for number in range(2000)]


def test_named_branches_and_ancestors_follow(store, mount, data):
    tops = ("data@master", "data@master^", "data@master.1")
    put(store, "data", "/foo", b"second")
    mount.settle()
    assert [(mount.path / top / "foo").read_bytes() for top in tops] == [b"second", b"old", b"old"]
    put(store, "data", "/foo", b"third")
    mount.settle()
    assert [(mount.path / top / "foo").read_bytes() for top in tops] == [b"third", b"second", b"old"]


def test_branch_pointed_elsewhere_is_followed(store, mount, data):
    put(store, "data", "/foo", b"dev", branch="dev")
    mount.settle()
    assert (mount.path / "data@dev/foo").read_bytes() == b"dev"
    fork(store, "data", "dev", "master")
    mount.settle()
    assert (mount.path / "data@dev/foo").read_bytes() == b"old"


def test_commit_by_id_stays(store, mount, data):
    commit = put(store, "data", "/foo", b"second")
    by_id = mount.path / f"data@{commit}"
    assert (by_id / "foo").read_bytes() == b"second"
    number = by_id.stat().st_ino
    put(store, "data", "/foo", b"third")
    mount.settle()
    assert (by_id / "foo").read_bytes() == b"second"
    assert by_id.stat().st_ino == number


def test_other_branches_leave_the_directory_as_it_is(store, mount, data):
    directory = os.open(data, os.O_RDONLY)
    put(store, "data", "/foo", b"dev", branch="dev")
    mount.settle()
    # The kernel names a directory that it was told to forget as deleted.
    name = Path(f"/proc/self/fd/{directory}").readlink()
    os.close(directory)
    assert name == data


def test_two_names_of_one_commit_do_not_move_each_other(mount, data):
    directory = os.open(data, os.O_RDONLY)
    assert names(mount.path / "data@master") == ["foo"]
    name = Path(f"/proc/self/fd/{directory}").readlink()
    os.close(directory)
    assert name == data


def test_new_repo_appears(store, mount, data):
    assert not (mount.path / "other").exists()
    create_repos(store, "other")
    assert names(mount.path) == ["data", "other"]
    assert names(mount.path / "other") == []


def test_deleted_repo_is_gone(store, mount, data):
    store.write(lambda db: repos.delete_repo(db, "data"))
    mount.settle()
    assert names(mount.path) == []
    assert not data.exists()


def test_repo_made_again_shows_nothing_of_the_old(store, mount, data):
    directory = os.open(data, os.O_RDONLY)
    store.write(lambda db: repos.delete_repo(db, "data"))
    create_repos(store, "data")
    put(store, "data", "/bar", b"bar")
    mount.settle()
    assert names(data) == ["bar"]
    with pytest.raises(OSError) as raised:  # not an empty listing
        names(Path(f"/proc/self/fd/{directory}"))
    os.close(directory)
    assert raised.value.errno == errno.ESTALE


def test_open_commit_shows_each_write(store, mount, data):
    start(store, "data")
    for text in ("a", "b", "c"):
        put(store, "data", "/foo", text.encode())
        put(store, "data", f"/dir/{text}", text.encode())
        mount.settle()
        assert (data / "foo").read_text() == text
        assert (data / "dir" / text).read_text() == text
    delete(store, "data", "/dir/b")
    assert names(data / "dir") == ["a", "c"]
    assert not (data / "dir/b").exists()


def test_directory_of_an_open_commit_becomes_that_of_the_finished_one(store, mount, data):
    commit = start(store, "data")
    put(store, "data", "/dir/a", b"a")
    mount.settle()
    number = (data / "dir").stat().st_ino
    assert finish(store, "data") == commit
    mount.settle()
    assert (data / "dir").stat().st_ino == number
    put(store, "data", "/dir/b", b"b")
    mount.settle()
    assert names(data / "dir") == ["a", "b"]


def test_overwriting_in_an_open_commit_shows_no_cached_bytes(store, mount, data):
    start(store, "data")
    mount.settle()
    for number in range(20):
        put(store, "data", "/same", b"%04d" % number)
        assert (data / "same").read_bytes() == b"%04d" % number


def test_a_version_that_is_overwritten_on_the_way_to_it_is_read(store, mount):
    """Programs would fail if that happened twice on one way."""
    create_repos(store, "data")
    start(store, "data")
    put(store, "data", "/foo", LARGE)
    assert names(mount.path / "data") == ["foo"]
    on_the_way = os.open(mount.path / "data/foo", os.O_PATH)
    put(store, "data", "/foo", b"new")
    assert Path(f"/proc/self/fd/{on_the_way}").read_bytes() == LARGE
    assert (mount.path / "data/foo").read_bytes() == b"new"
    os.close(on_the_way)


def test_a_forgotten_version_does_not_show_in_any_commit_any_more(store, mount):
    create_repos(store, "data")
    before = put_all(store, "data", {"/dir/foo": b"before", "/only/bar": b"kept"})
    secret = put_all(store, "data", {"/dir/foo": b"secret", "/new/secret": b"secret"})
    head = put_all(store, "data", {"/other": b"other"})
    mount.settle()
    tops = [mount.path / top for top in ("data", f"data@{secret}", f"data@{head}", f"data@{head}^")]
    for top in tops:
        assert (top / "dir/foo").read_bytes() == (top / "new/secret").read_bytes() == b"secret"

    def forget(db):
        for path in ("/dir/foo", "/new/secret"):
            forgetting.forget_version(db, snapshots.open_branch(db, "data", "master"), path, secret)

    store.write(forget)
    mount.settle()
    for top in tops:
        assert (top / "dir/foo").read_bytes() == b"before"
        assert not (top / "new").exists()
        assert (top / "only/bar").read_bytes() == b"kept"
    assert (mount.path / f"data@{before}/dir/foo").read_bytes() == b"before"
