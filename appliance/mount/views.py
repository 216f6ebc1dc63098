"""Further mount points: a process has one session, so they are bind mounts of directories in it that nobody lists."""

import builtins
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from appliance.errors import NotFound, OutputBranch
from appliance.mount import mountpoint
from appliance.mount.guard import Guard
from appliance.mount.mountpoint import MountUnavailable
from appliance.mount.tops import Top
from appliance.names import CommitId
from appliance.store import Store, history, overlays, repos, snapshots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from appliance.mount.nodes import View
    from appliance.mount.operations import Operations
    from appliance.mount.writing import Writing

T = TypeVar("T")


class Session(Protocol):
    """What this needs of the session, from other threads than its own."""

    def call(self, work: "Callable[[Writing], Awaitable[T]]") -> T:
        """Run something on the mount's loop."""

    def call_sync(self, work: "Callable[[Operations], T]") -> T:
        """Run something there that does not wait."""


@dataclass(frozen=True, slots=True)
class _Shown:
    view: "View"
    guard: Guard


class Views:
    """The views of a mount, by where they are. Called from threads that may wait, one at a time."""

    def __init__(self, store: Store, directory: Path, session: Session, guard_lock: Path) -> None:
        self._store, self._directory, self._session, self._guard_lock = store, directory, session, guard_lock
        self._shown: dict[Path, _Shown] = {}
        self._lock = threading.Lock()

    def show(self, directory: Path, tops: tuple[Top, ...], *, writable: bool) -> None:
        """Show a view; see `Mount.show`."""
        with self._lock:
            place = self._check_place(directory)
            for top in tops:
                _check(self._store, top)
            view = self._session.call_sync(lambda operations: operations.add_view(tops, writable=writable))
            try:
                mountpoint.bind(self._directory / view.name, place)
            except BaseException:
                self._session.call_sync(lambda operations: operations.remove_view(view))
                raise
            self._shown[place] = _Shown(view, Guard(place, self._guard_lock))

    def _check_place(self, directory: Path) -> Path:
        mountpoint.remove_stale(directory)
        if problem := mountpoint.find_problem_of_place(directory):
            raise MountUnavailable(problem)
        place = directory.resolve()
        if place.is_relative_to(self._directory):
            raise MountUnavailable(f"{directory} is in the mount itself")
        return place

    def hide(self, directory: Path) -> list[tuple[str, str, CommitId]]:
        """Take a view away; see `Mount.hide`."""
        with self._lock:
            place = directory.resolve()
            if place not in self._shown:
                raise NotFound(f"there is no further mount at {directory}")
            made = [found for target in self._list_staged(self._shown[place].view) if (found := self._commit(*target))]
            self._remove(place)
            return made

    def _list_staged(self, view: "View") -> list[tuple[str, str]]:
        with self._store.snapshot() as db:
            staged = [(repo, branch) for repo, branch, _ in overlays.list_views(db)]
        wanted = {(top.repo, top.branch) for top in view.tops if top.writable}
        return [target for target in staged if target in wanted or (view.writable and target[1] == Top(target[0]).branch)]

    def _commit(self, repo: str, branch: str) -> tuple[str, str, CommitId] | None:
        commit = self._session.call(lambda writing: writing.commit(repo, branch))
        return (repo, branch, commit) if commit is not None else None

    def _remove(self, place: Path) -> None:
        shown = self._shown.pop(place)
        mountpoint.detach(place)
        shown.guard.dismiss()
        self._session.call_sync(lambda operations: operations.remove_view(shown.view))

    def list(self) -> list[Path]:
        """Return where views are."""
        return sorted(self._shown)

    def list_roots(self, repo: str, branch: str) -> "builtins.list[Path]":
        """Return where views show a branch, the whole of it."""
        return [place / repo for place, shown in self._shown.copy().items() if shown.view.shows(repo, branch)]

    def are_writable(self) -> bool:
        """Tell whether something can be changed in one of them."""
        return any(shown.view.writable or any(top.writable for top in shown.view.tops) for shown in self._shown.values())

    def close(self) -> None:
        """Take all of them away."""
        with self._lock:
            for place, shown in self._shown.items():
                mountpoint.detach(place)
                shown.guard.dismiss()
            self._shown.clear()


def _check(store: Store, top: Top) -> None:
    """Raise NotFound for a repo or commit that is not there, MountUnavailable for an output branch that is to be changed.

    A branch may come later.
    """
    with store.snapshot() as db:
        repos.get_repo(db, top.repo)
        if not top.is_branch:
            snapshots.open_revision(db, top.repo, top.branch)
        try:
            if top.writable:
                history.check_branch_writable(db, top.repo, top.branch)
        except OutputBranch:
            message = f"can't mount branch {top} as {top.repo} in Write mode because it's an output branch"
            raise MountUnavailable(message) from None
