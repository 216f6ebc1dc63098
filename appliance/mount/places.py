"""Places of writable branches: finding them, what the kernel is told of them, and where they are after a commit."""

import errno
import os
import stat
from dataclasses import dataclass

import pyfuse3

from appliance.errors import ApplianceError
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.nodes import Place
from appliance.mount.staged import EXECUTABLE, PLAIN
from appliance.mount.tops import Top
from appliance.store import Db, Store, overlays
from appliance.store.overlays import Item, Origin, View

_ANY_X = 0o111
_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Shown:
    """What the kernel is told of a place."""

    node: Place
    mode: int
    size_bytes: int
    modified_ns: int
    links: int = 1


def leads_to(place: Place, repo: str, branch: str) -> bool:
    """Tell whether a place is in a branch."""
    return (place.top.repo, place.top.branch) == (repo, branch)


def open_view(db: Db, top: Top) -> View:
    """Return what the branch of a name at the top shows."""
    return overlays.open_view(db, top.repo, top.branch)


def get_item(db: Db, place: Place) -> Item:
    """Return a thing as it is. Raises ENOENT."""
    item = overlays.find_item(db, open_view(db, place.top), place.origin)
    if item is None:
        raise pyfuse3.FUSEError(errno.ENOENT)
    return item


def get_child(db: Db, parent: Place, name: bytes) -> Item:
    """Return what has a name in a directory. Raises ENOENT."""
    item = overlays.find_child(db, open_view(db, parent.top), parent.origin, parse_name(name))
    if item is None:
        raise pyfuse3.FUSEError(errno.ENOENT)
    return item


def check_length(name: bytes) -> None:
    """Raise ENAMETOOLONG: the kernel lets names through that no disk would take."""
    if len(name) > _NAME_BYTES:
        raise pyfuse3.FUSEError(errno.ENAMETOOLONG)


def parse_name(name: bytes) -> str:
    """Return a name as text; no other is taken."""
    check_length(name)
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise pyfuse3.FUSEError(errno.EINVAL) from None


def check_kind(item: Item, *, directory: bool) -> None:
    """Raise ENOTDIR or EISDIR."""
    if item.is_directory != directory:
        raise pyfuse3.FUSEError(errno.ENOTDIR if directory else errno.EISDIR)


def choose_mode(mode: int) -> int:
    """Return the mode that is kept of one that was asked for."""
    return EXECUTABLE if mode & _ANY_X else PLAIN


def show_file(place: Place, status: os.stat_result) -> Shown:
    """Return what the kernel is told of a file with bytes of its own."""
    return Shown(place, stat.S_IFREG | choose_mode(status.st_mode), status.st_size, status.st_mtime_ns, status.st_nlink)


def locate(store: Store, inodes: Inodes, repo: str, branch: str) -> list[tuple[Inode, Place]]:
    """Return what the kernel holds of a branch as it will be after the commit: whoever works there stays there."""
    found = []
    with store.snapshot() as db:
        for number, node in inodes.items():
            if isinstance(node, Place) and leads_to(node, repo, branch):
                try:
                    origin: Origin = overlays.get_path(db, open_view(db, node.top), node.origin)
                except ApplianceError:
                    origin = -number
                found.append((number, Place(node.top, origin, node.is_directory)))
    return found


def rebind(inodes: Inodes, held: list[tuple[Inode, Place]]) -> None:
    """Let the numbers that `locate` returned mean what it said, those that the kernel still holds."""
    for number, place in held:
        if number in inodes:
            inodes.rebind(number, place)
