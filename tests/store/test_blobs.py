"""Bytes by digest: receive, publish, read, join."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.checks import check
from store.helpers import LARGE, bytes_of, create_repos, keep, put, read, stage

from appliance.errors import BadDigest, StoreDamaged
from appliance.store import Store, blobs
from appliance.store.blobs import INLINE_BYTES, Content


def joined(store: Store, *ranges: tuple[Content, int, int]) -> Content:
    return store.write(lambda db: blobs.join(db, ranges, "etag-2"))


def test_digests_are_of_the_bytes(store: Store) -> None:
    staged = stage(store, b"hello")
    assert staged.digest == hashlib.sha256(b"hello").digest()
    assert staged.md5 == hashlib.md5(b"hello").digest()
    assert staged.size_bytes == 5


def test_pieces_are_put_together(store: Store) -> None:
    with store.blobs.receive() as receiver:
        for start in range(0, len(LARGE), 1000):
            receiver.write(LARGE[start : start + 1000])
        staged = receiver.finish()
    assert staged.file is not None
    assert (staged.file.read_bytes(), staged.digest) == (LARGE, hashlib.sha256(LARGE).digest())
    staged.discard()


@pytest.mark.parametrize(("size", "inline"), [(0, True), (INLINE_BYTES, True), (INLINE_BYTES + 1, False)])
def test_small_blobs_are_kept_in_the_database(store: Store, size: int, inline: bool) -> None:
    data = b"x" * size
    content = keep(store, data)
    file = store.blobs.path(stage_digest(data))
    assert (file.exists(), bytes_of(store, content)) == (not inline, data)


def test_large_blob_is_a_read_only_file_named_by_its_digest(store: Store) -> None:
    keep(store, LARGE)
    name = hashlib.sha256(LARGE).hexdigest()
    file = store.directory / "blobs" / name[:2] / name[2:]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (LARGE, 0o444)


@pytest.mark.parametrize("data", [b"", b"small", LARGE])
def test_equal_bytes_are_kept_once(store: Store, data: bytes) -> None:
    assert keep(store, data) == keep(store, data)
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == 1


def test_etag_of_bytes_without_md5_says_that_it_is_none(store: Store) -> None:
    content = keep(store, LARGE, md5=False)
    assert content.etag == f"{hashlib.sha256(LARGE).hexdigest()[:32]}-1"
    assert bytes_of(store, content) == LARGE


@pytest.mark.parametrize("order", [(True, False), (False, True)], ids=["before", "afterwards"])
def test_bytes_that_somebody_sent_with_md5_have_it(store: Store, order: tuple[bool, bool]) -> None:
    for md5 in order:
        content = keep(store, LARGE, md5=md5)
    with store.snapshot() as db:
        found = blobs.find(db, hashlib.sha256(LARGE).digest())
    assert content == found
    assert content.etag == hashlib.md5(LARGE).hexdigest()


def test_many_blobs_are_recorded_as_one_by_one(store: Store) -> None:
    known = keep(store, b"known")
    staged = [stage(store, data) for data in (b"known", b"new", LARGE, b"new")]
    store.blobs.publish(staged[2])
    contents = store.write(lambda db: blobs.record_all(db, staged))
    assert contents[0] == known
    assert contents == [store.write(lambda db, blob=blob: blobs.record(db, blob)) for blob in staged]
    assert [bytes_of(store, content) for content in contents] == [b"known", b"new", LARGE, b"new"]


def test_publishing_twice_is_harmless(store: Store) -> None:
    staged = stage(store, LARGE)
    store.blobs.publish(staged)
    store.blobs.publish(staged)
    staged.discard()
    content = store.write(lambda db: blobs.record(db, staged))
    assert bytes_of(store, content) == LARGE


def test_abandoned_receiver_leaves_nothing(store: Store) -> None:
    with store.blobs.receive() as receiver:
        receiver.write(LARGE)
    assert list((store.directory / "staging").iterdir()) == []


def test_discarded_blob_leaves_nothing(store: Store) -> None:
    staged = stage(store, LARGE)
    staged.discard()
    staged.discard()
    assert list((store.directory / "staging").iterdir()) == []


def test_staged_file_of_another_size_is_not_published(store: Store) -> None:
    staged = stage(store, LARGE)
    assert staged.file is not None
    staged.file.write_bytes(LARGE[:-1])
    with pytest.raises(BadDigest):
        store.blobs.publish(staged)
    staged.discard()
    assert not store.blobs.path(staged.digest).exists()


def test_published_blob_without_a_row_is_garbage(store: Store) -> None:
    store.blobs.publish(stage(store, LARGE))
    assert check(store) == [store.blobs.path(stage_digest(LARGE))]


def test_leftovers_in_staging_go_at_the_next_start(tmp_path: Path) -> None:
    first = Store(tmp_path, "fast")
    stage(first, LARGE)
    first.close()
    second = Store(tmp_path, "fast")
    check(second)
    second.close()


def test_durable_store_keeps_bytes_too(tmp_path: Path) -> None:
    store = Store(tmp_path, "durable")
    create_repos(store, "images")
    for path in ("/a", "/b"):
        put(store, "images", path, LARGE)
    assert read(store, "images", "master", "/b") == LARGE
    check(store)
    store.close()


def test_missing_file_is_damage(store: Store) -> None:
    content = keep(store, LARGE)
    file = store.blobs.path(stage_digest(LARGE))
    hidden = file.rename(file.with_suffix(".hidden"))
    with pytest.raises(StoreDamaged, match="is missing"):
        bytes_of(store, content)
    hidden.rename(file)


def test_short_file_is_damage(store: Store) -> None:
    content = keep(store, LARGE)
    file = store.blobs.path(stage_digest(LARGE))
    file.chmod(0o644)
    file.write_bytes(LARGE[:-1])
    with pytest.raises(StoreDamaged, match="has 51199 bytes instead of 51200"):
        bytes_of(store, content)
    file.write_bytes(LARGE)


def test_list_without_its_extents_is_damage(store: Store) -> None:
    content = joined(store, (keep(store, b"one"), 0, 3), (keep(store, b"two"), 0, 3))
    store.write(lambda db: db.execute("DELETE FROM extents WHERE position = 1").rowcount)
    with pytest.raises(StoreDamaged):
        bytes_of(store, content)
    store.write(lambda db: db.execute("DELETE FROM extent_lists").rowcount)


def test_joined_parts_move_no_bytes(store: Store) -> None:
    content = joined(store, (keep(store, LARGE), 0, len(LARGE)), (keep(store, b"tail"), 0, 4))
    assert (bytes_of(store, content), content.size_bytes, content.etag) == (LARGE + b"tail", len(LARGE) + 4, "etag-2")
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == 2


def test_single_whole_part_is_the_blob_itself(store: Store) -> None:
    part = keep(store, b"hello")
    content = joined(store, (part, 0, 5))
    assert (content.blob_id, content.list_id, content.etag) == (part.blob_id, None, "etag-2")


def test_nothing_joined_is_empty(store: Store) -> None:
    content = joined(store)
    assert (bytes_of(store, content), content.size_bytes) == (b"", 0)


def test_range_of_a_joined_content_is_cut_from_its_blobs(store: Store) -> None:
    whole = joined(store, (keep(store, b"hello "), 0, 6), (keep(store, b"world"), 0, 5))
    assert bytes_of(store, joined(store, (whole, 4, 4))) == b"o wo"


def test_equal_bytes_cut_alike_have_equal_digests(store: Store) -> None:
    one, two = keep(store, b"one"), keep(store, b"two")
    contents = [joined(store, (one, 0, 3), (two, 0, 3)) for _ in range(2)]
    other = joined(store, (one, 0, 2), (two, 0, 3))
    with store.snapshot() as db:
        first, second, third = (blobs.get_digest(db, content) for content in (*contents, other))
    assert first == second != third


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([b"", b"a", b"hello", b"world!"]), st.integers(0, 6), st.integers(0, 6)), max_size=4
    )
)
def test_join_is_the_slices_together(shared: Store, parts: list[tuple[bytes, int, int]]) -> None:
    ranges = [(keep(shared, data), start, max(0, min(size, len(data) - start))) for data, start, size in parts]
    expected = b"".join(data[start : start + size] for data, start, size in parts)
    content = joined(shared, *ranges)
    assert (bytes_of(shared, content), content.size_bytes) == (expected, len(expected))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples of a test that only adds blobs."""
    store = Store(tmp_path_factory.mktemp("shared"), "fast")
    yield store
    check(store)
    store.close()


FILLED_UP = """
import resource, sys
from pathlib import Path
from appliance.store import Store
store = Store(Path(sys.argv[1]), "fast")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
with store.blobs.receive() as receiver:
    try:
        receiver.write(bytes(500_000))
        store.blobs.publish(receiver.finish())
    except Exception as error:
        print(type(error).__name__)
print(len(list((store.directory / "staging").iterdir())))
"""


def test_bytes_that_find_no_room_are_not_the_senders_fault(tmp_path: Path) -> None:
    """A write may take fewer bytes than it is given; the next one says why."""
    done = subprocess.run([sys.executable, "-c", FILLED_UP, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["OutOfSpace", "0"]


def stage_digest(data: bytes) -> blobs.Digest:
    return blobs.Digest(hashlib.sha256(data).digest())
