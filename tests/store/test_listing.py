"""Listings: pages with prefix, delimiter and position, and the directory view."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import list_children, list_items
from store.checks import check
from store.helpers import create_repos, delete, fork, put, put_all

from appliance.store import Store, listings, snapshots

PATHS = ["/a", "/a-b", "/a/b", "/a/b-/c", "/a/c", "/a0", "/b/", "/b/x", "/c/d/e", "/ä", "/\U0010ffff", "/\uffff"]


def listed(store: Store, branch: str = "master", **where: object) -> list[str]:
    """Return one page, with "…" at the end if there is more."""
    arguments = {"prefix": "/", "delimiter": "", "after": None, "limit": 1000} | where
    with store.snapshot() as db:
        page = listings.list_page(db, snapshots.open_branch(db, "images", branch), **arguments)  # type: ignore[arg-type]
    items = [item if isinstance(item, str) else item.path for item in page.items]
    assert page.last == (items[-1] if page.truncated else None)
    return [*items, "…"] if page.truncated else items


def children(store: Store, path: str, after: str = "") -> list[str]:
    with store.snapshot() as db:
        found = list(listings.iter_children(db, snapshots.open_branch(db, "images", "master"), path, after=after))
    return [child.name if child.entry else child.name + "/" for child in found]


@pytest.fixture
def images(store: Store) -> Store:
    """`images@master` with a few files at several depths."""
    create_repos(store, "images")
    put_all(store, "images", {"/a": b"", "/b/x": b"", "/b/y/z": b"", "/b-c": b"", "/d/": b"", "/e": b""})
    return store


def test_listing_is_bytewise(images: Store) -> None:
    assert listed(images) == ["/a", "/b-c", "/b/x", "/b/y/z", "/d/", "/e"]


def test_characters_beyond_16_bits_come_last(images: Store) -> None:
    put_all(images, "images", {"/\U0001f600": b"", "/\uffff": b""})
    assert listed(images)[-2:] == ["/\uffff", "/\U0001f600"]


def test_delimiter_rolls_up_directories(images: Store) -> None:
    assert listed(images, delimiter="/") == ["/a", "/b-c", "/b/", "/d/", "/e"]


def test_explicit_directory_is_itself_below_its_own_name(images: Store) -> None:
    assert listed(images, prefix="/d/", delimiter="/") == ["/d/"]


def test_delimiter_may_be_any_text(images: Store) -> None:
    assert listed(images, delimiter="b/") == ["/a", "/b-c", "/b/", "/d/", "/e"]
    assert listed(images, delimiter="-") == ["/a", "/b-", "/b/x", "/b/y/z", "/d/", "/e"]


def test_prefix_need_not_end_at_a_slash(images: Store) -> None:
    assert listed(images, prefix="/b", delimiter="/") == ["/b-c", "/b/"]


def test_after_a_rolled_up_directory_its_files_do_not_come_again(images: Store) -> None:
    assert listed(images, delimiter="/", after="/b/") == ["/d/", "/e"]


def test_after_a_file_inside_a_directory_the_directory_has_passed(images: Store) -> None:
    assert listed(images, delimiter="/", after="/b/x") == ["/d/", "/e"]


def test_after_a_file_that_is_gone_goes_on(images: Store) -> None:
    assert listed(images, after="/b/xx") == ["/b/y/z", "/d/", "/e"]


def test_full_last_page_is_not_truncated(images: Store) -> None:
    assert listed(images, limit=6)[-1] == "/e"
    assert listed(images, limit=5) == ["/a", "/b-c", "/b/x", "/b/y/z", "/d/", "…"]


def test_page_of_nothing_is_empty(images: Store) -> None:
    assert listed(images, limit=0) == []


def test_branch_without_a_readable_commit_lists_nothing(images: Store) -> None:
    with images.snapshot() as db:
        page = listings.list_page(db, snapshots.EMPTY, prefix="/", delimiter="/", after=None, limit=10)
    assert page.items == ()


def test_children_of_the_root(images: Store) -> None:
    assert children(images, "/") == ["a", "b-c", "b/", "d/", "e"]


@pytest.mark.parametrize(("path", "expected"), [("/b", ["x", "y/"]), ("/d", []), ("/a", []), ("/none", [])])
def test_children_of_a_path(images: Store, path: str, expected: list[str]) -> None:
    assert children(images, path) == expected


def test_children_go_on_behind_any_of_them(images: Store) -> None:
    every = children(images, "/")
    assert [children(images, "/", after=name) for name in every] == [every[i + 1 :] for i in range(len(every))]


def test_children_know_their_entries(images: Store) -> None:
    with images.snapshot() as db:
        found = {
            child.name: child.entry
            for child in listings.iter_children(db, snapshots.open_branch(db, "images", "master"), "/b")
        }
    entry = found["x"]
    assert entry is not None
    assert (entry.path, found["y"]) == ("/b/x", None)


@pytest.mark.parametrize("path", ["/", "/b", "/b/y", "/d"])
def test_directory_is_what_holds_something(images: Store, path: str) -> None:
    with images.snapshot() as db:
        assert listings.is_directory(db, snapshots.open_branch(db, "images", "master"), path)


@pytest.mark.parametrize("path", ["/a", "/none", "/b-", "/b/x"])
def test_file_or_half_a_name_is_no_directory(images: Store, path: str) -> None:
    with images.snapshot() as db:
        assert not listings.is_directory(db, snapshots.open_branch(db, "images", "master"), path)


def test_fork_lists_its_own_over_its_bases(images: Store) -> None:
    fork(images, "images", "dev", "master")
    put(images, "images", "/zz", b"")
    delete(images, "images", "/b/", "dev")
    put(images, "images", "/b/new", b"", "dev")
    assert listed(images, "dev", delimiter="/") == ["/a", "/b-c", "/b/", "/d/", "/e"]
    assert listed(images, "dev", prefix="/b/") == ["/b/new"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two branches and a past with all of PATHS that fit together, read only."""
    store = Store(tmp_path_factory.mktemp("wide"), "fast")
    create_repos(store, "images")
    put_all(store, "images", {path: b"" for path in PATHS if path != "/a"})
    fork(store, "images", "dev", "master")
    put(store, "images", "/z/z", b"")
    delete(store, "images", "/a/c", "dev")
    put(store, "images", "/b/w", b"", "dev")
    yield store
    check(store)
    store.close()


