"""One short method for each call of the kernel, over nodes, inodes and handles.

No method waits for anything but the disk, so each one is answered before the next begins, and with the state of one
moment.
"""

import errno
import functools
import inspect
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NoReturn, TypeVar

import pyfuse3
import trio

from appliance.errors import ApplianceError
from appliance.mount import jobs, nodes
from appliance.mount.autocommit import Autocommit
from appliance.mount.errnos import errno_of
from appliance.mount.forgotten import iter_names
from appliance.mount.handles import FindReader, Handle, Handles, Listing, OpenFile, PagedListing, SmallFile
from appliance.mount.heads import Heads, Name
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.known import Known
from appliance.mount.nodes import Directory, Fixed, Found, Gone, JobDirectory, Node, Page, Place, Root, View
from appliance.mount.permissions import Change
from appliance.mount.places import Shown
from appliance.mount.reading import Reading
from appliance.mount.requests import Answer, Requests
from appliance.mount.staged import StagedFile
from appliance.mount.tops import Top
from appliance.mount.trees import caller_of
from appliance.mount.writing import Writable, Writing
from appliance.store import Db, Store, blobs, contents
from appliance.store.pages import Version as File
from appliance.store.pages import behind

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]
AnyDirectory = Root | View | Directory | Place | JobDirectory

_FOR_EVER_S = 365 * 86_400
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT
_BLOCK_BYTES = 512
_NAME_BYTES = 255
# Names read at a time in a listing: some 200 go into a reply.
_PAGE = 1000
_ANY_FILE = File(0, 0, 0)
# The last two are what a disk says to the owner of a file that is not root, and where a file has all the names it can have.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EINVAL, errno.EPERM, errno.EMLINK)


def _describe_fixed(db: Db, node: Fixed) -> Found:
    return jobs.describe(db, node) if isinstance(node, JobDirectory) else nodes.describe(db, node)


def _answered(handler: Handler) -> Handler:
    """Return a handler that answers every error: pyfuse3 gives up the whole mount for any but its own."""

    @functools.wraps(handler)
    async def answered(self: "Operations", *arguments: Any) -> Any:
        try:
            return await Answer(self.requests, handler(self, *arguments))
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(_choose_errno(handler.__name__, error)) from None

    return answered


def _choose_errno(call: str, error: Exception) -> int:
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return error.errno
    if not isinstance(error, ApplianceError):
        log.exception("%s failed", call)
        return errno.EIO
    number = errno_of(error)
    if number == errno.EIO:
        log.error("%s failed: %s", call, error)
    return number


def _unanswered(handler: Handler) -> Handler:
    """Return a handler that nobody waits for, so that its errors are only logged."""

    @functools.wraps(handler)
    async def unanswered(self: object, *arguments: Any) -> None:
        try:
            await handler(self, *arguments)
        except Exception:
            log.exception("%s failed", handler.__name__)

    return unanswered


def _looking(handler: Handler) -> Handler:
    """Return a handler of a node that waits while a commit exchanges what its number means."""

    @functools.wraps(handler)
    async def looking(self: "Operations", number: Inode, *arguments: Any) -> Any:
        await self.writing.turns.wait_to_look(self._inodes.get(number))
        return await handler(self, number, *arguments)

    return looking


def _changing(handler: Handler) -> Handler:
    """Return a handler that waits for commits, and has them wait, if it is of a node in a writable branch."""

    @functools.wraps(handler)
    async def changing(self: "Operations", number: Inode, *arguments: Any) -> Any:
        if not isinstance(self._inodes.get(number), Place):
            return await handler(self, number, *arguments)
        async with self.writing.turns.changes:
            return await handler(self, number, *arguments)

    return changing


_LOOKS = {"lookup", "getattr", "access", "opendir", "getxattr", "listxattr", "readlink"}
_CHANGES = {"create", "setattr", "mkdir", "unlink", "rmdir", "rename", "mknod", "symlink", "link"}


def _all_answered(kind: type[T]) -> type[T]:
    """Wrap every handler that a class defines."""
    for name, member in list(vars(kind).items()):
        if name in vars(pyfuse3.Operations) and inspect.iscoroutinefunction(member):
            in_turn = _looking(member) if name in _LOOKS else _changing(member) if name in _CHANGES else member
            setattr(kind, name, _unanswered(member) if name == "forget" else _answered(in_turn))
    return kind


