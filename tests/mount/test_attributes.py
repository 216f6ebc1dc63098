"""stat, statfs and extended attributes."""

import os
import stat

import pytest
from mount.conftest import Serving
from mount.helpers import put_joined, sha256
from store.helpers import LARGE, commit_of, create_repos, entry_of, fork, keep, put, start


@pytest.fixture
def data(store, mount):
    """The directory of a repo `data` with a file `dir/foo`."""
    create_repos(store, "data")
    put(store, "data", "/dir/foo", LARGE)
    mount.settle()
    return mount.path / "data"


def test_files_can_be_read_by_all_and_written_by_nobody(data):
    found = (data / "dir/foo").stat()
    assert stat.filemode(found.st_mode) == "-r--r--r--"
    assert (found.st_uid, found.st_gid, found.st_nlink) == (os.getuid(), os.getgid(), 1)


def test_directories_can_be_entered_by_all(mount, data):
    for directory in (mount.path, data, data / "dir"):
        assert stat.filemode(directory.stat().st_mode) == "dr-xr-xr-x"


def test_size_and_blocks_are_those_of_the_content(data):
    found = (data / "dir/foo").stat()
    assert (found.st_size, found.st_blocks) == (len(LARGE), len(LARGE) // 512)


def test_file_has_the_time_it_was_put(store, data):
    assert (data / "dir/foo").stat().st_mtime_ns == entry_of(store, "data", "master", "/dir/foo").modified_ns


def test_directory_has_the_time_its_commit_was_finished(store, data):
    assert (data / "dir").stat().st_mtime_ns == commit_of(store, "data").finished_ns


def test_directory_of_an_open_commit_has_the_time_it_was_started(store, mount, data):
    start(store, "data")
    mount.settle()
    assert (data / "dir").stat().st_mtime_ns == commit_of(store, "data").started_ns


def test_unchanged_file_is_the_same_node_in_every_commit(store, mount, data):
    before = (data / "dir/foo").stat()
    put(store, "data", "/other", b"x")
    mount.settle()
    assert (data / "dir/foo").stat() == before
    assert (data.parent / "data@master^/dir/foo").stat().st_ino == before.st_ino


def test_numbers_are_the_same_after_mounting_again(store, place):
    create_repos(store, "data")
    put(store, "data", "/dir/foo", b"foo")
    numbers = []
    for _ in range(2):
        with Serving(store, place) as mounted:
            paths = [mounted.path / "data", mounted.path / "data/dir", mounted.path / "data/dir/foo"]
            numbers.append([path.stat().st_ino for path in paths])
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0])) == 3


def test_file_names_its_commit_digest_and_etag(store, data):
    path = data / "dir/foo"
    commit = commit_of(store, "data").id
    put(store, "data", "/other", b"x")
    assert sorted(os.listxattr(path)) == ["user.pfs.commit", "user.pfs.digest", "user.pfs.etag"]
    assert os.getxattr(path, "user.pfs.commit").decode() == commit
    assert os.getxattr(path, "user.pfs.digest").decode() == sha256(LARGE)
    assert os.getxattr(path, "user.pfs.etag").decode() == entry_of(store, "data", "master", "/dir/foo").content.etag


def test_directory_names_its_commit(store, data):
    for directory in (data, data / "dir"):
        assert os.listxattr(directory) == ["user.pfs.commit"]
        assert os.getxattr(directory, "user.pfs.commit").decode() == commit_of(store, "data").id


def test_file_of_several_extents_claims_no_digest(store, mount, data):
    part = keep(store, LARGE)
    put_joined(store, "data", "/joined", [(part, 0, 10), (part, 20, 10)])
    mount.settle()
    assert sorted(os.listxattr(data / "joined")) == ["user.pfs.commit", "user.pfs.etag"]


def test_unknown_attribute_is_no_data(mount, data):
    for path in (mount.path, data, data / "dir/foo"):
        for name in ("user.pfs.none", "user.other"):
            with pytest.raises(OSError, match="No data available"):
                os.getxattr(path, name)


def test_access_control_lists_and_capabilities_are_nothing_to_ask_for_again(mount, data):
    for path in (mount.path, data, data / "dir/foo"):
        for name in ("security.capability", "system.posix_acl_access"):
            with pytest.raises(OSError, match="not supported"):
                os.getxattr(path, name)


def test_branch_made_elsewhere_shares_the_files(store, mount, data):
    fork(store, "data", "dev", "master")
    assert (mount.path / "data@dev/dir/foo").stat().st_ino == (data / "dir/foo").stat().st_ino


def test_statfs_tells_the_room_of_the_data_directory(store, mount):
    seen, below = os.statvfs(mount.path), os.statvfs(store.directory)
    assert (seen.f_frsize, seen.f_blocks, seen.f_files) == (below.f_frsize, below.f_blocks, below.f_files)
    assert abs(seen.f_bavail - below.f_bavail) * below.f_frsize < 1 << 30
    assert seen.f_namemax == 255
