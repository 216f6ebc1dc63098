"""A file system that shows a directory through pyfuse3 and does nothing else: what pyfuse3 can do on this machine.

All names and attributes are read once and kept in memory; the kernel may remember everything; reads are those of the files.

    bench_mount_plain.py SOURCE MOUNT_POINT
"""

import errno
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyfuse3
import trio

_LONG_S = 3600


class Plain(pyfuse3.Operations):  # type: ignore[misc]
    """The names of a directory, read-only."""

    supports_dot_lookup = False

    def __init__(self, source: str) -> None:
        super().__init__()
        self._attributes: dict[int, Any] = {}
        self._paths: dict[int, str] = {}
        self._children: dict[int, dict[bytes, int]] = {}
        self._lists: dict[int, list[tuple[bytes, Any]]] = {}
        self._add(source)

    def _add(self, path: str) -> int:
        status = os.lstat(path)
        number = len(self._attributes) + 1
        entry = self._attributes[number] = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_size = number, status.st_mode, status.st_size
        entry.st_mtime_ns, entry.st_blocks = status.st_mtime_ns, status.st_blocks
        entry.entry_timeout = entry.attr_timeout = _LONG_S
        self._paths[number] = path
        if stat.S_ISDIR(status.st_mode):
            names = sorted(os.listdir(path))  # noqa: PTH208
            children = {os.fsencode(name): self._add(f"{path}/{name}") for name in names}
            self._children[number] = children
            self._lists[number] = [(name, self._attributes[child]) for name, child in children.items()]
        return number

    async def lookup(self, parent: int, name: bytes, _context: object) -> Any:
        number = self._children[parent].get(name)
        if number is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes[number]

    async def getattr(self, number: int, _context: object) -> Any:
        return self._attributes[number]

    async def opendir(self, number: int, _context: object) -> int:
        return number

    async def readdir(self, number: int, offset: int, token: Any) -> None:
        listed: Sequence[tuple[bytes, Any]] = self._lists[number]
        for position in range(offset, len(listed)):
            if not pyfuse3.readdir_reply(token, *listed[position], position + 1):
                return

    async def releasedir(self, number: int) -> None:
        pass

    async def open(self, number: int, _flags: int, _context: object) -> Any:
        return pyfuse3.FileInfo(fh=os.open(self._paths[number], os.O_RDONLY), keep_cache=True)

    async def read(self, descriptor: int, offset: int, size_bytes: int) -> bytes:
        return os.pread(descriptor, size_bytes, offset)

    async def release(self, descriptor: int) -> None:
        os.close(descriptor)


def main(source: str, directory: str) -> None:
    operations = Plain(source)
    pyfuse3.init(operations, directory, {"fsname=plain", "subtype=plain"})
    for entry in Path("/proc/self/mountinfo").read_text().splitlines():
        if entry.split(" ")[4] == directory:  # as the appliance does where it may
            ahead = Path(f"/sys/class/bdi/{entry.split(' ')[2]}/read_ahead_kb")
            if os.access(ahead, os.W_OK):
                ahead.write_text("1024\n")
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
