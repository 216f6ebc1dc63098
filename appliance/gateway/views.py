"""Buckets, objects and uploads as moto's code and our replies read them.

Plain values made for one request: moto's `FakeBucket` and `FakeKey` keep every instance alive.
"""

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from appliance.errors import ApplianceError
from appliance.gateway import checksums, metadata
from appliance.httpd import FileSlice
from appliance.names import CommitId
from appliance.store.blobs import Extent, read_extents
from appliance.store.snapshots import Entry, Kind

REGION = "us-east-1"
OWNER = {"ID": "0" * 32, "DisplayName": "pachyderm"}
_PEEK_BYTES = 512
_NOT_BINARY = bytes({*range(256)} - {*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
_TEXT_TYPES = ("application/json", "application/xml", "application/javascript")


def iso_time(time_ns: int) -> str:
    """Return a time as S3's XML has it: milliseconds, UTC."""
    return f"{_iso_second(time_ns // 1_000_000_000)}.{time_ns // 1_000_000 % 1000:03d}Z"


# The files of a page were often written in the same second, and formatting one costs more than the rest of its line.
@lru_cache(maxsize=1024)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def http_time(time_ns: int) -> str:
    """Return a time as HTTP headers have it."""
    return _http_second(time_ns // 1_000_000_000)


@lru_cache(maxsize=1024)
def _http_second(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


@dataclass(frozen=True, slots=True)
class BucketView:
    """A bucket as moto's bucket operations read it."""

    name: str
    created_ns: int
    region_name: str = REGION
    account_id: str = "000000000000"
    bucket_namespace: str | None = None
    versioning: str | None = "Enabled"

    @property
    def creation_date_ISO8601(self) -> str:
        return iso_time(self.created_ns)


class BlobSlice:
    """The bytes of an object, or a range of them, unread: sliceable as moto's range code expects, sent as file slices."""

    __slots__ = ("_extents", "_length", "_start")

    def __init__(self, extents: Sequence[Extent], start: int, length: int) -> None:
        self._extents, self._start, self._length = extents, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, chosen: slice) -> "BlobSlice":
        start, stop, _ = chosen.indices(self._length)
        return BlobSlice(self._extents, self._start + start, max(0, stop - start))

    def peek(self) -> bytes:
        """Return how it begins; nothing where that can not be read, which whoever reads all of it will be told."""
        if not self._extents:
            return b""
        first = self._extents[0]
        try:
            return next(read_extents([replace(first, size_bytes=min(_PEEK_BYTES, first.size_bytes))]), b"")
        except ApplianceError:
            return b""

    def to_file_slices(self) -> list[FileSlice]:
        """Return the ranges of files and bytes that make it up, in order."""
        slices = []
        position, end = 0, self._start + self._length
        for extent in self._extents:
            start, stop = max(self._start, position), min(end, position + extent.size_bytes)
            if start < stop:
                slices.append(FileSlice(extent.file, extent.data, extent.offset + start - position, stop - start))
            position += extent.size_bytes
        return slices


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object as GET and HEAD answer it. `version` is None where there are no versions."""

    entry: Entry
    version: CommitId | None
    body: BlobSlice

    @property
    def quoted_etag(self) -> str:
        """As in the ETag header."""
        return f'"{self.entry.content.etag}"'

    @property
    def last_modified(self) -> str:
        """As in the Last-Modified header."""
        return http_time(self.entry.modified_ns)

    def headers(self) -> dict[str, str]:
        """Return the headers that describe it."""
        entry = self.entry
        described = {
            "ETag": self.quoted_etag,
            "Last-Modified": self.last_modified,
            "Content-Length": str(len(self.body)),
            "Accept-Ranges": "bytes",
        }
        described.update(metadata.headers_of(entry.metadata))
        if "Content-Type" not in described:
            described["Content-Type"] = guess_type(entry.path, entry.kind, self.body)
        if self.version is not None:
            described["x-amz-version-id"] = self.version
        return described

    def checksum_headers(self) -> dict[str, str]:
        """Return the checksum that is kept with it, if any."""
        kept = checksums.find_kept(self.entry.metadata)
        if kept is None:
            return {}
        algorithm, value = kept
        return {algorithm.header: value, checksums.PREFIX + "type": checksums.type_of(value)}


def guess_type(path: str, kind: Kind, body: BlobSlice) -> str:
    """Return the content type for a file that was put without one: by its name, else text or not by how it begins."""
    if kind == Kind.DIRECTORY:
        return "application/x-directory"
    guessed, encoding = mimetypes.guess_type(path, strict=False)
    if not guessed and not encoding and _is_text(body.peek()):
        return "text/plain; charset=utf-8"
    if encoding or not guessed:
        return "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") or guessed in _TEXT_TYPES else guessed


def _is_text(beginning: bytes) -> bool:
    """Tell whether something begins as text does, for browsers as for Pachyderm (WHATWG's MIME sniffing, 7.1)."""
    return bool(beginning) and not beginning.translate(None, _NOT_BINARY)
