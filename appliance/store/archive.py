"""The file that an export is: a tar of a manifest, a database and blobs, in this order.

    appliance-export.json   {"format": 1, "schema": [migrations], "repos": how many}
    appliance.db            the rows, in the schema of the appliance that wrote it
    blobs/<digest>          the bytes of each blob that is not in the database

Only plain files and only these names; any tar can list and unpack it. A reader takes nothing else, so that what is in such a
file can not ask for more memory than a header.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from appliance.errors import InvalidRequest

MANIFEST = "appliance-export.json"
DATABASE = "appliance.db"
BLOBS = "blobs/"
FORMAT = 1
_BLOCK = tarfile.BLOCKSIZE
_PIECE_BYTES = 1024 * 1024

Read = Callable[[int], bytes]
"""Return exactly so many bytes, fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    size_bytes: int


def header(member: Member) -> bytes:
    """Return what stands before the bytes of a file."""
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.size_bytes, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size_bytes: int) -> bytes:
    """Return what stands behind so many bytes of a file."""
    return bytes(-size_bytes % _BLOCK)


END = bytes(2 * _BLOCK)
"""What stands at the end."""


class Reader:
    """Reads an archive from its beginning to its end. Raises InvalidRequest for anything that `header` would not write."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = self._padding = 0

    def next(self) -> Member | None:
        """Go to the next file; None at the end. The one before must have been read to its end."""
        assert self._left == 0, "a file was not read to its end"
        self._take(self._padding)
        block = self._take(_BLOCK)
        if block == bytes(_BLOCK):
            self._take(_BLOCK)
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"this is no export of an appliance: {error}") from None
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise InvalidRequest(f"this is no export of an appliance: {info.name!r} is no plain file")
        self._left, self._padding = info.size, -info.size % _BLOCK
        return Member(info.name, info.size)

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the bytes of the file that `next` went to."""
        while self._left:
            piece = self._take(min(self._left, _PIECE_BYTES))
            self._left -= len(piece)
            yield piece

    def _take(self, size_bytes: int) -> bytes:
        data = self._read(size_bytes) if size_bytes else b""
        if len(data) != size_bytes:
            raise InvalidRequest("the export is cut off: it ends before its end")
        return data
