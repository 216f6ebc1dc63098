"""The SQLite connections of the store: one writer thread with group commit, and a pool of readers.

A *write* is a plain function `(db) -> result`. It runs whole on the writer's thread inside a savepoint, so nothing else
runs between its statements and a read-check-write needs no lock; when it raises, only its own changes are undone. Writes
that arrive while the disk is busy share the next transaction and its one fsync (*group commit*). A write's result is
handed out after that fsync, never before.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakSet

from appliance.errors import ApplianceError, Conflict, StoreDamaged
from appliance.store.disk import explain_sqlite

T = TypeVar("T")
Durability = Literal["durable", "fast"]

_log = logging.getLogger(__name__)

_CACHE_KIB = 16_384
_BATCH = 256
_LONGEST_GATHER_S = 0.002
_INCREMENTAL = 2
_DRAIN_S = 0.01
_FULL = 2


@dataclass(slots=True)
class Changes:
    """What a transaction changed that somebody outside the store may wait for."""

    heads: set[tuple[str, str]] = field(default_factory=set)
    """(repo, branch) whose head moved or vanished."""
    repos: bool = False
    """A repo came or went."""
    jobs: bool = False
    """A job, or the commits it waits for, changed state."""
    logs: set[int] = field(default_factory=set)
    """Jobs (row ids) with new log lines."""
    triggers: bool = False
    """A branch got or lost a trigger."""
    garbage: bool = False
    """Something was removed that other things may have been kept for."""
    auth: bool = False
    """A token came or went."""
    forgotten: set[tuple[str, str]] = field(default_factory=set)
    """(repo, path) of which a version was forgotten: finished commits may show something else there."""
    removed: set[str] = field(default_factory=set)
    """Repos that lost a commit."""

    def __bool__(self) -> bool:
        flags = self.repos or self.jobs or self.triggers or self.garbage or self.auth
        return bool(flags or self.heads or self.logs or self.forgotten or self.removed)

    def update(self, other: "Changes") -> None:
        """Add what another write changed."""
        self.heads |= other.heads
        self.logs |= other.logs
        self.forgotten |= other.forgotten
        self.removed |= other.removed
        self.repos = self.repos or other.repos
        self.jobs = self.jobs or other.jobs
        self.triggers = self.triggers or other.triggers
        self.garbage = self.garbage or other.garbage
        self.auth = self.auth or other.auth


Listener = Callable[[Changes], "Future[None] | None"]
"""Hears what a transaction changed, on the writer's thread. Whoever wrote is answered when the future it returns is done."""


@dataclass(slots=True)
class CommitSet:
    """What the requests of one write have in common that make their commits under one id; see `propagation.joint_set`."""

    id: str
    moved: set[int] = field(default_factory=set)
    due: set[int] = field(default_factory=set)


