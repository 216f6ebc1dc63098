"""User code as a process: started with its own /pfs, read line by line, stopped with all that it started.

The processes themselves belong to the launcher (`launcher.py`), a small process of which this module is the other end.
Paths of inputs are only passed on, never opened here: they may lie in the appliance's own mount.
"""

import json
import math
import os
import posixpath
import pwd
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import trio

from appliance import errors

OnLine = Callable[[str, bytes, int], None]
Pace = Callable[[], Awaitable[None]]

MAX_LINE_BYTES = 64 * 1024
# Of one stream of a run so much is handed over, a line counting for more than its bytes, and of what comes then the end.
MAX_LOG_BYTES = 32 * 1024 * 1024
MAX_TAIL_BYTES = 64 * 1024
_LINE_COSTS = 64
# How long to read on after the end: only something that left its group and namespace can still hold a pipe.
DRAIN_S = 1.0
# How long the launcher may take to kill everything when it is no longer needed.
CLOSE_S = 5.0

LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py")))


class ProcessNotStarted(errors.ApplianceError):
    """User code never ran; the message says which step failed and why."""


class ProcessLost(errors.ApplianceError):
    """The launcher died, and user code with it. Says nothing about the user code: the try should not count."""


# Nothing is seen there any more, or it is not for us to say what.
_NOT_OUTSIDE = ("/pfs/", "/proc/", "/dev/", "/sys/", "//")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory that user code sees at `target`, a clean path below /pfs; ValueError for another.

    With `outside` it may be anywhere else, and is read-only. What is missing of the path is made, for user code only.
    File systems mounted below `source` are not seen. Only a `writable` one can be changed, also by root.
    """

    source: Path
    target: str
    writable: bool = False
    outside: bool = False

    def __post_init__(self) -> None:
        if not self.source.is_absolute():
            raise ValueError(f"{self.source} is not an absolute path")
        if self.outside:
            if not self.target.startswith("/") or f"{self.target}/".startswith(_NOT_OUTSIDE):
                raise ValueError(f"nothing can be put at {self.target}")
            return
        if not self.target.startswith("/pfs/") or posixpath.normpath(self.target) != self.target:
            raise ValueError(f"{self.target} is not a clean path below /pfs")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `env` is the whole environment; its PATH finds the command. Without `cwd` it starts in /.

    `user` is a name, or a number that needs no entry and then is also the group; only root can be somebody else. The
    caller sees to it that this user may write to what is bound writable. What is only for containers (image, limits, of
    which 0 is none) has no effect here.
    `variables` is what there is to read in /pfs/.env; no such file without any.
    `private_pfs=False` runs in the host's own tree, without binds: for places where namespaces are not allowed.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes = b""
    cwd: str | None = None
    user: str | None = None
    binds: tuple[Bind, ...] = ()
    variables: str = ""
    private_pfs: bool = True
    image: str = ""
    memory_bytes: int = 0
    cpus: float = 0.0

    def __post_init__(self) -> None:
        if (self.binds or self.variables) and not self.private_pfs:
            raise ValueError("binds need a private /pfs")


@dataclass(frozen=True, slots=True)
class Exit:
    """How the command ended: an exit code or a signal, the other is None. `timed_out`: we killed it for that."""

    status: int | None
    signal: int | None
    timed_out: bool


@dataclass(eq=False, slots=True)
class _Run:
    """One run as the appliance knows it. Once `done`, either `end` (exit code, signal) or `error` is set."""

    number: int
    done: trio.Event = field(default_factory=trio.Event)
    pid: int | None = None
    end: tuple[int | None, int | None] = (None, None)
    error: errors.ApplianceError | None = None

    def fail(self, error: errors.ApplianceError) -> None:
        self.error = error
        self.done.set()


@dataclass(frozen=True, slots=True)
class _Streams:
    """Descriptors: the three of the child, and where its output is read."""

    child: tuple[int, int, int]
    stdout: int
    stderr: int


class Launcher:
    """Runs processes. The launcher process is started by the first run, and by the next one if it died."""

    shell = None
    foreign = False

    def __init__(self, nursery: trio.Nursery, grace_s: float) -> None:
        self._nursery = nursery
        self._grace_s = grace_s
        self._starting = trio.Lock()
        self._link: _Link | None = None

    async def run(
        self, spec: ProcessSpec, *, on_line: OnLine, pace: Pace = trio.lowlevel.checkpoint, timeout_s: float | None = None
    ) -> Exit:
        """Run to the end, handing over each line of output as `(stream, line, time_ns)`.

        `pace` is awaited between two pieces of output: as long as it takes, who writes has to wait.

        `stream` is "stdout" or "stderr"; lines come without their newline, in pieces if over 64 KiB. What is over 32 MiB is
        left out but for its end, with a line in its place that says so. On return nothing
        of the run lives: when the command ends, the rest of its group and what stayed in its namespace is killed. After
        `timeout_s` all is killed at once. When cancelled the group gets SIGTERM, then SIGKILL after the grace given to
        `open_launcher`; lines still arrive meanwhile. `on_line` must not raise.
        Raises ProcessNotStarted and ProcessLost.
        """
        if not spec.argv:
            raise _not_started("no command specified")
        account = await trio.to_thread.run_sync(find_account, spec.user) if spec.user else None
        link = await self._connected()
        streams = _open_streams(spec.stdin, account)
        run = await link.start(_request(spec, account), streams.child)
        drain = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_output, drain, streams, on_line, pace)
            try:
                timed_out = await self._wait(link, run, timeout_s)
            finally:
                drain.deadline = trio.current_time() + DRAIN_S
        if run.error is not None:
            raise run.error
        return Exit(*run.end, timed_out=timed_out)

    def attach(self, spec: ProcessSpec) -> tuple[tuple[str, ...], str]:
        """Return a command that does the same on the streams and the terminal of whoever executes it, and its request.

        It wants the number of a descriptor with the request on it as one more argument. Raises ProcessNotStarted.
        """
        account = find_account(spec.user) if spec.user else None
        return (*LAUNCHER, "enter"), json.dumps(_request(spec, account))

    def close(self) -> None:
        """Let the launcher process go; the nursery waits for it. There must be no runs left."""
        if self._link is not None:
            self._link.close()

    async def _connected(self) -> "_Link":
        async with self._starting:
            if self._link is None or self._link.lost:
                self._link = await _open_link()
                self._nursery.start_soon(self._link.serve)
            return self._link

    async def _wait(self, link: "_Link", run: _Run, timeout_s: float | None) -> bool:
        """Wait for the end and say whether the timeout brought it."""
        try:
            with trio.move_on_after(math.inf if timeout_s is None else timeout_s) as limit:
                await run.done.wait()
            if limit.cancelled_caught:
                await link.signal(run, signal.SIGKILL)
                await run.done.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._stop(link, run)
            raise
        return limit.cancelled_caught

    async def _stop(self, link: "_Link", run: _Run) -> None:
        for number, patience_s in ((signal.SIGTERM, self._grace_s), (signal.SIGKILL, CLOSE_S)):
            await link.signal(run, number)
            with trio.move_on_after(patience_s):
                await run.done.wait()
                return


@asynccontextmanager
async def open_launcher(*, grace_s: float = 5.0) -> AsyncIterator[Launcher]:
    """A launcher for the length of the block; `grace_s` is between SIGTERM and SIGKILL when a run is cancelled.

    Has a nursery, so an exception of the block leaves it in a group.
    """
    async with trio.open_nursery() as nursery:
        launcher = Launcher(nursery, grace_s)
        try:
            yield launcher
        finally:
            launcher.close()


class _Link:
    """One launcher process and the socket to it. Once `lost`, all its runs have ended in ProcessLost."""

    def __init__(self, process: trio.Process, control: trio.socket.SocketType) -> None:
        self.lost = False
        self._process = process
        self._control = control
        self._sending = trio.Lock()
        self._scope = trio.CancelScope(shield=True)  # runs are still being stopped when all else was cancelled
        self._runs: dict[int, _Run] = {}
        self._numbers = count(1)

    async def start(self, request: dict[str, Any], fds: tuple[int, ...]) -> _Run:
        """Ask for a run and close its descriptors here. Is not cancelled, and tells failures through the run."""
        run = _Run(next(self._numbers))
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

    async def signal(self, run: _Run, number: int) -> None:
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
            run.fail(_not_started(message["failed"]))
        else:
            run.end = message["status"], message["signal"]
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


async def _open_link() -> _Link:
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
            raise _not_started(f"cannot execute {LAUNCHER[0]}: {error.strerror}") from error
    return _Link(process, trio.socket.from_stdlib_socket(ours))


def _request(spec: ProcessSpec, account: dict[str, Any] | None) -> dict[str, Any]:
    binds = [_describe_bind(bind) for bind in spec.binds if not bind.outside]
    outside = [_describe_bind(bind) for bind in spec.binds if bind.outside]
    return {
        "argv": spec.argv,
        "env": dict(spec.env),
        "cwd": spec.cwd or "/",
        "user": account,
        "private_pfs": spec.private_pfs,
        "binds": binds,
        "outside": outside,
        "variables": spec.variables,
    }


def _describe_bind(bind: Bind) -> dict[str, Any]:
    return {"source": str(bind.source), "target": bind.target, "writable": bind.writable}


def find_account(user: str) -> dict[str, Any] | None:
    """Return the numbers of a user, None for who we are already. Reads the machine's databases, so it may block."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise _not_started(f"no user {user} on this machine") from None
        name, uid, gid, groups = user, int(user), int(user), [int(user)]
    else:
        name, uid, gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        groups = os.getgrouplist(name, gid)
    if uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise _not_started(f"cannot become user {name}: only root can")
    return {"name": name, "uid": uid, "gid": gid, "groups": groups}


