"""The loop of the launcher."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket

from appliance.launching.isolation import Isolation
from appliance.launching.kernel import clone
from appliance.launching.processes import children, kill_all, namespace_of, signal_group
from appliance.launching.runs import Run
from appliance.launching.usercode import run_child, run_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Launcher:
    """All runs, and the loop that serves the socket, the reports of children, and their deaths."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pid = os.getpid()
        self.runs: dict[int, Run] = {}
        self.may_have_orphans = False  # of runs without a PID namespace
        self.isolation: Isolation | None = None  # found out by the first run that wants some
        self.wake_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self.serve_request)
        self.selector.register(self.wake_fd, selectors.EVENT_READ, self.reap)

    def serve(self) -> None:
        """Serve until the appliance is gone, then leave nothing behind."""
        try:
            with contextlib.suppress(EOFError, ConnectionError):
                while True:
                    for key, _ in self.selector.select():
                        key.data()
        finally:
            self.kill_everything()

    def serve_request(self) -> None:
        """Do one thing the appliance asked for; EOFError when it is gone."""
        request, fds = receive(self.control)
        if request["op"] == "run":
            self.start(request, fds)
        elif (run := self.runs.get(request["run"])) is not None:
            self.signal(run, request["signal"])

    def start(self, request: dict[str, Any], fds: list[int]) -> None:
        """Fork a run; one that can not be forked fails, and nothing else."""
        try:
            run = self.fork(request, fds)
        except OSError as error:
            self.send({"run": request["run"], "failed": f"cannot fork: {error.strerror}"})
        else:
            assert run.channel is not None
            self.runs[run.number] = run
            self.selector.register(run.channel, selectors.EVENT_READ, lambda: self.note_start(run))
            if run.result is not None:
                self.selector.register(run.result, selectors.EVENT_READ, lambda: self.note_result(run))
            self.send({"run": run.number, "pid": run.pid})
            run.channel.shutdown(socket.SHUT_WR)
        finally:
            for fd in fds:
                os.close(fd)

    def fork(self, request: dict[str, Any], fds: list[int]) -> Run:
        """Fork a run. The child does not return."""
        if len(fds) < 3:  # the kernel drops those for which there is no room
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if request["private_pfs"] and self.isolation is None:
            self.isolation = Isolation()
        isolation = self.isolation if request["private_pfs"] else None
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            run = self.fork_first(request, fds, theirs, isolation) if isolation and isolation.flags else None
            if run is None:
                self.may_have_orphans = True
                pid, result = os.fork(), None
                if pid == 0:
                    run_child(request, fds, theirs, self.pid)
            else:
                pid, result = run
            stack.pop_all()
            started = Run(request["run"], pid, ours, result)
            if started.isolated:  # while it waits for us
                with contextlib.suppress(OSError):
                    started.namespace = namespace_of(str(pid))
            return started

    def fork_first(
        self, request: dict[str, Any], fds: list[int], channel: socket.socket, isolation: Isolation
    ) -> tuple[int, int]:
        """Fork into namespaces: the number of the first process there, and where it says how user code ended."""
        result, told = os.pipe()
        try:
            pid = clone(isolation.flags)
            if pid == 0:
                run_first(request, fds, channel, told, isolation)
        except OSError:
            os.close(result)
            raise
        finally:
            os.close(told)
        return pid, result

    def note_start(self, run: Run) -> None:
        """Take in a report. At its end the child is user code, or has failed and is about to be reaped."""
        if run.take_report():
            assert run.channel is not None
            self.selector.unregister(run.channel)
            run.channel.close()
            run.channel = None

    def note_result(self, run: Run) -> None:
        """Report how user code ended. If the first process was killed instead, its death will tell."""
        if run.result is None:
            return  # its death was told in this same round of the loop
        self.selector.unregister(run.result)
        if run.note_result():
            self.finish_start(run)
            del self.runs[run.number]
            self.report(run)

    def finish_start(self, run: Run) -> None:
        """Read what is left of a report; the child has nothing more to say."""
        while run.channel is not None:
            self.note_start(run)

    def signal(self, run: Run, number: int) -> None:
        """Signal the group, or kill the child that is not user code yet and would not understand."""
        if run.ended:
            return
        # Of the first process it is the oldest child; those that it adopted come behind.
        code = children(run.pid)[:1] if run.isolated else [] if run.channel is not None else [run.pid]
        if not code or (run.isolated and number == signal.SIGKILL):
            kill_all([run.pid])
        else:
            signal_group(code[0], number)

    def reap(self) -> None:
        """Bury the dead, kill what they left, and report the runs of which nothing lives any more."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, 4096)
        with contextlib.suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if (run := self.leaders().get(dead.si_pid)) is not None:
                    self.end(run, dead)
                os.waitpid(dead.si_pid, 0)
        self.settle()

    def leaders(self) -> dict[int, Run]:
        """The runs whose leader was not reaped, so that its number can not be another's."""
        return {run.pid: run for run in self.runs.values() if not run.ended}

    def end(self, run: Run, dead: os.waitid_result) -> None:
        """Note how the leader ended and kill its group, before it is reaped and its number can be another's."""
        if run.result is not None:
            self.note_result(run)
        if run.ended:
            return
        self.finish_start(run)
        run.note_end(dead)
        signal_group(run.pid, signal.SIGKILL)

    def settle(self) -> None:
        """Report ended runs once their last process is gone.

        A killed process leaves its children to the launcher before its own death is told, so coming here at each death
        catches them all, whatever they did to get away.
        """
        leaders = self.leaders()
        for run in [run for run in self.runs.values() if run.ended]:
            left = [] if run.isolated else [pid for pid in children(self.pid) if pid not in leaders and run.owns(pid)]
            kill_all(left)
            if not left:
                del self.runs[run.number]
                self.report(run)
        if not self.runs and self.may_have_orphans:
            left = children(self.pid)
            kill_all(left)
            self.may_have_orphans = bool(left)

    def report(self, run: Run) -> None:
        if run.failed is not None:
            self.send({"run": run.number, "failed": run.failed})
        else:
            end = {"status": run.status, "signal": run.killed_by, "namespace": run.namespace}
            self.send({"run": run.number, **end})

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.control.sendall(len(body).to_bytes(4, "big") + body)

    def kill_everything(self) -> None:
        """Kill every group and every child until there are none. Waits for them."""
        for pid in self.leaders():
            signal_group(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                kill_all(children(self.pid))
                os.waitpid(-1, 0)


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One message and its descriptors, which close on exec. Raises EOFError at the end."""
    # Not socket.recv_fds, which drops the flags.
    head, rights, _, _ = control.recvmsg(4, socket.CMSG_SPACE(3 * 4), socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL)
    if len(head) < 4:
        raise EOFError
    size = int.from_bytes(head, "big")
    body = bytearray()
    while len(body) < size:
        if not (chunk := control.recv(size - len(body))):
            raise EOFError
        body += chunk
    return json.loads(body), [fd for _, _, data in rights for fd in memoryview(data).cast("i")]
