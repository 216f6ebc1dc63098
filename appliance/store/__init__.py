"""The store: repos, commits and files in SQLite, bytes in blobs; one directory on disk, one owner.

    schema       every table, explained; migrations
    database     the writer thread with group commit, the pool of readers
    access       who may use a data directory
    disk         what the disk refuses, in words for the caller
    blobs        bytes by digest: receive, publish, read
    repos        repos and branches
    commits      commits as they are read
    history      start, write, finish
    propagation  making commits, moving heads, and what follows downstream
    triggers     branches that take over another one's head when enough has happened there
    snapshots    the files of a commit
    listings     pages and directories of a snapshot
    pages        pages of a directory, contents: the bytes of a small file, each as quickly as can be
    matching     what a glob matches
    spool        rows put aside on disk while datums are worked out
    diffs        what differs between commits, and which touched a path
    files        changing files
    versions     the versions of each file, as S3 lists them; forgetting: one of them gone for good
    squash       taking commits out of history
    transactions requests that are collected and run as one write
    auth         tokens and roles
    settings     what a branch is told as a bucket
    uploads      multipart uploads in progress
    staging      puts of many files that arrive one by one; filling: into a directory that is not there yet
    overlays     trees that are changed over a commit that stays; overlaying: their commit
    holds        whose hands blob files are in
    checking     the checker: consistency (rows), bytecheck (bytes), damage, findings
    pipelines    specs and versions as rows
    discarding   removing what datums staged and what became nothing; opened: which files they opened
    burying      deleting pipelines and jobs, of which the collector removes the rows
    jobviews     what a job's datums are given
    jobs         jobs as they are read; running, datums, outputs, completing, logs: their life, parts and traces

Every way in is the same two steps: *stage* the bytes (`receive`, then `publish`), then *put* a row in a write. All
functions of the modules take a connection: `with store.snapshot() as db` to read, `store.write(lambda db: …)` to change.
The store knows no protocol and no event loop.
"""

import fcntl
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from appliance.errors import Conflict
from appliance.store.access import make_private
from appliance.store.blobs import Blobs
from appliance.store.database import (
    Changes,
    Db,
    Durability,
    Listener,
    ReadDb,
    Readers,
    Writer,
    checkpoint,
    connect,
    make_shrinkable,
)
from appliance.store.disk import explained
from appliance.store.holds import Digest
from appliance.store.schema import migrate

__all__ = ["Changes", "Db", "Durability", "Store"]

T = TypeVar("T")


class Store:
    """An open data directory. Raises Conflict if another process has it open, DiskFailed if it can not be used.

    Whoever has `collecting` has the collector stand still: nothing that no row refers to yet, or no more, is removed.
    """

    def __init__(self, directory: Path, durability: Durability = "durable") -> None:
        with explained(f"data directory {directory} can not be used"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(directory)
            lock = _lock(directory)
        self.directory = directory
        self.durability = durability
        self._listeners: list[Listener] = []
        self._lock: int | None = lock
        self.collecting = threading.Lock()
        with ExitStack() as undo:
            undo.callback(os.close, self._lock)
            undo.enter_context(explained(f"data directory {directory} can not be used"))
            db = connect(directory / "appliance.db", durability, Db)
            undo.callback(db.close)
            migrate(db)
            make_shrinkable(db)
            self.blobs = Blobs(directory, durability)
            for (digest,) in db.execute("SELECT digest FROM damaged_blobs").fetchall():
                self.blobs.holds.set_damaged(digest)
            undo.pop_all()
        self._readers = Readers(lambda: connect(directory / "appliance.db", durability, ReadDb))
        self._writer = Writer(db, self._announce)
        self.blobs.holds.on_mended = self._forget_damage

    def snapshot(self) -> AbstractContextManager[Db]:
        """Lend a connection whose answers are all of one moment; from any thread, never across an await."""
        return self._readers.snapshot()

    def look(self, question: Callable[[Db], T]) -> T:
        """Return the answer to one question, for which a snapshot would cost more than the answer; from any thread."""
        return self._readers.look(question)

    def submit(self, write: Callable[[Db], T], *, durable: bool = True) -> "Future[T]":
        """Queue a write; the future is done once it is durable, or as `write` says. Its errors are the write's own."""
        return self._writer.submit(write, durable=durable)

    def write(self, write: Callable[[Db], T], *, durable: bool = True) -> T:
        """Run a write and wait until it is durable; otherwise only until it survives the end of this process, as what a
        program writes to a file does. Blocks: not from an event loop.
        """
        return self.submit(write, durable=durable).result()

    def sync(self) -> None:
        """Make durable whatever was written before. Blocks for the disk."""
        if self.durability == "durable":
            with explained("the log of the database can not be synced"), suppress(FileNotFoundError):  # empty
                _sync(self.directory / "appliance.db-wal")

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each commit that changed something; on the writer's thread, so it must be quick.

        It may return a future: whoever made those changes is answered when that is done. Returns what ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def settle(self, timeout_s: float) -> bool:
        """Make all commits durable, also in the mode `fast`, and wait until no reader is left that has not seen them.

        Tells whether that was in time. What no row refers to now, no reader can ask for any more.
        """
        db = connect(self.directory / "appliance.db", self.durability, Db)
        try:
            checkpoint(db)
        finally:
            db.close()
        return self._readers.drain(timeout_s)

    def _forget_damage(self, digest: Digest) -> None:
        self.submit(lambda db: db.execute("DELETE FROM damaged_blobs WHERE digest = ?", (digest,)))

    def close(self) -> None:
        """Finish queued writes and let go of the directory."""
        self._writer.close()
        self._readers.close()
        lock, self._lock = self._lock, None
        if lock is not None:  # closing a number twice would close whoever got it meanwhile
            os.close(lock)

    def _announce(self, changes: Changes) -> list["Future[None]"]:
        answers = [listener(changes) for listener in tuple(self._listeners)]
        return [answer for answer in answers if answer is not None]


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(directory: Path) -> int:
    """Hold the directory for this process; the kernel lets go of it when the process ends, however it does."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"data directory {directory} is in use by another appliance") from None
    return descriptor
