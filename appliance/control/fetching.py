"""Putting from URLs: the appliance fetches, some objects at a time; what has arrived is staged until one commit takes all.

Blocks; the thread that calls only lists and waits, others move the bytes.
"""

import re
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
# Small objects that follow each other are one thread's, one after the other, where there are many: handing each over costs
# as much as fetching it does.
_SMALL_BYTES, _TOGETHER, _MANY = 64 * 1024, 16, 1024
# Of these, a few pieces each are in memory.
_LARGE_BYTES, _LARGE_PARALLEL = 8 * 1024 * 1024, 3
_POLL_S = 0.2
# What is staged in one write: small blobs wait in memory for it.
_BATCH_FILES, _BATCH_BYTES = 256, 4 * 1024 * 1024
_FEW = 10
# What the library that fetches objects has no way to ask for.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Target = tuple[str, RemoteObject]
"""A path, and what is to be put there."""
Ready = tuple[str, StagedBlob | Content, Metadata]
"""A path, and what was fetched for it or is there already."""

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
        self._ready: list[Ready] = []
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
            for targets in _iter_together(self._iter_targets(urls)):
                self._wait_for_place(check)
                pool.submit(self._take, targets)
            for _ in range(_PLACES):  # until all are given back
                self._wait_for_place(check)
        if self._failure is not None:
            raise self._failure
        if not self.fetched.files:
            raise FileNotFound(f"nothing found at {', '.join(url.name() for url in urls)}")
        self._stage(self._ready)

    def _iter_targets(self, urls: Sequence[ObjectUrl]) -> Iterator[Target]:
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

    def _take(self, targets: Sequence[Target]) -> None:
        """Fetch some objects unless they are there unchanged. Gives their place back."""
        try:
            unchanged = self._find_unchanged(targets)
            fetched = (unchanged.get(place) or self._fetch(*target) for place, target in enumerate(targets))
            self._add(list(fetched), len(unchanged))
        except Exception as error:
            self._fail(error)
        finally:
            self._places.release()

    def _find_unchanged(self, targets: Sequence[Target]) -> dict[int, Ready]:
        """Those of some targets, by number, that hold what came from there, if it has neither another size nor ETag since."""
        unchanged: dict[int, Ready] = {}
        if self._wanted.append:
            return unchanged
        with self._store.snapshot() as db:
            snapshot = _open_branch(db, self._wanted)
            for place, (target, found) in enumerate(targets if snapshot.places else ()):
                entry = snapshots.find(db, snapshot, target)
                if entry is not None and _is_from(found, entry):
                    unchanged[place] = target, entry.content, entry.metadata
        return unchanged

    def _fetch(self, target: str, found: RemoteObject) -> Ready:
        if self._stopped.is_set():
            raise TransferFailed("stopped")
        try:
            return target, *self._receive(found)
        except DiskFailed as error:
            raise type(error)(f"{found.url.name(found.key)}: {error}") from error

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

    def _add(self, ready: Sequence[Ready], unchanged: int) -> None:
        size_bytes = sum(len(content.data or b"") for _, content, _ in ready if isinstance(content, StagedBlob))
        with self._lock:
            self.fetched.files += len(ready)
            self.fetched.unchanged += unchanged
            self._ready.extend(ready)
            self._ready_bytes += size_bytes
            if len(self._ready) < _BATCH_FILES and self._ready_bytes < _BATCH_BYTES:
                return
            batch, self._ready, self._ready_bytes = self._ready, [], 0
        self._stage(batch)

    def _stage(self, batch: Sequence[Ready]) -> None:
        def stage(db: Db) -> None:
            fetched = [content for _, content, _ in batch if isinstance(content, StagedBlob)]
            recorded = iter(blobs.record_all(db, fetched))
            contents = (next(recorded) if isinstance(content, StagedBlob) else content for _, content, _ in batch)
            added = [(path, kept, metadata) for (path, _, metadata), kept in zip(batch, contents, strict=True)]
            staging.add_files(db, self._put_id, added, strict=self._strict)

        self._store.write(stage)


def _iter_together(targets: Iterator[Target]) -> Iterator[list[Target]]:
    """Yield the targets in order, small ones that follow each other together."""
    together: list[Target] = []
    for number, target in enumerate(targets):
        is_small = target[1].size_bytes is not None and target[1].size_bytes <= _SMALL_BYTES
        if together and not is_small:
            yield together
            together = []
        together.append(target)
        if not is_small or len(together) >= number * _TOGETHER / _MANY or len(together) == _TOGETHER:
            yield together
            together = []
    if together:
        yield together


def _target(wanted: Wanted, found: RemoteObject) -> str:
    """The path an object is put at. Raises InvalidPath for a key that can not be one."""
    if found.bucket is not None and _CONTROL.search(found.key):
        raise InvalidPath("objects with control characters in their keys can not be fetched")
    if wanted.exact and wanted.path.strip("/") and not wanted.path.endswith("/"):
        return clean_path(wanted.path)
    relative = found.relative_path
    if not relative:
        raise InvalidRequest(f"{found.url.name()} has no file name: say which path it is put at")
    if relative.startswith("/") or relative.endswith("/") or "//" in relative:
        raise InvalidPath(f"path (/{relative}) invalid: empty path elements are not allowed")
    return f"{clean_path(wanted.path).rstrip('/')}/{relative}"


def _open_branch(db: Db, wanted: Wanted) -> snapshots.Snapshot:
    try:
        return snapshots.open_revision(db, wanted.repo, wanted.branch)
    except ApplianceError:  # a branch that the put will make
        return snapshots.EMPTY


def _is_from(found: RemoteObject, entry: snapshots.Entry) -> bool:
    """Whether a file came from this very object, as that is now."""
    if found.etag is None or not found.address or entry.content.size_bytes != found.size_bytes:
        return False
    source = (entry.metadata.get(f"{SOURCE}url"), entry.metadata.get(f"{SOURCE}etag"))
    return source == (found.address, found.etag)


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
