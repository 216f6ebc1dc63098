"""Files of writable branches that are open for reading: they see what is written to them meanwhile."""

from appliance.mount.handles import OpenFile
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.nodes import Place
from appliance.mount.staged import StagedFile, StagedFiles


class Reading:
    """A file that is open for reading: the bytes of the commit until somebody writes to it, then those."""

    writing = False

    def __init__(self, number: Inode, read: OpenFile | StagedFile, file: str | None) -> None:
        self.number = number
        self._read, self._file = read, file

    @property
    def descriptor(self) -> int | None:
        """The descriptor of staged bytes, if it reads such."""
        return self._read.descriptor if isinstance(self._read, StagedFile) else None

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes from `offset` on, fewer at the end of the file. Blocks for the disk."""
        return self._read.read(offset, size_bytes)

    def go_over(self, files: StagedFiles, file: str) -> None:
        """Read other bytes from now on."""
        if self._file != file:
            now = StagedFile(files.path(file), writing=False)
            self._read.close()
            self._read, self._file = now, file

    def close(self) -> None:
        """Close it."""
        self._read.close()


class Readings:
    """Those that are open. What each is, the kernel's numbers say: they are the same after a commit, where places are not."""

    def __init__(self, inodes: Inodes, files: StagedFiles) -> None:
        self._inodes, self._files = inodes, files
        self._open: set[Reading] = set()

    def add(self, place: Place, read: OpenFile | StagedFile, file: str | None) -> Reading:
        """Return a file that was opened; `file` names staged bytes."""
        reading = Reading(self._inodes.number(place), read, file)
        self._open.add(reading)
        return reading

    def discard(self, reading: Reading) -> None:
        """Note that one was closed."""
        self._open.discard(reading)

    def go_over(self, place: Place, file: str) -> None:
        """Let those of a place, by whatever name at the top it was reached, read the staged bytes that it has now."""
        for reading in self._open:
            node = self._inodes.get(reading.number) if reading.number in self._inodes else None
            if isinstance(node, Place) and node.thing == place.thing:
                reading.go_over(self._files, file)

    def find_descriptor(self, place: Place) -> int | None:
        """Return the descriptor of the staged bytes of a place that is open, also if it was removed."""
        number = self._inodes.number(place)
        found = (reading.descriptor for reading in self._open if reading.number == number)
        return next((descriptor for descriptor in found if descriptor is not None), None)
