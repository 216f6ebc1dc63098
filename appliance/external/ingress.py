"""Objects in from other people's object stores.

Everything blocks; call it in a worker thread. `stop` is asked between pieces; when it says yes, the call ends with
TransferFailed. Messages name the object and the cause in one line, and no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import obstore

from appliance.errors import FileNotFound, InvalidRequest, TransferFailed
from appliance.external.clients import PIECE_BYTES, REMOTE_ERRORS, Bucket, bare_etag, explain, failed, never, open_bucket
from appliance.external.credentials import Profiles
from appliance.external.urls import ObjectUrl, relative_key

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore import ObjectMeta

_PAGE: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object in a listing of `url`. `relative_path` is what it is called below the place it is copied to."""

    url: ObjectUrl
    key: str
    relative_path: str
    size_bytes: int
    etag: str | None
    modified_ns: int


def iter_objects(url: ObjectUrl, profiles: Profiles, *, recursive: bool) -> Iterator[RemoteObject]:
    """The object at an address, or, recursively, all objects below it as a directory, page by page.

    A recursive listing of what is no directory gives the object itself. Empty keys that end with a slash are markers of
    directories, and left out. An empty bucket has no objects; else nothing found raises FileNotFound. Raises
    TransferFailed for a missing bucket and a refused or failed request, and what `open_bucket` raises, this at once.
    """
    bucket = open_bucket(url, profiles, "in")
    if recursive:
        return _iter_below(url, bucket)
    if not url.key:
        raise InvalidRequest(f"{url.name()} is a bucket, not an object: -r takes all of it")
    return _iter_single(url, bucket)


def download(
    obj: RemoteObject, profiles: Profiles, write: Callable[[bytes], object], *, stop: Callable[[], bool] = never
) -> None:
    """Hand an object's bytes to `write` in order, in pieces of at most 8 MiB.

    Raises TransferFailed if it is not, or does not stay, what the listing said; part of it may have been written then.
    """
    bucket = open_bucket(obj.url, profiles, "in")
    received = 0
    for piece in _iter_pieces(obj, bucket):
        if stop():
            raise TransferFailed(f"{obj.url.name(obj.key)}: stopped")
        received += len(piece)
        write(piece)
    if received != obj.size_bytes:
        raise _changed(obj)


def _iter_single(url: ObjectUrl, bucket: Bucket) -> Iterator[RemoteObject]:
    try:
        meta = obstore.head(bucket.store, url.key)
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        yield _remote_object(url, url.key.rpartition("/")[2], meta)
        return
    if failure.status == 404:
        _raise_missing(url, bucket)
    raise failed(url.name(), failure)


def _raise_missing(url: ObjectUrl, bucket: Bucket) -> None:
    """Say what is missing; the reply to a HEAD has no words, a listing has."""
    if next(_iter_listing(url, bucket), None) is not None:
        raise FileNotFound(f"{url.name()} is a directory, not an object: -r takes all below it")
    raise FileNotFound(f"{url.name()}: no such object")


def _iter_below(url: ObjectUrl, bucket: Bucket) -> Iterator[RemoteObject]:
    empty = True
    for meta in _iter_listing(url, bucket):
        path = relative_key(url.key, meta["path"])
        if path is not None and not _is_marker(url, bucket, meta):
            empty = False
            yield _remote_object(url, path, meta)
    if empty and url.key:
        yield from _iter_single(url, bucket)


def _iter_listing(url: ObjectUrl, bucket: Bucket) -> Iterator[ObjectMeta]:
    try:
        for page in obstore.list(bucket.store, url.key or None, chunk_size=_PAGE):
            yield from page
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        return
    raise failed(url.name(), failure)


def _is_marker(url: ObjectUrl, bucket: Bucket, meta: ObjectMeta) -> bool:
    """Whether a listed key ended with a slash, which the library takes away: then there is no such empty object."""
    if meta["size"]:
        return False
    try:
        return obstore.head(bucket.store, meta["path"])["size"] != 0
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    if failure.status == 404:
        return True
    raise failed(url.name(meta["path"]), failure)


def _remote_object(url: ObjectUrl, relative_path: str, meta: ObjectMeta) -> RemoteObject:
    return RemoteObject(
        url=url,
        key=meta["path"],
        relative_path=relative_path,
        size_bytes=meta["size"],
        etag=bare_etag(meta),
        modified_ns=(meta["last_modified"] - _EPOCH) // timedelta(microseconds=1) * 1000,
    )


def _iter_pieces(obj: RemoteObject, bucket: Bucket) -> Iterator[bytes]:
    # The library fetches the rest after a broken connection; the condition keeps it from joining two versions.
    condition = f'"{obj.etag}"' if obj.etag and not obj.etag.startswith("W/") else None
    try:
        result = obstore.get(bucket.store, obj.key, options={"if_match": condition} if condition else None)
        if (result.meta["size"], bare_etag(result.meta)) != (obj.size_bytes, obj.etag):
            raise _changed(obj)
        for chunk in result.stream(min_chunk_size=PIECE_BYTES // 2):
            yield from _cut(bytes(chunk))
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        return
    raise _changed(obj) if failure.changed or failure.status == 404 else failed(obj.url.name(obj.key), failure)


def _cut(chunk: bytes) -> Iterator[bytes]:
    if len(chunk) <= PIECE_BYTES:
        yield chunk
        return
    for start in range(0, len(chunk), PIECE_BYTES):
        yield chunk[start : start + PIECE_BYTES]


def _changed(obj: RemoteObject) -> TransferFailed:
    return TransferFailed(f"{obj.url.name(obj.key)} changed while it was read")
