"""One run, from its fork until nothing of it is left."""

from __future__ import annotations

import os
import signal
import socket

from appliance.launching.processes import namespace_of


class Run:
    """One run from its fork until nothing of it is left. `status` and `killed_by` are set when the leader is gone.

    With a PID namespace `pid` is the first process in it, and `result` is where that says how user code ended, when all of
    it has.
    """

    def __init__(self, number: int, pid: int, channel: socket.socket, result: int | None) -> None:
        self.number = number
        self.pid = pid
        self.isolated = result is not None
        self.result = result  # None once it was read
        self.channel: socket.socket | None = channel  # None once it was read to its end
        self.report = b""
        self.namespace: int | None = None  # None without one of its own
        self.failed: str | None = None
        self.ended = False
        self.status: int | None = None
        self.killed_by: int | None = None

    def take_report(self) -> bool:
        """Read on in what the child writes before it becomes user code; True when there will be no more."""
        if self.channel is None:
            return False  # ended in this same round of the loop
        if chunk := self.channel.recv(4096):
            self.report += chunk
            return False
        namespace, mark, reason = self.report.partition(b"!")
        self.namespace = int(namespace) if namespace else self.namespace
        self.failed = reason.decode() if mark else None
        return True

    def note_end(self, dead: os.waitid_result) -> None:
        """Take in how the leader ended."""
        self.ended = True
        if not self.isolated:
            exited = dead.si_code == os.CLD_EXITED
            self.status, self.killed_by = (dead.si_status, None) if exited else (None, dead.si_status)
        else:  # without a result: nothing else ends the first process of a namespace
            self.killed_by = signal.SIGKILL

    def note_result(self) -> bool:
        """Take in how user code ended, and tell whether it did: the first process may have been killed instead."""
        assert self.result is not None
        told = os.read(self.result, 64)
        os.close(self.result)
        self.result = None
        if told:
            self.ended, status = True, int(told)
            exited = os.WIFEXITED(status)
            self.status, self.killed_by = (os.WEXITSTATUS(status), None) if exited else (None, os.WTERMSIG(status))
        return self.ended

    def owns(self, pid: int) -> bool:
        """Whether a child of the launcher belongs to this run."""
        try:
            return os.getpgid(pid) == self.pid or (self.namespace is not None and namespace_of(str(pid)) == self.namespace)
        except OSError:  # gone meanwhile
            return False
