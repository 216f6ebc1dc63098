"""Pages of a directory, which SQLite puts together, say what the directory view says of tip, past and fork."""

import itertools
from collections.abc import Iterator

import pytest
from store.helpers import create_repos, delete, fork, put, put_all

from appliance.errors import StoreDamaged
from appliance.store import Db, Store, contents, listings, pages, snapshots
from appliance.store.snapshots import Snapshot

PATHS = [
    *("/a", "/a-b", "/a.b/x", "/ab", "/b!", "/b/x", "/b0", "/b1", "/c/d/e", "/c/d/f", "/c/d-", "/c/d0", '/c/"quo\\te'),
    *("/ä", "/\U0010ffff", "/\uffff/x", "/empty/", "/c/none/", "/\x01", "/tab\t"),
]
DIRECTORIES = ["/", "/a", "/b", "/c", "/c/d", "/empty", "/c/none", "/\uffff", "/nothing"]


def list_view(db: Db, snapshot: Snapshot, directory: str) -> list[pages.Item]:
    found = []
    for child in listings.iter_children(db, snapshot, directory):
        entry = child.entry
        found.append(
            pages.Item(child.name, pages.version_of(entry, snapshot)) if entry else pages.Item(child.name + "/", None)
        )
    return found


def iter_pages(db: Db, snapshot: Snapshot, directory: str, limit: int) -> Iterator[pages.Item]:
    start = ""
    while page := pages.read_page(db, snapshot, directory, start, limit):
        yield from page
        start = pages.behind(page[-1].mark)


@pytest.fixture
def data(store: Store) -> Store:
    """A repo whose master has all paths, after some were there with other content and some that are gone."""
    create_repos(store, "data")
    put_all(store, "data", {"/b/gone": b"gone", "/gone/x": b"", "/a": b"before", "/c/d/e": b"before"})
    fork(store, "data", "fork", "master")
    put_all(store, "data", {path: path.encode() for path in PATHS})
    delete(store, "data", "/b/gone")
    delete(store, "data", "/gone/x")
    for path in PATHS[::2]:
        put(store, "data", path, b"in the fork", branch="fork")
    return store


def test_pages_together_are_the_directory(data: Store) -> None:
    with data.snapshot() as db:
        for revision in ("master", "master^", "master~2", "master~3", "fork", "fork^"):
            snapshot = snapshots.open_revision(db, "data", revision)
            for directory, limit in itertools.product(DIRECTORIES, (1, 2, 3, 1000)):
                assert list(iter_pages(db, snapshot, directory, limit)) == list_view(db, snapshot, directory)


def test_the_tip_is_read_in_one_question_until_it_has_moved(data: Store) -> None:
    with data.snapshot() as db:
        tip, old = (snapshots.open_revision(db, "data", revision) for revision in ("master", "master^"))
        expected = [pages.read_page(db, tip, directory, "", 1000) for directory in DIRECTORIES]
        assert [pages.read_tip_page(db, tip, directory, "", 1000) for directory in DIRECTORIES] == expected
        assert pages.read_tip_page(db, old, "/", "", 1000) is None
    put(data, "data", "/new", b"")
    assert data.look(lambda db: pages.read_tip_page(db, tip, "/", "", 1000)) is None


def test_a_page_begins_at_a_name(data: Store) -> None:
    with data.snapshot() as db:
        snapshot = snapshots.open_branch(db, "data", "master")
        for start, first in (("ab", "ab"), ("b", "b!"), ("b.", "b/"), ("b0", "b0"), ("x", "ä")):
            assert pages.read_page(db, snapshot, "/", start, 1)[0].mark == first


def test_a_version_is_found_by_its_row_and_time(data: Store) -> None:
    with data.snapshot() as db:
        entry = snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/a")
        assert snapshots.find_row(db, entry.row, entry.modified_ns) == entry
        assert snapshots.find_row(db, entry.row, entry.modified_ns + 1) is None


def test_small_content_is_found_and_large_is_not(data: Store) -> None:
    put(data, "data", "/large", bytes(100_000))
    with data.snapshot() as db:
        snapshot = snapshots.open_branch(db, "data", "master")
        small, large = (snapshots.get_file(db, snapshot, path) for path in ("/a", "/large"))
    assert data.look(lambda db: contents.find_small(db, small.row, small.modified_ns)) == b"/a"
    assert data.look(lambda db: contents.find_small(db, small.row, 0)) is None
    assert data.look(lambda db: contents.find_small(db, large.row, large.modified_ns)) is None


def test_damaged_small_content_is_refused(data: Store) -> None:
    data.write(lambda db: db.execute("UPDATE blobs SET data = X'00' WHERE data = X'2F61'"))
    with data.snapshot() as db:
        entry = snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/a")
        with pytest.raises(StoreDamaged):
            contents.find_small(db, entry.row, entry.modified_ns)
    data.write(lambda db: db.execute("UPDATE blobs SET data = X'2F61' WHERE data = X'00'"))
