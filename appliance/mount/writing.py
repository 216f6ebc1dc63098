"""What the kernel's calls mean in a writable branch: the merged view, and changing it.

Nothing there is remembered by the kernel, which asks each time. Every change of a name is durable when it is answered, as
the store's writes are; bytes are when the program asks for that (`fsync`), and in any case survive this process.
"""

import errno
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyfuse3
import trio

from appliance.errors import ApplianceError, Conflict
from appliance.mount import committing, places
from appliance.mount.handles import OpenFile
from appliance.mount.inodes import Inodes
from appliance.mount.nodes import Place, list_file_attributes
from appliance.mount.places import (
    Shown,
    check_kind,
    check_length,
    choose_mode,
    get_child,
    get_item,
    leads_to,
    open_view,
    parse_name,
    show_file,
)
from appliance.mount.staged import EXECUTABLE, PLAIN, StagedFile
from appliance.mount.tops import Top
from appliance.names import CommitId, check_path
from appliance.store import Db, Store, blobs, history, overlays
from appliance.store.overlays import Item, NodeKind, View

T = TypeVar("T")

ALL = "*"


@dataclass(frozen=True, slots=True)
class Writable:
    """What can be changed: branches by their names at the top of the mount, or master everywhere for `*`.

    `strict` is Pachyderm's rule for names.
    """

    tops: frozenset[str] = frozenset()
    strict: bool = False


