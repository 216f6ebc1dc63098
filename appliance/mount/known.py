"""What names lead to in directories of finished commits that were looked into. They never change, so no look is repeated.

A name that is asked for brings those around it: whoever asks for one asks for others.
"""

from collections import OrderedDict
from collections.abc import Callable

from appliance.mount.inodes import Inode
from appliance.mount.nodes import Directory, Page
from appliance.names import CommitId
from appliance.store import Changes
from appliance.store.pages import Item
from appliance.store.snapshots import Snapshot

# How many names are read at the first look into a directory, which takes some tenths of a millisecond; and, where there are
# more, from each that is asked for on.
WHOLE, AROUND = 256, 32
_LARGEST = 20_000
_COMMITS = 100

_Commit = tuple[str, CommitId | None]

Read = Callable[[str, int], Page | None]
"""Reads a page of a directory that never changes, None of another: from a name on, at most so many."""


class _Names:
    """Names in one directory, and the page that says of what kind they are."""

    __slots__ = ("is_whole", "items", "page")

    def __init__(self, page: Page) -> None:
        self.page = page
        self.is_whole = page.is_last
        self.items = _by_name(page)


class Known:
    """The directories that were looked into, by their numbers. All of them together have some 20,000 names at most."""

    def __init__(self) -> None:
        self._directories: OrderedDict[Inode, _Names] = OrderedDict()
        self._opened: dict[_Commit, Snapshot] = {}
        self._count = 0
        self._is_outdated = False

    def announce(self, changes: Changes) -> None:
        """Take in what a transaction changed, on any thread: where commits or versions vanish, nothing is known any more."""
        if changes.repos or changes.garbage or changes.forgotten or changes.removed:
            self._is_outdated = True

    def find(self, number: Inode, name: str) -> tuple[Page, Item | None] | None:
        """Return what a name leads to, no item if to nothing; None if that is not known."""
        if self._is_outdated:
            self._clear()
        names = self._directories.get(number)
        if names is None:
            return None
        item = names.items.get(name)
        return (names.page, item) if item is not None or names.is_whole else None

    def find_snapshot(self, directory: Directory) -> Snapshot | None:
        """Return where a directory's commit was found when another of its directories was looked into."""
        return self._opened.get((directory.repo, directory.commit))

    def look(self, number: Inode, name: str, read: Read) -> tuple[Page, Item | None] | None:
        """Read what a name leads to, and what is around it. None if that does not tell."""
        names = self._directories.get(number)
        page = read("", WHOLE) if names is None else read(name, AROUND)
        if page is None:
            return None
        if names is None:
            names = self._directories[number] = _Names(page)
            self._count += len(names.items)
            self._note(page)
        else:
            self._count -= len(names.items)
            names.items.update(_by_name(page))
            self._count += len(names.items)
        while self._count > _LARGEST:
            self.forget(next(iter(self._directories)))
        item = names.items.get(name)
        return (page, item) if item is not None or names.is_whole else None

    def _note(self, page: Page) -> None:
        if len(self._opened) >= _COMMITS:
            self._opened.clear()
        self._opened[page.directory.repo, page.directory.commit] = page.snapshot

    def forget(self, number: Inode) -> None:
        """Forget a directory: the kernel has."""
        if (names := self._directories.pop(number, None)) is not None:
            self._count -= len(names.items)

    def _clear(self) -> None:
        self._is_outdated = False
        self._directories.clear()
        self._opened.clear()
        self._count = 0


def _by_name(page: Page) -> dict[str, Item]:
    return {item.mark.rstrip("/"): item for item in page.items}
