"""Multipart uploads in progress."""

import pytest
from store.helpers import LARGE, bytes_of, create_repos, fork, keep

from appliance.errors import UploadNotFound
from appliance.store import Store, blobs, repos, uploads


@pytest.fixture
def target(store: Store) -> str:
    """Where an upload to `images@master` lands."""
    create_repos(store, "images")
    fork(store, "images", "master")
    with store.snapshot() as db:
        return f"branch/{repos.find_branch_id(db, 'images', 'master')}"


def begin(store: Store, target: str, path: str = "/a") -> uploads.Upload:
    return store.write(lambda db: uploads.create_upload(db, target, path, {"Content-Type": "text/plain"}))


def put_part(store: Store, upload: uploads.Upload, number: int, data: bytes) -> uploads.Part:
    content = keep(store, data)
    return store.write(lambda db: uploads.put_part(db, upload, number, content))


def parts_of(store: Store, upload: uploads.Upload, **which: int) -> list[uploads.Part]:
    with store.snapshot() as db:
        return list(uploads.list_parts(db, upload, **which))


def test_upload_is_found_as_it_was_begun(store: Store, target: str) -> None:
    upload = begin(store, target)
    with store.snapshot() as db:
        assert uploads.get_upload(db, target, upload.id, "/a") == upload
    assert upload.metadata == {"Content-Type": "text/plain"}


@pytest.mark.parametrize(("where", "path"), [("branch/0", "/a"), (None, "/b")])
def test_upload_of_another_target_or_path_is_not_found(store: Store, target: str, where: str | None, path: str) -> None:
    upload = begin(store, target)
    with store.snapshot() as db, pytest.raises(UploadNotFound):
        uploads.get_upload(db, where or target, upload.id, path)


def test_uploads_are_listed_by_path_and_age(store: Store, target: str) -> None:
    made = [begin(store, target, path) for path in ("/b", "/a", "/b")]
    with store.snapshot() as db:
        assert uploads.list_uploads(db, target).items == (made[1], made[0], made[2])


def test_parts_are_listed_by_number(store: Store, target: str) -> None:
    upload = begin(store, target)
    parts = {number: put_part(store, upload, number, b"x" * number) for number in (3, 1, 2)}
    assert parts_of(store, upload) == [parts[1], parts[2], parts[3]]
    assert parts_of(store, upload, after=1, limit=1) == [parts[2]]


def test_part_replaces_one_of_its_number(store: Store, target: str) -> None:
    upload = begin(store, target)
    put_part(store, upload, 1, b"old")
    part = put_part(store, upload, 1, b"new")
    assert parts_of(store, upload) == [part]


def test_parts_join_to_a_file(store: Store, target: str) -> None:
    upload = begin(store, target)
    for number, data in enumerate((LARGE, b"tail"), 1):
        put_part(store, upload, number, data)
    ranges = [(part.content, 0, part.content.size_bytes) for part in parts_of(store, upload)]
    content = store.write(lambda db: blobs.join(db, ranges, "x-2"))
    assert bytes_of(store, content) == LARGE + b"tail"


def test_part_of_a_joined_content_is_a_part(store: Store, target: str) -> None:
    upload = begin(store, target)
    ranges = [(keep(store, data), 0, 3) for data in (b"abc", b"def")]
    content = store.write(lambda db: blobs.join(db, ranges, "x-2"))
    store.write(lambda db: uploads.put_part(db, upload, 1, content))
    assert bytes_of(store, parts_of(store, upload)[0].content) == b"abcdef"


def test_ended_upload_takes_no_part(store: Store, target: str) -> None:
    upload = begin(store, target)
    put_part(store, upload, 1, b"x")
    store.write(lambda db: uploads.delete_upload(db, upload))
    assert parts_of(store, upload) == []
    with pytest.raises(UploadNotFound, match=f"upload {upload.id} not found"):
        put_part(store, upload, 2, b"y")


def test_uploads_are_listed_page_by_page(store: Store, target: str) -> None:
    made = sorted(
        (begin(store, target, path) for path in ("/b", "/a", "/b", "/c/d", "/c/e")), key=lambda one: (one.path, one.id)
    )
    walked: list[uploads.Upload | str] = []
    after, after_id = "", ""
    while True:
        with store.snapshot() as db:
            page = uploads.list_uploads(db, target, after=after, after_id=after_id, limit=2)
        walked += page.items
        if not page.truncated:
            break
        last = page.items[-1]
        assert isinstance(last, uploads.Upload)
        after, after_id = last.path, last.id
        store.write(lambda db, last=last: uploads.delete_upload(db, last))  # the place of one that is gone is still known
    assert walked == made


def test_uploads_below_a_delimiter_are_one_prefix(store: Store, target: str) -> None:
    for path in ("/c/d", "/c/e", "/b"):
        begin(store, target, path)
    with store.snapshot() as db:
        first = uploads.list_uploads(db, target, delimiter="/", limit=1)
        rest = uploads.list_uploads(db, target, delimiter="/", after="/b")
        assert uploads.list_uploads(db, target, delimiter="/", after="/c/").items == ()
        assert uploads.list_uploads(db, target, prefix="/c/", delimiter="/", limit=1).truncated
    assert [item.path for item in first.items if isinstance(item, uploads.Upload)] == ["/b"]
    assert (first.truncated, rest.items) == (True, ("/c/",))


def test_completed_upload_is_remembered_and_takes_no_part(store: Store, target: str) -> None:
    upload = begin(store, target)
    put_part(store, upload, 1, b"x")
    store.write(lambda db: uploads.finish_upload(db, upload, {"etag": "x"}))
    with store.snapshot() as db:
        found = uploads.find_upload(db, target, upload.id)
        assert found is not None
        assert found.result == {"etag": "x"}
        assert uploads.list_uploads(db, target).items == ()
    with pytest.raises(UploadNotFound):
        put_part(store, upload, 2, b"y")