class Writing:
    """The writable branches of a mount and of its views.

    Only `commit` waits for anything but the disk; changes wait for it.
    """

    def __init__(self, store: Store, writable: Writable, inodes: Inodes) -> None:
        self._store, self._inodes = store, inodes
        self._tops, self._strict = writable.tops, writable.strict
        self._files = committing.staged_files(store)
        self._open: defaultdict[Place, list[StagedFile]] = defaultdict(list)
        self._lock = trio.Lock()
        self.stopping = threading.Event()
        """Once it is set, commits that are under way are given up."""

    def is_writable(self, db: Db, top: Top) -> bool:
        """Tell whether changes are taken below a name at the top that exists: never on output branches and commits."""
        if not self._is_wanted(top) or not top.is_branch:
            return False
        try:
            history.check_branch_writable(db, top.repo, top.branch)
        except ApplianceError:
            return False
        return True

    def _is_wanted(self, top: Top) -> bool:
        if top.view:
            return top.writable
        return str(top) in self._tops or (ALL in self._tops and top.revision is None)

    # -- looking

    def find(self, db: Db, parent: Place, name: bytes) -> Shown | None:
        """Return what has a name in a directory."""
        view = open_view(db, parent.top)
        check_length(name)
        try:
            item = overlays.find_child(db, view, parent.origin, name.decode())
        except UnicodeDecodeError:
            return None
        return self._show(view, parent.top, item) if item else None

    def describe(self, db: Db, place: Place) -> Shown:
        """Return a place as it is now, also one that was removed while it is open."""
        view = open_view(db, place.top)
        item = overlays.find_item(db, view, place.origin)
        if item is None:
            if opened := self._open.get(place):
                return show_file(place, os.fstat(opened[0].descriptor))
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._show(view, place.top, item)

    def iter_children(self, db: Db, parent: Place, after: str) -> Iterator[tuple[str, str, Shown]]:
        """Yield (name, mark, child) of a directory behind a mark."""
        view = open_view(db, parent.top)
        for name, mark, item in overlays.iter_children(db, view, parent.origin, after):
            yield name, mark, self._show(view, parent.top, item)

    def _show(self, view: View, top: Top, item: Item) -> Shown:
        place = Place(top, item.origin, item.is_directory)
        if item.is_directory:
            commit = view.base.commit
            return Shown(place, stat.S_IFDIR | EXECUTABLE, 0, (commit.finished_ns or commit.started_ns) if commit else 0)
        if item.node is not None and item.node.file is not None:
            return show_file(place, self._files.path(item.node.file).stat())
        if item.entry is None:
            raise pyfuse3.FUSEError(errno.EIO)
        return Shown(place, stat.S_IFREG | PLAIN, item.entry.content.size_bytes, item.entry.modified_ns)

    def list_attributes(self, db: Db, place: Place) -> Mapping[bytes, bytes]:
        """Return the extended attributes: those of the commit, where nothing was changed."""
        item = get_item(db, place)
        return list_file_attributes(db, item.entry) if item.entry is not None else {}

    # -- files

    async def open(self, place: Place, flags: int) -> OpenFile | StagedFile:
        """Open a file. The first time it is opened for writing it is copied, unless it is emptied anyway."""
        writing = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        if not writing:
            return self._open_for_reading(place)
        async with self._lock:
            opened = self._hold(place, await self._stage(place, keep=not flags & os.O_TRUNC))
        if flags & os.O_TRUNC:
            os.ftruncate(opened.descriptor, 0)
        return opened

    def _open_for_reading(self, place: Place) -> OpenFile | StagedFile:
        with self._store.snapshot() as db:
            item = get_item(db, place)
            if item.node is not None and item.node.file is not None:
                return self._hold(place, item.node.file, writing=False)
            assert item.entry is not None
            return OpenFile(blobs.list_extents(db, self._store.blobs, item.entry.content))

    def _hold(self, place: Place, file: str, *, writing: bool = True) -> StagedFile:
        opened = StagedFile(self._files.path(file), writing=writing)
        self._open[place].append(opened)
        return opened

    def release(self, opened: StagedFile) -> Place | None:
        """Note that nobody has it open any more, close it, and return what it was."""
        released = next((place for place, files in self._open.items() if opened in files), None)
        if released is not None:
            self._open[released].remove(opened)
            if not self._open[released]:
                del self._open[released]
        opened.close()
        return released

    async def _stage(self, place: Place, *, keep: bool = True) -> str:
        """Return the name of the bytes of a file that can be changed, copied if need be."""
        with self._store.snapshot() as db:
            item = get_item(db, place)
            if item.node is not None and item.node.file is not None:
                return item.node.file
            assert item.entry is not None
            extents = blobs.list_extents(db, self._store.blobs, item.entry.content) if keep else []
        self._change(place.top, lambda db, view: None)  # says whether it can be changed at all
        file = await trio.to_thread.run_sync(self._files.make, blobs.read_extents(extents))
        self._change(place.top, lambda db, view: overlays.set_file(db, view, place.origin, file))
        return file

    async def create(self, parent: Place, name: bytes, mode: int) -> tuple[StagedFile, Shown]:
        """Make a file that is not there and open it."""
        async with self._lock:
            text = self._free_name(parent, name)
            file = self._files.make()
            try:
                created = self._change(
                    parent.top, lambda db, view: overlays.create(db, view, parent.origin, text, NodeKind.FILE, file)
                )
            except BaseException:
                self._files.remove([file])
                raise
            self._files.path(file).chmod(choose_mode(mode))
            place = Place(parent.top, created.origin, is_directory=False)
            opened = self._hold(place, file)
            return opened, show_file(place, os.fstat(opened.descriptor))

    async def set_attributes(
        self, place: Place, *, size_bytes: int | None, mode: int | None, modified_ns: int | None, opened: StagedFile | None
    ) -> None:
        """Change a file: its size, who may execute it, its time. A directory has none of its own to change."""
        if place.is_directory:
            return
        async with self._lock:
            target: int | os.PathLike[str]
            if opened is not None:
                target = opened.descriptor
            else:
                target = self._files.path(await self._stage(place, keep=size_bytes != 0))
        if size_bytes is not None:
            os.truncate(target, size_bytes)
        if mode is not None:
            os.chmod(target, choose_mode(mode))  # noqa: PTH101 - may be a descriptor
        if modified_ns is not None:
            os.utime(target, ns=(modified_ns, modified_ns))

    # -- names

    async def link(self, place: Place, parent: Place, name: bytes) -> Shown:
        """Give a file another name, free until now. They are one file until the commit, which keeps its content twice."""
        if place.is_directory:
            raise pyfuse3.FUSEError(errno.EPERM)
        async with self._lock:
            text = self._free_name(parent, name)
            file = self._files.link(await self._stage(place))
            try:
                linked = self._change(
                    parent.top, lambda db, view: overlays.create(db, view, parent.origin, text, NodeKind.FILE, file)
                )
            except BaseException:
                self._files.remove([file])
                raise
        return show_file(Place(parent.top, linked.origin, is_directory=False), self._files.path(file).stat())

    async def make_directory(self, parent: Place, name: bytes) -> Shown:
        """Make a directory that is not there."""
        async with self._lock:
            text = self._free_name(parent, name)
            kind = NodeKind.DIRECTORY
            created = self._change(parent.top, lambda db, view: overlays.create(db, view, parent.origin, text, kind))
        with self._store.snapshot() as db:
            return self.describe(db, Place(parent.top, created.origin, is_directory=True))

    async def remove(self, parent: Place, name: bytes, *, directory: bool) -> None:
        """Remove a file, or a directory that is empty."""
        async with self._lock:
            with self._store.snapshot() as db:
                item = get_child(db, parent, name)
                check_kind(item, directory=directory)
                if directory and not overlays.is_empty(db, open_view(db, parent.top), item.origin):
                    raise pyfuse3.FUSEError(errno.ENOTEMPTY)
            text = name.decode()
            self._change(parent.top, lambda db, view: overlays.remove(db, view, parent.origin, text))
            self._drop(item)

    async def rename(self, parent: Place, name: bytes, new_parent: Place, new_name: bytes, flags: int) -> None:
        """Move a file or directory, over a file or an empty directory that has the new name unless `flags` say not."""
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EINVAL)
        async with self._lock:
            with self._store.snapshot() as db:
                item = get_child(db, parent, name)
                replaced = self._find_replaced(db, item, new_parent, new_name, flags)
            if replaced is not None and replaced.origin == item.origin:
                return
            old_text, new_text = name.decode(), parse_name(new_name)
            if self._strict:
                check_path(f"/{new_text}", strict=True)
            self._change(
                parent.top,
                lambda db, view: overlays.rename(db, view, item, parent.origin, old_text, new_parent.origin, new_text),
            )
            if replaced is not None:
                self._drop(replaced)

    def _find_replaced(self, db: Db, item: Item, parent: Place, name: bytes, flags: int) -> Item | None:
        view = open_view(db, parent.top)
        replaced = overlays.find_child(db, view, parent.origin, parse_name(name))
        if replaced is None or replaced.origin == item.origin:
            return replaced
        if flags & pyfuse3.RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EEXIST)
        check_kind(replaced, directory=item.is_directory)
        if replaced.is_directory and not overlays.is_empty(db, view, replaced.origin):
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        return replaced

    def _free_name(self, parent: Place, name: bytes) -> str:
        text = parse_name(name)
        if self._strict:
            check_path(f"/{text}", strict=True)
        with self._store.snapshot() as db:
            if overlays.find_child(db, open_view(db, parent.top), parent.origin, text) is not None:
                raise pyfuse3.FUSEError(errno.EEXIST)
        return text

    def _drop(self, item: Item) -> None:
        if item.node is not None and item.node.file is not None:
            self._files.remove([item.node.file])

    def _change(self, top: Top, change: Callable[[Db, View], T]) -> T:
        return self._store.write(lambda db: change(db, overlays.begin(db, top.repo, top.branch)))

    # -- committing

    async def commit(self, repo: str, branch: str, *, overwrite: bool = False) -> CommitId | None:
        """Put what is staged in one commit, see `committing.commit`. Raises Conflict while somebody writes to a file."""
        async with self._lock:
            self._check_closed(repo, branch)
            held = places.locate(self._store, self._inodes, repo, branch)
            committed = await trio.to_thread.run_sync(
                lambda: committing.commit(self._store, repo, branch, overwrite=overwrite, go_on=self._go_on)
            )
            if committed is not None:
                places.rebind(self._inodes, held)
            return committed

    async def discard(self, repo: str, branch: str) -> bool:
        """Give up what is staged. Raises Conflict while somebody writes to a file."""
        async with self._lock:
            self._check_closed(repo, branch)
            return await trio.to_thread.run_sync(committing.discard, self._store, repo, branch)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise Conflict("the time to commit it is up")

    def _check_closed(self, repo: str, branch: str) -> None:
        for place, files in self._open.items():
            if leads_to(place, repo, branch) and any(opened.writing for opened in files):
                with self._store.snapshot() as db:
                    view = open_view(db, place.top)
                    item = overlays.find_item(db, view, place.origin)
                    path = overlays.get_path(db, view, place.origin) if item else "a removed file"
                raise Conflict(f"{repo}@{branch}: {path} is open for writing")
