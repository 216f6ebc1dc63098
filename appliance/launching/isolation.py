"""Mount, PID and user namespaces of a run's own."""

from __future__ import annotations

import os

from appliance.launching.kernel import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    check,
    clone,
    libc,
    mount,
    step,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def own_namespace() -> None:
    """Leave the host's mount namespace; where that is not allowed, its user namespace too. Raises StepFailed."""
    uid, gid = os.geteuid(), os.getegid()
    with step("create a private mount namespace"):
        try:
            check(libc.unshare(CLONE_NEWNS))
        except PermissionError:
            check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
            keep_user(uid, gid)
        keep_mounts()


def keep_user(uid: int, gid: int) -> None:
    """Be the same user in a new user namespace.

    A number other than 0 loses all capabilities when it executes a program, so user code can undo nothing of what is mounted.
    """
    # The kernel takes a group map from an unprivileged process only after it gave up setgroups.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        write_file(f"/proc/self/{name}", text)


def keep_mounts() -> None:
    """In a new mount namespace, let mounts of the host still arrive, and ours not leave."""
    mount("none", "/", MS_REC | MS_SLAVE)


def own_proc() -> None:
    """Show the processes of this PID namespace in /proc. Not allowed where the host's own is partly covered."""
    mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "proc")


class Isolation:
    """How runs get a mount and a PID namespace of their own: with these flags of `clone`, 0 where that is not allowed."""

    def __init__(self) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.flags = next((flags for flags in _NAMESPACES if self.works(flags)), 0)

    def works(self, flags: int) -> bool:
        """Try it."""
        try:
            pid = clone(flags)
        except OSError:
            return False
        if pid == 0:
            self.try_out(flags)
        return os.waitpid(pid, 0)[1] == 0

    def try_out(self, flags: int) -> NoReturn:
        """In the child: end with status 0 if everything works."""
        try:
            self.flags = flags
            self.enter()
            own_proc()
            os._exit(0)
        finally:
            os._exit(1)

    def enter(self) -> None:
        """Settle in new namespaces. Raises StepFailed."""
        with step("create private namespaces"):
            if self.flags & CLONE_NEWUSER:
                keep_user(self.uid, self.gid)
            keep_mounts()


_NAMESPACES = (CLONE_NEWNS | CLONE_NEWPID, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER)
