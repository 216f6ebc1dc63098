"""Open files and listings: what lies between the kernel's open and its release.

An open file has asked the store for everything it will need: where its bytes are. Whatever happens to branches, commits
and rows meanwhile, it reads the same bytes.
"""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Generic, NewType, TypeVar

from appliance.errors import StoreDamaged
from appliance.mount.inodes import Inode
from appliance.mount.nodes import Directory, Page
from appliance.store.blobs import Extent

Handle = NewType("Handle", int)
T = TypeVar("T")
FindReader = Callable[[int], Callable[[int, str], None] | None]
"""Takes the number of a process that opens a file, and waits for it. Returns what takes the line of the file's version, and
its path; None if nobody wants to know.
"""

# A multipart upload may have 10,000 parts, a process perhaps 1,024 descriptors.
_DESCRIPTORS = 16


class Handles(Generic[T]):
    """Open things by the number that the kernel knows them by."""

    def __init__(self) -> None:
        self._open: dict[Handle, T] = {}
        self._numbers = count(1)

    def add(self, opened: T) -> Handle:
        """Return a new number for an open thing."""
        handle = Handle(next(self._numbers))
        self._open[handle] = opened
        return handle

    def get(self, handle: Handle) -> T:
        """Return the thing of a number that was not released."""
        return self._open[handle]

    def remove(self, handle: Handle) -> T:
        """Forget a number and return what it was."""
        return self._open.pop(handle)

    def clear(self) -> list[T]:
        """Forget all numbers and return what they were."""
        opened = list(self._open.values())
        self._open.clear()
        return opened


class OpenFile:
    """The bytes of a file version, at any offset. Raises StoreDamaged if a blob's file is missing.

    At most 16 blob files are open at a time, the first 16 from the beginning.
    """

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = extents
        self._ends = list(accumulate(extent.size_bytes for extent in extents))
        self._descriptors: OrderedDict[Path, int] = OrderedDict()
        blob_files = dict.fromkeys(extent.file for extent in extents if extent.file is not None)
        try:
            for file in list(blob_files)[:_DESCRIPTORS]:
                self._descriptor(file)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes from `offset` on: `size_bytes` of them, fewer only at the end of the file. Blocks for the disk.

        Raises StoreDamaged if a blob's file is missing or too short.
        """
        pieces = []
        index = bisect_right(self._ends, offset)
        while size_bytes > 0 and index < len(self._extents):
            extent = self._extents[index]
            skipped = offset - (self._ends[index] - extent.size_bytes)
            piece = self._read_extent(extent, skipped, min(size_bytes, extent.size_bytes - skipped))
            pieces.append(piece)
            offset += len(piece)
            size_bytes -= len(piece)
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_extent(self, extent: Extent, skipped: int, size_bytes: int) -> bytes:
        start = extent.offset + skipped
        if extent.file is None:
            assert extent.data is not None
            return extent.data[start : start + size_bytes]
        piece = os.pread(self._descriptor(extent.file), size_bytes, start)
        if len(piece) < size_bytes:
            raise StoreDamaged(f"blob file {extent.file.parent.name}{extent.file.name} is shorter than recorded")
        return piece

    def _descriptor(self, file: Path) -> int:
        """Return an open descriptor, closing the one least recently used if there would be too many."""
        if file in self._descriptors:
            self._descriptors.move_to_end(file)
            return self._descriptors[file]
        if len(self._descriptors) >= _DESCRIPTORS:
            os.close(self._descriptors.popitem(last=False)[1])
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StoreDamaged(f"blob file {file.parent.name}{file.name} is missing") from None
        self._descriptors[file] = descriptor
        return descriptor

    def close(self) -> None:
        """Close the blob files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class SmallFile:
    """The bytes of a file version that are in memory because there are few."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes from `offset` on, fewer at the end of the file."""
        return self._data[offset : offset + size_bytes]

    def close(self) -> None:
        """Do nothing: there is nothing but memory."""


class PagedListing:
    """How far a reader of a directory of a commit has come. An offset counts the entries before it.

    Only one page is kept, whatever the size of the directory. No reply goes beyond it: the kernel goes on from the end of
    the last reply, from within it if the program's buffer was full first, or from 0; for other places (seekdir) pages are
    read again from the beginning.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._first = 0
        self._page: Page | None = None

    def find(self, offset: int) -> tuple[Page, int] | None:
        """Return the page that `offset` is in, or at the end of, and where in it; None if it is not known."""
        page, index = self._page, offset - self._first
        return (page, index) if page is not None and 0 <= index <= len(page.items) else None

    def keep(self, page: Page, first: int) -> None:
        """Keep a page that begins at an offset instead of the one before."""
        self._page, self._first = page, first


class Listing:
    """The same for what is made as it is read: the top, and directories that can be written to.

    Only the last reply is remembered, and for places that are not in it entries have to be counted again. The directory is
    known by its number: what that means in a writable branch is another thing after a commit.
    """

    def __init__(self, number: Inode) -> None:
        self.number = number
        self._first = 0
        self._marks: list[str] = []

    def find_mark(self, offset: int) -> str | None:
        """Return the mark behind which `offset` is, None if that is no longer known."""
        if offset == 0:
            return ""
        index = offset - self._first - 1
        return self._marks[index] if 0 <= index < len(self._marks) else None

    def begin(self, offset: int) -> None:
        """Begin a reply whose first entry is the one at `offset`."""
        self._first = offset
        self._marks.clear()

    @property
    def next_offset(self) -> int:
        """The offset behind the entry that `add` is about to be called for."""
        return self._first + len(self._marks) + 1

    def add(self, mark: str) -> None:
        """Note an entry of the reply."""
        self._marks.append(mark)
