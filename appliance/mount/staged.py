"""What was written and is not committed: bytes on disk, under names of their own.

Size, times, mode, owner and number of names are those of the thing itself, and the kernel's rules for them are the disk's: a
staged link is a link, a pipe a pipe, and an empty directory has the attributes of one that was changed. Whatever ends the
process, what was written stays; what no row names any more is removed at the next start.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLAIN, EXECUTABLE = 0o644, 0o755
_OURS = 0o600
_SET_ID = stat.S_ISUID | stat.S_ISGID
_MODE = 0o7777


@dataclass(frozen=True, slots=True)
class Wanted:
    """What something new is to be: its permissions, and whose it is. `gid` may be that of its directory."""

    mode: int
    uid: int
    gid: int


class StagedFile:
    """An open file of staged bytes. If it is `trusted`, who writes to it may keep the bits that lend its owner's rights."""

    def __init__(self, path: Path, *, writing: bool, trusted: bool = True) -> None:
        self.writing = writing
        self._trusted = trusted
        self.descriptor = _open(path, (os.O_RDWR if writing else os.O_RDONLY) | os.O_CLOEXEC)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes from `offset` on, fewer at the end of the file. Blocks for the disk."""
        return os.pread(self.descriptor, size_bytes, offset)

    def write(self, offset: int, piece: bytes) -> int:
        """Write all of a piece and return its size. Blocks for the disk."""
        view = memoryview(piece)
        while view:
            written = os.pwrite(self.descriptor, view, offset)
            view, offset = view[written:], offset + written
        if not self._trusted:
            drop_rights(self.descriptor)
        return len(piece)

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


def _open(path: Path, flags: int) -> int:
    """Open a file whatever its mode: those who asked have been checked, and where we are not root, we are its owner."""
    try:
        return os.open(path, flags)
    except PermissionError:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(_OURS)
        try:
            return os.open(path, flags)
        finally:
            path.chmod(mode)


def drop_rights(file: int | Path) -> None:
    """Take away what lends the owner's rights, as a kernel does when others write; it leaves that to us."""
    mode = os.stat(file).st_mode  # noqa: PTH116 - may be a descriptor
    if mode & stat.S_ISUID or mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP:
        os.chmod(file, mode & _MODE & ~_SET_ID)  # noqa: PTH101 - may be a descriptor


class StagedFiles:
    """The directory of such files, inside the data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self._directory / name

    def make(self, wanted: Wanted) -> str:
        """Make an empty file and return its name."""
        return self._make(wanted, lambda path: path.touch(_OURS, exist_ok=False))

    def make_hollow(self, wanted: Wanted, size_bytes: int, modified_ns: int) -> str:
        """Make a file that has a size and no bytes yet."""
        name = self.make(wanted)
        os.truncate(self.path(name), size_bytes)
        os.utime(self.path(name), ns=(modified_ns, modified_ns))
        return name

    def make_directory(self, wanted: Wanted, modified_ns: int | None = None) -> str:
        """Make what has the attributes of a directory."""
        name = self._make(wanted, lambda path: path.mkdir(0o700))
        if modified_ns is not None:
            os.utime(self.path(name), ns=(modified_ns, modified_ns))
        return name

    def make_link(self, wanted: Wanted, target: bytes) -> str:
        """Make a symbolic link; it has no permissions."""
        return self._make(wanted, lambda path: os.symlink(target, os.fsencode(path)))  # noqa: PTH211 - bytes of any kind

    def make_special(self, wanted: Wanted, device: int) -> str:
        """Make a pipe, socket or device, as the mode says. Only root may make the last."""
        kind = stat.S_IFMT(wanted.mode)
        return self._make(wanted, lambda path: os.mknod(path, kind | _OURS, device))

    def _make(self, wanted: Wanted, make: Callable[[Path], None]) -> str:
        name = secrets.token_hex(16)
        path = self.path(name)
        make(path)
        try:
            status = path.lstat()
            if (status.st_uid, status.st_gid) != (wanted.uid, wanted.gid):
                with suppress(PermissionError):  # without root all is ours
                    os.chown(path, wanted.uid, wanted.gid, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                path.chmod(wanted.mode & _MODE)
        except BaseException:
            self.remove([name])
            raise
        return name

    def fill(self, name: str, pieces: Iterable[bytes]) -> None:
        """Give a hollow file its bytes; its time stays. Blocks for the disk."""
        path = self.path(name)
        before = path.stat()
        with open(_open(path, os.O_RDWR | os.O_CLOEXEC), "r+b", buffering=0) as file:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def link(self, name: str) -> str:
        """Give the same thing a second name and return it: what is written to one shows in both, until they are committed."""
        second = secrets.token_hex(16)
        os.link(self.path(name), self.path(second), follow_symlinks=False)
        return second

    def touch(self, name: str) -> None:
        """Note that what is in a directory was changed just now."""
        os.utime(self.path(name))

    def note_change(self, name: str) -> None:
        """Note that a thing itself was changed just now, not what is in it: that it was renamed."""
        path = self.path(name)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            os.chown(path, -1, -1, follow_symlinks=False)
        else:
            path.chmod(stat.S_IMODE(status.st_mode))

    def allow_reading(self, name: str) -> None:
        """Let us read a file whose owner, if that is us, may not: it is about to be committed, and its mode forgotten."""
        path = self.path(name)
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & stat.S_IRUSR:
            path.chmod(mode | stat.S_IRUSR)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; who has one open keeps it."""
        for name in names:
            path = self.path(name)
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(path.lstat().st_mode):
                    path.rmdir()
                else:
                    path.unlink()

    def sweep(self, used: set[str]) -> None:
        """Remove what is not in use. Only at start."""
        self.remove([path.name for path in self._directory.iterdir() if path.name not in used])
