"""Tar archives: what comes out of one for `put file --untar`, and what goes into one for `get file -r`.

Read and written from front to back, a piece at a time; memory does not grow with the archive. An archive is somebody else's:
only files and directories are taken from it, nothing that points elsewhere, and one that is cut off is an error.
"""

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from io import BytesIO
from lzma import LZMAError
from typing import IO, Protocol, Self

from appliance.errors import ApplianceError, InvalidRequest

SUFFIXES = (".tar", ".tar.gz", ".tgz")

_HEADER_BYTES = 1024 * 1024
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Readable(Protocol):
    """A file as far as it is needed here."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or a directory, whose path ends in a slash; to be read before the next one is asked for."""

    path: str
    size_bytes: int
    content: Readable


class _Header(tarfile.TarInfo):
    """A header that is looked at first: `tarfile` would take one of any length, and half a block for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:
            raise ApplianceError("it ends before its end")
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENDED and found.size > _HEADER_BYTES:
            raise ApplianceError("a header is larger than 1 MiB")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise ApplianceError(f"{found.name!r} is a sparse file")
        return found


def iter_members(name: str, file: IO[bytes]) -> Iterator[Member]:
    """Yield what is in an archive, compressed or not. Raises ApplianceError, with its name, for what can not be taken."""
    with _explained(name), tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
        while (found := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every header
            if (path := _clean(found)) is not None:
                content = archive.extractfile(found) if found.isreg() else None
                yield Member(path, found.size, _Content(name, content or BytesIO()))


class _Content:
    """The bytes of a member."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name, self._file = name, file

    def read(self, size_bytes: int) -> bytes:
        with _explained(self._name):
            return self._file.read(size_bytes)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError) as error:
        raise ApplianceError(f"read {name}: it is no whole tar archive: {error}") from None
    except ApplianceError as error:
        raise ApplianceError(f"read {name}: {error}") from None


def _clean(found: tarfile.TarInfo) -> str | None:
    """Return the path of a member below the root; None for the root itself."""
    if not (found.isreg() or found.isdir()):
        raise InvalidRequest(f"{found.name!r} is neither a file nor a directory")
    segments = [segment for segment in found.name.split("/") if segment not in ("", ".")]
    if ".." in segments:
        raise InvalidRequest(f"path ({found.name}) invalid: relative file paths are not allowed")
    if not segments:
        return None
    return f"/{'/'.join(segments)}{'/' if found.isdir() else ''}"


class Writer:
    """Writes an archive, compressed if its name says so; `close` makes it whole."""

    def __init__(self, file: IO[bytes], name: str = "") -> None:
        self._file = GzipFile(mode="wb", fileobj=file) if name.endswith("gz") else file

    def add(self, path: str, size_bytes: int, modified_ns: int, pieces: Iterable[bytes]) -> None:
        """Add a file, or a directory if the path ends in a slash. The path has a slash in front, the member has not."""
        info = tarfile.TarInfo(path.strip("/"))
        info.size, info.mtime, info.mode = size_bytes, modified_ns // 10**9, 0o644
        if path.endswith("/"):
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._file.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8"))
        for piece in pieces:
            self._file.write(piece)
        self._file.write(bytes(-size_bytes % tarfile.BLOCKSIZE))

    def close(self) -> None:
        """Write the end."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        if isinstance(self._file, GzipFile):
            self._file.close()
