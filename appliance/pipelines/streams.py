"""The three streams of user code: what it reads, and its output line by line."""

import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from appliance.pipelines.link import not_started

OnLine = Callable[[str, bytes, int], None]
Pace = Callable[[], Awaitable[None]]

MAX_LINE_BYTES = 64 * 1024
# Of one stream of a run so much is handed over, a line counting for more than its bytes, and of what comes then the end.
MAX_LOG_BYTES = 32 * 1024 * 1024
MAX_TAIL_BYTES = 64 * 1024
_LINE_COSTS = 64
# How long to read on after the end: only something that left its group and namespace can still hold a pipe.
DRAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors: the three of the child, and where its output is read."""

    child: tuple[int, int, int]
    stdout: int
    stderr: int


def open_streams(stdin: bytes, account: dict[str, Any] | None) -> Streams:
    """Standard input as a file in memory, which nobody has to feed and which can not break, and two pipes."""
    with ExitStack() as stack:

        def owned(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        try:
            input_fd = owned(os.memfd_create("stdin"))
            _fill(input_fd, stdin)
            stdout, stdout_fd = map(owned, os.pipe())
            stderr, stderr_fd = map(owned, os.pipe())
            if account is not None:  # who opens /dev/stdout needs a right to the pipe itself
                os.fchown(stdout_fd, account["uid"], -1)
                os.fchown(stderr_fd, account["uid"], -1)
        except OSError as error:
            raise not_started(f"cannot open its streams: {error.strerror}") from error
        stack.pop_all()
        return Streams((input_fd, stdout_fd, stderr_fd), stdout, stderr)


def _fill(fd: int, content: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)


async def read_output(scope: trio.CancelScope, streams: Streams, on_line: OnLine, pace: Pace) -> None:
    """Read both pipes to their ends, or until the scope's deadline."""
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_lines, streams.stdout, partial(on_line, "stdout"), pace)
            nursery.start_soon(_read_lines, streams.stderr, partial(on_line, "stderr"), pace)


async def _read_lines(fd: int, deliver: Callable[[bytes, int], None], pace: Pace) -> None:
    """Deliver line by line, the last one also without newline, also when there is no time left to read on."""
    lines = _Splitter(deliver)
    async with trio.lowlevel.FdStream(fd) as pipe:
        try:
            async for chunk in pipe:
                lines.add(bytes(chunk))
                await pace()
        finally:
            lines.add(_left_in(fd))  # where taking the lines was slow, the time is up before all were
            lines.end()


def _left_in(fd: int) -> bytes:
    """Return what is in a pipe that nothing is waited for in: as much as fits in one, somebody may still be writing."""
    left, room = bytearray(), fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    with suppress(BlockingIOError):
        while len(left) < room and (piece := os.read(fd, room - len(left))):
            left += piece
    return bytes(left)


class _Splitter:
    """Makes lines of pieces, as long as there is room for them."""

    def __init__(self, deliver: Callable[[bytes, int], None]) -> None:
        self._deliver = deliver
        self._room = MAX_LOG_BYTES
        self._rest = b""  # without a newline yet; the end of what came when there was no room any more
        self._left_out = 0

    def add(self, chunk: bytes) -> None:
        """Deliver what is complete."""
        if self._room <= 0:
            whole = self._rest + chunk
            self._rest = whole[-MAX_TAIL_BYTES:]
            self._left_out += len(whole) - len(self._rest)
            return
        now_ns = time.time_ns()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._room -= len(chunk) + _LINE_COSTS * len(lines)
        for line in lines:
            self._deliver_pieces(line, now_ns)
        while len(self._rest) > MAX_LINE_BYTES:
            self._deliver(self._rest[:MAX_LINE_BYTES], now_ns)
            self._rest = self._rest[MAX_LINE_BYTES:]

    def end(self) -> None:
        """Deliver what is left."""
        now_ns = time.time_ns()
        if self._left_out:
            begun, newline, whole = self._rest.partition(b"\n")
            self._rest = whole if newline else begun
            left_out = self._left_out + (len(begun) + 1 if newline else 0)
            self._deliver(f"[{left_out} bytes of output are left out here]".encode(), now_ns)
        *lines, last = self._rest.split(b"\n")
        for line in (*lines, last) if last else lines:
            self._deliver_pieces(line, now_ns)

    def _deliver_pieces(self, line: bytes, now_ns: int) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE_BYTES):
            self._deliver(line[start : start + MAX_LINE_BYTES], now_ns)
