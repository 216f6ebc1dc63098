"""Putting from URLs: the appliance fetches, some objects at a time; what has arrived is staged until one commit takes all.

Blocks; the thread that calls only lists and waits, others move the bytes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from appliance.errors import ApplianceError, DiskFailed, FileNotFound, InvalidPath, InvalidRequest, TransferFailed
from appliance.external.credentials import Profiles
from appliance.external.transfers import Piece, Received, RemoteObject, download, iter_objects
from appliance.external.urls import ObjectUrl
from appliance.names import check_path, clean_path
from appliance.store import Db, Store, blobs, snapshots, staging
from appliance.store.blobs import Content, StagedBlob
from appliance.store.snapshots import Metadata

_PARALLEL = 8
_PLACES = 2 * _PARALLEL
# Of these, a few pieces each are in memory.
_LARGE_BYTES, _LARGE_PARALLEL = 8 * 1024 * 1024, 3
_POLL_S = 0.2
# What is staged in one write: small blobs wait in memory for it.
_BATCH_FILES, _BATCH_BYTES = 256, 4 * 1024 * 1024
_FEW = 10

SOURCE = "x-amz-meta-source-"
"""What the metadata that names a file's source begins with: `url`, `etag` and `time`."""


@dataclass(slots=True)
class Fetched:
    """How far a put from URLs is. `unchanged` files were there already as they are at their source."""

    files: int = 0
    unchanged: int = 0
    size_bytes: int = 0
    skipped: int = 0
    skipped_keys: list[str] = field(default_factory=list)
    """The first few of the skipped."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one put asks for; see `FileCalls.put_urls`."""

    repo: str
    branch: str
    path: str
    recursive: bool
    append: bool
    literal: bool
    skip_invalid: bool
    exact: bool


