"""A disk that fails on command: a FUSE file system in a process of its own, told what to do on its standard input.

    python -m disk.server MOUNTPOINT BACKING [--fsync-ms MS]

Prints `{"ready": true}` once mounted, then answers each line of JSON with one. `do` is one of

    fail      kinds, errno, after (0), times (null: for good), name (""): answer these operations with an error
    heal      no more failures
    failed    how many operations have failed since the last `fail`
    delay     ms: what each fsync takes
    cut       after (0), seeds, images: n operations from now, write what a power cut may leave, once for each seed, into the
              directories `images`; a seed of null: what a killed process leaves. The disk goes on.
    count     how many operations there were, by kind
    quit      unmount and end

Kinds of operations are the names of the methods of `Operations` below that call `_begin`.
"""

import argparse
import errno
import faulthandler
import functools
import json
import os
import random
import stat
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio
from disk.state import SECTOR, Node, State

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Failing:
    """Operations that fail: `after` of them are let through, then `times` fail."""

    kinds: frozenset[str]
    errno: int
    after: int = 0
    times: int | None = None
    name: str = ""
    seen: int = 0
    failed: int = 0

    def hits(self, kind: str, name: str) -> bool:
        """Count an operation, and tell whether it fails."""
        if kind not in self.kinds or self.name not in name:
            return False
        self.seen += 1
        hit = self.seen > self.after and (self.times is None or self.failed < self.times)
        self.failed += hit
        return hit


@dataclass(slots=True)
class Cut:
    """A power cut to come."""

    after: int
    seeds: Sequence[int | None]
    images: Sequence[Path]
    done: trio.Event


