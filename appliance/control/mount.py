"""What is staged in the mount: commit it, or give it up; also while nothing is mounted."""

from appliance.app import App
from appliance.errors import InvalidRequest
from appliance.mount import committing
from appliance.names import DEFAULT_BRANCH, check_name
from appliance.store import overlays


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

    def _list_targets(self) -> list[tuple[str, str]]:
        with self._store.snapshot() as db:
            return [(repo, branch) for repo, branch, _ in overlays.list_views(db)]


def _parse(target: str) -> tuple[str, str]:
    repo, at, branch = target.partition("@")
    if not repo:
        raise InvalidRequest(f'invalid format "{target}": repo cannot be empty')
    return check_name("repo", repo), check_name("branch", branch) if at else DEFAULT_BRANCH
