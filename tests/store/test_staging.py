"""Puts of many files that arrive one by one: nothing shows before the end, then all in one commit."""

import pytest
from store.helpers import commit_of, create_repos, keep, put, read, start, tree

from appliance.errors import InvalidPath, PathConflict, RepoNotFound, UploadNotFound
from appliance.store import Store, snapshots, staging


@pytest.fixture
def images(store: Store) -> Store:
    create_repos(store, "images")
    return store


def begin(store: Store, *files: tuple[str, bytes]) -> str:
    put_id = store.write(staging.begin_put)
    for path, data in files:
        content = keep(store, data)
        store.write(lambda db, path=path, content=content: staging.add_file(db, put_id, path, content))
    return put_id


def end(store: Store, put_id: str, *, repo: str = "images", append: bool = False) -> str:
    return store.write(lambda db: staging.put_all(db, put_id, repo, "master", append=append))


def test_all_files_come_in_one_commit(images: Store) -> None:
    commit = end(images, begin(images, ("/a", b"1"), ("/d/b", b"22")))
    assert tree(images, "images") == {"/a": b"1", "/d/b": b"22"}
    head = commit_of(images, "images")
    assert (head.id, head.parent, head.is_open, head.size_bytes) == (commit, None, False, 3)


def test_nothing_shows_before_the_end(images: Store) -> None:
    put(images, "images", "/old", b"old")
    begin(images, ("/a", b"1"))
    assert tree(images, "images") == {"/old": b"old"}


def test_the_later_of_two_files_with_one_path_wins(images: Store) -> None:
    end(images, begin(images, ("/a", b"1"), ("/a", b"2")))
    assert read(images, "images", "master", "/a") == b"2"


def test_appending_adds_to_what_is_there(images: Store) -> None:
    put(images, "images", "/a", b"0")
    end(images, begin(images, ("/a", b"1"), ("/a", b"2"), ("/new", b"n")), append=True)
    assert tree(images, "images") == {"/a": b"012", "/new": b"n"}


def test_files_go_into_an_open_commit(images: Store) -> None:
    opened = start(images, "images")
    assert end(images, begin(images, ("/a", b"1"))) == opened
    assert commit_of(images, "images").is_open


def test_what_is_the_same_keeps_its_version_on_request(images: Store) -> None:
    put_id = begin(images, ("/a", b"1"), ("/b", b"2"))
    first = end(images, put_id)
    put_id = begin(images, ("/a", b"1"), ("/b", b"3"))
    second = images.write(lambda db: staging.put_all(db, put_id, "images", "master", keep_same=True))
    with images.snapshot() as db:
        snapshot = snapshots.open_revision(db, "images", "master")
        made_by = [snapshots.get_version(db, snapshots.get_file(db, snapshot, path)) for path in ("/a", "/b")]
    assert made_by == [first, second]


def test_explicit_directory(images: Store) -> None:
    end(images, begin(images, ("/d/", b"")))
    assert tree(images, "images") == {"/d/": b""}


def test_conflict_puts_nothing_and_leaves_the_put(images: Store) -> None:
    put(images, "images", "/d", b"file")
    put_id = begin(images, ("/a", b"1"), ("/d/x", b"2"))
    with pytest.raises(PathConflict):
        end(images, put_id)
    assert tree(images, "images") == {"/d": b"file"}
    with images.snapshot() as db:
        assert staging.get_total(db, put_id) == staging.Total(2, 2)


def test_missing_repo_is_said(images: Store) -> None:
    with pytest.raises(RepoNotFound):
        end(images, begin(images, ("/a", b"1")), repo="nothing")


def test_bad_path_is_refused_when_it_is_staged(images: Store) -> None:
    put_id = begin(images)
    content = keep(images, b"x")
    with pytest.raises(InvalidPath):
        images.write(lambda db: staging.add_file(db, put_id, "/a/../b", content))


def test_ended_put_is_no_more(images: Store) -> None:
    put_id = begin(images, ("/a", b"1"))
    end(images, put_id)
    with pytest.raises(UploadNotFound):
        end(images, put_id)


def test_discarded_put_leaves_nothing(images: Store) -> None:
    put_id = begin(images, ("/a", b"1"))
    images.write(lambda db: staging.discard_put(db, put_id))
    with images.snapshot() as db:
        assert db.value("SELECT count(*) FROM staged_files") == 0
