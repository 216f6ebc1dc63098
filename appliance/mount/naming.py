"""Changing names in a writable branch: making, linking, removing, moving.

Every change of a name survives this process when it is answered, and a power cut after `fsync`. The errors, and which one
comes first, are those of a file system.
"""

import errno
import os
import stat
from collections.abc import Callable

import pyfuse3
import trio

from appliance.mount import permissions
from appliance.mount.nodes import Place
from appliance.mount.permissions import EXECUTE, WRITE, Caller
from appliance.mount.places import Shown, check_kind, get_child, open_view, own_file, parse_name, show
from appliance.mount.staged import Wanted
from appliance.mount.trees import Trees
from appliance.names import check_path
from appliance.store import Db, overlays
from appliance.store.overlays import Item, NodeKind

_KINDS = {stat.S_IFREG: NodeKind.FILE, stat.S_IFDIR: NodeKind.DIRECTORY, stat.S_IFLNK: NodeKind.LINK}


class Naming:
    """The names of all writable branches. `lock` keeps commits away meanwhile; `strict` is Pachyderm's rule for names."""

    def __init__(self, trees: Trees, lock: trio.Lock, *, strict: bool) -> None:
        self._trees, self._files, self._lock, self._strict = trees, trees.files, lock, strict

    async def make_file(self, parent: Place, name: bytes, mode: int, caller: Caller) -> tuple[Shown, str]:
        """Make an empty file, and return also the name of its bytes."""
        return await self._make(parent, name, stat.S_IFREG | stat.S_IMODE(mode), caller, self._files.make)

    async def make_directory(self, parent: Place, name: bytes, mode: int, caller: Caller) -> Shown:
        """Make a directory."""
        return (await self._make(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), caller, self._files.make_directory))[0]

    async def make_link(self, parent: Place, name: bytes, target: bytes, caller: Caller) -> Shown:
        """Make a symbolic link."""
        mode = stat.S_IFLNK | 0o777
        return (await self._make(parent, name, mode, caller, lambda wanted: self._files.make_link(wanted, target)))[0]

    async def make_special(self, parent: Place, name: bytes, mode: int, device: int, caller: Caller) -> Shown:
        """Make a pipe or socket; a device, as root."""
        if stat.S_ISREG(mode):
            return (await self.make_file(parent, name, mode, caller))[0]
        if not caller.is_root and not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            raise pyfuse3.FUSEError(errno.EPERM)
        return (await self._make(parent, name, mode, caller, lambda wanted: self._files.make_special(wanted, device)))[0]

    async def _make(
        self, parent: Place, name: bytes, mode: int, caller: Caller, make: Callable[[Wanted], str]
    ) -> tuple[Shown, str]:
        async with self._lock:
            text = self._free_name(parent, name, caller)
            wanted = permissions.choose_new(caller, self._trees.get_shown(parent), mode)
            file = make(wanted)
            kind = _KINDS.get(stat.S_IFMT(mode), NodeKind.SPECIAL)
            made = self._name(parent, file, lambda db, view: overlays.create(db, view, parent.origin, text, kind, file))
        return show(Place(parent.top, made.origin, made.is_directory), self._files.path(file).lstat()), file

    async def link(self, place: Place, parent: Place, name: bytes, caller: Caller) -> Shown:
        """Give a thing another name. They are one until the commit, which keeps a file's content under each."""
        if place.is_directory:
            raise pyfuse3.FUSEError(errno.EPERM)
        async with self._lock:
            permissions.check_link(caller, self._trees.get_shown(place))
            text = self._free_name(parent, name, caller)
            file = self._files.link(self._trees.own(place))

            def add(db: Db, view: overlays.View) -> Item:
                node = overlays.find_node(db, view, place.origin)
                assert node is not None, f"{place} has attributes and no name"
                return overlays.link(db, view, parent.origin, text, node, file)

            self._name(parent, file, add)
        return show(place, self._files.path(file).lstat())

    def _name(self, parent: Place, file: str, change: Callable[[Db, overlays.View], Item]) -> Item:
        try:
            named = self._trees.change(parent.top, change)
        except BaseException:
            self._files.remove([file])
            raise
        self._trees.touch(parent)
        return named

    async def remove(self, parent: Place, name: bytes, caller: Caller, *, directory: bool) -> None:
        """Remove a file, or a directory that is empty."""
        async with self._lock:
            with self._trees.store.snapshot() as db:
                item = get_child(db, parent, name)
                self._check_removal(db, parent, item, caller)
                check_kind(item, directory=directory)
                if directory and not overlays.is_empty(db, open_view(db, parent.top), item.origin):
                    raise pyfuse3.FUSEError(errno.ENOTEMPTY)
            text = name.decode()
            self._trees.change(parent.top, lambda db, view: overlays.remove(db, view, parent.origin, text))
            self._trees.drop(item)
            self._trees.touch(parent)

    async def rename(
        self, parent: Place, name: bytes, new_parent: Place, new_name: bytes, flags: int, caller: Caller
    ) -> None:
        """Move a file or directory, over a file or an empty directory that has the new name unless `flags` say not.

        With RENAME_EXCHANGE the two change places, whatever they are.
        """
        if flags == pyfuse3.RENAME_EXCHANGE:
            await self._exchange(parent, name, new_parent, new_name, caller)
            return
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EINVAL)
        async with self._lock:
            old_text, new_text = os.fsdecode(name), self._parse_new(new_name)
            with self._trees.store.snapshot() as db:
                item = get_child(db, parent, name)
                self._check_move(db, item, parent, new_parent, caller)
                replaced = self._find_replaced(db, item, new_parent, new_name, flags, caller)
            if replaced is not None and replaced.origin == item.origin:
                return
            self._trees.change(
                parent.top,
                lambda db, view: overlays.rename(db, view, item, parent.origin, old_text, new_parent.origin, new_text),
            )
            if replaced is not None:
                self._trees.drop(replaced)
            self._note_move(item, parent, new_parent)

    async def _exchange(self, parent: Place, name: bytes, new_parent: Place, new_name: bytes, caller: Caller) -> None:
        async with self._lock:
            with self._trees.store.snapshot() as db:
                item, other = get_child(db, parent, name), get_child(db, new_parent, new_name)
                self._check_move(db, item, parent, new_parent, caller)
                self._check_move(db, other, new_parent, parent, caller)
            if item.origin == other.origin:
                return
            one = overlays.Named(item, parent.origin, name.decode())
            two = overlays.Named(other, new_parent.origin, new_name.decode())
            self._trees.change(parent.top, lambda db, view: overlays.exchange(db, view, one, two))
            for moved in (item, other):
                self._note_move(moved, parent, new_parent)

    def _check_move(self, db: Db, item: Item, parent: Place, new_parent: Place, caller: Caller) -> None:
        self._check_removal(db, parent, item, caller)
        self._trees.check_access(caller, new_parent, WRITE | EXECUTE)
        if item.is_directory and parent != new_parent:  # it is written to: its parent changes
            self._trees.check_access(caller, Place(parent.top, item.origin, is_directory=True), WRITE)

    def _note_move(self, item: Item, parent: Place, new_parent: Place) -> None:
        if (file := own_file(item)) is not None:
            self._files.note_change(file)
        for directory in {parent, new_parent}:
            self._trees.touch(directory)

    def _find_replaced(self, db: Db, item: Item, parent: Place, name: bytes, flags: int, caller: Caller) -> Item | None:
        view = open_view(db, parent.top)
        replaced = overlays.find_child(db, view, parent.origin, parse_name(name))
        if replaced is None or (replaced.origin == item.origin and not flags):
            return replaced
        if flags & pyfuse3.RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EEXIST)
        self._check_removal(db, parent, replaced, caller)
        check_kind(replaced, directory=item.is_directory)
        if replaced.is_directory and not overlays.is_empty(db, view, replaced.origin):
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        return replaced

    def _check_removal(self, db: Db, parent: Place, child: Item, caller: Caller) -> None:
        if not caller.is_root:
            view = open_view(db, parent.top)
            shown = self._trees.show(view, parent.top, child)
            permissions.check_removal(caller, self._trees.get_shown(parent), shown)

    def _free_name(self, parent: Place, name: bytes, caller: Caller) -> str:
        text = self._parse_new(name)
        with self._trees.store.snapshot() as db:
            if overlays.find_child(db, open_view(db, parent.top), parent.origin, text) is not None:
                raise pyfuse3.FUSEError(errno.EEXIST)
        self._trees.check_access(caller, parent, WRITE | EXECUTE)
        return text

    def _parse_new(self, name: bytes) -> str:
        text = parse_name(name)
        if self._strict:
            check_path(f"/{text}", strict=True)
        return text
