"""Uploads that nobody finishes, at a time that the test says."""

import pytest
from store.checks import check
from store.helpers import create_repos, fork, keep

from appliance.errors import UploadNotFound
from appliance.expiry import Expiry
from appliance.store import Store, repos, uploads

DAY_NS = 24 * 3600 * 1_000_000_000


@pytest.fixture
def target(store: Store) -> str:
    create_repos(store, "data")
    fork(store, "data", "master")
    with store.snapshot() as db:
        return f"branch/{repos.find_branch_id(db, 'data', 'master')}"


def begin(store: Store, target: str) -> uploads.Upload:
    return store.write(lambda db: uploads.create_upload(db, target, "/a", None))


def test_upload_of_an_age_is_forgotten_with_its_parts(store: Store, target: str) -> None:
    upload, content = begin(store, target), keep(store, b"part")
    store.write(lambda db: uploads.put_part(db, upload, 1, content))
    expiry = Expiry(store, 7 * 24 * 3600)
    assert expiry.expire(upload.created_ns + 7 * DAY_NS) == 0
    assert expiry.expire(upload.created_ns + 7 * DAY_NS + 1) == 1
    with store.snapshot() as db, pytest.raises(UploadNotFound):
        uploads.get_upload(db, target, upload.id)
    check(store)


def test_answers_of_completed_uploads_are_forgotten_too(store: Store, target: str) -> None:
    upload = begin(store, target)
    store.write(lambda db: uploads.finish_upload(db, upload, {"etag": "x"}))
    assert Expiry(store, 60).expire(upload.created_ns + DAY_NS) == 1
    with store.snapshot() as db:
        assert uploads.find_upload(db, target, upload.id) is None


def test_uploads_are_forgotten_step_by_step(store: Store, target: str) -> None:
    newest = [begin(store, target) for _ in range(103)][-1]
    expiry = Expiry(store, 60)
    assert [expiry.expire(newest.created_ns + DAY_NS) for _ in range(3)] == [100, 3, 0]