class Fetch:
    """One put under way: fetches into a staged put. The first failure ends all, and is raised by `run`."""

    def __init__(
        self, store: Store, profiles: Profiles, roots: Sequence[Path], put_id: str, wanted: Wanted, *, strict: bool
    ) -> None:
        self._store, self._profiles, self._roots = store, profiles, roots
        self._put_id, self._wanted, self._strict = put_id, wanted, strict
        self._places = threading.Semaphore(_PLACES)
        self._large = threading.Semaphore(_LARGE_PARALLEL)
        self._lock = threading.Lock()
        self._ready: list[tuple[str, StagedBlob | Content, Metadata]] = []
        self._ready_bytes = 0
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        self.fetched = Fetched()

    def stop(self) -> None:
        """Make `run` end with an error soon."""
        self._fail(TransferFailed("put file: stopped"))

    def run(self, urls: Sequence[ObjectUrl], check: Callable[[], None]) -> None:
        """Fetch everything at the addresses; on return all of it is staged. `check` is called often and may raise."""
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="ingress") as pool, self._failing():
            for target, found in self._iter_targets(urls):
                self._wait_for_place(check)
                pool.submit(self._take, target, found)
            for _ in range(_PLACES):  # until all are given back
                self._wait_for_place(check)
        if self._failure is not None:
            raise self._failure
        if not self.fetched.files:
            raise FileNotFound(f"nothing found at {', '.join(url.name() for url in urls)}")
        self._stage(self._ready)

    def _iter_targets(self, urls: Sequence[ObjectUrl]) -> Iterator[tuple[str, RemoteObject]]:
        wanted = self._wanted
        for url in urls:
            objects = iter_objects(url, self._profiles, recursive=wanted.recursive, literal=wanted.literal, roots=self._roots)
            for found in objects:
                try:
                    yield check_path(_target(wanted, found), strict=self._strict), found
                except InvalidPath as error:
                    if not wanted.skip_invalid:
                        raise InvalidPath(f"{url.name(found.key)}: {error}") from None
                    self._skip(url.name(found.key))

    def _skip(self, name: str) -> None:
        self.fetched.skipped += 1
        if len(self.fetched.skipped_keys) < _FEW:
            self.fetched.skipped_keys.append(name)

    def _wait_for_place(self, check: Callable[[], None]) -> None:
        check()
        while not self._places.acquire(timeout=_POLL_S):
            check()
        if self._stopped.is_set():
            raise self._failure or TransferFailed("stopped")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever ends the block stops the other threads, too."""
        try:
            yield
        except BaseException as error:
            self._fail(error if isinstance(error, Exception) else TransferFailed("put file: stopped"))
            raise

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failure = self._failure or error
        self._stopped.set()

    def _take(self, target: str, found: RemoteObject) -> None:
        """Fetch one object unless it is there unchanged. Gives its place back."""
        try:
            if not self._stopped.is_set():
                self._add(target, *(self._find_unchanged(target, found) or self._receive(found)))
        except DiskFailed as error:
            self._fail(type(error)(f"{found.url.name(found.key)}: {error}"))
        except Exception as error:
            self._fail(error)
        finally:
            self._places.release()

    def _find_unchanged(self, target: str, found: RemoteObject) -> tuple[Content, Metadata] | None:
        """What the target holds if it came from there, and the source has neither another size nor another ETag since."""
        if self._wanted.append or found.etag is None or not found.address:
            return None
        with self._store.snapshot() as db:
            entry = _find_file(db, self._wanted, target)
        if entry is None or entry.content.size_bytes != found.size_bytes:
            return None
        source = (entry.metadata.get(f"{SOURCE}url"), entry.metadata.get(f"{SOURCE}etag"))
        return (entry.content, entry.metadata) if source == (found.address, found.etag) else None

    def _receive(self, found: RemoteObject) -> tuple[StagedBlob, Metadata]:
        is_large = found.size_bytes is None or found.size_bytes > _LARGE_BYTES
        has_md5 = (found.size_bytes or 0) <= _LARGE_BYTES
        with self._large if is_large else nullcontext(), self._store.blobs.receive(md5=has_md5) as receiver:
            received = download(found, self._profiles, partial(self._count, receiver.write), stop=self._stopped.is_set)
            staged = receiver.finish()
        self._store.blobs.publish(staged)
        return staged, _metadata(found, received)

    def _count(self, write: Callable[[Piece], object], piece: Piece) -> None:
        write(piece)
        with self._lock:
            self.fetched.size_bytes += len(piece)

    def _add(self, target: str, content: StagedBlob | Content, metadata: Metadata) -> None:
        with self._lock:
            self.fetched.files += 1
            self.fetched.unchanged += isinstance(content, Content)
            self._ready.append((target, content, metadata))
            self._ready_bytes += len(content.data or b"") if isinstance(content, StagedBlob) else 0
            if len(self._ready) < _BATCH_FILES and self._ready_bytes < _BATCH_BYTES:
                return
            batch, self._ready, self._ready_bytes = self._ready, [], 0
        self._stage(batch)

    def _stage(self, batch: Sequence[tuple[str, StagedBlob | Content, Metadata]]) -> None:
        def stage(db: Db) -> None:
            for path, content, metadata in batch:
                kept = blobs.record(db, content) if isinstance(content, StagedBlob) else content
                staging.add_file(db, self._put_id, path, kept, metadata, strict=self._strict)

        self._store.write(stage)


def _target(wanted: Wanted, found: RemoteObject) -> str:
    """The path an object is put at. Raises InvalidPath for a key that can not be one."""
    if wanted.exact and wanted.path.strip("/") and not wanted.path.endswith("/"):
        return clean_path(wanted.path)
    relative = found.relative_path
    if not relative:
        raise InvalidRequest(f"{found.url.name()} has no file name: say which path it is put at")
    if relative.startswith("/") or relative.endswith("/") or "//" in relative:
        raise InvalidPath(f"path (/{relative}) invalid: empty path elements are not allowed")
    return f"{clean_path(wanted.path).rstrip('/')}/{relative}"


def _find_file(db: Db, wanted: Wanted, path: str) -> snapshots.Entry | None:
    try:
        snapshot = snapshots.open_revision(db, wanted.repo, wanted.branch)
    except ApplianceError:  # a branch that the put will make
        return None
    return snapshots.find(db, snapshot, path)


def _metadata(found: RemoteObject, received: Received) -> dict[str, str]:
    """What the source said about an object, and where it came from."""
    metadata = {name: text for name, text in received.metadata.items() if not name.startswith(SOURCE)}
    metadata[f"{SOURCE}url"] = found.address or found.url.text
    etag = found.etag or received.etag
    modified_ns = received.modified_ns if found.modified_ns is None else found.modified_ns
    if etag:
        metadata[f"{SOURCE}etag"] = etag
    if modified_ns is not None:
        metadata[f"{SOURCE}time"] = _rfc3339(modified_ns)
    return metadata


def _rfc3339(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
