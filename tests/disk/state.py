"""What a disk holds: what programs see now, and what a power cut may leave of it.

Each file and directory has a *safe* state and what is *pending* behind it. `fsync` of a file makes its bytes, size and mode
safe and says nothing of its name; `fsync` of a directory makes the names in it safe. Of what is pending a power cut keeps any
part, in 512-byte sectors:

- writes are lost, kept, cut off or full of holes, each for itself, so also in another order than they were made;
- changes of names are lost or kept one by one; a rename inside one directory is kept whole or lost whole, one between two
  directories may be lost on either side (journals of real disks are kinder);
- a disk may write anything at any time: what has been pending for long becomes safe by itself;
- an fsync that failed has dropped what was pending: programs still see it, and no later fsync saves it.
"""

import errno
import itertools
import os
import random
import shutil
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
ROOT = 1
_MOST_PENDING_NAMES = 200
_MOST_PENDING_BYTES = 8 * 1024 * 1024
_COLLECT_EVERY = 500


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A new size."""

    size: int


Change = Write | Resize
Names = dict[bytes, int]
Renaming = dict[bytes, int | None]
"""Names that come (with their file's number) and go (None) in one step."""


@dataclass(slots=True)
class Node:
    """A file or directory. Contents of files are on the disk below us, as `live/<number>` and `safe/<number>`."""

    number: int
    mode: int
    safe_mode: int
    size: int = 0
    opened: int = 0
    changed_ns: int = field(default_factory=time.time_ns)
    pending: list[Change] = field(default_factory=list)
    pending_bytes: int = 0
    names: Names = field(default_factory=dict)
    safe_names: Names = field(default_factory=dict)
    pending_names: list[Renaming] = field(default_factory=list)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


class State:
    """The nodes of one disk, kept below `backing`."""

    def __init__(self, backing: Path) -> None:
        self.live, self.safe = backing / "live", backing / "safe"
        self.live.mkdir()
        self.safe.mkdir()
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o700, stat.S_IFDIR | 0o700)}
        self._next, self._since_collected = ROOT + 1, 0

    def find(self, parent: int, name: bytes) -> Node:
        """Return a node by its name. Raises FileNotFoundError."""
        try:
            return self.nodes[self.nodes[parent].names[name]]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such name") from None

    def make(self, parent: int, name: bytes, mode: int) -> Node:
        """Create a file, directory or socket."""
        if name in self.nodes[parent].names:
            raise FileExistsError(errno.EEXIST, "name is taken")
        node = self.nodes[self._next] = Node(self._next, mode, mode)
        self._next += 1
        if stat.S_ISREG(mode):
            (self.live / str(node.number)).touch()
            (self.safe / str(node.number)).touch()
        self.change_names(parent, {name: node.number})
        return node

    def link(self, node: int, parent: int, name: bytes) -> Node:
        """Give a file one more name."""
        if name in self.nodes[parent].names:
            raise FileExistsError(errno.EEXIST, "name is taken")
        self.change_names(parent, {name: node})
        return self.nodes[node]

    def remove(self, parent: int, name: bytes) -> None:
        """Remove a name; of a directory, only if it is empty."""
        if self.find(parent, name).names:
            raise OSError(errno.ENOTEMPTY, "directory is not empty")
        self.change_names(parent, {name: None})

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """Move a file or directory, over what had the new name."""
        number = self.find(parent, name).number
        if (over := self.nodes[new_parent].names.get(new_name)) is not None and self.nodes[over].names:
            raise OSError(errno.ENOTEMPTY, "directory is not empty")
        if parent == new_parent:
            self.change_names(parent, {name: None, new_name: number})
        else:
            self.change_names(new_parent, {new_name: number})
            self.change_names(parent, {name: None})

    def change_names(self, directory: int, change: Renaming) -> None:
        """Apply a change of names at once; a power cut may take it back until the directory is synced."""
        node = self.nodes[directory]
        _apply_names(node.names, change)
        node.pending_names.append(change)
        node.changed_ns = time.time_ns()
        while len(node.pending_names) > _MOST_PENDING_NAMES:
            _apply_names(node.safe_names, node.pending_names.pop(0))
        self._since_collected += 1
        if self._since_collected > _COLLECT_EVERY:
            self._collect()

    def write(self, node: Node, offset: int, data: bytes) -> None:
        """Note a write that was done to the live file."""
        node.size = max(node.size, offset + len(data))
        node.pending_bytes += len(data)
        self._add(node, Write(offset, data))

    def resize(self, node: Node, size: int) -> None:
        """Cut a file off or fill it with zeros."""
        os.truncate(self.live / str(node.number), size)
        node.size = size
        self._add(node, Resize(size))

    def _add(self, node: Node, change: Change) -> None:
        node.changed_ns = time.time_ns()
        node.pending.append(change)
        if node.pending_bytes > _MOST_PENDING_BYTES:
            self._make_safe(node, node.pending)
            node.pending, node.pending_bytes = [], 0

    def sync(self, node: Node) -> None:
        """Make everything about a node safe."""
        self._make_safe(node, node.pending)
        node.safe_mode = node.mode
        for change in node.pending_names:
            _apply_names(node.safe_names, change)
        self.drop_pending(node)

    def drop_pending(self, node: Node) -> None:
        """Forget what is pending: the disk has lost it, or it is safe."""
        node.pending, node.pending_bytes, node.pending_names = [], 0, []

    def _make_safe(self, node: Node, changes: Iterable[Change]) -> None:
        if stat.S_ISREG(node.mode):
            _apply(self.safe / str(node.number), changes)

    def _collect(self) -> None:
        """Give back what has no name in any state and is not open."""
        self._since_collected = 0
        needed = {ROOT}
        for node in self.nodes.values():
            needed.update(node.names.values(), node.safe_names.values())
            needed.update(number for change in node.pending_names for number in change.values() if number is not None)
            if node.opened:
                needed.add(node.number)
        for number in self.nodes.keys() - needed:
            del self.nodes[number]
            (self.live / str(number)).unlink(missing_ok=True)
            (self.safe / str(number)).unlink(missing_ok=True)

    # -- power cuts

    def write_image(self, target: Path, chance: random.Random | None) -> None:
        """Write a directory as the disk may hold it after a cut now; without `chance`, as a killed process leaves it."""
        self._write_directory(ROOT, target, chance)

    def _write_directory(self, number: int, target: Path, chance: random.Random | None) -> None:
        node = self.nodes[number]
        target.mkdir(mode=0o700)
        names = dict(node.names)
        if chance is not None:
            names, luck = dict(node.safe_names), chance.choice((0.0, 0.5, 0.9, 1.0))
            for change in node.pending_names:
                if chance.random() < luck:
                    _apply_names(names, change)
        for name, child in names.items():
            self._write_node(self.nodes[child], target / os.fsdecode(name), chance)

    def _write_node(self, node: Node, target: Path, chance: random.Random | None) -> None:
        if node.is_directory:
            self._write_directory(node.number, target, chance)
        elif stat.S_ISREG(node.mode):
            shutil.copyfile((self.live if chance is None else self.safe) / str(node.number), target)
            if chance is not None:
                _apply(target, _survivors(node.pending, chance))
            target.chmod(stat.S_IMODE(node.mode if chance is None or chance.random() < 0.5 else node.safe_mode))


