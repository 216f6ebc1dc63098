"""The process that takes the mount away when ours dies, however it dies.

It waits at a pipe that only we hold: a word means that we have unmounted ourselves, the end without one that we are dead.
libfuse's own `auto_unmount` does the same with a setuid program that it never ends, over a socket that it lets every
program we start inherit, and gives up on some systems where it is not root who mounts.
"""

import fcntl
import os
import subprocess
import time
from pathlib import Path

_SCRIPT = """
trap '' HUP INT TERM
read -r _ && exit
[ -d "$1" ] && exit  # somebody else has mounted there meanwhile, and answers
shift
exec "$@"
"""
_DISMISS_S = 5.0
_POLL_S = 0.01


def wait_for_guards(lock: Path) -> None:
    """Let the guards of a process that died finish: they must not take away what is mounted next. Seconds at most."""
    deadline = time.monotonic() + _DISMISS_S
    with lock.open("wb") as wanted:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(wanted, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL_S)
            else:
                return


class Guard:
    """Guards the mount at a directory from the time this is made. It holds `lock` for as long as it may unmount."""

    def __init__(self, directory: Path, lock: Path) -> None:
        unmount = ("umount", "-l") if os.geteuid() == 0 else ("fusermount3", "-u", "-z", "-q")
        with lock.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "pfs-guard", str(directory), *unmount, "--", str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                pass_fds=[held.fileno()],
            )

    def dismiss(self) -> None:
        """End it, after the mount is gone."""
        try:
            self._process.communicate(b"\n", _DISMISS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
