"""A commit soon after each change, for editors: `--commit-on close`.

Editors write a file aside, close it and rename it; so what comes in one go becomes one commit, a moment after the last of
it. The kernel does not wait for that when a file is closed: a file may be closed by one process and still be open in
another.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from appliance.errors import ApplianceError, Conflict

log = logging.getLogger(__name__)

_QUIET_S = 0.2

Target = tuple[str, str]


class Autocommit:
    """Commits branches, as `commit` does for one, when nothing more has changed in them for a moment."""

    def __init__(self, commit: Callable[[str, str], Awaitable[object]]) -> None:
        self._commit = commit
        self._changed: dict[Target, float] = {}
        self._wake = trio.Event()

    def note(self, repo: str, branch: str) -> None:
        """Note that a name was changed or a file closed; on the mount's loop."""
        self._changed[repo, branch] = trio.current_time() + _QUIET_S
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            target, due = min(self._changed.items(), key=lambda item: item[1])
            if due > trio.current_time():
                await trio.sleep_until(due)
                continue
            del self._changed[target]
            if not self._changed:
                self._wake = trio.Event()
            await self._try(*target)

    async def _try(self, repo: str, branch: str) -> None:
        try:
            await self._commit(repo, branch)
        except Conflict as error:  # also while another file is open: closing that comes here again
            log.info("changes in %s@%s stay staged: %s", repo, branch, error)
        except ApplianceError as error:
            log.warning("changes in %s@%s stay staged: %s", repo, branch, error)
        except Exception:
            log.exception("changes in %s@%s could not be committed", repo, branch)
