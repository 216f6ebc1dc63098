"""The tries of datums that are running, for whoever wants one to begin anew."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import trio


class Tries:
    """Cancels tries by the number of their datum. `restart` is for any thread, the rest for the loop."""

    def __init__(self) -> None:
        self._scopes: dict[int, tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = {}

    @contextmanager
    def running(self, datum_row: int) -> Iterator[trio.CancelScope]:
        """A scope that is cancelled if the try inside is to begin anew."""
        with trio.CancelScope() as scope:
            self._scopes[datum_row] = (trio.lowlevel.current_trio_token(), scope)
            try:
                yield scope
            finally:
                del self._scopes[datum_row]

    def restart(self, datum_rows: Iterable[int]) -> None:
        """Let the tries of some datums begin anew, soon; one that has just ended stays as it is."""
        for row in datum_rows:
            if found := self._scopes.get(row):
                token, scope = found
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(scope.cancel)
