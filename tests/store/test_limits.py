"""As many, as long, as large as it gets: nothing special happens there."""

import itertools

import pytest
from store.helpers import bytes_of, commit_of, create_repos, entry_of, keep, put, read

from appliance.errors import InvalidPath
from appliance.store import Db, Store, blobs, files, history, listings, propagation, repos, snapshots

MANY_REPOS, MANY_BRANCHES = 10_000, 100_000
KEY = "/" + "/".join(["ä" * 127, "日" * 85, "a" * 255, "z" * 255])  # 1,024 bytes without the first slash, and a little less
TERABYTE = 2**40


def test_ten_thousand_repos(store: Store) -> None:
    def create(db: Db) -> None:
        for number in range(MANY_REPOS):
            repos.create_repo(db, f"repo-{number:05}")

    store.write(create)
    put(store, "repo-05000", "/a", b"1")
    assert read(store, "repo-05000", "master", "/a") == b"1"
    with store.snapshot() as db:
        assert sum(1 for _ in repos.iter_repos(db)) == MANY_REPOS
        assert next(repos.iter_repos(db)).name == f"repo-{MANY_REPOS - 1:05}"


def test_a_hundred_thousand_branches(store: Store) -> None:
    create_repos(store, "images")
    first = put(store, "images", "/a", b"1")

    def branch(db: Db) -> None:
        head = commit_of(store, "images")
        for number in range(MANY_BRANCHES):
            propagation.set_head(db, head, f"branch-{number:06}")

    store.write(branch)
    put(store, "images", "/a", b"2", branch="branch-050000")
    assert read(store, "images", "branch-050000", "/a") == b"2"
    assert read(store, "images", "branch-050001", "/a") == b"1"
    assert commit_of(store, "images", "branch-099999").id == first


def test_key_of_a_thousand_bytes(store: Store) -> None:
    create_repos(store, "images")
    assert 1000 <= len(KEY.encode()) <= 1025
    put(store, "images", KEY, b"1")
    assert read(store, "images", "master", KEY) == b"1"
    with store.snapshot() as db:
        page = listings.list_page(
            db, snapshots.open_branch(db, "images", "master"), prefix="/", delimiter="/", after=None, limit=2
        )
    assert page.items == ("/" + "ä" * 127 + "/",)


def test_segment_of_256_bytes_is_too_long(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/" + "a" * 255, b"")
    with pytest.raises(InvalidPath):
        put(store, "images", "/" + "a" * 256, b"")


def test_empty_file(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/empty", b"")
    assert read(store, "images", "master", "/empty") == b""
    assert commit_of(store, "images").file_count == 1


def test_file_of_a_terabyte_made_of_one_blob_many_times(store: Store) -> None:
    create_repos(store, "images")
    piece = bytes(2**25)
    content = keep(store, piece)
    while content.size_bytes < TERABYTE:
        twice = ((content, 0, content.size_bytes), (content, 0, content.size_bytes))
        content = store.write(lambda db, twice=twice: blobs.join(db, twice, "0" * 32 + "-2"))

    def write(db: Db) -> None:
        writing = history.begin_write(db, "images", "master")
        files.put_file(db, writing.commit, "/huge", content)
        history.end_write(db, writing)

    store.write(write)
    entry = entry_of(store, "images", "master", "/huge")
    assert (entry.content.size_bytes, commit_of(store, "images").size_bytes) == (TERABYTE, TERABYTE)
    with store.snapshot() as db:
        extents = blobs.list_extents(db, store.blobs, entry.content)
        tail = store.write(lambda db: blobs.join(db, [(entry.content, TERABYTE - 3, 3)], "0" * 32))
    assert (len(extents), sum(extent.size_bytes for extent in extents)) == (TERABYTE // len(piece), TERABYTE)
    assert len(next(itertools.islice(blobs.read_extents(extents), 5, None))) == blobs.READ_BYTES
    assert bytes_of(store, tail) == bytes(3)
