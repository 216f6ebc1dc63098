"""The mount: further places for it; and what is staged there, to commit or to give up, also while nothing is mounted."""

from pathlib import Path
from typing import TYPE_CHECKING

from appliance.app import App
from appliance.errors import InvalidRequest, NotFound, Unsupported
from appliance.mount import committing, tops
from appliance.names import DEFAULT_BRANCH, check_name
from appliance.store import overlays

if TYPE_CHECKING:
    from appliance.mount.session import Mount


class MountCalls:
    """The calls about it. Every public method is one."""

    def __init__(self, app: App) -> None:
        self._store, self._mounted = app.store, app.mounted

    def commit_staged(self, target: str | None = None, overwrite: bool = False) -> list[dict[str, str]]:
        """Commit what is staged in a branch (`repo` or `repo@branch`), or in all, and return (branch, commit) of each."""
        made = []
        for repo, branch in [_parse(target)] if target is not None else self._list_targets():
            if self._mounted is not None:
                commit = self._mounted.commit(repo, branch, overwrite=overwrite)
            else:
                commit = committing.commit(self._store, repo, branch, overwrite=overwrite)
            if commit is not None:
                made.append({"branch": f"{repo}@{branch}", "commit": commit})
        return made

    def discard_staged(self, target: str) -> bool:
        """Give up what is staged in a branch; tell whether there was something."""
        repo, branch = _parse(target)
        if self._mounted is not None:
            return self._mounted.discard(repo, branch)
        return committing.discard(self._store, repo, branch)

    def mount_view(self, directory: str, specs: list[str], write: bool = False) -> None:
        """Show what specs name, or without any all repos, at a further directory; with `write` their master branches."""
        found = tops.parse_specs(specs)
        self._get_mount().show(Path(directory), found, writable=write and not found)

    def unmount_view(self, directory: str) -> list[dict[str, str]]:
        """Commit what is staged in a view, take it away, and return (branch, commit) of each commit."""
        if self._mounted is not None and Path(directory) == self._mounted.path:
            raise InvalidRequest(f"{directory} is the mount of `serve` and ends with it")
        if self._mounted is None:
            raise NotFound(f"there is no further mount at {directory}")
        return [{"branch": f"{repo}@{branch}", "commit": made} for repo, branch, made in self._mounted.hide(Path(directory))]

    def list_views(self) -> list[str]:
        """Return where views are mounted."""
        return [str(place) for place in self._mounted.list_views()] if self._mounted is not None else []

    def _get_mount(self) -> "Mount":
        if self._mounted is None:
            raise Unsupported("the appliance runs without a mount, and there can be none beside it: serve --mount DIR")
        return self._mounted

    def _list_targets(self) -> list[tuple[str, str]]:
        with self._store.snapshot() as db:
            return [(repo, branch) for repo, branch, _ in overlays.list_views(db)]


def _parse(target: str) -> tuple[str, str]:
    repo, at, branch = target.partition("@")
    if not repo:
        raise InvalidRequest(f'invalid format "{target}": repo cannot be empty')
    return check_name("repo", repo), check_name("branch", branch) if at else DEFAULT_BRANCH