def _open_streams(stdin: bytes, account: dict[str, Any] | None) -> _Streams:
    """Standard input as a file in memory, which nobody has to feed and which can not break, and two pipes."""
    with ExitStack() as stack:

        def owned(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        try:
            input_fd = owned(os.memfd_create("stdin"))
            _fill(input_fd, stdin)
            stdout, stdout_fd = map(owned, os.pipe())
            stderr, stderr_fd = map(owned, os.pipe())
            if account is not None:  # who opens /dev/stdout needs a right to the pipe itself
                os.fchown(stdout_fd, account["uid"], -1)
                os.fchown(stderr_fd, account["uid"], -1)
        except OSError as error:
            raise _not_started(f"cannot open its streams: {error.strerror}") from error
        stack.pop_all()
        return _Streams((input_fd, stdout_fd, stderr_fd), stdout, stderr)


def _fill(fd: int, content: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)


async def _read_output(scope: trio.CancelScope, streams: _Streams, on_line: OnLine, pace: Pace) -> None:
    """Read both pipes to their ends, or until the scope's deadline."""
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_lines, streams.stdout, partial(on_line, "stdout"), pace)
            nursery.start_soon(_read_lines, streams.stderr, partial(on_line, "stderr"), pace)


async def _read_lines(fd: int, deliver: Callable[[bytes, int], None], pace: Pace) -> None:
    """Deliver line by line, the last one also without newline, also when there is no time left to read on."""
    lines = _Splitter(deliver)
    async with trio.lowlevel.FdStream(fd) as pipe:
        try:
            async for chunk in pipe:
                lines.add(bytes(chunk))
                await pace()
        finally:
            lines.end()


