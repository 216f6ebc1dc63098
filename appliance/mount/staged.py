"""Files that were written and are not committed: their bytes on disk, under names of their own.

Size, time and the executable bit are those of the file itself. Whatever ends the process, what was written stays; what no
row names any more is removed at the next start.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PLAIN, EXECUTABLE = 0o644, 0o755


class StagedFile:
    """An open file of staged bytes."""

    def __init__(self, path: Path, *, writing: bool) -> None:
        self.writing = writing
        self.descriptor = os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | os.O_CLOEXEC)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes from `offset` on, fewer at the end of the file. Blocks for the disk."""
        return os.pread(self.descriptor, size_bytes, offset)

    def write(self, offset: int, piece: bytes) -> int:
        """Write all of a piece and return its size. Blocks for the disk."""
        view = memoryview(piece)
        while view:
            written = os.pwrite(self.descriptor, view, offset)
            view, offset = view[written:], offset + written
        return len(piece)

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class StagedFiles:
    """The directory of such files, inside the data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self._directory / name

    def make(self, pieces: Iterable[bytes] = ()) -> str:
        """Make a file of these bytes and return its name. Blocks for the disk."""
        name = secrets.token_hex(16)
        try:
            with self.path(name).open("xb", buffering=0) as file:
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[file.write(view) :]
            self.path(name).chmod(PLAIN)
        except BaseException:
            self.remove([name])
            raise
        return name

    def link(self, name: str) -> str:
        """Give the same bytes a second name and return it: what is written to one shows in both, until they are committed."""
        second = secrets.token_hex(16)
        os.link(self.path(name), self.path(second))
        return second

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; who has one open keeps it."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def sweep(self, used: set[str]) -> None:
        """Remove what is not in use. Only at start."""
        self.remove([path.name for path in self._directory.iterdir() if path.name not in used])
