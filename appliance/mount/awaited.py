"""Writes that are answered once the kernel has heard of them: who reads behind the answer finds what was written."""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from itertools import count

import trio

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0


class Awaited:
    """The futures that the store's writes wait for, each until it is released; `add` and `release` from any thread.

    A released one is let go of at once: behind it are the bytes that were written, which the collector then leaves alone.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[Future[None], int] = {}
        self._fresh: deque[Future[None]] = deque()
        self._closed = False
        self._taken = trio.Event()

    def __bool__(self) -> bool:
        """Whether the kernel has still to hear of something."""
        return bool(self._waiting)

    def add(self) -> "Future[None]":
        """Return a new one, which `take` will return."""
        future: Future[None] = Future()
        self._waiting[future] = next(self._numbers)
        self._fresh.append(future)
        if self._closed:
            self.release([future])
        return future

    def take(self) -> "list[Future[None]]":
        """Return those that were added since the last time; on the mount's loop."""
        taken = []
        while self._fresh:
            taken.append(self._fresh.popleft())
        self._taken.set()
        return taken

    def release(self, futures: "Iterable[Future[None]]") -> None:
        """Let whoever waits for these go on; for those that were released before, nothing happens."""
        for future in futures:
            if self._waiting.pop(future, None) is not None:
                future.set_result(None)

    def close(self) -> None:
        """Release all, and from now on each one at once."""
        self._closed = True
        self.release(list(self._waiting))

    async def run(self) -> None:
        """Release those that wait too long, until cancelled: no reader of the mount can hold a write up for ever.

        The kernel takes a name back when nobody is in the middle of listing its directory, and somebody may be there who
        was stopped by a page of another file system.
        """
        while True:
            await self._taken.wait()
            self._taken = trio.Event()
            before = next(self._numbers)
            await trio.sleep(_PATIENCE_S)
            self._release_late(before)

    def _release_late(self, before: int) -> None:
        if late := [future for future, number in list(self._waiting.items()) if number < before]:
            log.warning("the kernel has not taken back names at the top of the mount for %s s", _PATIENCE_S)
            self.release(late)
