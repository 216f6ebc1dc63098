"""Waiting for the kernel's requests: what pyfuse3 does with trio before each of them, at a quarter of the cost.

pyfuse3 takes a lock and then waits for its device, which is two rounds of trio's loop and most of what a small request
takes. But whoever has just been answered mostly asks again. So the device is asked whether there is another request, for
some microseconds, before anybody waits; the loop has its turn when there is none, and at least every half millisecond.

pyfuse3 looks trio up as an attribute of its own, for which its support of asyncio puts a stand-in; so do we.
"""

import os
import select
import time
from collections.abc import Awaitable, Generator
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pyfuse3
import trio

T = TypeVar("T")

_TURN_S = 0.0005
# About what a program on another processor takes to be woken and to ask again.
_PATIENCE_S = 0.00005


class Requests:
    """How the tasks of pyfuse3, which answer requests, wait for the next; on the mount's loop."""

    def __init__(self) -> None:
        self._device = select.poll()
        self._descriptor: int | None = None
        self._is_watched = self._is_closed = False
        self._idle = trio.lowlevel.ParkingLot()
        self._turn_ends = 0.0

    def take_over(self) -> None:
        """Have pyfuse3 wait here, for the session that begins."""
        pyfuse3.trio = _Trio(self)  # type: ignore[attr-defined]

    async def wait(self, descriptor: int) -> None:
        """Return when there is a request. One of those who wait watches the device, the others stay away from it.

        Raises ClosedResourceError when the session ends.
        """
        if descriptor != self._descriptor:
            self._descriptor = descriptor
            self._device.register(descriptor, select.POLLIN)
        if time.monotonic() > self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = time.monotonic() + _TURN_S
        while not self._comes_soon():
            await self._watch(descriptor)
            self._turn_ends = time.monotonic() + _TURN_S

    def _comes_soon(self) -> bool:
        """Tell whether there is a request, now or in a moment."""
        if self._has_one():
            return True
        ends = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends:
            os.sched_yield()  # to whoever is about to ask, if that runs on our processor
            if self._has_one():
                return True
        return False

    def _has_one(self) -> bool:
        if self._is_closed:
            raise trio.ClosedResourceError
        found = self._device.poll(0)
        if found and found[0][1] & select.POLLERR:  # it was unmounted, which each task has to see for itself
            self._idle.unpark_all()
        return bool(found)

    async def _watch(self, descriptor: int) -> None:
        if self._is_watched:
            await self._idle.park()
            return
        self._is_watched = True
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            self._is_watched = False

    def relieve(self) -> None:
        """Have another task watch the device: one that would come back to it has to wait for something else."""
        if not self._is_watched:
            self._idle.unpark()

    def close(self, descriptor: int) -> None:
        """Let everybody go: the device is about to be closed."""
        self._is_closed = True
        trio.lowlevel.notify_closing(descriptor)
        self._idle.unpark_all()


class Answer(Generic[T]):
    """What a handler returns, with requests being answered meanwhile if it has to wait for something. To be awaited."""

    __slots__ = ("_handler", "_requests")

    def __init__(self, requests: Requests, handler: Awaitable[T]) -> None:
        self._requests, self._handler = requests, handler

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the handler."""
        running: Any = self._handler.__await__()
        try:
            awaited = running.send(None)
            self._requests.relieve()
            while True:
                try:
                    sent = yield awaited
                except BaseException as error:
                    awaited = running.throw(error)
                else:
                    awaited = running.send(sent)
        except StopIteration as done:
            result: T = done.value
            return result


class _Trio:
    """What pyfuse3 takes for trio."""

    def __init__(self, requests: Requests) -> None:
        self.lowlevel = SimpleNamespace(
            wait_readable=requests.wait,
            notify_closing=requests.close,
            current_trio_token=trio.lowlevel.current_trio_token,
            current_task=trio.lowlevel.current_task,
        )
        self.Lock = _NoLock

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


class _NoLock:
    """The lock that pyfuse3 waits under: who waits at the same time is told apart by `Requests`."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_exception: object) -> None: ...
