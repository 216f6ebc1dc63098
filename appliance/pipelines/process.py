"""User code as a process: started with its own /pfs, read line by line, stopped with all that it started.

The processes themselves belong to the launcher (`launching`), a small process at the other end of a `link`. Paths of inputs
are only passed on, never opened here: they may lie in the appliance's own mount.
"""

import json
import math
import os
import posixpath
import pwd
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from appliance.pipelines.link import CLOSE_S, LAUNCHER, Link, Run, not_started, open_link
from appliance.pipelines.streams import DRAIN_S, OnLine, Pace, open_streams, read_output

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
    """How the command ended: an exit code or a signal, the other is None. `timed_out`: we killed it for that.

    `namespace` is the number of the mount namespace that it had for itself, None if it had none.
    """

    status: int | None
    signal: int | None
    timed_out: bool
    namespace: int | None = field(default=None, compare=False)


class Launcher:
    """Runs processes. The launcher process is started by the first run, and by the next one if it died."""

    shell = None
    foreign = False

    def __init__(self, nursery: trio.Nursery, grace_s: float) -> None:
        self._nursery = nursery
        self._grace_s = grace_s
        self._starting = trio.Lock()
        self._link: Link | None = None

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
            raise not_started("no command specified")
        account = await trio.to_thread.run_sync(find_account, spec.user) if spec.user else None
        link = await self._connected()
        streams = open_streams(spec.stdin, account)
        run = await link.start(_request(spec, account), streams.child)
        drain = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_output, drain, streams, on_line, pace)
            try:
                timed_out = await self._wait(link, run, timeout_s)
            finally:
                drain.deadline = trio.current_time() + DRAIN_S
        if run.error is not None:
            raise run.error
        return Exit(*run.end, timed_out=timed_out, namespace=run.namespace)

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

    async def _connected(self) -> "Link":
        async with self._starting:
            if self._link is None or self._link.lost:
                self._link = await open_link()
                self._nursery.start_soon(self._link.serve)
            return self._link

    async def _wait(self, link: "Link", run: Run, timeout_s: float | None) -> bool:
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

    async def _stop(self, link: "Link", run: Run) -> None:
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
            raise not_started(f"no user {user} on this machine") from None
        name, uid, gid, groups = user, int(user), int(user), [int(user)]
    else:
        name, uid, gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        groups = os.getgrouplist(name, gid)
    if uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise not_started(f"cannot become user {name}: only root can")
    return {"name": name, "uid": uid, "gid": gid, "groups": groups}


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
