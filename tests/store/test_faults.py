"""A disk that is full, fails or is read-only at any step: an error that says so, nothing lost, and on again."""

import errno
import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disk.client import TAKING_INODES, TAKING_SPACE, WRITING, Disk, open_disk
from mount.conftest import place as place
from store.checks import check
from store.helpers import LARGE, create_repos, put, read, stage, tree

from appliance.errors import ApplianceError, DiskFailed, OutOfSpace
from appliance.store import Store

FAULTS = [
    (TAKING_SPACE, errno.ENOSPC, OutOfSpace),
    (TAKING_INODES, errno.ENOSPC, OutOfSpace),
    (TAKING_SPACE, errno.EDQUOT, DiskFailed),
    (WRITING, errno.EIO, DiskFailed),
    (WRITING, errno.EROFS, DiskFailed),
]


@pytest.fixture
def disk(tmp_path: Path, place: Path) -> Iterator[Disk]:
    """A disk that fails on command; skipped where nothing can be mounted."""
    with open_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def faulty(disk: Disk) -> Iterator[Store]:
    """A durable store on that disk, checked as a whole once the disk is well."""
    store = Store(disk.path / "data")
    create_repos(store, "images")
    put(store, "images", "/kept", LARGE)
    yield store
    disk.heal()
    store.close()
    store = Store(disk.path / "data")
    check(store)
    store.close()


@pytest.mark.parametrize("data", [b"small", LARGE + b"large"])
@pytest.mark.parametrize(("kinds", "number", "kind"), FAULTS)
def test_fault_is_told_and_nothing_is_lost(
    faulty: Store, disk: Disk, kinds: tuple[str, ...], number: int, kind: type[ApplianceError], data: bytes
) -> None:
    disk.fail(kinds, number)
    failed = None
    try:
        put(faulty, "images", "/new", data)
    except ApplianceError as error:
        failed = error
    assert read(faulty, "images", "master", "/kept") == LARGE
    hits = disk.heal()
    assert isinstance(failed, kind) == (hits > 0)
    put(faulty, "images", "/later", LARGE + b"later")
    assert tree(faulty, "images").keys() - {"/new"} == {"/kept", "/later"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_fault_at_each_step_of_a_put_changes_all_or_nothing(faulty: Store, disk: Disk, number: int) -> None:
    """One operation fails, each time a later one, until a put meets no fault."""
    expected = tree(faulty, "images")
    for step in range(100):
        path, data = f"/{step}", LARGE + str(step).encode()
        disk.fail(WRITING, number, after=step, times=1)
        try:
            put(faulty, "images", path, data)
            expected[path] = data
        except DiskFailed:
            pass
        assert tree(faulty, "images") == expected
        if not disk.heal():
            break
    assert step > 5


def test_what_could_not_be_staged_leaves_nothing(faulty: Store, disk: Disk) -> None:
    disk.fail(("write",), errno.ENOSPC)
    with pytest.raises(OutOfSpace):
        stage(faulty, LARGE + b"new")
    assert list((faulty.directory / "staging").iterdir()) == []


@pytest.mark.parametrize("what", ["blob", "directory", "log"])
def test_failed_fsync_is_not_taken_for_done_when_it_is_tried_again(
    faulty: Store, disk: Disk, tmp_path: Path, what: str
) -> None:
    """The disk forgets what it could not write, and says yes to the next fsync. A power cut tells who believed it."""
    data = LARGE + b"precious"
    digest = stage(faulty, data).digest.hex()
    [staged] = (faulty.directory / "staging").iterdir()
    staged.unlink()
    name = {"blob": "", "directory": digest[:2], "log": "appliance.db-wal"}[what]
    disk.fail(("fsync",), errno.EIO, times=1, name=name)
    with pytest.raises(DiskFailed):
        put(faulty, "images", "/precious", data)
    assert disk.heal() == 1
    put(faulty, "images", "/precious", data)
    disk.cut(images := [tmp_path / f"image{seed}" for seed in range(5)], range(5))
    for image in images:
        left = Store(image / "data")
        assert read(left, "images", "master", "/precious") == data
        check(left)
        left.close()


def test_staging_that_can_not_be_cleaned_is_cleaned_at_the_next_start(
    faulty: Store, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    staged = stage(faulty, LARGE + b"new")
    disk.fail(WRITING, errno.EROFS)
    with caplog.at_level(logging.WARNING):
        staged.discard()
    assert "stays until the next start" in caplog.text


@contextmanager
def few_open_files() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_told_and_forgotten(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/kept", LARGE)
    with few_open_files(), pytest.raises(DiskFailed, match="Too many open files"):
        stage(store, LARGE + b"new")
    put(store, "images", "/new", LARGE + b"new")
    assert read(store, "images", "master", "/kept") == LARGE


def test_reader_that_can_open_no_more_files_is_told(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/kept", b"1")
    with store.snapshot(), few_open_files(), pytest.raises(DiskFailed, match="unable to open"):
        tree(store, "images")
    assert tree(store, "images") == {"/kept": b"1"}
