"""Large objects in ranges side by side: one connection alone is seldom all that a line carries.

How many pieces of all objects are in memory is bounded, whoever fetches them; how many one object has under way depends on
how many others there are. Their memory is used again and again: freed and taken anew by one thread after the other, it
would be several times as much.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from mmap import mmap
from typing import Final

from appliance.external.clients import PIECE_BYTES

_AT_ONCE: Final = 4
_places: Final = threading.BoundedSemaphore(8)
_free: Final[deque[mmap]] = deque()
"""Memory of pieces whose place is free."""

Read = Callable[[int, memoryview], object]
"""Fills all of a buffer with an object's bytes from some offset on."""


def iter_pieces(size_bytes: int, read: Read) -> Iterator[memoryview]:
    """Yield the pieces of an object in order, while some more are under way. Each is good until the next is asked for.

    What was not begun when this is closed never is.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="range") as pool, closing(_Pieces(size_bytes, read, pool)) as pieces:
        while pieces.begin():
            yield pieces.wait()
            pieces.end_first()


class _Pieces:
    """The pieces of one object; those under way have a place and memory each."""

    def __init__(self, size_bytes: int, read: Read, pool: ThreadPoolExecutor) -> None:
        self._size_bytes, self._read, self._pool = size_bytes, read, pool
        self._begun_bytes = 0
        self._under_way: deque[tuple[Future[object], memoryview, mmap]] = deque()

    def begin(self) -> bool:
        """Begin as many as there is place for, and tell whether any are under way.

        Only who has none waits for a place: whoever has some will give them back.
        """
        while self._begun_bytes < self._size_bytes and len(self._under_way) < _AT_ONCE:
            if not _places.acquire(blocking=not self._under_way):
                break
            try:
                memory = _take_memory()
            except OSError:  # there is none: whoever comes later needs the place
                _places.release()
                raise
            piece = memoryview(memory)[: self._size_bytes - self._begun_bytes]
            self._under_way.append((self._pool.submit(self._read, self._begun_bytes, piece), piece, memory))
            self._begun_bytes += len(piece)
        return bool(self._under_way)

    def wait(self) -> memoryview:
        """Return the first piece when it is there. Raises what reading it did."""
        future, piece, _ = self._under_way[0]
        future.result()
        return piece

    def end_first(self) -> None:
        """Forget the first piece, and give its place back."""
        _, _, memory = self._under_way.popleft()
        _free.append(memory)
        _places.release()

    def close(self) -> None:
        """Begin no more, and wait for those that can not be called back."""
        self._pool.shutdown(cancel_futures=True)
        while self._under_way:
            self.end_first()
        _free.clear()


def _take_memory() -> mmap:
    try:
        return _free.pop()
    except IndexError:
        return mmap(-1, PIECE_BYTES)