class _Splitter:
    """Makes lines of pieces, as long as there is room for them."""

    def __init__(self, deliver: Callable[[bytes, int], None]) -> None:
        self._deliver = deliver
        self._room = MAX_LOG_BYTES
        self._rest = b""  # without a newline yet; the end of what came when there was no room any more
        self._left_out = 0

    def add(self, chunk: bytes) -> None:
        """Deliver what is complete."""
        if self._room <= 0:
            whole = self._rest + chunk
            self._rest = whole[-MAX_TAIL_BYTES:]
            self._left_out += len(whole) - len(self._rest)
            return
        now_ns = time.time_ns()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._room -= len(chunk) + _LINE_COSTS * len(lines)
        for line in lines:
            self._deliver_pieces(line, now_ns)
        while len(self._rest) > MAX_LINE_BYTES:
            self._deliver(self._rest[:MAX_LINE_BYTES], now_ns)
            self._rest = self._rest[MAX_LINE_BYTES:]

    def end(self) -> None:
        """Deliver what is left."""
        now_ns = time.time_ns()
        if self._left_out:
            begun, newline, whole = self._rest.partition(b"\n")
            self._rest = whole if newline else begun
            left_out = self._left_out + (len(begun) + 1 if newline else 0)
            self._deliver(f"[{left_out} bytes of output are left out here]".encode(), now_ns)
        *lines, last = self._rest.split(b"\n")
        for line in (*lines, last) if last else lines:
            self._deliver_pieces(line, now_ns)

    def _deliver_pieces(self, line: bytes, now_ns: int) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE_BYTES):
            self._deliver(line[start : start + MAX_LINE_BYTES], now_ns)


def probe_namespaces() -> str | None:
    """None if a private /pfs works here, tried once, else one line that says what fails and what to enable.

    Takes as long as starting Python, and blocks.
    """
    probe = subprocess.run([*LAUNCHER, "probe"], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        return None
    reason = (probe.stdout or probe.stderr).strip().rpartition("\n")[2]
    return f"user code can not have a private /pfs here: {reason}; {_what_to_enable()}"


def _what_to_enable() -> str:
    """The first switch of the system that forbids namespaces, else what a container needs."""
    switches = {
        "user.max_user_namespaces": ("0", "10000"),
        "kernel.unprivileged_userns_clone": ("0", "1"),  # Debian's
        "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu's
    }
    for name, (forbidding, allowing) in switches.items():
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists() and path.read_text().strip() == forbidding:
            return f"allow it with: sysctl {name}={allowing}"
    return "in a container, start it with --cap-add SYS_ADMIN --security-opt apparmor=unconfined, or --privileged"


def _not_started(reason: str) -> ProcessNotStarted:
    return ProcessNotStarted(f"user code could not be started: {reason}")


def _lost() -> ProcessLost:
    return ProcessLost("the launcher of user code died, and the run with it")
