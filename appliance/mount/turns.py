"""Who has to wait for the commit of a writable branch: whoever changes something, for all of it; whoever only looks, while it
exchanges what the numbers that the kernel holds mean.

Before that a number means a thing in the overlay, afterwards a path in the new commit. In between the one is gone already
and the other not yet there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from appliance.mount.nodes import Node, Place

_Branch = tuple[str, str]


class Turns:
    """`changes` is held by each change and by each commit; on the mount's loop."""

    def __init__(self) -> None:
        self.changes = trio.Lock()
        self._exchanged: dict[_Branch, trio.Event] = {}

    async def wait_to_look(self, node: Node) -> None:
        """Return when the number of a node means something.

        Looking for a name at the top needs no such number, so it never waits: the kernel may have to take that name back
        before the commit is answered.
        """
        if isinstance(node, Place):
            while (exchanged := self._exchanged.get((node.top.repo, node.top.branch))) is not None:
                await exchanged.wait()

    def begin(self, repo: str, branch: str) -> None:
        """Have those wait who look."""
        self._exchanged[repo, branch] = trio.Event()

    @contextmanager
    def exchanging(self, repo: str, branch: str) -> Iterator[None]:
        """In the end nobody waits any more."""
        try:
            yield
        finally:
            exchanged = self._exchanged.pop((repo, branch), None)
            if exchanged is not None:
                exchanged.set()
