"""The process that takes the mount away when ours dies, however it dies.

With `auto_unmount`, libfuse leaves a fusermount3 running that unmounts once the socket between us and it closes. libfuse
never closes that socket, nor keeps it from programs we start: while one of those lived, the mount of a dead appliance
would stay. And it never ends that process, so each mount would leave one behind.
"""

import os
import signal
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def list_inherited_sockets() -> set[int]:
    """Return the sockets that programs we start would get. Python's own are never among them."""
    found = set()
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the one of this very listing is closed by now
            if os.get_inheritable(descriptor) and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.add(descriptor)
    return found


@dataclass(frozen=True, slots=True)
class Guard:
    """That process and our ends of its sockets; none of either without `auto_unmount`."""

    processes: list[int]
    sockets: set[int]

    def dismiss(self) -> None:
        """End it, after the mount is gone; on the thread that found it."""
        for descriptor in self.sockets:
            os.close(descriptor)
        for process in self.processes:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)  # it blocks all signals that can be blocked
                os.waitpid(process, 0)


def find_guard(before: set[int]) -> Guard:
    """Return what libfuse started since `list_inherited_sockets` gave `before`; on the thread that mounted."""
    sockets = list_inherited_sockets() - before
    for descriptor in sockets:
        os.set_inheritable(descriptor, False)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return Guard([int(process) for process in children.read_text().split()] if children.exists() else [], sockets)
