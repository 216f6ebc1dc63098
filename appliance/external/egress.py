"""Files out to other people's object stores.

Everything blocks; call it in a worker thread. `stop` is asked between pieces and from several threads; when it says
yes, the call ends with TransferFailed. Messages name the object and the cause in one line, and no secret.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from email.header import Header
from typing import TYPE_CHECKING, Final

import obstore

from appliance.errors import ApplianceError, TransferFailed
from appliance.external.clients import CONTENT_HEADERS, ETAG_NAMES, PIECE_BYTES, Bucket, bare_etag, open_bucket
from appliance.external.credentials import Profiles
from appliance.external.failures import REMOTE_ERRORS, explain, failed, never
from appliance.external.urls import ObjectUrl, Provider, join_key

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore import Attributes

# S3 takes ten thousand parts for an object.
_MOST_PARTS: Final = 10_000
_PARTS_AT_ONCE: Final = 2
_LARGE_AT_ONCE: Final = 3
_POLL_S: Final = 0.2
_NO_IDENTIFIER = re.compile(r"^(?=[0-9])|[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to upload. `open` is called in any thread, again for each try; `etag` is ours, None if there is none.

    `metadata` becomes the object's own; the names Cache-Control, Content-Disposition, Content-Encoding and
    Content-Language in it become these headers.
    """

    path: str
    size_bytes: int
    etag: str | None
    open: Callable[[], Iterator[bytes]]
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class EgressResult:
    """How many objects were uploaded and how many were there already; `size_bytes` counts the uploaded ones."""

    uploaded: int = 0
    skipped: int = 0
    size_bytes: int = 0


def upload_all(
    url: ObjectUrl,
    profiles: Profiles,
    items: Iterable[Outgoing],
    *,
    parallel: int = 8,
    tries: int = 6,
    stop: Callable[[], bool] = never,
    result: EgressResult | None = None,
) -> EgressResult:
    """Upload files to `<url>/<path>`, some at a time; what is there with the same size and ETag is left alone.

    `result`, if given, counts while it goes on. `items` is read in this thread, no further than there are uploads under
    way. What may pass is tried again with pauses, a quarter of a minute altogether. The first failure ends all:
    TransferFailed for the other side's and for a file that can not be read, any other error of ours as it is. What was
    uploaded before stays. Memory is bounded by `parallel` pieces of 8 MiB and three objects in parts, of three pieces each;
    parts are larger above 78 GiB.

    Large objects, those whose ETag is one of several parts, and all in Azure get the metadata `appliance-etag`: the other
    side makes an ETag of its own for them, and by ours they are known the next time.
    """
    egress = _Egress(url, open_bucket(url, profiles, "out"), parallel, tries, stop, result or EgressResult())
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="egress") as pool:
        try:
            for item in items:
                egress.wait_for_place()
                if egress.over():
                    break
                pool.submit(egress.send, item)
        except BaseException as error:
            egress.fail(error)
    return egress.finish()


