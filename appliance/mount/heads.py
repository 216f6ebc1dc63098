"""Names at the top of the mount: which commits the kernel takes them for, and taking that back.

The kernel asks once what a name means and believes the answer for ever, so each head that moves costs one message and
everything else nothing. It must get that message whenever an answer it was given is no longer right, and it does:
answers are given, and compared with the store, on the same thread; and a message that arrives while the kernel is still
taking in an answer waits for it.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from appliance.errors import ApplianceError
from appliance.mount import nodes
from appliance.mount.nodes import Directory
from appliance.mount.tops import Top
from appliance.names import CommitId
from appliance.store import Changes, Db, Store

log = logging.getLogger(__name__)

Path = tuple[str, str]
"""(repo, path)"""


class Heads:
    """What the kernel was told. `wake` is called on the writer's thread and has `take_back` run on the mount's own.

    `forget` tells the kernel to forget a name at the top, `forget_paths` those that show versions that were forgotten.
    """

    def __init__(
        self, store: Store, wake: Callable[[], None], forget: Callable[[Top], None], forget_paths: Callable[[set[Path]], None]
    ) -> None:
        self._store = store
        self._wake = wake
        self._forget = forget
        self._forget_paths = forget_paths
        self._forgotten: deque[Path] = deque()
        self._told: dict[str, dict[Top, CommitId | None]] = {}
        self._changed: deque[str | None] = deque()  # repos, None for any
        self._closed = False

    def announce(self, changes: Changes) -> None:
        """Take in what a transaction changed; on the writer's thread, without waiting."""
        if self._closed:
            return
        self._changed.extend({repo for repo, _ in changes.heads})
        if changes.repos:
            self._changed.append(None)
        self._forgotten.extend(changes.forgotten)
        if self._changed or self._forgotten:
            self._wake()

    def close(self) -> None:
        """Take in no more; a store keeps its listeners for ever."""
        self._closed = True

    def note(self, directory: Directory) -> None:
        """Note that the kernel is told about a name at the top."""
        if directory.top.can_move:
            self._told.setdefault(directory.repo, {})[directory.top] = directory.commit

    def take_back(self) -> None:
        """Have the kernel forget each name that no longer means what it was told. Does not raise: nobody would notice."""
        try:
            moved = self._list_moved()
        except Exception:
            log.exception("what has moved could not be read; the kernel is to ask for every name again")
            moved = [top for told in self._told.values() for top in told]
        for top in moved:
            self._told[top.repo].pop(top)
            self._forget(top)
        if forgotten := self._take_forgotten():
            self._forget_paths(forgotten)

    def _list_moved(self) -> list[Top]:
        repos = self._take_changed()
        with self._store.snapshot() as db:
            return [top for repo in repos for top in _iter_moved(db, self._told.get(repo, {}))]

    def _take_forgotten(self) -> set[Path]:
        forgotten: set[Path] = set()
        while self._forgotten:
            forgotten.add(self._forgotten.popleft())
        return forgotten

    def _take_changed(self) -> set[str]:
        """Empty the queue; the writer may be adding to it meanwhile."""
        changed: set[str] = set()
        while self._changed:
            repo = self._changed.popleft()
            changed |= set(self._told) if repo is None else {repo}
        return changed


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
        self._queue: queue.SimpleQueue[Name | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mount-messenger", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def send(self, name: Name) -> None:
        """Have the kernel forget a name soon; from any thread, without waiting."""
        self._queue.put(name)

    def mark(self) -> threading.Event:
        """Return an event that is set once everything sent before has arrived."""
        arrived = threading.Event()
        self._queue.put(arrived)
        return arrived

    def close(self, timeout_s: float | None) -> bool:
        """Send what is queued and stop; False if the kernel did not take it in time. May be called again."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._send(item)

    def _send(self, name: Name) -> None:
        try:
            self._forget(name)
        except FileNotFoundError:
            pass  # the kernel has forgotten it by itself
        except Exception:
            log.exception("the kernel could not be told that %r has moved", name.name)