class Db(sqlite3.Connection):
    """A connection with the two shapes of question we ask, and the changes of the running write."""

    changes: Changes
    commit_set: CommitSet | None = None

    def row(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Return the first row or None."""
        return self.execute(sql, parameters).fetchone()

    def value(self, sql: str, parameters: tuple[Any, ...] | Mapping[str, Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self.execute(sql, parameters).fetchone()
        return found[0] if found else None

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert some hundred rows into `table (columns)` in one statement.

        Each statement lets other threads have the interpreter and waits for it afterwards: row by row, that takes longest.
        """
        places = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        self.execute(f"INSERT INTO {into} VALUES {places}", tuple(chain.from_iterable(rows)))


class ReadDb(Db):
    """A connection of the pool: it remembers the answers that somebody may still be reading."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading: WeakSet[sqlite3.Cursor] = WeakSet()

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run a statement."""
        cursor = super().execute(sql, parameters)
        self._reading.add(cursor)
        return cursor

    def end(self) -> None:
        """End the snapshot. An iterator that was not read to its end would keep it open for whoever is lent this next."""
        for cursor in tuple(self._reading):
            cursor.close()
        super().execute("ROLLBACK")


D = TypeVar("D", bound=Db)


def connect(path: Path, durability: Durability, kind: type[D]) -> D:
    """Open the database; every statement is its own transaction until one is begun. Raises StoreDamaged if it is none."""
    try:
        db = sqlite3.connect(path, factory=kind, isolation_level=None, check_same_thread=False, cached_statements=512)
    except sqlite3.OperationalError as error:
        raise _explain(error) from error
    db.changes = Changes()
    try:
        _configure(db, durability)
    except sqlite3.DatabaseError as error:
        db.close()
        raise _explain(error) from error
    return db


def _configure(db: Db, durability: Durability) -> None:
    db.execute("PRAGMA busy_timeout = 10000")
    db.execute("PRAGMA journal_mode = WAL")
    # In WAL mode FULL syncs the log at each commit; NORMAL leaves that to the checkpoint, which survives a killed
    # process but not a power cut.
    db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'durable' else 'NORMAL'}")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def make_shrinkable(db: Db) -> None:
    """Let the database file give pages back, for which it is rewritten once: at nearly no cost while it is new.

    A process that is killed meanwhile leaves it as it was; without the space for a second copy it stays as it is until the
    next start.
    """
    if db.value("PRAGMA auto_vacuum") == _INCREMENTAL:
        return
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("VACUUM")
    except sqlite3.OperationalError as error:
        _log.warning("the database can not be rewritten, and its file will not shrink: %s", error)


def checkpoint(db: Db) -> None:
    """Make every commit durable whatever the mode, and give the space of the log back if nobody is using it."""
    db.execute("PRAGMA busy_timeout = 0")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@dataclass(slots=True)
class _Write:
    run: Callable[[Db], Any]
    future: "Future[Any]"
    result: Any = None
    error: BaseException | None = None
    changed: bool = False
    durable: bool = True

    def hand_out(self) -> None:
        """Tell whoever waits for it what came out, once."""
        del self.run  # who still knows of this write holds the bytes behind it no longer, and the collector may have them
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """The only thread that writes.

    `on_commit` is called on it, after the commit, with what changed. It returns what those who changed something have to
    wait for before they are answered; the writer itself goes on.
    """

    def __init__(self, db: Db, on_commit: Callable[[Changes], Sequence["Future[None]"]]) -> None:
        self._db = db
        self._can_sync = self._syncs = db.value("PRAGMA synchronous") == _FULL
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._together, self._sync_s = 1, 0.0
        """How many writes the last transaction had, and how long making it durable took."""
        self._thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[Db], T], *, durable: bool = True) -> "Future[T]":
        """Queue a write; the future is done when it is as durable as the store promises, or else survives a killed process.

        A future that is cancelled before its write began is never run.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise Conflict("the store is closed")
            self._queue.put(_Write(run, future, durable=durable))
        return future

    def close(self) -> None:
        """Finish what is queued and stop."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _loop(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._take()
            if batch:
                self._commit(batch)

    def _take(self) -> tuple[list[_Write], bool]:
        """Wait for one write and take those that queue behind it.

        Whoever was told of the last transaction is about to write again: after one of several writes, as many are waited
        for, for a fraction of what the disk took. Else they would fall into two groups that wait for each other's fsync.
        """
        batch: list[_Write] = []
        item = self._queue.get()
        gather_until = time.monotonic() + min(self._sync_s / 4, _LONGEST_GATHER_S)
        while item is not None:
            if item.future.set_running_or_notify_cancel():
                batch.append(item)
            if len(batch) >= _BATCH:
                return batch, False
            wait_s = gather_until - time.monotonic() if len(batch) < self._together else 0
            try:
                item = self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[_Write]) -> None:
        changed = Changes()
        try:
            self._choose_sync(any(write.durable for write in batch))
            self._db.execute("BEGIN IMMEDIATE")
            for write in batch:
                self._run(write, changed)
            begun = time.monotonic()
            self._db.execute("COMMIT")
            self._together, self._sync_s = len(batch), time.monotonic() - begun
        except BaseException as error:  # the disk is full or failing: nothing of the batch happened
            self._roll_back()
            for write in batch:
                write.future.set_exception(write.error or _explain(error))
            return
        # First, so that whoever is told of a write finds its effects announced.
        taken_in = self._tell(changed) if changed else ()
        for write in batch:
            _after(taken_in if write.changed else (), write.hand_out)

    def _choose_sync(self, durable: bool) -> None:
        """Have the next commit synced or not. One that is brings all before it to the disk: they are in the same log."""
        if self._can_sync and self._syncs != durable:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._syncs = durable

    def _tell(self, changed: Changes) -> Sequence["Future[None]"]:
        try:
            return self._on_commit(changed)
        except Exception:  # the commit stands whoever could not be told, and the writes behind it must not wait for ever
            _log.exception("a listener of the store failed")
            return ()

    def _run(self, write: _Write, changed: Changes) -> None:
        self._db.changes = Changes()
        self._db.execute("SAVEPOINT write")
        try:
            write.result = write.run(self._db)
        except BaseException as error:
            write.error = _explain(error) if isinstance(error, sqlite3.OperationalError) else error
            if not self._db.in_transaction:  # SQLite gave the whole transaction up (disk full, I/O error)
                raise
            self._db.execute("ROLLBACK TO write")
        else:
            write.changed = bool(self._db.changes)
            changed.update(self._db.changes)
        self._db.execute("RELEASE write")

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:  # the next BEGIN will say so to whoever writes next; those that wait must hear now
            _log.exception("a failed transaction could not be rolled back")


