"""Files in a commit: what a put, a delete and a directory mean."""

import pytest
from store.helpers import (
    commit_of,
    create_repos,
    delete,
    entry_of,
    finish,
    fork,
    keep,
    put,
    put_all,
    read,
    start,
    tree,
)

from appliance.errors import FileNotFound, InvalidPath, PathConflict
from appliance.store import Db, Store, files, history, snapshots


@pytest.fixture
def images(store: Store) -> Store:
    """A store with one empty repo, `images`."""
    create_repos(store, "images")
    return store


def test_put_overwrites(images: Store) -> None:
    put(images, "images", "/a", b"first")
    put(images, "images", "/a", b"")
    assert read(images, "images", "master", "/a") == b""


def test_last_put_into_an_open_commit_wins(images: Store) -> None:
    start(images, "images")
    put(images, "images", "/a", b"first")
    put(images, "images", "/a", b"second")
    finish(images, "images")
    assert (tree(images, "images"), commit_of(images, "images").size_bytes) == ({"/a": b"second"}, 6)


def test_put_and_delete_in_one_commit_leave_no_trace(images: Store) -> None:
    before = put(images, "images", "/a", b"1")
    start(images, "images")
    put(images, "images", "/new", b"2")
    delete(images, "images", "/new")
    finish(images, "images")
    assert tree(images, "images") == tree(images, "images", before)


def test_delete_and_put_in_one_commit_replace(images: Store) -> None:
    put(images, "images", "/a", b"1")
    start(images, "images")
    delete(images, "images", "/a")
    put(images, "images", "/a", b"2")
    finish(images, "images")
    assert [tree(images, "images", revision) for revision in ("master^", "master")] == [{"/a": b"1"}, {"/a": b"2"}]


@pytest.mark.parametrize("path", ["/a/b", "/a/b/c", "/a/"])
def test_put_below_a_file_is_refused(images: Store, path: str) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(PathConflict, match='could not create directory at "/a"'):
        put(images, "images", path, b"2")
    assert tree(images, "images") == {"/a": b"1"}


@pytest.mark.parametrize("below", ["/a/b", "/a/b/c", "/a/"])
def test_put_over_a_directory_is_refused(images: Store, below: str) -> None:
    put(images, "images", below, b"")
    with pytest.raises(PathConflict, match='could not put file at "/a"; a file of type directory is already there'):
        put(images, "images", "/a", b"2")


def test_directory_of_a_base_line_is_in_the_way_too(images: Store) -> None:
    put(images, "images", "/a/b", b"1")
    fork(images, "images", "dev", "master")
    put(images, "images", "/z", b"1")
    with pytest.raises(PathConflict):
        put(images, "images", "/a", b"2", "dev")


def test_file_may_take_the_place_of_a_directory_that_emptied(images: Store) -> None:
    put(images, "images", "/a/b", b"1")
    delete(images, "images", "/a/b")
    put(images, "images", "/a", b"2")
    assert tree(images, "images") == {"/a": b"2"}


def test_names_that_only_begin_alike_do_not_conflict(images: Store) -> None:
    put_all(images, "images", {"/a": b"", "/a-b/c": b"", "/ab": b"", "/a0/d": b""})
    assert list(tree(images, "images")) == ["/a", "/a-b/c", "/a0/d", "/ab"]


@pytest.mark.parametrize("path", ["/", "a", "//a", "/a//b", "/./a", "/a/..", "/\0", "/\ud800", "/" + "x" * 256, "/x" * 2049])
def test_path_that_no_file_can_have_is_refused(images: Store, path: str) -> None:
    with pytest.raises(InvalidPath):
        put(images, "images", path, b"1")


def test_file_with_a_slash_behind_it_is_refused(images: Store) -> None:
    content = keep(images, b"1")

    def write(db: Db) -> None:
        files.put_file(db, history.begin_write(db, "images", "master").commit, "/a/", content)

    with pytest.raises(InvalidPath):
        images.write(write)


