"""Children, groups and signals."""

from __future__ import annotations

import contextlib
import os
import signal

OUTLIVED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


def children(pid: int) -> list[int]:
    """The processes whose parent is this one of a single thread, dead ones that were not reaped included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):  # it is gone, and never was ourselves
        return []


def kill_all(pids: list[int]) -> None:
    """Kill our children; one that became another user stays."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def signal_group(pid: int, number: int) -> None:
    """Signal the group of an unreaped leader, which has none yet if it was only just forked."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def namespace_of(pid: str) -> int:
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino


def end_all_others() -> None:
    """As the first process of a PID namespace, kill and bury all others in it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def wait_for(pid: int) -> int:
    """Bury whoever falls to us until a child has ended, and return its status as `waitpid` has it."""
    while True:
        dead, status = os.wait()
        if dead == pid:
            return status


def prepare_signals() -> None:
    """Undo what this process inherited, and outlive what a terminal or a service manager sends to all.

    Handlers, unlike ignoring, end by themselves when a child executes its program.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    for number in OUTLIVED:
        signal.signal(number, lambda *_: None)


def forget_signals() -> None:
    """In a fork that stays: the handlers and what wakes the loop are the launcher's."""
    signal.set_wakeup_fd(-1)
    for number in OUTLIVED:
        signal.signal(number, signal.SIG_DFL)
