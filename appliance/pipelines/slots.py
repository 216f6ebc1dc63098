"""How many commands of a job run at once, and in which order they begin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turn:
    """A datum's turn: its command begins after those of the datums before it have."""

    def __init__(self, slots: trio.Semaphore, before: trio.Event) -> None:
        self._slots, self._before = slots, before
        self.begun = trio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Give a slot for the length of the block, also to what runs for the same datum again."""
        await self._before.wait()
        async with self._slots:
            self.begun.set()
            yield


class Slots:
    """So many slots, given out in turn."""

    def __init__(self, count: int) -> None:
        self._slots = trio.Semaphore(count)
        self._last = trio.Event()
        self._last.set()

    def next(self) -> Turn:
        """Return the turn behind all that were given out. Its owner sets `begun` in any case."""
        turn = Turn(self._slots, self._last)
        self._last = turn.begun
        return turn
