"""The mount from beginning to end: one context manager around a thread of its own with a trio loop of its own.

    app's loop ── open_mount ──→ mount thread: pyfuse3.init, trio.run(pyfuse3.main), pyfuse3.close
    store's writer ── Heads.announce ──→ mount's loop: Heads.take_back ──→ messenger thread ──→ kernel

pyfuse3 keeps its session in globals of its module, so a process has one mount at a time.
"""

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from appliance.errors import ApplianceError, Conflict
from appliance.mount import committing, mountpoint
from appliance.mount.guard import Guard, wait_for_guards
from appliance.mount.handles import FindReader
from appliance.mount.heads import Heads, Messenger, Name
from appliance.mount.mountpoint import MountUnavailable, find_problem
from appliance.mount.tops import Top
from appliance.mount.views import Views
from appliance.names import DEFAULT_BRANCH, CommitId
from appliance.store import Store, overlays

if TYPE_CHECKING:
    from appliance.mount.operations import Operations
    from appliance.mount.writing import Writing

__all__ = ["Mount", "MountUnavailable", "find_problem", "open_mount"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_MESSAGES_S = 0.2
_COMMIT_S = 2.0
_STOP_S = 5.0
# How long a busy thread may keep the interpreter from others, as long as there is a mount. Python's 5 ms are more than a
# request may take; shorter than this brings requests nothing and costs the gateway.
_SWITCH_S = 0.001

_only_one = threading.Lock()


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that answers."""

    path: Path
    _session: "_Session" = field(repr=False)

    async def settle(self) -> None:
        """Wait until the mount shows every write of the store that was done before."""
        await trio.to_thread.run_sync(self._session.settle)

    def commit(self, repo: str, branch: str, *, overwrite: bool = False) -> CommitId | None:
        """Put what is staged in a branch in one commit, see `committing.commit`; from a thread that may wait.

        Raises Conflict also while somebody writes to a file there.
        """
        return self._session.call(lambda writing: writing.commit(repo, branch, overwrite=overwrite))

    def discard(self, repo: str, branch: str) -> bool:
        """Give up what is staged in a branch; raises and waits as `commit`."""
        return self._session.call(lambda writing: writing.discard(repo, branch))

    def show(self, directory: Path, tops: tuple[Top, ...], *, writable: bool = False) -> None:
        """Show a view at a further directory: some names, or without any all repos; from a thread that may wait.

        `writable` is for the latter. Raises MountUnavailable.
        """
        self._session.views.show(directory, tops, writable=writable)

    def hide(self, directory: Path) -> list[tuple[str, str, CommitId]]:
        """Commit what is staged in a view, take it away, and return the commits with their repos and branches.

        Raises NotFound if there is none at `directory`, and what `commit` raises: then it stays.
        """
        return self._session.views.hide(directory)

    def list_views(self) -> list[Path]:
        """Return where views are."""
        return self._session.views.list()

    def list_roots(self, repo: str, branch: str) -> list[str]:
        """Return where programs find a branch, in the mount and in views."""
        return self._session.list_roots(repo, branch)


@asynccontextmanager
async def open_mount(
    store: Store,
    directory: Path,
    writable: frozenset[str] = frozenset(),
    *,
    strict: bool = False,
    autocommit: bool = False,
    find_reader: FindReader | None = None,
) -> AsyncIterator[Mount]:
    """Show the store at `directory` from the time this is entered until it is left, whoever still uses it then.

    What a dead process left mounted there is removed first. Raises MountUnavailable. Afterwards files that are still open
    fail with ENOTCONN or ECONNABORTED. The mount goes away with the process, also after a `kill -9`.

    `writable` names branches that can be changed, as they are named in the mount, or `*` for master of every repo. What is
    staged there is committed in the end; what can not be, or not within seconds, stays staged. With `autocommit` it is
    committed soon after each change. `strict` is Pachyderm's rule for new names. `find_reader` is asked who opens files of
    commits, on the mount's thread.
    """
    wanted = Settings(writable, strict, autocommit, find_reader)
    session = await trio.to_thread.run_sync(_start, store, directory, wanted)
    try:
        yield Mount(directory, session)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(session.stop)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `open_mount` was told."""

    writable: frozenset[str]
    strict: bool
    autocommit: bool
    find_reader: FindReader | None


def _start(store: Store, directory: Path, settings: Settings) -> "_Session":
    if not _only_one.acquire(blocking=False):
        raise MountUnavailable("this process has a mount already")
    try:
        _clear(store, directory)
        session = _Session(store, directory.resolve(), settings)
        session.start()
    except BaseException:
        _only_one.release()
        raise
    return session


def _clear(store: Store, directory: Path) -> None:
    """Remove what a dead process left. Raises MountUnavailable if nothing can be mounted there then."""
    wait_for_guards(_guard_lock(store))
    mountpoint.remove_stale(directory)
    if problem := find_problem(directory):
        raise MountUnavailable(problem)


class _Session:
    """The mount's thread. The methods without underscore are called from other threads and block."""

    def __init__(self, store: Store, directory: Path, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._operations: Operations | None = None
        self._directory = directory
        self.views = Views(store, directory, self, _guard_lock(store))
        self._ready: Future[None] = Future()
        self._switch_s = sys.getswitchinterval()
        self._token: trio.lowlevel.TrioToken | None = None
        self._messenger = Messenger(_forget)
        self._heads = Heads(store, self._wake, self._forget_top, self._forget_paths, self._messenger.mark)
        self._thread = threading.Thread(target=self._run, name="mount", daemon=True)

    def start(self) -> None:
        """Mount, and return when the kernel has been answered. Raises MountUnavailable."""
        self._thread.start()
        self._ready.result()
        sys.setswitchinterval(_SWITCH_S)
        mountpoint.widen_read_ahead(self._directory)

    def settle(self) -> None:
        """Return when the kernel has heard of every write that was done before."""
        self._store.write(lambda db: None)  # when this is done, what changed before has been announced
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._heads.take_back, trio_token=self._token)
            heard = threading.Event()
            self._messenger.mark(heard.set)
            heard.wait(_STOP_S)

    def call(self, work: "Callable[[Writing], Awaitable[T]]") -> T:
        """Run something on the mount's loop and wait for it. Raises Conflict if the mount has ended."""
        with self._not_ended():
            return trio.from_thread.run(work, self.operations.writing, trio_token=self._token)

    def call_sync(self, work: "Callable[[Operations], T]") -> T:
        """The same of something that does not wait."""
        with self._not_ended():
            return trio.from_thread.run_sync(work, self.operations, trio_token=self._token)

    @contextmanager
    def _not_ended(self) -> Iterator[None]:
        try:
            yield
        except trio.RunFinishedError:
            raise Conflict(f"the mount at {self._directory} has ended") from None

    def list_roots(self, repo: str, branch: str) -> list[str]:
        """Return where programs find a branch."""
        names = [f"{repo}@{branch}", *((repo,) if branch == DEFAULT_BRANCH else ())]
        return [*(str(self._directory / name) for name in names), *map(str, self.views.list_roots(repo, branch))]

    @property
    def operations(self) -> "Operations":
        assert self._operations is not None, "the mount has not begun"
        return self._operations

    def _commit_all(self) -> None:
        """Commit what is staged; where nothing was to be written, what is staged is of another time and stays."""
        with self._store.snapshot() as db:
            staged = overlays.list_views(db)
        for repo, branch, _ in staged if self._settings.writable or self.views.are_writable() else ():
            try:
                self.call(methodcaller("commit", repo, branch))
            except ApplianceError as error:
                log.warning("changes in %s@%s stay staged: %s", repo, branch, error)
            except Exception:
                log.exception("changes in %s@%s could not be committed", repo, branch)

    def _commit_in_time(self) -> None:
        """Commit what is staged as far as that takes seconds: whoever stops us kills us if we take longer."""
        thread = threading.Thread(target=self._commit_all, name="mount-commit", daemon=True)
        thread.start()
        thread.join(_COMMIT_S)
        self.operations.writing.stopping.set()
        thread.join(_STOP_S)

    def stop(self) -> None:
        """Commit what is staged, unmount, whoever still uses it, and wait for the thread."""
        import pyfuse3

        self._commit_in_time()
        sys.setswitchinterval(self._switch_s)
        self.views.close()
        self._heads.close()
        # First, while there is still somebody to answer the lookups that it may have to wait for.
        if not self._messenger.close(_MESSAGES_S):
            mountpoint.detach(self._directory, force=True)
        if self._token is not None:
            with suppress(trio.RunFinishedError):  # somebody else has unmounted it
                self._token.run_sync_soon(pyfuse3.terminate)
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            log.error("the mount at %s does not end", self._directory)
        else:
            _only_one.release()

    def _forget_top(self, top: Top) -> None:
        if (name := self.operations.locate(top)) is not None:
            self._messenger.send(name)

    def _forget_paths(self, forgotten: set[tuple[str, str]]) -> None:
        try:
            names = self.operations.list_wrong(forgotten)
        except Exception:  # see Heads.take_back
            log.exception("what the kernel has to forget could not be read")
        else:
            for name in names:
                self._messenger.send(name)

    def _wake(self) -> bool:
        """Have what has moved taken back; False while there is no kernel that was told anything."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(self._heads.take_back, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True

    def _run(self) -> None:
        """Everything that the mount's thread does."""
        try:
            self._mount_and_serve()
        except BaseException as error:
            if self._ready.done():
                log.exception("the mount at %s has failed", self._directory)
            else:
                self._ready.set_exception(error)

    def _mount_and_serve(self) -> None:
        try:
            import pyfuse3

            from appliance.mount.operations import Operations
            from appliance.mount.writing import Writable
        except ImportError as error:  # found, but its library is not
            raise MountUnavailable(f"pyfuse3 can not be loaded: {error}") from None
        committing.sweep(self._store)
        writable = Writable(self._settings.writable, self._settings.strict)
        ready = partial(self._ready.set_result, None)
        operations = Operations(
            self._store, self._heads, ready, writable, self._settings.autocommit, self._settings.find_reader
        )
        operations.writing.list_roots = self.list_roots
        self._operations = operations
        operations.requests.take_over()
        _init(operations, self._directory)
        guard = Guard(self._directory, _guard_lock(self._store))
        try:
            self._messenger.start()
            self._store.listen(self._heads.announce)
            self._store.listen(operations.known.announce)
            trio.run(self._serve)
        finally:
            self._heads.close()
            self._messenger.close(None)  # it must not use a session that is closed
            pyfuse3.close()
            operations.close()
            guard.dismiss()

    async def _serve(self) -> None:
        import pyfuse3

        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heads.awaited.run)
            if self.operations.autocommit is not None:
                nursery.start_soon(self.operations.autocommit.run)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()
        if not self._ready.done():
            raise MountUnavailable(f"the mount at {self._directory} was taken away at once")


def _guard_lock(store: Store) -> Path:
    return store.directory / "mount-guard"


def _init(operations: "Operations", directory: Path) -> None:
    import pyfuse3

    try:
        pyfuse3.init(operations, str(directory), _options())
    except RuntimeError as error:  # libfuse keeps the reason to itself and standard error
        raise MountUnavailable(f"mounting at {directory} was refused ({error})") from None


def _options() -> set[str]:
    # Without `default_permissions`: the kernel would answer a write to a read-only directory with EACCES before we can say
    # that the whole is read-only, and there is nothing that only some may read.
    return {"fsname=pfs", "subtype=pfs", *(("allow_other",) if os.geteuid() == 0 else ())}


def _forget(name: Name) -> None:
    """Have the kernel forget a name. Waits for lookups in its directory that are under way."""
    import pyfuse3

    pyfuse3.invalidate_entry(name.parent, name.name)