def test_directory_without_a_slash_behind_it_is_refused(images: Store) -> None:
    def write(db: Db) -> None:
        files.make_directory(db, history.begin_write(db, "images", "master").commit, "/a")

    with pytest.raises(InvalidPath):
        images.write(write)


def test_explicit_directory_is_an_entry_that_outlives_its_files(images: Store) -> None:
    put_all(images, "images", {"/a/": b"", "/a/b": b"1"})
    delete(images, "images", "/a/b")
    assert tree(images, "images") == {"/a/": b""}


def test_directory_made_twice_is_one(images: Store) -> None:
    put(images, "images", "/a/", b"")
    put(images, "images", "/a/", b"")
    assert tree(images, "images") == {"/a/": b""}


def test_delete_of_a_directory_name_deletes_nothing(images: Store) -> None:
    put(images, "images", "/a/b", b"1")
    delete(images, "images", "/a")
    assert tree(images, "images") == {"/a/b": b"1"}


def test_delete_with_a_slash_deletes_everything_below(images: Store) -> None:
    put_all(images, "images", {"/a/": b"", "/a/b/c": b"1", "/a/d": b"2", "/a-e": b"3", "/a0": b"4"})
    delete(images, "images", "/a/")
    assert tree(images, "images") == {"/a-e": b"3", "/a0": b"4"}


def test_delete_of_the_root_empties_the_branch(images: Store) -> None:
    put_all(images, "images", {"/a": b"1", "/b/c": b"2"})
    delete(images, "images", "/")
    assert (tree(images, "images"), commit_of(images, "images").file_count) == ({}, 0)


def test_delete_of_a_missing_file_tells_so(images: Store) -> None:
    def write(db: Db) -> bool:
        writing = history.begin_write(db, "images", "master")
        history.end_write(db, writing)
        return files.delete_path(db, writing.commit, "/a")

    assert images.write(write) is False


def test_missing_file_is_named_with_its_commit(images: Store) -> None:
    head = put(images, "images", "/a", b"1")
    with pytest.raises(FileNotFound, match=f"^file /b not found in repo images at commit {head}$"):
        entry_of(images, "images", "master", "/b")


@pytest.mark.parametrize("path", ["/d", "/e/", "/e"])
def test_directory_is_not_a_file(images: Store, path: str) -> None:
    put_all(images, "images", {"/d/x": b"1", "/e/": b""})
    with pytest.raises(FileNotFound):
        entry_of(images, "images", "master", path)


def test_version_is_the_commit_that_made_it(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    fork(images, "images", "dev", "master")
    put(images, "images", "/b", b"2")
    put(images, "images", "/c", b"2", "dev")
    for branch in ("master", "dev"):
        entry = entry_of(images, "images", branch, "/a")
        with images.snapshot() as db:
            assert snapshots.get_version(db, entry) == first


def test_modified_time_is_that_of_the_file(images: Store) -> None:
    put(images, "images", "/a", b"1")
    before = entry_of(images, "images", "master", "/a")
    put(images, "images", "/b", b"2")
    assert entry_of(images, "images", "master", "/a") == before


def test_metadata_is_kept(images: Store) -> None:
    content = keep(images, b"1")
    metadata = {"Content-Type": "text/plain", "x-amz-meta-ä": "ö"}

    def write(db: Db) -> snapshots.Entry:
        writing = history.begin_write(db, "images", "master")
        entry = files.put_file(db, writing.commit, "/a", content, metadata)
        history.end_write(db, writing)
        return entry

    entry = images.write(write)
    assert entry.metadata == metadata
    assert entry == entry_of(images, "images", "master", "/a")


def test_version_overwritten_in_an_open_commit_is_another_to_the_mount(images: Store) -> None:
    """The mount knows files by row and time, and the kernel keeps what it read under that; the row alone may be reused."""
    start(images, "images")
    put(images, "images", "/a", b"1")
    first = entry_of(images, "images", "master", "/a")
    put(images, "images", "/a", b"2")
    second = entry_of(images, "images", "master", "/a")
    assert (second.row, second.modified_ns) != (first.row, first.modified_ns)