@_all_answered
class Operations(pyfuse3.Operations):  # type: ignore[misc]
    """The mount as pyfuse3 calls it, on one thread. `on_ready` is called when the kernel has said hello.

    What each call means is pyfuse3's to say. Those that are missing answer ENOSYS, which the kernel takes for ever: it
    then succeeds in flush and fsync by itself, and closing a file costs one question less.
    """

    # Otherwise we would be asked for "." and ".." of directories whose parents the kernel has forgotten.
    supports_dot_lookup = False

    def __init__(
        self,
        store: Store,
        heads: Heads,
        on_ready: Callable[[], None],
        writable: Writable,
        autocommit: bool = False,
        find_reader: FindReader | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._heads = heads
        self._on_ready = on_ready
        self._inodes = Inodes(Root(time.time_ns()))
        self._views: dict[int, View] = {}
        self.known = Known()
        self.requests = Requests()
        self.writing = Writing(store, writable, self._inodes)
        self.autocommit = Autocommit(self.writing.commit) if autocommit else None
        self._files: Handles[OpenFile | SmallFile | Reading | StagedFile] = Handles()
        self._listings: Handles[Listing | PagedListing] = Handles()
        self._find_reader = find_reader
        self._owner = (os.getuid(), os.getgid())

    def init(self) -> None:
        self._on_ready()

    def add_view(self, tops: tuple[Top, ...], *, writable: bool = False) -> View:
        """Make a view of some names, or of all repos where there are none. It has a name in the mount's root."""
        number = max(self._views, default=0) + 1
        placed = tuple(replace(top, view=number) for top in tops)
        view = self._views[number] = View(number, time.time_ns(), placed, writable)
        return view

    def remove_view(self, view: View) -> None:
        """Let nobody find a view any more."""
        del self._views[view.number]

    def locate(self, top: Top) -> Name | None:
        """Return what the kernel knows a name at the top by; None if it can not know it any more."""
        if not top.view:
            return Name(pyfuse3.ROOT_INODE, top.name.encode())
        view = self._views.get(top.view)
        return Name(self._inodes.number(view), top.name.encode()) if view is not None else None

    def list_wrong(self, forgotten: set[tuple[str, str]]) -> list[Name]:
        """Return what the kernel may have wrong after versions of (repo, path) were forgotten."""
        with self._store.snapshot() as db:
            return [Name(number, name) for number, name in iter_names(db, self._inodes, forgotten)]

    def close(self) -> None:
        """Let go of what was open when the mount went away."""
        for opened in self._files.clear():
            opened.close()

    async def lookup(self, parent: Inode, name: bytes, context: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        directory = self._get_directory(parent)
        if isinstance(directory, Place):
            self.writing.check_search(directory, caller_of(context))
        if isinstance(directory, Directory) and (told := self._find_known(parent, directory, name)) is not None:
            return self._tell(told)
        with self._answering(directory), self._store.snapshot() as db:
            found = self._find(db, directory, name)
            if found is None:
                raise pyfuse3.FUSEError(errno.ENOENT)
            return self._tell(found)

    def _find_known(self, number: Inode, directory: Directory, name: bytes) -> Found | None:
        """Return what a name leads to if looking there tells. Raises ENOENT if that tells that there is nothing."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise pyfuse3.FUSEError(errno.ENOENT) from None
        told = self.known.find(number, text)
        if told is None and (snapshot := self.known.find_snapshot(directory)) is not None:
            told = self._store.look(
                lambda db: self.known.look(number, text, partial(nodes.find_tip_page, db, directory, snapshot))
            )
        if told is None:
            with self._store.snapshot() as db:
                told = self.known.look(number, text, partial(nodes.find_fixed_page, db, directory))
        if told is None:
            return None
        page, item = told
        if item is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return page.find(item)

    async def forget(self, numbers: Iterable[tuple[Inode, int]]) -> None:
        for number, lookups in numbers:
            node = self._inodes.forget(number, lookups)
            if isinstance(node, Directory):
                self.known.forget(number)
                if node.path == "/":
                    self._heads.drop(node)

    async def getattr(self, number: Inode, _context: object) -> pyfuse3.EntryAttributes:
        node = self._inodes.get(number)
        with self._store.snapshot() as db:
            found = self.writing.describe(db, node) if isinstance(node, Place) else _describe_fixed(db, node)
        return self._describe(found)

    async def access(self, number: Inode, mode: int, context: pyfuse3.RequestContext) -> bool:
        node = self._inodes.get(number)
        if isinstance(node, Place):
            self.writing.check_access(node, mode, caller_of(context))
        elif mode & os.W_OK:
            raise pyfuse3.FUSEError(errno.EROFS)
        elif mode & os.X_OK and isinstance(node, File):
            raise pyfuse3.FUSEError(errno.EACCES)
        return True

    async def open(self, number: Inode, flags: int, context: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        node = self._inodes.get(number)
        if isinstance(node, Place):
            staged = await (self._open_to_change if flags & _WRITING else self._open_to_look)(number, flags, context)
            return pyfuse3.FileInfo(fh=self._files.add(staged), keep_cache=False)
        if flags & _WRITING:
            raise pyfuse3.FUSEError(errno.EROFS)
        assert isinstance(node, File), f"{node} is opened as a file"
        self._note_opened(node, context.pid)
        data = self._store.look(lambda db: contents.find_small(db, node.row, node.modified_ns))
        opened = SmallFile(data) if data is not None else self._open_extents(node)
        return pyfuse3.FileInfo(fh=self._files.add(opened), keep_cache=True)

    def _note_opened(self, node: File, pid: int) -> None:
        """Say what is opened, if it is somebody's of whom that is to be known."""
        reader = self._find_reader(pid) if self._find_reader is not None else None
        if reader is not None:
            with self._store.snapshot() as db, suppress(Gone):
                entry = nodes.get_entry(db, node)
                reader(entry.line, entry.path)

    def _open_extents(self, node: File) -> OpenFile:
        with self._store.snapshot() as db:
            return OpenFile(blobs.list_extents(db, self._store.blobs, nodes.get_entry(db, node).content))

    async def _open_place(self, number: Inode, flags: int, context: pyfuse3.RequestContext) -> Reading | StagedFile:
        place = self._inodes.get(number)
        if not isinstance(place, Place):  # a commit came first, of what stands in its place: the kernel looks there
            raise pyfuse3.FUSEError(errno.ESTALE)
        return await self.writing.open(place, flags, caller_of(context))

    _open_to_look, _open_to_change = _looking(_open_place), _changing(_open_place)

    async def read(self, handle: Handle, offset: int, size_bytes: int) -> bytes:
        return self._files.get(handle).read(offset, size_bytes)

    async def release(self, handle: Handle) -> None:
        opened = self._files.remove(handle)
        if isinstance(opened, Reading | StagedFile):
            self._note_change(self.writing.release(opened))
        else:
            opened.close()

    async def opendir(self, number: Inode, context: pyfuse3.RequestContext) -> Handle:
        directory = self._get_directory(number)
        if isinstance(directory, Place):
            self.writing.check_access(directory, os.R_OK, caller_of(context))
        else:  # what is gone is gone before a program lists it: then the kernel finds out where the path leads by now
            with self._store.snapshot() as db:
                _describe_fixed(db, directory)
        return self._listings.add(PagedListing(directory) if isinstance(directory, Directory) else Listing(number))

    async def readdir(self, handle: Handle, offset: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings.get(handle)
        if isinstance(listing, PagedListing):
            self._list_page(listing, offset, token)
        else:
            await self.writing.turns.wait_to_look(self._inodes.get(listing.number))
            self._list(listing, offset, token)

    def _list_page(self, listing: PagedListing, offset: int, token: pyfuse3.ReaddirToken) -> None:
        page, index = listing.find(offset) or self._seek(listing, offset)
        if index == len(page.items) and not page.is_last:
            page, index = self._read_page(listing, page, offset), 0
        shown = self._describe(Found(_ANY_FILE, 0, name_lasts=page.is_fixed))
        for item in islice(page.items, index, None):
            offset += 1
            mark, version = item
            if version is not None:
                shown.st_ino = number = self._inodes.hold_file(version)
                shown.st_size = version.size_bytes
                shown.st_blocks = -(-version.size_bytes // _BLOCK_BYTES)
                shown.st_atime_ns = shown.st_ctime_ns = shown.st_mtime_ns = version.modified_ns
                told = pyfuse3.readdir_reply(token, mark.encode(), shown, offset)
            else:
                entry = self._tell(page.find(item))
                number = entry.st_ino
                told = pyfuse3.readdir_reply(token, mark[:-1].encode(), entry, offset)
            if not told:
                self._inodes.forget(number, 1)
                return

    def _read_page(self, listing: PagedListing, before: Page | None, first: int) -> Page:
        start = behind(before.items[-1].mark) if before is not None and before.items else ""
        with self._store.snapshot() as db:
            page = nodes.read_page(db, listing.directory, start, _PAGE)
        listing.keep(page, first)
        return page

    def _seek(self, listing: PagedListing, offset: int) -> tuple[Page, int]:
        """Read pages from the beginning until there is the one that an offset is in."""
        first, page = 0, self._read_page(listing, None, 0)
        while offset - first > len(page.items) and not page.is_last:
            first += len(page.items)
            page = self._read_page(listing, page, first)
        return page, offset - first

    def _list(self, listing: Listing, offset: int, token: pyfuse3.ReaddirToken) -> None:
        mark = listing.find_mark(offset)
        listing.begin(offset)
        directory = self._get_directory(listing.number)
        assert not isinstance(directory, Directory), f"{directory} is listed as what changes"
        with (
            self._answering(directory),
            self._store.snapshot() as db,
            closing(self._iter_children(db, directory, mark or "")) as children,
        ):
            for name, place, found in children if mark is not None else islice(children, offset, None):
                entry = self._describe(found)
                if not pyfuse3.readdir_reply(token, name.encode(), entry, listing.next_offset):
                    return
                self._hold(entry.st_ino, found)
                listing.add(place)

    async def releasedir(self, handle: Handle) -> None:
        self._listings.remove(handle)

    async def statfs(self, _context: object) -> pyfuse3.StatvfsData:
        below = os.statvfs(self._store.directory)
        answer = pyfuse3.StatvfsData()
        for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
            setattr(answer, name, getattr(below, name))
        answer.f_namemax = _NAME_BYTES
        return answer

    async def getxattr(self, number: Inode, name: bytes, _context: object) -> bytes:
        # Programs ask for access control lists and capabilities all the time; told that there are none, `ls` does so once.
        if not name.startswith(b"user."):
            raise pyfuse3.FUSEError(errno.EOPNOTSUPP)
        if name.startswith(b"user.pfs."):
            attributes = self._list_attributes(number)
            if name in attributes:
                return attributes[name]
        raise pyfuse3.FUSEError(pyfuse3.ENOATTR)

    async def listxattr(self, number: Inode, _context: object) -> Sequence[bytes]:
        return list(self._list_attributes(number))

    # -- changes: EROFS but in writable branches

    async def create(
        self, parent: Inode, name: bytes, mode: int, _flags: int, context: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        opened, shown = await self.writing.create(self._get_writable(parent), name, mode, caller_of(context))
        return pyfuse3.FileInfo(fh=self._files.add(opened), keep_cache=False), self._tell(shown)

    async def write(self, handle: Handle, offset: int, piece: bytes) -> int:
        opened = self._files.get(handle)
        assert isinstance(opened, StagedFile), f"{opened} is written to"
        return opened.write(offset, piece)

    async def fsync(self, handle: Handle, _only_data: bool) -> None:
        opened = self._files.get(handle)
        if isinstance(opened, StagedFile) and opened.writing:
            await trio.to_thread.run_sync(self._sync, opened.descriptor)

    async def fsyncdir(self, handle: Handle, _only_data: bool) -> None:
        listing = self._listings.get(handle)
        if isinstance(listing, Listing) and isinstance(self._inodes.get(listing.number), Place):
            await trio.to_thread.run_sync(self._store.sync)

    def _sync(self, descriptor: int) -> None:
        """Make the bytes of a file durable, and all changes of names. Blocks for the disk, others are served meanwhile."""
        os.fsync(descriptor)
        self._store.sync()

    async def setattr(
        self,
        number: Inode,
        attributes: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        handle: Handle | None,
        context: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        place = self._get_writable(number)
        opened = self._files.get(handle) if handle is not None else None
        change = Change(
            size_bytes=attributes.st_size if fields.update_size else None,
            mode=attributes.st_mode if fields.update_mode else None,
            uid=attributes.st_uid if fields.update_uid else None,
            gid=attributes.st_gid if fields.update_gid else None,
            accessed_ns=attributes.st_atime_ns if fields.update_atime else None,
            modified_ns=attributes.st_mtime_ns if fields.update_mtime else None,
        )
        staged = opened if isinstance(opened, StagedFile) else None
        await self.writing.set_attributes(place, change, staged, caller_of(context))
        with self._store.snapshot() as db:
            return self._describe(self.writing.describe(db, place))

    async def mkdir(self, parent: Inode, name: bytes, mode: int, context: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        place = self._get_writable(parent)
        made = await self.writing.names.make_directory(place, name, mode, caller_of(context))
        self._note_change(place)
        return self._tell(made)

    async def unlink(self, parent: Inode, name: bytes, context: pyfuse3.RequestContext) -> None:
        await self._remove(parent, name, context, directory=False)

    async def rmdir(self, parent: Inode, name: bytes, context: pyfuse3.RequestContext) -> None:
        await self._remove(parent, name, context, directory=True)

    async def _remove(self, parent: Inode, name: bytes, context: pyfuse3.RequestContext, *, directory: bool) -> None:
        place = self._get_writable(parent)
        await self.writing.names.remove(place, name, caller_of(context), directory=directory)
        self._note_change(place)

    async def rename(
        self,
        parent: Inode,
        name: bytes,
        new_parent: Inode,
        new_name: bytes,
        flags: int,
        context: pyfuse3.RequestContext,
    ) -> None:
        source, target = self._get_writable(parent), self._get_writable(new_parent)
        if source.top != target.top:
            raise pyfuse3.FUSEError(errno.EXDEV)
        await self.writing.names.rename(source, name, target, new_name, flags, caller_of(context))
        self._note_change(target)

    async def mknod(
        self, parent: Inode, name: bytes, mode: int, device: int, context: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        place = self._get_writable(parent)
        made = await self.writing.names.make_special(place, name, mode, device, caller_of(context))
        self._note_change(place)
        return self._tell(made)

    async def symlink(
        self, parent: Inode, name: bytes, target: bytes, context: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        place = self._get_writable(parent)
        made = await self.writing.names.make_link(place, name, target, caller_of(context))
        self._note_change(place)
        return self._tell(made)

    async def readlink(self, number: Inode, _context: object) -> bytes:
        node = self._inodes.get(number)
        assert isinstance(node, Place), f"{node} is read as a link"
        return self.writing.read_link(node)

    async def link(
        self, number: Inode, new_parent: Inode, new_name: bytes, context: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        target = self._get_writable(new_parent)
        source = self._get_writable(number)
        if source.top != target.top:
            raise pyfuse3.FUSEError(errno.EXDEV)
        linked = await self.writing.names.link(source, target, new_name, caller_of(context))
        self._note_change(target)
        return self._tell(linked)

    async def setxattr(self, number: Inode, *_arguments: object) -> NoReturn:
        self._refuse(number, errno.EOPNOTSUPP)

    async def removexattr(self, number: Inode, *_arguments: object) -> NoReturn:
        self._refuse(number, errno.EOPNOTSUPP)

    def _refuse(self, number: Inode, otherwise: int) -> NoReturn:
        """Refuse a change that is taken nowhere: as one where there are none, or as one of something that we do not keep."""
        self._get_writable(number)
        raise pyfuse3.FUSEError(otherwise)

    def _note_change(self, place: Place | None) -> None:
        if self.autocommit is not None and place is not None:
            self.autocommit.note(place.top.repo, place.top.branch)

    def _get_writable(self, number: Inode) -> Place:
        node = self._inodes.get(number)
        if not isinstance(node, Place):
            raise pyfuse3.FUSEError(errno.EROFS)
        with self._store.snapshot() as db:
            if not self.writing.is_writable(db, node.top):
                raise pyfuse3.FUSEError(errno.EROFS)
        return node

    # -- nodes

    def _get_directory(self, number: Inode) -> AnyDirectory:
        node = self._inodes.get(number)
        assert not isinstance(node, File), f"{node} is used as a directory"
        return node

    def _answering(self, directory: Node) -> AbstractContextManager[None]:
        """Around what the kernel is told of the names in a directory."""
        return self._heads.answering() if isinstance(directory, (Root, View)) else nullcontext()

    def _find(self, db: Db, parent: AnyDirectory, name: bytes) -> Found | Shown | None:
        if isinstance(parent, Place):
            return self.writing.find(db, parent, name)
        if isinstance(parent, Root) and name.startswith(b".view-"):
            return self._find_view(db, name)
        if isinstance(parent, Root) and name == jobs.NAME.encode():
            return jobs.describe(db, JobDirectory())
        if isinstance(parent, JobDirectory):
            return jobs.find_child(db, parent, name)
        found = nodes.find_child(db, parent, name)
        return self._widen(db, found) if found is not None and isinstance(parent, (Root, View)) else found

    def _find_view(self, db: Db, name: bytes) -> Found | None:
        view = next((view for view in self._views.values() if view.name.encode() == name), None)
        return nodes.describe(db, view) if view is not None else None

    def _iter_children(
        self, db: Db, directory: Root | View | Place | JobDirectory, mark: str
    ) -> Generator[tuple[str, str, Found | Shown], None, None]:
        """Yield (name, mark, child) of a directory behind a mark."""
        if isinstance(directory, Place):
            yield from self.writing.iter_children(db, directory, mark)
            return
        if isinstance(directory, JobDirectory):
            yield from jobs.iter_children(db, directory, mark)
            return
        for name, found in nodes.iter_tops(db, directory, mark):
            yield name, name, self._widen(db, found)

    def _widen(self, db: Db, found: Found) -> Found | Shown:
        """Return a name at the top as it is shown: the writable branch instead of its commit."""
        node = found.node
        if isinstance(node, Directory) and self.writing.is_writable(db, node.top):
            return self.writing.describe(db, Place(node.top, "/", is_directory=True))
        return found

    def _tell(self, found: Found | Shown) -> pyfuse3.EntryAttributes:
        """Return the kernel's form of a node, and note that it is about to be told."""
        entry = self._describe(found)
        self._hold(entry.st_ino, found)
        return entry

    def _list_attributes(self, number: Inode) -> Mapping[bytes, bytes]:
        node = self._inodes.get(number)
        with self._store.snapshot() as db:
            return self.writing.list_attributes(db, node) if isinstance(node, Place) else nodes.list_attributes(db, node)

    def _hold(self, number: Inode, found: Found | Shown) -> None:
        self._inodes.hold(number, found.node)
        if isinstance(found.node, Directory) and found.node.path == "/":
            self._heads.note(found.node)

    def _describe(self, found: Found | Shown) -> pyfuse3.EntryAttributes:
        """Return the kernel's form of a node. Directories have one link: ours are not counted."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = self._inodes.number(found.node)
        if isinstance(found, Shown):
            return _describe_shown(entry, found)
        entry.st_uid, entry.st_gid = self._owner
        entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = found.modified_ns
        entry.entry_timeout = _FOR_EVER_S if found.name_lasts else 0
        entry.attr_timeout = _FOR_EVER_S if found.attributes_last else 0
        if isinstance(found.node, File):
            size_bytes = found.node.size_bytes
            entry.st_mode = stat.S_IFREG | 0o444
            entry.st_size = size_bytes
            entry.st_blocks = -(-size_bytes // _BLOCK_BYTES)
        else:
            entry.st_mode = stat.S_IFDIR | 0o555
        return entry


def _describe_shown(entry: pyfuse3.EntryAttributes, shown: Shown) -> pyfuse3.EntryAttributes:
    """Fill in what is told of a place in a writable branch; nothing of it lasts."""
    entry.entry_timeout = entry.attr_timeout = 0
    entry.st_mode, entry.st_size, entry.st_nlink = shown.mode, shown.size_bytes, shown.links
    entry.st_uid, entry.st_gid, entry.st_rdev = shown.uid, shown.gid, shown.device
    entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = shown.times_ns
    entry.st_blocks = -(-shown.size_bytes // _BLOCK_BYTES)
    return entry