def _apply_names(names: Names, change: Renaming) -> None:
    for name, number in change.items():
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


def _apply(file: Path, changes: Iterable[Change]) -> None:
    with file.open("r+b", buffering=0) as opened:
        for change in changes:
            if isinstance(change, Resize):
                opened.truncate(change.size)
            else:
                os.pwrite(opened.fileno(), change.data, change.offset)


def _survivors(pending: Iterable[Change], chance: random.Random) -> Iterable[Change]:
    """Yield what a cut leaves of pending changes of one file: all, none, some of them, some of them torn."""
    luck, tearing = chance.choice((0.0, 0.3, 0.7, 0.95, 1.0)), chance.choice((0.0, 0.2, 1.0))
    for change in pending:
        if chance.random() >= luck:
            continue
        if isinstance(change, Write) and chance.random() < tearing:
            yield from _tear(change, chance)
        else:
            yield change


def _tear(write: Write, chance: random.Random) -> Iterable[Write]:
    """Yield the sectors of a write that got to the disk: the first few, or any."""
    start, end = write.offset, write.offset + len(write.data)
    edges = [start, *range(start - start % SECTOR + SECTOR, end, SECTOR), end]
    pieces = list(itertools.pairwise(edges))
    first_few = pieces[: chance.randint(0, len(pieces))]
    kept = first_few if chance.random() < 0.5 else [piece for piece in pieces if chance.random() < 0.5]
    return [Write(low, write.data[low - start : high - start]) for low, high in kept]