def guarded(handler: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Answer with the error of the disk below. Anything but a FUSEError would end the mount."""

    @functools.wraps(handler)
    async def answer(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return await handler(*arguments, **options)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    return answer


class Operations(pyfuse3.Operations):
    """The file system. Every handler is short and does not wait, but for `fsync`."""

    enable_writeback_cache = False

    def __init__(self, backing: Path) -> None:
        super().__init__()
        self.state = State(backing)
        self.failing: Failing | None = None
        self.cut: Cut | None = None
        self.delay_s = 0.0
        self.counts: Counter[str] = Counter()
        self._open: dict[int, tuple[Node, int]] = {}

    def _begin(self, kind: str, name: bytes | str = "") -> None:
        """Count an operation; cut the power before it or fail it, as told."""
        self.counts[kind] += 1
        if self.cut is not None and kind not in ("read", "open"):
            self.cut.after -= 1
            if self.cut.after < 0:
                self.write_images()
        if self.failing is not None and self.failing.hits(kind, os.fsdecode(name)):
            raise OSError(self.failing.errno, "as told")

    def write_images(self) -> None:
        """Write what the cut leaves."""
        assert self.cut is not None
        cut, self.cut = self.cut, None
        for seed, image in zip(cut.seeds, cut.images, strict=True):
            self.state.write_image(image, None if seed is None else random.Random(seed))
        cut.done.set()

    def _name(self, node: Node) -> bytes:
        """Return some name of a node, for rules that go by name."""
        if self.failing is None or not self.failing.name:
            return b""
        found = (name for directory in self.state.nodes.values() for name, n in directory.names.items() if n == node.number)
        return next(found, b"")

    def _attributes(self, node: Node) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_size = node.number, node.mode, node.size
        entry.st_nlink, entry.st_uid, entry.st_gid = 1, os.getuid(), os.getgid()
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = node.changed_ns
        entry.st_blksize, entry.st_blocks = 4096, -(-node.size // SECTOR)
        entry.attr_timeout = entry.entry_timeout = 300
        return entry

    @guarded
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._attributes(self.state.find(parent_inode, name))

    @guarded
    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._attributes(self._node(inode))

    @guarded
    async def setattr(self, inode: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> pyfuse3.EntryAttributes:
        node = self._node(inode)
        self._begin("setattr", self._name(node))
        if fields.update_size:
            self.state.resize(node, attr.st_size)
        if fields.update_mode:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        return self._attributes(node)

    @guarded
    async def create(self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any) -> Any:
        self._begin("create", name)
        node = self.state.make(parent_inode, name, stat.S_IFREG | stat.S_IMODE(mode))
        return self._open_node(node), self._attributes(node)

    @guarded
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any) -> pyfuse3.EntryAttributes:
        self._begin("create", name)
        return self._attributes(self.state.make(parent_inode, name, mode))

    @guarded
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        self._begin("mkdir", name)
        return self._attributes(self.state.make(parent_inode, name, stat.S_IFDIR | stat.S_IMODE(mode)))

    @guarded
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        self._begin("link", new_name)
        return self._attributes(self.state.link(inode, new_parent_inode, new_name))

    @guarded
    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._begin("unlink", name)
        self.state.remove(parent_inode, name)

    @guarded
    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._begin("rmdir", name)
        self.state.remove(parent_inode, name)

    @guarded
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: Any
    ) -> None:
        if flags:
            raise OSError(errno.EINVAL, "no special renames")
        self._begin("rename", name_old)
        self.state.rename(parent_inode_old, name_old, parent_inode_new, name_new)

    @guarded
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        node = self._node(inode)
        self._begin("open", self._name(node))
        if flags & os.O_TRUNC:
            self.state.resize(node, 0)
        return self._open_node(node)

    def _open_node(self, node: Node) -> pyfuse3.FileInfo:
        descriptor = os.open(self.state.live / str(node.number), os.O_RDWR)
        node.opened += 1
        self._open[descriptor] = (node, descriptor)
        return pyfuse3.FileInfo(fh=descriptor)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> bytes:
        self._begin("read", self._name(self._open[fh][0]))
        return os.pread(fh, size, off)

    @guarded
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        node = self._open[fh][0]
        self._begin("write", self._name(node))
        written = os.pwrite(fh, buf, off)
        self.state.write(node, off, bytes(buf[:written]))
        return written

    async def flush(self, fh: int) -> None:
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @guarded
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._sync(self._open[fh][0])

    @guarded
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._sync(self._node(fh))

    async def _sync(self, node: Node) -> None:
        if self.delay_s:
            await trio.sleep(self.delay_s)
        try:
            self._begin("fsync", self._name(node))
        except OSError:
            self.state.drop_pending(node)
            raise
        self.state.sync(node)

    async def release(self, fh: int) -> None:
        node, descriptor = self._open.pop(fh)
        node.opened -= 1
        os.close(descriptor)

    @guarded
    async def opendir(self, inode: int, ctx: Any) -> int:
        return self._node(inode).number

    @guarded
    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        for number, (name, child) in enumerate(sorted(self._node(fh).names.items()), start=1):
            if number > start_id and not pyfuse3.readdir_reply(token, name, self._attributes(self._node(child)), number):
                break

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = 4096
        found.f_blocks = found.f_bfree = found.f_bavail = found.f_files = found.f_ffree = found.f_favail = 2**30
        found.f_namemax = 255
        return found

    def _node(self, inode: int) -> Node:
        try:
            return self.state.nodes[inode]
        except KeyError:
            raise OSError(errno.ESTALE, "collected") from None


async def _obey(operations: Operations, command: dict[str, Any]) -> dict[str, Any]:
    match command.pop("do"):
        case "fail":
            operations.failing = Failing(frozenset(command.pop("kinds")), **command)
        case "heal":
            operations.failing = None
        case "failed":
            return {"failed": operations.failing.failed if operations.failing else 0}
        case "delay":
            operations.delay_s = command["ms"] / 1000
        case "cut":
            images = [Path(image) for image in command["images"]]
            cut = operations.cut = Cut(command.get("after", 0), command["seeds"], images, trio.Event())
            with trio.move_on_after(command.get("within_s", 2.0)):
                await cut.done.wait()
            if not cut.done.is_set():  # nobody does anything any more: as good a moment as any
                operations.write_images()
        case "count":
            return dict(operations.counts)
    return {}


async def _take_commands(operations: Operations) -> None:
    stdin = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    rest = b""
    async for piece in stdin:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["do"] == "quit":
                return
            _say(await _obey(operations, command))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _serve(operations: Operations) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        _say({"ready": True})
        await _take_commands(operations)
        pyfuse3.terminate()


def main() -> None:
    """Mount, obey until told to quit or until nobody is there to tell, unmount."""
    parser = argparse.ArgumentParser(prog="disk.server", description="a disk that fails on command")
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("backing", type=Path)
    parser.add_argument("--fsync-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    faulthandler.enable()
    os.umask(0)
    operations = Operations(arguments.backing)
    operations.delay_s = arguments.fsync_ms / 1000
    pyfuse3.init(operations, str(arguments.mountpoint), {"fsname=faulty-disk", *pyfuse3.default_options})
    try:
        trio.run(_serve, operations)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