class _SourceFailed(Exception):
    """Carries an error of our own side through the library, whose errors have the same classes."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Egress:
    """One call of upload_all: the state its threads share. The first failure counts and ends the others."""

    def __init__(
        self, url: ObjectUrl, bucket: Bucket, parallel: int, tries: int, stop: Callable[[], bool], result: EgressResult
    ) -> None:
        self._url = url
        self._bucket = bucket
        self._tries = tries
        self._stop = stop
        self._places = threading.Semaphore(parallel)
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._result = result

    def wait_for_place(self) -> None:
        """Wait until one upload less than `parallel` is under way or everything is over, and count one more."""
        while not self._places.acquire(timeout=_POLL_S) and not self.over():
            pass

    def over(self) -> bool:
        """Whether nothing more should be begun: something failed, or the caller wants to stop."""
        if not self._ending.is_set() and self._stop():
            self.fail(TransferFailed(f"{self._url.name()}: stopped"))
        return self._ending.is_set()

    def fail(self, error: BaseException) -> None:
        """End all uploads because of this, unless they are ending already."""
        with self._lock:
            self._failure = self._failure or error
        self._ending.set()

    def finish(self) -> EgressResult:
        """The result. Raises the first failure."""
        if self._failure is not None:
            raise self._failure
        return self._result

    def send(self, item: Outgoing) -> None:
        """Upload one file unless it is there, or fail; gives its place back."""
        try:
            self._count(item, uploaded=self._send_with_tries(item))
        except BaseException as error:
            self.fail(error)
        finally:
            self._places.release()

    def _count(self, item: Outgoing, *, uploaded: bool) -> None:
        with self._lock:
            self._result.uploaded += uploaded
            self._result.skipped += not uploaded
            self._result.size_bytes += item.size_bytes * uploaded

    def _send_with_tries(self, item: Outgoing) -> bool:
        key = join_key(self._url.key, item.path)
        attempt = 1
        while True:
            try:
                return self._send_once(key, item)
            except _SourceFailed as error:
                raise error.cause from None
            except REMOTE_ERRORS as error:
                failure = explain(error, self._bucket.hidden)
            if not failure.retryable or attempt >= self._tries or not self._pause(attempt):
                raise failed(self._url.name(key), failure)
            attempt += 1

    def _send_once(self, key: str, item: Outgoing) -> bool:
        if item.etag is not None and self._is_there(key, item):
            return False
        is_large = item.size_bytes > PIECE_BYTES
        with self._large if is_large else nullcontext(), closing(self._iter_source(key, item)) as source:
            obstore.put(
                self._bucket.store,
                key,
                source if is_large else b"".join(source),
                attributes=_attributes(item, self._url.provider),
                use_multipart=is_large,
                chunk_size=max(PIECE_BYTES, -(-item.size_bytes // _MOST_PARTS)),
                max_concurrency=_PARTS_AT_ONCE,
            )
        return True

    def _is_there(self, key: str, item: Outgoing) -> bool:
        try:
            found = obstore.get(self._bucket.store, key, options={"head": True})
        except REMOTE_ERRORS as error:
            if explain(error, self._bucket.hidden).retryable:
                raise
            # Missing; or keys that may write and not read; or metadata the library can not read. Writing will tell.
            return False
        etags = (bare_etag(found.meta), found.attributes.get(ETAG_NAMES[self._url.provider]))
        return found.meta["size"] == item.size_bytes and item.etag in etags

    def _iter_source(self, key: str, item: Outgoing) -> Generator[bytes]:
        """The file's bytes, exactly as many as were announced. Raises _SourceFailed, nothing else."""
        try:
            yield from self._iter_exactly(key, item)
        except OSError as error:
            raise _SourceFailed(TransferFailed(f"{self._url.name(key)}: its file can not be read: {error}")) from None
        except Exception as error:
            raise _SourceFailed(error) from None

    def _iter_exactly(self, key: str, item: Outgoing) -> Iterator[bytes]:
        left = item.size_bytes
        for piece in item.open():
            if self.over():
                raise TransferFailed(f"{self._url.name(key)}: stopped")
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise ApplianceError(f"{item.path} has more or less than its {item.size_bytes} bytes")

    def _pause(self, attempt: int) -> bool:
        """Wait before the next try, half a second at first; False if everything ends meanwhile."""
        slices = round(2 ** (attempt - 1) * random.uniform(2, 4))
        return not any(self._ending.wait(0.15) or self.over() for _ in range(slices))


def _attributes(item: Outgoing, provider: Provider) -> Attributes:
    attributes: Attributes = {_attribute(name, provider): _header_text(text) for name, text in item.metadata.items()}
    # Of another content, if it is in a file's own metadata: what is there would be taken for that.
    attributes.pop(ETAG_NAMES[provider], None)
    if item.content_type:
        attributes["Content-Type"] = item.content_type
    # Where the other side's own ETag is not the MD5 of the bytes.
    if item.etag and (provider == "microsoft" or item.size_bytes > PIECE_BYTES or "-" in item.etag):
        attributes[ETAG_NAMES[provider]] = item.etag
    return attributes


def _attribute(name: str, provider: Provider) -> str:
    """A metadata name as the provider takes it."""
    return name if provider != "microsoft" or name in CONTENT_HEADERS else _NO_IDENTIFIER.sub("_", name)


def _header_text(value: str) -> str:
    """A metadata value as S3 itself writes one that is not ASCII: RFC 2047. Raw, many servers garble it."""
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=10_000).encode()
