"""Differences between commits, and the commits that touched a path."""

import pytest
from store.helpers import commit_of, create_repos, delete, fork, put, put_all

from appliance.store import Store, diffs, snapshots


@pytest.fixture
def images(store: Store) -> Store:
    create_repos(store, "images")
    return store


def diff(store: Store, old: str, new: str, path: str = "/") -> dict[str, tuple[int | None, int | None]]:
    """Return (old size, new size) of each path that differs, in order."""
    with store.snapshot() as db:
        pair = [snapshots.open_commit(db, commit_of(store, "images", revision)) for revision in (old, new)]
        found = list(diffs.iter_diff(db, pair[0], pair[1], path))
    sizes = [
        (before.content.size_bytes if before else None, after.content.size_bytes if after else None)
        for before, after in found
    ]
    paths = [(after or before).path for before, after in found if after or before]  # type: ignore[union-attr]
    return dict(zip(paths, sizes, strict=True))


def touching(store: Store, path: str, revision: str = "master") -> list[tuple[str, str]]:
    with store.snapshot() as db:
        found = diffs.iter_touching(db, commit_of(store, "images", revision), path)
        return [(touch.commit.id, touch.op) for touch in found]


def test_diff_has_what_was_added_changed_and_deleted(images: Store) -> None:
    put_all(images, "images", {"/changed": b"1", "/gone": b"22", "/same": b"s"})
    delete(images, "images", "/gone")
    put_all(images, "images", {"/changed": b"333", "/new": b"4444"})
    assert diff(images, "master~2", "master") == {"/changed": (1, 3), "/gone": (2, None), "/new": (None, 4)}


def test_diff_backwards_swaps_the_sides(images: Store) -> None:
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"22")
    assert diff(images, "master", "master^") == {"/b": (2, None)}


def test_what_was_changed_back_is_no_difference(images: Store) -> None:
    for data in (b"1", b"2", b"1"):
        put(images, "images", "/a", data)
    assert diff(images, "master~2", "master") == {}


def test_diff_below_a_directory(images: Store) -> None:
    put(images, "images", "/x", b"")
    put_all(images, "images", {"/d": b"1"}, branch="other")
    put_all(images, "images", {"/d/a": b"1", "/d/b/c": b"2", "/d-x": b"3", "/d0": b"4"})
    assert list(diff(images, "master^", "master", "/d")) == ["/d/a", "/d/b/c"]


def test_diff_of_a_fork_and_where_it_came_from(images: Store) -> None:
    put_all(images, "images", {"/a": b"1", "/b": b"1"})
    fork(images, "images", "dev", "master")
    put(images, "images", "/a", b"22")
    put(images, "images", "/c", b"333", "dev")
    delete(images, "images", "/b", "dev")
    assert diff(images, "master", "dev") == {"/a": (2, 1), "/b": (1, None), "/c": (None, 3)}


def test_diff_of_unrelated_branches(images: Store) -> None:
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"22", "other")
    assert diff(images, "master", "other") == {"/a": (1, None), "/b": (None, 2)}


def test_touching_commits_newest_first(images: Store) -> None:
    added = put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"1")
    changed = put(images, "images", "/a", b"2")
    deleted = delete(images, "images", "/a")
    again = put(images, "images", "/a", b"3")
    assert touching(images, "/a") == [(again, "+"), (deleted, "-"), (changed, "*"), (added, "+")]
    assert touching(images, "/a", "master~2") == [(changed, "*"), (added, "+")]


def test_touching_goes_back_through_a_fork(images: Store) -> None:
    added = put(images, "images", "/a", b"1")
    fork(images, "images", "dev", "master")
    put(images, "images", "/a", b"2")
    deleted = delete(images, "images", "/a", "dev")
    assert touching(images, "/a", "dev") == [(deleted, "-"), (added, "+")]


def test_deleting_what_a_fork_never_had_touches_nothing(images: Store) -> None:
    put(images, "images", "/b", b"1")
    fork(images, "images", "dev", "master")
    delete(images, "images", "/a", "dev")
    assert touching(images, "/a", "dev") == []
