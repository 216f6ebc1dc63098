"""Names at the top of the mount: which commits the kernel takes them for, and taking that back.

The kernel asks once what a name means and believes the answer for ever, so each head that moves costs one message and
everything else nothing. It must get that message whenever an answer it was given is no longer right, and it does:
answers are given, and compared with the store, on the same thread; and a message that arrives while the kernel is still
taking in an answer waits for it. Whoever wrote is answered when the kernel has the message, so nobody who reads after a
write finds what was there before it.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from appliance.errors import ApplianceError
from appliance.mount import nodes
from appliance.mount.awaited import Awaited
from appliance.mount.nodes import Directory
from appliance.mount.tops import Top
from appliance.names import CommitId
from appliance.store import Changes, Db, Store

log = logging.getLogger(__name__)

Path = tuple[str, str]
"""(repo, path)"""
Q = TypeVar("Q")


class Heads:
    """What the kernel was told. `wake` is called on the writer's thread and has `take_back` run on the mount's own.

    `forget` tells the kernel to forget a name at the top, `forget_paths` those that show versions that were forgotten, and
    `mark` calls something once the kernel has heard of all that.
    """

    def __init__(
        self,
        store: Store,
        wake: Callable[[], bool],
        forget: Callable[[Top], None],
        forget_paths: Callable[[set[Path]], None],
        mark: Callable[[Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._wake = wake
        self._forget = forget
        self._forget_paths = forget_paths
        self._mark = mark
        self._forgotten: deque[Path] = deque()
        self._told: dict[str, dict[Top, CommitId | None]] = {}
        self._fixed: dict[str, dict[Top, CommitId | None]] = {}
        self._changed: deque[str | None] = deque()  # repos, None for any
        self._removed: deque[str] = deque()
        self._answering = False
        self._closed = False
        self.awaited = Awaited()

    def announce(self, changes: Changes) -> "Future[None] | None":
        """Take in what a transaction changed; on the writer's thread, without waiting.

        The future is done when the kernel has heard of it; None if there is nothing that it could have been told.
        """
        if self._closed or not self._may_know(changes):
            return None
        self._changed.extend({repo for repo, _ in changes.heads} | changes.removed)
        if changes.repos:
            self._changed.append(None)
        self._removed.extend(changes.removed)
        self._forgotten.extend(changes.forgotten)
        future = self.awaited.add()
        if not self._wake():
            self.awaited.release([future])
        return future

    def _may_know(self, changes: Changes) -> bool:
        """Tell whether the kernel was told of something that has changed, or is about to be: of what it was not, it will ask.

        An answer that is being given may come from a snapshot of before, and a name that was taken back may still be on its
        way to the kernel.
        """
        repos = {repo for repo, _ in changes.heads} | changes.removed
        if not (repos or changes.repos or changes.forgotten):
            return False
        if self._answering or self.awaited or changes.forgotten or changes.repos:
            return True
        return any(self._told.get(repo) or self._fixed.get(repo) for repo in repos)

    def close(self) -> None:
        """Take in no more and let nobody wait any longer; a store keeps its listeners for ever."""
        self._closed = True
        self.awaited.close()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around every answer that may tell of a name at the top, from before the snapshot it is read from."""
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    def note(self, directory: Directory) -> None:
        """Note that the kernel is told about a name at the top."""
        told = self._told if directory.top.can_move else self._fixed
        told.setdefault(directory.repo, {})[directory.top] = directory.commit

    def drop(self, directory: Directory) -> None:
        """Note that the kernel has forgotten a name at the top by itself."""
        for told in (self._told, self._fixed):
            tops = told.get(directory.repo, {})
            if tops.get(directory.top, "") == directory.commit:
                del tops[directory.top]

    def take_back(self) -> None:
        """Have the kernel forget each name that no longer means what it was told. Does not raise: nobody would notice."""
        heard = self.awaited.take()  # first: what they wait for is in the snapshot below
        try:
            moved = self._list_moved()
        except Exception:
            log.exception("what has moved could not be read; the kernel is to ask for every name again")
            moved = [top for told in (*self._told.values(), *self._fixed.values()) for top in told]
        for top in moved:
            self._told.get(top.repo, {}).pop(top, None)
            self._fixed.get(top.repo, {}).pop(top, None)
            self._forget(top)
        if forgotten := _empty(self._forgotten):
            self._forget_paths(forgotten)
        if heard:
            self._mark(partial(self.awaited.release, heard))

    def _list_moved(self) -> list[Top]:
        """Empty the queues and return what has moved; the writer may be adding to them meanwhile."""
        changed, removed = _empty(self._changed), _empty(self._removed)
        moving = set(self._told) if None in changed else changed
        with self._store.snapshot() as db:
            return [
                *(top for repo in moving for top in _iter_moved(db, self._told.get(repo or "", {}))),
                *(top for repo in removed for top in _iter_moved(db, self._fixed.get(repo, {}))),
            ]


def _empty(queued: deque[Q]) -> set[Q]:
    """Take everything out of a queue."""
    taken = set()
    while queued:
        taken.add(queued.popleft())
    return taken


def _iter_moved(db: Db, told: dict[Top, CommitId | None]) -> Iterator[Top]:
    for top, commit in told.items():
        try:
            moved = nodes.resolve(db, top) != commit
        except ApplianceError:  # there is no such name any more: the kernel is to ask and hear why
            moved = True
        if moved:
            yield top


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a directory that the kernel holds by number."""

    parent: int
    name: bytes


class Messenger:
    """A thread that calls `forget` for each name it is given.

    The kernel takes a message in only when no lookup in the same directory is under way, and it is the mount's loop that
    lookups wait for: the loop must not send it itself. (pyfuse3's own thread for this ends with the first session of a
    process and does not come back.)
    """

    def __init__(self, forget: Callable[[Name], None]) -> None:
        self._forget = forget
        self._queue: queue.SimpleQueue[Name | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mount-messenger", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def send(self, name: Name) -> None:
        """Have the kernel forget a name soon; from any thread, without waiting."""
        self._queue.put(name)

    def mark(self, arrived: Callable[[], None]) -> None:
        """Call something once everything sent before has arrived; on the thread that sends."""
        self._queue.put(arrived)

    def close(self, timeout_s: float | None) -> bool:
        """Send what is queued and stop; False if the kernel did not take it in time. May be called again."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Name):
                self._send(item)
            else:
                item()
            del item  # behind it may be bytes that nobody needs any more

    def _send(self, name: Name) -> None:
        try:
            self._forget(name)
        except FileNotFoundError:
            pass  # the kernel has forgotten it by itself
        except Exception:
            log.exception("the kernel could not be told that %r has moved", name.name)
