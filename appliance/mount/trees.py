"""The writable branches thing by thing: how each shows, and giving it attributes and bytes of its own once it is changed.

What was never changed is as in the commit. What is made or changed has a thing on disk with its attributes, see `staged`; of
a file whose bytes nobody wrote to that is hollow, so to change the mode of a large file copies nothing.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pyfuse3
import trio

from appliance.mount import permissions
from appliance.mount.nodes import Place
from appliance.mount.permissions import Caller
from appliance.mount.places import Shown, get_item, open_view, own_file, show, show_base
from appliance.mount.staged import EXECUTABLE, PLAIN, StagedFiles, Wanted
from appliance.mount.tops import Top
from appliance.store import Db, Store, blobs, overlays
from appliance.store.overlays import Item, View

T = TypeVar("T")


class Trees:
    """The writable branches of a store, whoever asks for them."""

    def __init__(self, store: Store, files: StagedFiles) -> None:
        self.store, self.files = store, files

    def change(self, top: Top, change: Callable[[Db, View], T]) -> T:
        """Change what is staged in a branch; begins it, if nothing is. Durable once a program syncs something."""
        return self.store.write(lambda db: change(db, overlays.begin(db, top.repo, top.branch)), durable=False)

    def show(self, view: View, top: Top, item: Item) -> Shown:
        """Return what the kernel is told of an item."""
        place = Place(top, item.origin, item.is_directory)
        if (file := own_file(item)) is not None:
            return show(place, self.files.path(file).lstat())
        return show_base(place, view, item)

    def get_shown(self, place: Place) -> Shown:
        """Return what the kernel is told of a place. Raises ENOENT."""
        with self.store.snapshot() as db:
            return self.show(open_view(db, place.top), place.top, get_item(db, place))

    def check_access(self, caller: Caller, place: Place, wanted: int) -> None:
        """Raise EACCES unless somebody may do something at a place."""
        if not (caller.is_root and place.is_directory):
            permissions.check_access(caller, self.get_shown(place), wanted)

    def own(self, place: Place) -> str:
        """Return the name of what has the attributes of a place, made if need be."""
        with self.store.snapshot() as db:
            item = get_item(db, place)
            modified_ns = self.show(open_view(db, place.top), place.top, item).times_ns[1]
        if (owned := own_file(item)) is not None:
            return owned
        file = self._make_hollow(item, modified_ns)
        self._set_file(place, item, file, is_hollow=not item.is_directory)
        return file

    def touch(self, place: Place) -> None:
        """Note that what is in a directory was changed just now."""
        self.files.touch(self.own(place))

    async def stage(self, place: Place, *, keep: bool = True) -> str:
        """Return the name of the bytes of a file that can be changed, copied if need be; without `keep`, there are none."""
        with self.store.snapshot() as db:
            item = get_item(db, place)
            hollow = own_file(item)
            if item.entry is None:
                assert hollow is not None, f"{place} has no bytes"
                return hollow
            extents = blobs.list_extents(db, self.store.blobs, item.entry.content) if keep else []
        self.change(place.top, lambda db, view: None)  # says whether it can be changed at all
        file = hollow or self._make_hollow(item, item.entry.modified_ns)
        if keep:
            await trio.to_thread.run_sync(self.files.fill, file, blobs.read_extents(extents))
        else:
            os.truncate(self.files.path(file), 0)
        if hollow is None:
            self._set_file(place, item, file, is_hollow=False)
        else:
            self.change(place.top, lambda db, view: overlays.set_filled(db, view, item.origin))
        return file

    def _make_hollow(self, item: Item, modified_ns: int) -> str:
        owner = os.getuid(), os.getgid()
        if item.entry is None:
            return self.files.make_directory(Wanted(EXECUTABLE, *owner), modified_ns)
        return self.files.make_hollow(Wanted(PLAIN, *owner), item.entry.content.size_bytes, modified_ns)

    def _set_file(self, place: Place, item: Item, file: str, *, is_hollow: bool) -> None:
        try:
            self.change(place.top, lambda db, view: overlays.set_file(db, view, item, file, is_hollow=is_hollow))
        except BaseException:
            self.files.remove([file])
            raise

    def drop(self, item: Item) -> None:
        """Remove what something had of its own, after its name was removed; who has it open keeps it."""
        if (file := own_file(item)) is not None:
            self.files.remove([file])


def caller_of(context: pyfuse3.RequestContext) -> Caller:
    """Return who asks."""
    return Caller(context.uid, context.gid, partial(_list_groups, context.pid))


def _list_groups(pid: int) -> set[int]:
    """Return the groups of a process; none of one that has ended, or is in a namespace that can not be seen from here."""
    try:
        groups: set[int] = pyfuse3.get_sup_groups(pid)
    except (OSError, RuntimeError):
        return set()
    return groups
