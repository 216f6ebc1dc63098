"""The sending half of a connection: bytes, ranges of files and streams onto a socket that never blocks the loop.

Of a large file no byte passes through this process, and a stream is held one piece at a time. A reply that can not be
completed ends in a cut, never in padding.
"""

import errno
import fcntl
import logging
import math
import os
import socket
import sys
import termios
from collections.abc import AsyncIterator, Sequence

import trio

from appliance.httpd.messages import FileSlice, Limits, ReplyBody

log = logging.getLogger(__name__)

# Up to here bytes are copied together to save a system call; one send or sendfile is never larger than the second.
_GATHER_BYTES = 64 * 1024
_SEND_BYTES = 1024 * 1024


class Cut(Exception):
    """The connection is of no more use to anybody: close it without another byte."""


class Unopened(Exception):
    """A file of a reply can not be opened, and nothing of the reply was sent yet. `scarce`: for lack of descriptors."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.scarce = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Sender:
    """Sends on one socket. A client that takes too little in `Limits.stall_s`, or is gone, raises Cut."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._limits = limits

    async def send_body(self, head: bytes, body: ReplyBody, *, raw: bool) -> None:
        """Send a reply. `raw` streams end with the connection instead of being chunked.

        Raises Unopened if something else can be answered instead.
        """
        if isinstance(body, AsyncIterator):
            await self.send(head)
            await self._send_stream(body, raw=raw)
        elif not isinstance(body, bytes):
            await self._send_slices(head, body)
        elif len(body) <= _GATHER_BYTES:
            await self.send(head + body)
        else:
            await self.send(head, more=True)
            await self.send(body)

    async def _send_slices(self, head: bytes, slices: Sequence[FileSlice]) -> None:
        """Small neighbours are gathered into one send; of a large file no byte comes by here.

        A file is opened before what comes before it is sent, so that the head of a reply promises nothing that is not there.
        """
        gathered, begun = bytearray(head), False
        try:
            for piece in slices:
                if len(gathered) + piece.length <= _GATHER_BYTES:
                    gathered += _read_slice(piece)
                    continue
                opened = None if piece.data is not None else _open_slice(piece)
                before, gathered, begun = gathered, bytearray(), True
                await self._send_large(before, piece, opened)
        except Unopened as error:
            if begun:
                raise Cut(str(error)) from error
            raise
        if gathered:
            await self.send(gathered)

    async def _send_large(self, before: bytearray, piece: FileSlice, fd: int | None) -> None:
        """Send what was gathered, then a large piece from memory or from a file, which is closed then."""
        if fd is None:
            await self.send(before, more=True)
            await self.send(_cut_slice(piece, memoryview(piece.data or b"")))
            return
        try:
            await self.send(before, more=True)
            await self._send_file(piece, fd)
        finally:
            os.close(fd)

    async def _send_file(self, piece: FileSlice, fd: int) -> None:
        offset, end = piece.offset, piece.offset + piece.length
        while offset < end:
            try:
                sent = os.sendfile(self._fd, fd, offset, min(end - offset, _SEND_BYTES))
            except BlockingIOError:
                await self._await_writable()
                continue
            except OSError as error:
                raise Cut(f"sendfile: {error}") from error
            if not sent:
                raise _too_short(piece)
            offset += sent
            await trio.lowlevel.checkpoint()

    async def _send_stream(self, body: AsyncIterator[bytes], *, raw: bool) -> None:
        """Send pieces as they come. A client that leaves is noticed even while there is nothing to send."""
        finished = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            finished = await self._send_pieces(body, raw=raw)
            nursery.cancel_scope.cancel()
        if not finished:
            raise Cut("a stream ended early")

    async def _send_pieces(self, body: AsyncIterator[bytes], *, raw: bool) -> bool:
        try:
            async for piece in body:
                if piece:
                    await self.send(piece if raw else b"%x\r\n%b\r\n" % (len(piece), piece))
            if not raw:
                await self.send(b"0\r\n\r\n")
        except Cut:
            return False
        except Exception:
            log.exception("a reply broke off")
            return False
        return True

    async def _watch_client(self, sending: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(self._fd)
        try:
            gone = not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            sending.cancel()

    async def send(self, data: bytes | bytearray | memoryview, *, more: bool = False) -> None:
        """Send all of it. `more` tells the kernel to wait for the next send before it closes a packet."""
        flags = socket.MSG_MORE if more else 0
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view[:_SEND_BYTES], flags)
            except BlockingIOError:
                await self._await_writable()
                continue
            except OSError as error:
                raise Cut(f"send: {error}") from error
            view = view[sent:]
            if view:
                await trio.lowlevel.checkpoint()

    async def _await_writable(self) -> None:
        """Wait until there is room. Linux says so only when a third of all that waits is gone, which may be megabytes."""
        waiting, taken = self._count_waiting(), math.inf
        while taken >= self._limits.least_bytes_s * self._limits.stall_s:
            with trio.move_on_after(self._limits.stall_s):
                await trio.lowlevel.wait_writable(self._fd)
                return
            before, waiting = waiting, self._count_waiting()
            taken = before - waiting
        raise Cut("the client does not take its reply")

    def _count_waiting(self) -> int:
        """Return how many bytes the kernel has that the client has not taken."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _read_slice(piece: FileSlice) -> memoryview:
    if piece.data is not None:
        return _cut_slice(piece, memoryview(piece.data))
    fd = _open_slice(piece)
    try:
        return _cut_slice(piece, memoryview(os.pread(fd, piece.length, piece.offset)), 0)
    finally:
        os.close(fd)


def _open_slice(piece: FileSlice) -> int:
    if piece.path is None:
        raise ValueError("a slice of nothing")
    try:
        return os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        log.warning("a file can not be opened that a reply was made of: %s", error)
        raise Unopened(error) from error


def _cut_slice(piece: FileSlice, data: memoryview, offset: int | None = None) -> memoryview:
    offset = piece.offset if offset is None else offset
    data = data[offset : offset + piece.length]
    if len(data) != piece.length:
        raise _too_short(piece)
    return data


def _too_short(piece: FileSlice) -> Cut:
    log.error("%s has less than the %d bytes from %d that were promised", piece.path, piece.length, piece.offset)
    return Cut("a file is shorter than promised")
