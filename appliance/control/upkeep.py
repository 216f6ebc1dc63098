"""What commands can ask for that takes long and says how far it is: generators, each step of which runs in a thread."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import trio

from appliance.app import App
from appliance.httpd import Body
from appliance.store import checking
from appliance.store.findings import Problem, Step

_PROGRESS_S = 0.1


class UpkeepCalls:
    """The calls, over an open appliance. Every public method is one."""

    ABANDONED: ClassVar = frozenset({"fsck"})
    """What only reads, and may go on in its thread for a moment when nobody waits for it any more."""

    def __init__(self, app: App) -> None:
        self._app = app

    def fsck(self, deep: bool = False) -> Iterator[Any]:
        """Check everything that is kept: yield problems as text, and steps."""
        for found in _thin_out(checking.check(self._app.store, deep=deep)):
            yield {"problem": str(found)} if isinstance(found, Problem) else found

    def garbage_collect(self) -> Iterator[Any]:
        """Collect garbage now: yield steps, and in the end what was removed."""
        for found in _thin_out(self._app.upkeep.collect()):
            yield found if isinstance(found, Step) else {"collected": found}


def _thin_out(found: Iterator[Any]) -> Iterator[Any]:
    """Leave steps out that come sooner after another than anybody could read them; what was last is not lost."""
    shown = 0.0
    for item in found:
        now = time.monotonic()
        if not isinstance(item, Step):
            yield item
        elif now - shown >= _PROGRESS_S:
            shown = now
            yield item


class BodyReader:
    """The body of a request, as a worker thread reads it."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._piece = memoryview(b"")

    def read(self, size_bytes: int) -> bytes:
        """Return exactly so many bytes, fewer only at the end."""
        pieces = []
        while size_bytes and (self._piece or self._receive()):
            taken = self._piece[:size_bytes]
            pieces.append(taken)
            self._piece = self._piece[len(taken) :]
            size_bytes -= len(taken)
        return b"".join(pieces)

    def _receive(self) -> bool:
        self._piece = memoryview(trio.from_thread.run(self._next))
        return bool(self._piece)

    async def _next(self) -> bytes:
        return await anext(self._body, b"")


async def iter_pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what a generator makes in worker threads."""
    while (piece := await trio.to_thread.run_sync(next, pieces, None)) is not None:
        yield piece
