"""Who still needs the file of a blob, and which files are known to be damaged. In memory, for the life of the store.

Bytes are published before their row is written and read after their row was seen, so there are moments in which a file is
needed and no row says so. Whoever is in such a moment has the file's `BlobFile`, and while anybody has it the collector
leaves the file where it is. That takes no call at the end: dropping the object is the end.
"""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import NewType
from weakref import WeakValueDictionary

Digest = NewType("Digest", bytes)
"""SHA-256 of a blob, 32 bytes."""


class BlobFile(PosixPath):
    """The file of a blob, which stays where it is while somebody has this object."""

    __slots__ = ("__weakref__",)


class Holds:
    """The blob files that are in somebody's hands. One object for each file, shared by all who have it."""

    def __init__(self, directory: Path, aside: Path) -> None:
        self._directory, self._aside = str(directory), aside
        self._lock = threading.Lock()
        self._files: WeakValueDictionary[Digest, BlobFile] = WeakValueDictionary()
        self._damaged: set[Digest] = set()
        self.on_mended: Callable[[Digest], None] = lambda _digest: None

    def get(self, digest: Digest) -> BlobFile:
        """Return the file of a blob, there or not; while the answer is kept, `remove` will not remove it."""
        with self._lock:
            file = self._files.get(digest)
            if file is None:
                name = digest.hex()
                file = self._files[digest] = BlobFile(self._directory, name[:2], name[2:])
            return file

    def remove(self, digest: Digest, is_needed: Callable[[], bool]) -> int:
        """Remove the file of a blob unless it is held or a row needs it, and return the bytes that gives back.

        `is_needed` looks for the row. It is asked while nobody can come to hold the file, so that a file which exists for
        `publish` is not gone when its row is written.
        """
        name = digest.hex()
        file, aside = Path(self._directory, name[:2], name[2:]), self._aside / secrets.token_hex(16)
        with self._lock:
            if digest in self._files or is_needed():
                return 0
            self._damaged.discard(digest)
            try:
                file.rename(aside)
            except FileNotFoundError:
                return 0
        size_bytes = aside.stat().st_size
        aside.unlink()  # outside the lock: of a large file this takes its time
        return size_bytes

    def is_damaged(self, digest: Digest) -> bool:
        """Tell whether a check found wrong bytes in the file."""
        return digest in self._damaged

    def set_damaged(self, digest: Digest, inode: int | None = None) -> bool:
        """Remember that the file with this inode number has wrong bytes; False if it was replaced since it was read."""
        file = self.get(digest)
        with self._lock:
            if inode is not None and not _is_inode(file, inode):
                return False
            self._damaged.add(digest)
            return True

    def mend(self, digest: Digest) -> None:
        """Forget that the file had wrong bytes; `on_mended` hears of it."""
        with self._lock:
            known = digest in self._damaged
            self._damaged.discard(digest)
        if known:
            self.on_mended(digest)


def _is_inode(file: Path, inode: int) -> bool:
    try:
        return file.stat().st_ino == inode
    except FileNotFoundError:
        return False
