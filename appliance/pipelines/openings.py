"""Which files of its inputs user code opens, as the doors see that it reads through: the mount, and its sidecar.

The sidecar is one datum's. The mount only knows the number of the process that opens something, which may be gone the moment
it has its answer; but while it waits, the mount namespace that it is in tells whose it is.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

OpenedFile = tuple[int, str]
"""A file by the line that its version is on, and its path."""

# Of a datum that opens more, the first are known.
_MOST_FILES = 10_000
# Of all runs that have not ended, of those that were killed, and of others who read the mount too: the oldest make room.
_MOST_HELD = 100_000


class Opened:
    """The files that one datum has opened. From any thread."""

    def __init__(self) -> None:
        self._files: dict[OpenedFile, None] = {}

    def __len__(self) -> int:
        return len(self._files)

    def add(self, line: int, path: str) -> None:
        """Note a file."""
        if len(self._files) < _MOST_FILES:
            self._files[line, path] = None

    def update(self, other: "Opened") -> None:
        """Note what another one has."""
        for file in other.list():
            self.add(*file)

    def list(self) -> tuple[OpenedFile, ...]:
        """Return the files in the order in which they were opened first."""
        return tuple(self._files)


class Openings:
    """What runs that have not ended opened in the mount, by their mount namespaces. From any thread."""

    def __init__(self) -> None:
        self._own = _namespace("self")
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, Opened] = OrderedDict()
        self._held = 0

    def find_reader(self, pid: int) -> Callable[[int, str], None] | None:
        """Return what notes the files that a process opens, which waits meanwhile; None for one that is no datum's."""
        namespace = _namespace(str(pid))
        if namespace is None or namespace == self._own:
            return None
        return partial(self._note, namespace)

    def _note(self, namespace: int, line: int, path: str) -> None:
        with self._lock:
            opened = self._opened.setdefault(namespace, Opened())
            before = len(opened)
            opened.add(line, path)
            self._held += len(opened) - before
            while self._held > _MOST_HELD:
                self._held -= len(self._opened.popitem(last=False)[1])

    def take(self, namespace: int | None) -> Opened:
        """Return what was opened in a namespace, which is no more."""
        with self._lock:
            opened = self._opened.pop(namespace, None) if namespace is not None else None
            self._held -= len(opened or ())
        return opened or Opened()


def _namespace(pid: str) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/mnt").stat().st_ino
    except OSError:  # it is gone, or not for us to look at
        return None
