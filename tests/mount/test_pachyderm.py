"""What Pachyderm's own tests of its mount assert (`fuse_test.go`, named in each docstring), where no other test does."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import names
from store.helpers import create_pipeline, create_repos, put, put_all, start

from appliance.store import snapshots
from appliance.store.blobs import list_extents, read_extents

MIB = 2**20


def committed(store, repo):
    """Return the files of the head of a repo, by path."""
    with store.snapshot() as db:
        found = snapshots.iter_entries(db, snapshots.open_branch(db, repo, "master"))
        return {entry.path: b"".join(read_extents(list_extents(db, store.blobs, entry.content))) for entry in found}


def test_repos_directories_and_files_are_listed(store, mount):
    """TestBasic."""
    create_repos(store, "repo")
    put_all(store, "repo", {"/dir/file1": b"foo", "/dir/file2": b"foo"})
    mount.settle()
    assert (names(mount.path), names(mount.path / "repo")) == (["repo"], ["dir"])
    assert names(mount.path / "repo/dir") == ["file1", "file2"]
    assert (mount.path / "repo/dir/file1").read_bytes() == b"foo"


def test_a_large_file_of_odd_size_is_whole(store, mount):
    """TestChunkSize, TestLargeFile: sizes at and beside what is read in one go."""
    create_repos(store, "repo")
    for size_bytes in (32 * MIB, 32 * MIB + 17):
        content = os.urandom(MIB) * 32 + b"x" * (size_bytes - 32 * MIB)
        put(store, "repo", "/file", content)
        mount.settle()
        digest = hashlib.sha256((mount.path / "repo/file").read_bytes()).digest()
        assert digest == hashlib.sha256(content).digest()


def test_a_file_is_read_from_any_place_to_its_end(store, mount):
    """TestSeek."""
    content = os.urandom(3 * MIB)
    create_repos(store, "repo")
    put(store, "repo", "/file", content)
    mount.settle()
    with (mount.path / "repo/file").open("rb") as file:
        for offset in (0, MIB, 2 * MIB, 3 * MIB):
            file.seek(offset)
            assert file.read() == content[offset:]


def test_a_repo_without_commits_is_empty(store, mount):
    """TestHeadlessBranch."""
    create_repos(store, "repo")
    mount.settle()
    assert names(mount.path / "repo") == []


def test_what_is_not_finished_is_empty_downstream(store, mount):
    """TestOpenCommit: here what was written to an open commit of a user's own is seen."""
    create_repos(store, "in")
    create_pipeline(store, "out", "in")
    start(store, "in")
    mount.settle()
    assert (names(mount.path / "in"), names(mount.path / "out")) == ([], [])


def test_a_mount_is_read_only_unless_asked(store, mount):
    """TestReadOnly."""
    create_repos(store, "repo")
    mount.settle()
    with pytest.raises(OSError, match="Read-only file system") as raised:
        (mount.path / "repo/foo").write_bytes(b"foo\n")
    assert raised.value.errno == errno.EROFS


def test_mount_after_mount_goes_on_where_the_last_one_ended(store, place, quiet):
    """TestWrite."""
    create_repos(store, "repo1", "repo2")
    foo = place / "repo1/dir/foo"

    def mounted(change) -> None:
        with Serving(store, place, "*"):
            change()

    def create() -> None:
        foo.parent.mkdir()
        foo.write_text("foo\n")

    def append() -> None:
        descriptor = os.open(foo, os.O_WRONLY)
        os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, b"foo\n")
        os.close(descriptor)

    def replace() -> None:
        foo.unlink()
        foo.write_text("bar\n")

    def link() -> None:
        (foo.parent / "bar").hardlink_to(foo)
        (foo.parent / "buzz").symlink_to(foo)

    def write_both() -> None:
        for repo in ("repo1", "repo2"):
            (Path(place) / repo / "file").write_text(repo)

    mounted(create)
    assert committed(store, "repo1") == {"/dir/foo": b"foo\n"}
    mounted(append)
    assert committed(store, "repo1") == {"/dir/foo": b"foo\nfoo\n"}
    mounted(replace)
    assert committed(store, "repo1") == {"/dir/foo": b"bar\n"}
    mounted(link)
    assert committed(store, "repo1") == {"/dir/foo": b"bar\n", "/dir/bar": b"bar\n", "/dir/buzz": b"bar\n"}
    mounted(foo.unlink)
    assert committed(store, "repo1") == {"/dir/bar": b"bar\n", "/dir/buzz": b"bar\n"}
    mounted(write_both)
    assert committed(store, "repo1") == {"/dir/bar": b"bar\n", "/dir/buzz": b"bar\n", "/file": b"repo1"}
    assert committed(store, "repo2") == {"/file": b"repo2"}
