"""A real mount of a real store. The thread that serves it is in this process, so tests may stat, list and read, which let
go of the interpreter while they wait; anything that maps memory or runs in the mount goes into a process of its own."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from mount.helpers import is_mounted
from store.helpers import create_repos, put_all

from appliance.mount import mountpoint
from appliance.mount.session import Mount, open_mount
from appliance.store import Store

MOUNT_S = 30


@dataclass(frozen=True)
class Mounted:
    """The mount as tests use it: a path, and waiting until what was written is there."""

    path: Path
    settle: Callable[[], None]
    mount: Mount


class Serving:
    """`open_mount` in a thread of its own, as an application would run it."""

    def __init__(self, store: Store, directory: Path, *writable: str, strict: bool = False, autocommit: bool = False) -> None:
        self._store, self._directory, self._writable = store, directory, frozenset(writable)
        self._options = {"strict": strict, "autocommit": autocommit}
        self._up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Mounted:
        self._thread.start()
        assert self._up.wait(MOUNT_S)
        if self._error is not None:
            raise self._error
        return Mounted(self._directory, self._settle, self._mount)

    def __exit__(self, *_exception: object) -> None:
        if self._error is None:
            trio.from_thread.run_sync(self._down.set, trio_token=self._token)
        self._thread.join(MOUNT_S)
        if is_mounted(self._directory):
            mountpoint.detach(self._directory)
            pytest.fail("the mount was left behind")

    def _settle(self) -> None:
        trio.from_thread.run(self._mount.settle, trio_token=self._token)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self._error = error
        self._up.set()

    async def _serve(self) -> None:
        self._mount: Mount
        async with open_mount(self._store, self._directory, self._writable, **self._options) as self._mount:
            self._token, self._down = trio.lowlevel.current_trio_token(), trio.Event()
            self._up.set()
            await self._down.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory where one can mount; nothing is left mounted there."""
    directory = tmp_path / "pfs"
    directory.mkdir()
    if problem := mountpoint.find_problem(directory):
        if os.environ.get("APPLIANCE_REQUIRE_FUSE") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    try:
        yield directory
    finally:
        while is_mounted(directory):
            assert mountpoint.detach(directory)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The test fails if something is logged that it did not clear."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


@pytest.fixture
def mount(store: Store, place: Path, quiet: None) -> Iterator[Mounted]:
    """The store, mounted."""
    with Serving(store, place) as mounted:
        yield mounted


@pytest.fixture
def writable(store: Store, place: Path, quiet: None) -> Iterator[Mounted]:
    """A mount where `data`, with `foo`, `dir/bar` and `dir/sub/deep`, can be changed."""
    create_repos(store, "data", "other")
    put_all(store, "data", {"/foo": b"foo", "/dir/bar": b"bar", "/dir/sub/deep": b"deep"})
    with Serving(store, place, "*") as mounted:
        yield mounted