def _after(awaited: Sequence["Future[None]"], call: Callable[[], None]) -> None:
    """Call something once all of these are done, at once if there are none; on the thread that ends the last one."""
    if not awaited:
        call()
        return
    first, *others = awaited
    # It must not know itself: behind it is what was written, which is kept as long as it is.
    first.add_done_callback(lambda _: _after(others, call))


def _explain(error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error) and (explained := explain_sqlite(error)) is not None:
        return explained
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return StoreDamaged(f"the database can not be written: {error}")
    if isinstance(error, sqlite3.Error):
        return ApplianceError(f"the database can not be written: {error}")
    return error


class Readers:
    """Read-only connections, each lent to one thread at a time.

    They are pooled instead of bound to threads, because worker threads come and go and SQLite connections should not.
    """

    def __init__(self, open_connection: Callable[[], ReadDb]) -> None:
        self._open = open_connection
        self._idle: list[ReadDb] = []
        self._reading: set[object] = set()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[Db]:
        """Lend a connection inside a read transaction: all its answers are of one moment. Never await inside."""
        try:
            db = self._idle.pop()  # atomic under the interpreter lock, as is append below
        except IndexError:
            db = self._open()
            db.execute("PRAGMA query_only = ON")
        token = object()
        self._reading.add(token)
        db.execute("BEGIN")
        try:
            yield db
        except sqlite3.Error as error:
            if (explained := explain_sqlite(error)) is None:
                raise
            raise explained from error
        finally:
            db.end()
            self._reading.discard(token)
            if self._closed:
                db.close()
            else:
                self._idle.append(db)

    def look(self, question: Callable[[Db], T]) -> T:
        """Run a function that asks one question, which needs no transaction, and takes nothing from it but values."""
        try:
            db = self._idle.pop()
        except IndexError:
            with self.snapshot() as first:
                return question(first)
        try:
            return question(db)
        except sqlite3.Error as error:
            if (explained := explain_sqlite(error)) is None:
                raise
            raise explained from error
        finally:
            self._idle.append(db)

    def drain(self, timeout_s: float) -> bool:
        """Wait until every snapshot that is open now has ended; tell whether that was in time."""
        deadline = time.monotonic() + timeout_s
        reading = self._reading.copy()
        while reading & self._reading:
            if time.monotonic() > deadline:
                return False
            time.sleep(_DRAIN_S)
        return True

    def close(self) -> None:
        """Close the idle ones; those still lent close when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
