"""Objects of Amazon, Google and Microsoft: found, listed and read. Everything blocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import GenericError

from appliance.errors import FileNotFound, InvalidPath, InvalidRequest, TransferFailed
from appliance.external import amazon, rest
from appliance.external.ahead import read_ahead
from appliance.external.clients import CONTENT_HEADERS, ETAG_NAMES, PIECE_BYTES, Bucket, bare_etag, open_bucket
from appliance.external.credentials import Profiles
from appliance.external.failures import REMOTE_ERRORS, explain, failed
from appliance.external.pages import EPOCH, Listed
from appliance.external.ranges import iter_pieces
from appliance.external.remote import Piece, Received, RemoteObject
from appliance.external.urls import ObjectUrl, relative_key

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore import Attributes, GetResult, ObjectMeta

_PAGE: Final = 1000
# Larger objects come in ranges.
_RANGED_BYTES: Final = 4 * PIECE_BYTES
_READ_BYTES: Final = 256 * 1024
_NOT_A_RANGE: Final = "non-partial response"


def find_object(url: ObjectUrl, profiles: Profiles) -> Iterator[RemoteObject]:
    """The one object at an address. Raises FileNotFound, TransferFailed, and what `open_bucket` raises, this at once."""
    bucket = open_bucket(url, profiles, "in")
    if not url.key:
        raise InvalidRequest(f"{url.name()} is a bucket, not an object: -r takes all of it")
    return _iter_single(url, bucket)


def iter_below(url: ObjectUrl, profiles: Profiles, *, literal: bool) -> Iterator[RemoteObject]:
    """All objects below an address; see `ingress.iter_objects`."""
    return _iter_below(url, open_bucket(url, profiles, "in"), literal=literal)


def read_object(obj: RemoteObject, profiles: Profiles, received: Received) -> Iterator[Piece]:
    """Yield an object's bytes in pieces of at most 8 MiB; `received` learns what was said about them first.

    Each piece is good until the next is asked for.

    Raises TransferFailed if it is not, or does not stay, what the listing said.
    """
    bucket = obj.bucket or open_bucket(obj.url, profiles, "in")
    try:
        yield from _read_ranges(bucket, obj, received) if _may_come_in_ranges(obj) else _read_whole(bucket, obj, received)
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        return
    raise changed(obj) if failure.changed or failure.status == 404 else failed(obj.url.name(obj.key), failure)


def _read_whole(bucket: Bucket, obj: RemoteObject, received: Received) -> Iterator[Piece]:
    condition = _condition(obj)
    result = obstore.get(bucket.store, obj.key, options={"if_match": condition} if condition else None)
    _check_same(obj, result)
    received.metadata.update(_metadata(result.attributes))
    if obj.size_bytes is not None and obj.size_bytes <= PIECE_BYTES:
        yield from _cut(memoryview(result.bytes()))
        return
    chunks = result.stream(min_chunk_size=PIECE_BYTES // 2)
    yield from read_ahead(piece for chunk in chunks for piece in _cut(memoryview(chunk)))


def _may_come_in_ranges(obj: RemoteObject) -> bool:
    return _condition(obj) is not None and obj.size_bytes is not None and obj.size_bytes > _RANGED_BYTES


def _read_ranges(bucket: Bucket, obj: RemoteObject, received: Received) -> Iterator[Piece]:
    """Yield the pieces of an object that may come in ranges, or all of it in one from a server that has no ranges."""
    size_bytes = obj.size_bytes or 0
    first = _open_piece(bucket, obj, 0, PIECE_BYTES)
    if first is not None:
        received.metadata.update(_metadata(first.attributes))
        yield from iter_pieces(size_bytes, partial(_read_piece, bucket, obj, first))
    elif obj.url.provider == "amazon":
        described = obstore.get(bucket.store, obj.key, options={"head": True, "if_match": _condition(obj)})
        received.metadata.update(_metadata(described.attributes))
        with amazon.open_ranges(obj.url.name(obj.key), bucket.place, bucket.hidden, obj.key, obj.etag or "") as read:
            yield from iter_pieces(size_bytes, read)
    else:
        yield from _read_whole(bucket, obj, received)


def _open_piece(bucket: Bucket, obj: RemoteObject, start: int, end: int) -> GetResult | None:
    """Begin to read what of an object lies between two offsets; None from a server whose ranges are not understood."""
    try:
        result = obstore.get(bucket.store, obj.key, options={"if_match": _condition(obj), "range": (start, end)})
    except GenericError as error:
        if _NOT_A_RANGE in str(error):  # right or not, the library takes only a reply with the status for ranges
            return None
        raise
    _check_same(obj, result)
    return result


def _read_piece(bucket: Bucket, obj: RemoteObject, first: GetResult, start: int, piece: memoryview) -> None:
    result = _open_piece(bucket, obj, start, start + len(piece)) if start else first
    filled = 0
    for chunk in result.stream(min_chunk_size=_READ_BYTES) if result is not None else ():
        end = filled + len(chunk)
        if end > len(piece):
            raise changed(obj)
        piece[filled:end], filled = memoryview(chunk), end
    if filled != len(piece):
        raise changed(obj)


def _condition(obj: RemoteObject) -> str | None:
    """What keeps two versions from being joined, be it by the library after a broken connection."""
    return f'"{obj.etag}"' if obj.etag and not obj.etag.startswith("W/") else None


def iter_keys(url: ObjectUrl, bucket: Bucket) -> Iterator[str]:
    """The keys of all objects below an address, as the store lists them."""
    prefix = f"{url.key}/" if url.key else ""
    return (listed.key for listed in _iter_listing(url, bucket, prefix) if listed.key.startswith(prefix))


def changed(obj: RemoteObject) -> TransferFailed:
    """The error that says so."""
    return TransferFailed(f"{obj.url.name(obj.key)} changed while it was read")


def _check_same(obj: RemoteObject, result: GetResult) -> None:
    if (result.meta["size"], bare_etag(result.meta)) != (obj.size_bytes, obj.etag):
        raise changed(obj)


def _metadata(attributes: Attributes) -> dict[str, str]:
    """What the other side says about an object, under the names that files have it by; what no header can hold is left."""
    told = {name: text for name, text in attributes.items() if text.isascii() and text.isprintable()}
    for name in ("Storage-Class", *ETAG_NAMES.values()):
        told.pop(name, None)
    return {(name if name in CONTENT_HEADERS else f"x-amz-meta-{name}").lower(): text for name, text in told.items()}


def _iter_single(url: ObjectUrl, bucket: Bucket) -> Iterator[RemoteObject]:
    try:
        meta = obstore.head(bucket.store, url.key)
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        yield _remote_object(url, bucket, url.key.rpartition("/")[2], _listed(meta))
        return
    if failure.status == 404:
        _raise_missing(url, bucket)
    raise failed(url.name(), failure)


def _raise_missing(url: ObjectUrl, bucket: Bucket) -> None:
    """Say what is missing; the reply to a HEAD has no words, a listing has."""
    if next(_iter_listing(url, bucket, f"{url.key}/"), None) is not None:
        raise FileNotFound(f"{url.name()} is a directory, not an object: -r takes all below it")
    raise FileNotFound(f"{url.name()}: no such object")


def _iter_below(url: ObjectUrl, bucket: Bucket, *, literal: bool) -> Iterator[RemoteObject]:
    empty = True
    for listed in _iter_listing(url, bucket, url.key if literal or not url.key else f"{url.key}/"):
        path = relative_key(url.key, listed.key, literal=literal)
        if path is not None and not _is_marker(url, bucket, listed):
            empty = False
            yield _remote_object(url, bucket, path, listed)
    if empty and url.key:
        yield from _iter_single(url, bucket)


def _iter_listing(url: ObjectUrl, bucket: Bucket, prefix: str) -> Iterator[Listed]:
    """The objects whose keys begin with a prefix, and perhaps others beside them."""
    if url.provider == "amazon":
        yield from amazon.iter_listing(url.name(), bucket.place, bucket.hidden, prefix)
        return
    if rest.can_list(bucket.place):
        yield from rest.iter_listing(url.name(), bucket.place, bucket.hidden, prefix)
        return
    try:
        # The library's prefixes are directories.
        for page in obstore.list(bucket.store, prefix.rpartition("/")[0] or None, chunk_size=_PAGE):
            yield from map(_listed, page)
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        return
    if failure.cause.startswith('Path "'):  # the library's own word about a key, with which its listing ends
        raise InvalidPath(f"{url.name()}: {failure.cause}")
    raise failed(url.name(), failure)


def _is_marker(url: ObjectUrl, bucket: Bucket, listed: Listed) -> bool:
    """Whether an empty object stands for a directory: its key ends with a slash.

    obstore takes that slash away in its listings; then there is no such empty object.
    """
    if listed.size_bytes:
        return False
    if url.provider == "amazon" or rest.can_list(bucket.place):
        return listed.key.endswith("/")
    try:
        return obstore.head(bucket.store, listed.key)["size"] != 0
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    if failure.status == 404:
        return True
    raise failed(url.name(listed.key), failure)


def _listed(meta: ObjectMeta) -> Listed:
    modified_ns = (meta["last_modified"] - EPOCH) // timedelta(microseconds=1) * 1000
    return Listed(meta["path"], meta["size"], bare_etag(meta), modified_ns)


def _remote_object(url: ObjectUrl, bucket: Bucket, relative_path: str, listed: Listed) -> RemoteObject:
    return RemoteObject(
        url=url,
        key=listed.key,
        relative_path=relative_path,
        size_bytes=listed.size_bytes,
        etag=listed.etag,
        modified_ns=listed.modified_ns,
        address=url.address(listed.key, endpoint=bucket.place.endpoint, account=bucket.place.account),
        bucket=bucket,
    )


def _cut(chunk: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(chunk), PIECE_BYTES):
        yield chunk[start : start + PIECE_BYTES]
