"""Files of this machine as sources, below the directories that `serve` was told to allow."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from appliance.errors import FileNotFound, InvalidRequest, TransferFailed, Unsupported
from appliance.external.remote import Received, RemoteObject
from appliance.external.urls import ObjectUrl

_PIECE_BYTES: Final = 1 << 20


def iter_files(url: ObjectUrl, roots: Sequence[Path], *, recursive: bool) -> Iterator[RemoteObject]:
    """The file at an address or, recursively, all below it. Symbolic links are followed within the root.

    Raises Unsupported without any root, InvalidRequest outside of them, FileNotFound, TransferFailed.
    """
    path = Path(f"/{url.key}")
    root = _root_of(url, path, roots)
    return _iter_files(url, path, root, recursive=recursive)


def read_file(obj: RemoteObject, received: Received) -> Iterator[bytes]:
    """Yield a file's bytes. Raises TransferFailed if it is not, or does not stay, what the listing said."""
    try:
        with Path(f"/{obj.key}").open("rb", buffering=0) as file:
            # The opened file itself is asked where it is: a link may have been put in the way since.
            if obj.root is None or not Path(f"/proc/self/fd/{file.fileno()}").readlink().is_relative_to(obj.root):
                raise InvalidRequest(f"{obj.url.name(obj.key)} is not below {obj.root}")
            before = os.fstat(file.fileno())
            if _etag(before) != obj.etag:
                raise _changed(obj)
            while piece := file.read(_PIECE_BYTES):
                yield piece
            if _etag(os.fstat(file.fileno())) != obj.etag:
                raise _changed(obj)
    except OSError as error:
        raise TransferFailed(f"{obj.url.name(obj.key)}: {error.strerror}") from None


def _root_of(url: ObjectUrl, path: Path, roots: Sequence[Path]) -> Path:
    if not roots:
        raise Unsupported(f"{url.scheme}:// opens this machine's disk: `serve --allow-files DIR` allows what is below DIR")
    for root in roots:
        if path.resolve().is_relative_to(root.resolve()):
            return root.resolve()
    raise InvalidRequest(f"{url.name()} is not below what `serve --allow-files` allows")


def _iter_files(url: ObjectUrl, path: Path, root: Path, *, recursive: bool) -> Iterator[RemoteObject]:
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            yield _remote_object(url, path, path.name, status, root)
        elif recursive:
            yield from _walk(url, path, "", root)
        else:
            raise FileNotFound(f"{url.name()} is a directory, not a file: -r takes all below it")
    except FileNotFoundError:
        raise FileNotFound(f"{url.name()}: no such file") from None
    except OSError as error:
        raise TransferFailed(f"{url.name()}: {error.strerror}") from None


def _walk(url: ObjectUrl, directory: Path, relative: str, root: Path) -> Iterator[RemoteObject]:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(url, Path(entry.path), f"{relative}{entry.name}/", root)
        else:
            yield _remote_object(url, Path(entry.path), f"{relative}{entry.name}", Path(entry.path).stat(), root)


def _remote_object(url: ObjectUrl, path: Path, relative_path: str, status: os.stat_result, root: Path) -> RemoteObject:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequest(f"{url.name(str(path)[1:])} is not a regular file")
    key = str(path)[1:]
    return RemoteObject(url, key, relative_path, status.st_size, _etag(status), status.st_mtime_ns, url.address(key), root)


def _etag(status: os.stat_result) -> str:
    """What changes whenever the content does: a file has no ETag of its own."""
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def _changed(obj: RemoteObject) -> TransferFailed:
    return TransferFailed(f"{obj.url.name(obj.key)} changed while it was read")
