"""What the kernel's calls mean in a writable branch: the merged view, and changing it.

Nothing there is remembered by the kernel, which asks each time. Every change, of names and of bytes, survives this process
once it is answered. As with any disk it survives a power cut once the program asks for that: `fsync`, of a file or of a
directory, makes all changes of names durable that were made before.
"""

import errno
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from appliance.errors import ApplianceError, Conflict
from appliance.mount import attributes, committing, permissions, places
from appliance.mount.handles import OpenFile
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.naming import Naming
from appliance.mount.nodes import Place, list_file_attributes
from appliance.mount.permissions import EXECUTE, READ, WRITE, Caller, Change
from appliance.mount.places import Shown, check_length, get_item, leads_to, open_view, own_file, show
from appliance.mount.reading import Reading, Readings
from appliance.mount.staged import StagedFile
from appliance.mount.tops import Top
from appliance.mount.trees import Trees
from appliance.mount.turns import Turns
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, history, overlays
from appliance.store.pages import Version as File

ALL = "*"
_CLOSING_S = 0.2

# The last one is Linux's own: for asking a driver, neither to read nor to write.
_WANTED = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE, os.O_ACCMODE: READ | WRITE}
_FOR_EXECUTION = 0x20  # the kernel's FMODE_EXEC: it reads a program to run it


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
        self._tops = writable.tops
        self._files = committing.staged_files(store)
        self._trees = Trees(store, self._files)
        self._open: defaultdict[Place, list[StagedFile]] = defaultdict(list)
        self._readings = Readings(inodes, self._files)
        self._lock = trio.Lock()
        self.names = Naming(self._trees, self._lock, strict=writable.strict)
        self.turns = Turns()
        self._released = trio.Event()
        self.stopping = threading.Event()
        """Once it is set, commits that are under way are given up."""
        self.list_roots: Callable[[str, str], Sequence[str]] = lambda repo, branch: ()
        """Where programs find a branch, from any thread."""

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
        return self._trees.show(view, parent.top, item) if item else None

    def describe(self, db: Db, place: Place) -> Shown:
        """Return a place as it is now, also one that was removed while it is open."""
        view = open_view(db, place.top)
        item = overlays.find_item(db, view, place.origin)
        if item is None:
            if (descriptor := self._find_descriptor(place)) is not None:
                return show(place, os.fstat(descriptor))
            raise pyfuse3.FUSEError(errno.ESTALE)
        return self._trees.show(view, place.top, item)

    def iter_children(self, db: Db, parent: Place, after: str) -> Iterator[tuple[str, str, Shown]]:
        """Yield (name, mark, child) of a directory behind a mark."""
        view = open_view(db, parent.top)
        for name, mark, item in overlays.iter_children(db, view, parent.origin, after):
            yield name, mark, self._trees.show(view, parent.top, item)

    def list_attributes(self, db: Db, place: Place) -> Mapping[bytes, bytes]:
        """Return the extended attributes: those of the commit, where nothing was changed."""
        item = get_item(db, place)
        return list_file_attributes(db, item.entry) if item.entry is not None else {}

    def check_search(self, parent: Place, caller: Caller) -> None:
        """Raise EACCES unless somebody may look for names in a directory."""
        self._trees.check_access(caller, parent, EXECUTE)

    def check_access(self, place: Place, wanted: int, caller: Caller) -> None:
        """Raise EACCES unless all of `wanted` is allowed, as `access` asks for it."""
        self._trees.check_access(caller, place, wanted)

    def read_link(self, place: Place) -> bytes:
        """Return where a symbolic link leads."""
        with self._store.snapshot() as db:
            file = own_file(get_item(db, place))
        assert file is not None, f"{place} is no link"
        return os.readlink(os.fsencode(self._files.path(file)))  # noqa: PTH115 - bytes of any kind

    # -- files

    async def open(self, place: Place, flags: int, caller: Caller) -> Reading | StagedFile:
        """Open a file. The first time it is opened for writing it is copied, unless it is emptied anyway."""
        wanted = _WANTED[flags & os.O_ACCMODE] | (WRITE if flags & os.O_TRUNC else 0)
        self._trees.check_access(caller, place, EXECUTE if flags & _FOR_EXECUTION else wanted)
        if not wanted & WRITE:
            return self._open_for_reading(place)
        async with self._lock:
            opened = self._hold(place, await self._stage(place, keep=not flags & os.O_TRUNC), caller)
        if flags & os.O_TRUNC:
            os.ftruncate(opened.descriptor, 0)
            attributes.note_write(opened.descriptor, caller)
        return opened

    async def _stage(self, place: Place, *, keep: bool) -> str:
        file = await self._trees.stage(place, keep=keep)
        self._readings.go_over(place, file)
        return file

    def _open_for_reading(self, place: Place) -> Reading:
        with self._store.snapshot() as db:
            item = get_item(db, place)
            if item.entry is not None:
                extents = blobs.list_extents(db, self._store.blobs, item.entry.content)
                return self._readings.add(place, OpenFile(extents), None)
        file = own_file(item)
        assert file is not None, f"{place} has no bytes"
        return self._readings.add(place, StagedFile(self._files.path(file), writing=False), file)

    def _hold(self, place: Place, file: str, writer: Caller) -> StagedFile:
        opened = StagedFile(self._files.path(file), writing=True, trusted=writer.is_root)
        self._open[place].append(opened)
        return opened

    def _find_descriptor(self, place: Place) -> int | None:
        """Return a descriptor of the staged bytes of a place that is open."""
        if opened := self._open.get(place):
            return opened[0].descriptor
        return self._readings.find_descriptor(place)

    def release(self, opened: Reading | StagedFile) -> Place | None:
        """Note that nobody has it open any more, close it, and return what it was if it could be written to."""
        if isinstance(opened, Reading):
            self._readings.discard(opened)
            opened.close()
            return None
        released = next((place for place, files in self._open.items() if opened in files), None)
        if released is not None:
            self._open[released].remove(opened)
            if not self._open[released]:
                del self._open[released]
        opened.close()
        self._released.set()
        self._released = trio.Event()
        return released

    async def create(self, parent: Place, name: bytes, mode: int, caller: Caller) -> tuple[StagedFile, Shown]:
        """Make a file that is not there and open it, whatever its mode."""
        shown, file = await self.names.make_file(parent, name, mode, caller)
        return self._hold(shown.node, file, caller), shown

    async def set_attributes(self, place: Place, change: Change, opened: StagedFile | None, caller: Caller) -> None:
        """Change the size, mode, owner or times of something; in one that is open also after it was removed."""
        with self._store.snapshot() as db:
            shown = self.describe(db, place)
        if change.size_bytes is not None and not (opened is not None and opened.writing):
            permissions.check_access(caller, shown, WRITE)
        permissions.check_change(caller, shown, change)
        async with self._lock:
            attributes.apply(await self._find_target(place, change, opened), shown, change, caller)

    async def _find_target(self, place: Place, change: Change, opened: StagedFile | None) -> int | Path:
        if opened is not None:
            return opened.descriptor
        with self._store.snapshot() as db:
            removed = overlays.find_item(db, open_view(db, place.top), place.origin) is None
        if removed:
            descriptor = self._find_descriptor(place)
            if descriptor is None:
                raise pyfuse3.FUSEError(errno.ENOENT)
            return descriptor
        if change.size_bytes is None:
            return self._files.path(self._trees.own(place))
        return self._files.path(await self._stage(place, keep=change.size_bytes != 0))

    # -- committing

    async def commit(self, repo: str, branch: str, *, overwrite: bool = False) -> CommitId | None:
        """Put what is staged in one commit, see `committing.commit`. Raises Conflict while somebody writes to a file."""
        await self._wait_closed(repo, branch)
        held: list[tuple[Inode, Place | File]] = []

        def exchange() -> None:
            self.turns.begin(repo, branch)
            held.extend(places.locate(self._store, self._inodes, repo, branch))

        async with self.turns.changes, self._lock:
            self._check_closed(repo, branch)
            with self.turns.exchanging(repo, branch):

                def commit() -> CommitId | None:
                    return committing.commit(
                        self._store,
                        repo,
                        branch,
                        partial(trio.from_thread.run_sync, exchange),
                        self._end_looks,
                        roots=self.list_roots(repo, branch),
                        overwrite=overwrite,
                        go_on=self._go_on,
                    )

                committed = await trio.to_thread.run_sync(commit)
                if committed is not None:
                    self._rebind(held)
            return committed

    def _rebind(self, held: list[tuple[Inode, Place | File]]) -> None:
        """Have what the kernel holds mean what it is after the commit, also what was removed and is open."""
        for number, node in held:
            before = self._inodes.get(number) if number in self._inodes else None
            if isinstance(before, Place) and isinstance(node, Place) and before in self._open:
                self._open[node] = self._open.pop(before)
        places.rebind(self._inodes, held)

    async def discard(self, repo: str, branch: str) -> bool:
        """Give up what is staged. Raises Conflict while somebody writes to a file."""
        await self._wait_closed(repo, branch)
        async with self.turns.changes, self._lock:
            self._check_closed(repo, branch)
            with self.turns.exchanging(repo, branch):
                self.turns.begin(repo, branch)
                return await trio.to_thread.run_sync(committing.discard, self._store, repo, branch, self._end_looks)

    @staticmethod
    def _end_looks() -> None:
        """Return when nobody looks at what was there before; from a thread. A look is over before the loop turns again."""
        trio.from_thread.run_sync(lambda: None)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise Conflict("the time to commit it is up")

    async def _wait_closed(self, repo: str, branch: str) -> None:
        """Wait a moment for files to be closed: the kernel tells us only behind the program's own `close`."""
        with trio.move_on_after(_CLOSING_S):
            while any(self._iter_written(repo, branch)):
                await self._released.wait()

    def _iter_written(self, repo: str, branch: str) -> Iterator[Place]:
        """Yield what is open for writing."""
        for place, files in self._open.items():
            if files and leads_to(place, repo, branch):
                yield place

    def _check_closed(self, repo: str, branch: str) -> None:
        for place in self._iter_written(repo, branch):
            with self._store.snapshot() as db:
                view = open_view(db, place.top)
                item = overlays.find_item(db, view, place.origin)
                path = overlays.get_path(db, view, place.origin) if item else "a removed file"
            raise Conflict(f"{repo}@{branch}: {path} is open for writing")
