"""One launcher process and the socket to it: asking for runs, signals, and hearing how they ended."""

import json
import os
import signal
import socket
import subprocess
import sys
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import trio

import appliance.launching
from appliance import errors

# How long the launcher may take to kill everything when it is no longer needed.
CLOSE_S = 5.0

LAUNCHER = (sys.executable, "-I", "-S", str(Path(appliance.launching.__path__[0])))


class ProcessNotStarted(errors.ApplianceError):
    """User code never ran; the message says which step failed and why."""


class ProcessLost(errors.ApplianceError):
    """The launcher died, and user code with it. Says nothing about the user code: the try should not count."""


@dataclass(eq=False, slots=True)
class Run:
    """One run as the appliance knows it. Once `done`, either `end` (exit code, signal) or `error` is set."""

    number: int
    done: trio.Event = field(default_factory=trio.Event)
    pid: int | None = None
    end: tuple[int | None, int | None] = (None, None)
    namespace: int | None = None
    error: errors.ApplianceError | None = None

    def fail(self, error: errors.ApplianceError) -> None:
        self.error = error
        self.done.set()


class Link:
    """One launcher process and the socket to it. Once `lost`, all its runs have ended in ProcessLost."""

    def __init__(self, process: trio.Process, control: trio.socket.SocketType) -> None:
        self.lost = False
        self._process = process
        self._control = control
        self._sending = trio.Lock()
        self._scope = trio.CancelScope(shield=True)  # runs are still being stopped when all else was cancelled
        self._runs: dict[int, Run] = {}
        self._numbers = count(1)

    async def start(self, request: dict[str, Any], fds: tuple[int, ...]) -> Run:
        """Ask for a run and close its descriptors here. Is not cancelled, and tells failures through the run."""
        run = Run(next(self._numbers))
        try:
            if self.lost:
                run.fail(_lost())
            else:
                self._runs[run.number] = run
                await self._send({"op": "run", "run": run.number, **request}, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return run

    async def signal(self, run: Run, number: int) -> None:
        """Signal the process group of a run, if it did not end meanwhile. Is not cancelled."""
        if not run.done.is_set():
            await self._send({"op": "signal", "run": run.number, "signal": number})

    async def serve(self) -> None:
        """Take messages until the launcher is gone, and see it buried."""
        try:
            with self._scope, suppress(ConnectionError):
                await self._take_messages()
        finally:
            self._lose()
            with trio.CancelScope(shield=True):
                self._process.kill()
                await self._process.wait()

    def close(self) -> None:
        """Tell the launcher that it is over, and wait for it no longer than `CLOSE_S`."""
        if not self.lost:
            self._control.shutdown(socket.SHUT_WR)
            self._scope.deadline = trio.current_time() + CLOSE_S

    async def _send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a whole message, for half of one would be the end of all; to a dead launcher it is dropped."""
        body = json.dumps(message).encode()
        data = memoryview(len(body).to_bytes(4, "big") + body)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds).tobytes())] if fds else []
        with trio.CancelScope(shield=True), suppress(ConnectionError, trio.ClosedResourceError):
            async with self._sending:
                sent = await self._control.sendmsg([data], rights)
                while sent < len(data):
                    sent += await self._control.send(data[sent:])

    async def _take_messages(self) -> None:
        buffer = bytearray()
        while chunk := await self._control.recv(64 * 1024):
            buffer += chunk
            while len(buffer) >= 4 and len(buffer) >= (end := 4 + int.from_bytes(buffer[:4], "big")):
                self._note(json.loads(buffer[4:end]))
                del buffer[:end]

    def _note(self, message: dict[str, Any]) -> None:
        run = self._runs[message["run"]]
        if "pid" in message:
            run.pid = message["pid"]
            return
        del self._runs[run.number]
        if "failed" in message:
            run.fail(not_started(message["failed"]))
        else:
            run.end, run.namespace = (message["status"], message["signal"]), message["namespace"]
            run.done.set()

    def _lose(self) -> None:
        """End all runs. A dying launcher takes their leaders along, but not what these started."""
        self.lost = True
        self._control.close()
        for run in self._runs.values():
            if run.pid is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(run.pid, signal.SIGKILL)
            run.fail(_lost())
        self._runs.clear()


async def open_link() -> Link:
    """Start a launcher process. Is not cancelled: half a launcher would belong to nobody."""
    ours, theirs = socket.socketpair()
    with theirs, trio.CancelScope(shield=True):
        try:
            # In a session of its own, for Ctrl-C at the terminal is meant for the appliance, which then stops in order.
            process = await trio.lowlevel.open_process(
                LAUNCHER, stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise not_started(f"cannot execute {LAUNCHER[0]}: {error.strerror}") from error
    return Link(process, trio.socket.from_stdlib_socket(ours))


def not_started(reason: str) -> ProcessNotStarted:
    return ProcessNotStarted(f"user code could not be started: {reason}")


def _lost() -> ProcessLost:
    return ProcessLost("the launcher of user code died, and the run with it")