@given(
    branch=st.sampled_from(["master", "dev", "master^"]),
    prefix=st.sampled_from(["", "/", "/a", "/a/", "/b/", "/\U0010ffff", "/x"]),
    delimiter=st.sampled_from(["", "/", "b", "/b", "\U0010ffff"]),
    after=st.sampled_from([None, "/", *PATHS, "/a/", "/c/", "/zzz"]),
    limit=st.integers(1, 20),
)
def test_page_is_a_slice_of_the_models(
    wide: Store, branch: str, prefix: str, delimiter: str, after: str | None, limit: int
) -> None:
    with wide.snapshot() as db:
        snapshot = snapshots.open_revision(db, "images", branch)
        everything = {entry.path: b"" for entry in snapshots.iter_entries(db, snapshot)}
        page = listings.list_page(db, snapshot, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
    expected = list_items(everything, prefix, delimiter, after or "")
    assert [item if isinstance(item, str) else item.path for item in page.items] == expected[:limit]
    assert page.truncated == (len(expected) > limit)


@given(path=st.sampled_from(["/", "/a", "/b", "/c", "/c/d", "/x"]), count=st.integers(0, 8))
def test_children_are_the_models(wide: Store, path: str, count: int) -> None:
    with wide.snapshot() as db:
        snapshot = snapshots.open_branch(db, "images", "dev")
        everything = {entry.path: b"" for entry in snapshots.iter_entries(db, snapshot)}
        expected = list_children(everything, path)
        after = expected[count - 1] if 0 < count <= len(expected) else ""
        found = [c.name if c.entry else c.name + "/" for c in listings.iter_children(db, snapshot, path, after=after)]
    assert found == (expected[count:] if after else expected)
