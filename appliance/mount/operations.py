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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NoReturn, TypeVar

import pyfuse3

from appliance.errors import ApplianceError
from appliance.mount import nodes
from appliance.mount.errnos import errno_of
from appliance.mount.handles import Handle, Handles, Listing, OpenFile
from appliance.mount.heads import Heads
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.nodes import Directory, File, Found, Root
from appliance.store import Store, blobs

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]

_FOR_EVER_S = 365 * 86_400
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT
_BLOCK_BYTES = 512
_NAME_BYTES = 255


def _answered(handler: Handler) -> Handler:
    """Return a handler that answers every error: pyfuse3 gives up the whole mount for any but its own."""

    @functools.wraps(handler)
    async def answered(self: object, *arguments: Any) -> Any:
        try:
            return await handler(self, *arguments)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(_choose_errno(handler.__name__, error)) from None

    return answered


def _choose_errno(call: str, error: Exception) -> int:
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


def _all_answered(kind: type[T]) -> type[T]:
    """Wrap every handler that a class defines."""
    for name, member in list(vars(kind).items()):
        if name in vars(pyfuse3.Operations) and inspect.iscoroutinefunction(member):
            setattr(kind, name, _unanswered(member) if name == "forget" else _answered(member))
    return kind


@_all_answered
class Operations(pyfuse3.Operations):  # type: ignore[misc]
    """The mount as pyfuse3 calls it, on one thread. `on_ready` is called when the kernel has said hello.

    What each call means is pyfuse3's to say. Those that are missing answer ENOSYS, which the kernel takes for ever: it
    then succeeds in flush and fsync by itself, and closing a file costs one question less.
    """

    # Otherwise we would be asked for "." and ".." of directories whose parents the kernel has forgotten.
    supports_dot_lookup = False

    def __init__(self, store: Store, heads: Heads, on_ready: Callable[[], None]) -> None:
        super().__init__()
        self._store = store
        self._heads = heads
        self._on_ready = on_ready
        self._inodes = Inodes(Root(time.time_ns()))
        self._files: Handles[OpenFile] = Handles()
        self._listings: Handles[Listing] = Handles()
        self._owner = (os.getuid(), os.getgid())

    def init(self) -> None:
        self._on_ready()

    def close(self) -> None:
        """Let go of what was open when the mount went away."""
        for opened in self._files.clear():
            opened.close()

    async def lookup(self, parent: Inode, name: bytes, _context: object) -> pyfuse3.EntryAttributes:
        with self._store.snapshot() as db:
            found = nodes.find_child(db, self._inodes.get_directory(parent), name)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        entry = self._describe(found)
        self._hold(entry.st_ino, found)
        return entry

    async def forget(self, numbers: Iterable[tuple[Inode, int]]) -> None:
        for number, lookups in numbers:
            self._inodes.forget(number, lookups)

    async def getattr(self, number: Inode, _context: object) -> pyfuse3.EntryAttributes:
        with self._store.snapshot() as db:
            return self._describe(nodes.describe(db, self._inodes.get(number)))

    async def access(self, _number: Inode, mode: int, _context: object) -> bool:
        if mode & os.W_OK:
            raise pyfuse3.FUSEError(errno.EROFS)
        return True

    async def open(self, number: Inode, flags: int, _context: object) -> pyfuse3.FileInfo:
        if flags & _WRITING:
            raise pyfuse3.FUSEError(errno.EROFS)
        node = self._inodes.get(number)
        assert isinstance(node, File), f"{node} is opened as a file"
        with self._store.snapshot() as db:
            extents = blobs.list_extents(db, self._store.blobs, node.entry.content)
        return pyfuse3.FileInfo(fh=self._files.add(OpenFile(extents)), keep_cache=True)

    async def read(self, handle: Handle, offset: int, size_bytes: int) -> bytes:
        return self._files.get(handle).read(offset, size_bytes)

    async def release(self, handle: Handle) -> None:
        self._files.remove(handle).close()

    async def opendir(self, number: Inode, _context: object) -> Handle:
        return self._listings.add(Listing(self._inodes.get_directory(number)))

    async def readdir(self, handle: Handle, offset: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings.get(handle)
        mark = listing.find_mark(offset)
        listing.begin(offset)
        with self._store.snapshot() as db, closing(nodes.iter_children(db, listing.directory, mark or "")) as children:
            for child in children if mark is not None else islice(children, offset, None):
                entry = self._describe(child.found)
                if not pyfuse3.readdir_reply(token, child.name.encode(), entry, listing.next_offset):
                    return
                self._hold(entry.st_ino, child.found)
                listing.add(child.mark)

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
        # Programs ask for access control lists and capabilities all the time.
        if name.startswith(b"user.pfs."):
            attributes = self._list_attributes(number)
            if name in attributes:
                return attributes[name]
        raise pyfuse3.FUSEError(pyfuse3.ENOATTR)

    async def listxattr(self, number: Inode, _context: object) -> Sequence[bytes]:
        return list(self._list_attributes(number))

    async def _refuse(self, *_arguments: object) -> NoReturn:
        """Answer a call that would change something."""
        raise pyfuse3.FUSEError(errno.EROFS)

    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = create = write = setxattr = removexattr = _refuse

    def _list_attributes(self, number: Inode) -> Mapping[bytes, bytes]:
        with self._store.snapshot() as db:
            return nodes.list_attributes(db, self._inodes.get(number))

    def _hold(self, number: Inode, found: Found) -> None:
        """Note what the kernel is about to be told."""
        self._inodes.hold(number, found.node)
        if isinstance(found.node, Directory) and found.node.path == "/":
            self._heads.note(found.node)

    def _describe(self, found: Found) -> pyfuse3.EntryAttributes:
        """Return the kernel's form of a node. Directories have one link: ours are not counted."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = self._inodes.number(found.node)
        entry.entry_timeout = _FOR_EVER_S if found.name_lasts else 0
        entry.attr_timeout = _FOR_EVER_S if found.attributes_last else 0
        entry.st_uid, entry.st_gid = self._owner
        entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = found.modified_ns
        if isinstance(found.node, File):
            size_bytes = found.node.entry.content.size_bytes
            entry.st_mode = stat.S_IFREG | 0o444
            entry.st_size = size_bytes
            entry.st_blocks = -(-size_bytes // _BLOCK_BYTES)
        else:
            entry.st_mode = stat.S_IFDIR | 0o555
        return entry
