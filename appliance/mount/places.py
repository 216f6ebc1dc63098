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
from appliance.store.overlays import Item, View
from appliance.store.pages import Version as File

_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Shown:
    """What the kernel is told of a place. Times are of last access, change of what is in it, change of anything."""

    node: Place
    mode: int
    size_bytes: int
    times_ns: tuple[int, int, int]
    uid: int
    gid: int
    links: int = 1
    device: int = 0


def leads_to(place: Place, repo: str, branch: str) -> bool:
    """Tell whether a place is in a branch."""
    return (place.top.repo, place.top.branch) == (repo, branch)


def open_view(db: Db, top: Top) -> View:
    """Return what the branch of a name at the top shows."""
    return overlays.open_view(db, top.repo, top.branch)


def get_item(db: Db, place: Place) -> Item:
    """Return a thing as it is. Raises ESTALE: whoever was on the way to what something else replaced finds that instead."""
    item = overlays.find_item(db, open_view(db, place.top), place.origin)
    if item is None:
        raise pyfuse3.FUSEError(errno.ESTALE)
    return item


def get_child(db: Db, parent: Place, name: bytes) -> Item:
    """Return what has a name in a directory. Raises ENOENT."""
    item = overlays.find_child(db, open_view(db, parent.top), parent.origin, parse_name(name))
    if item is None:
        raise pyfuse3.FUSEError(errno.ENOENT)
    return item


def own_file(item: Item) -> str | None:
    """Return the name of what has an item's attributes, if it was changed."""
    return item.node.file if item.node is not None else None


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


def show(place: Place, status: os.stat_result) -> Shown:
    """Return what the kernel is told of what has attributes of its own."""
    is_directory = stat.S_ISDIR(status.st_mode)
    return Shown(
        place,
        status.st_mode,
        0 if is_directory else status.st_size,
        (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns),
        status.st_uid,
        status.st_gid,
        1 if is_directory else status.st_nlink,
        status.st_rdev,
    )


def show_base(place: Place, view: View, item: Item) -> Shown:
    """Return the same of what is as in the commit: ours, as nobody else's is kept there."""
    mode, size_bytes, commit = stat.S_IFDIR | EXECUTABLE, 0, view.base.commit
    modified_ns = (commit.finished_ns or commit.started_ns) if commit else 0
    if item.entry is not None:
        mode, size_bytes, modified_ns = stat.S_IFREG | PLAIN, item.entry.content.size_bytes, item.entry.modified_ns
    return Shown(place, mode, size_bytes, (modified_ns,) * 3, os.getuid(), os.getgid())


def locate(store: Store, inodes: Inodes, repo: str, branch: str) -> list[tuple[Inode, Place | File]]:
    """Return what the kernel holds of a branch as it will be after the commit: whoever works there stays there."""
    found = []
    with store.snapshot() as db:
        for number, node in inodes.items():
            if isinstance(node, Place) and leads_to(node, repo, branch):
                found.append((number, _locate_one(db, number, node)))
    return found


def _locate_one(db: Db, number: Inode, place: Place) -> Place | File:
    """Return where a place is; of what was removed, the version that whoever has it open can read on."""
    view = open_view(db, place.top)
    try:
        return Place(place.top, overlays.get_path(db, view, place.origin), place.is_directory)
    except ApplianceError:
        item = overlays.find_item(db, view, place.origin)
        if item is not None and item.entry is not None:
            return File(item.entry.row, item.entry.modified_ns, item.entry.content.size_bytes)
        return Place(place.top, -number, place.is_directory)


def rebind(inodes: Inodes, held: list[tuple[Inode, Place | File]]) -> None:
    """Let the numbers that `locate` returned mean what it said, those that the kernel still holds."""
    for number, node in held:
        if number in inodes:
            inodes.rebind(number, node)
