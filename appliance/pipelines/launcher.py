"""The small process that starts user code, each run with a /pfs of its own.

Forking a large process with many threads is slow and unsafe, so the appliance starts this one once and asks it for every
run. It is started by its path with `python -I -S`: it imports a few standard modules, nothing of this package, and
nothing slow to import. It has one thread; a forked child may therefore do as it likes until it executes user code.

Messages are a length (four bytes, big endian) and JSON, over the socket that is standard input:

    to the launcher     {"op": "run", "run": 7, "argv", "env", "cwd", "user", "private_pfs", "binds",
                         "outside", "variables"}
                        and with its length the descriptors for standard input, output and error
                        {"op": "signal", "run": 7, "signal": 15}
    from the launcher   {"run": 7, "pid": 4711}                         the process, also its group; before user code
                        {"run": 7, "status": 0, "signal": null}         the end; or status null and a signal
                        {"run": 7, "failed": "cannot execute x: ..."}   the end, instead

A run has ended when nothing of it lives. Where PID namespaces are allowed each run has one, whose first process is a fork
of this one: the kernel kills the rest when that ends. Elsewhere, and without a private /pfs, a run is its leader, its process
group, and whatever left the group but is still in its mount namespace; for that the launcher is the one to whom orphans fall.
When its socket ends, because the appliance stopped or was killed, it kills everything it ever started and exits.
"""

# pathlib would be a third of what is imported, so paths are strings.
# ruff: noqa: PTH102, PTH103, PTH106, PTH112, PTH115, PTH116, PTH120, PTH123, PTH208, PTH211
from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import selectors
import signal
import socket
import sys
import warnings  # noqa: F401 - by os.execvpe, when a changed user may be unable to read the library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

PFS = "/pfs"
# A directory that every Linux has and in which no input can lie: new mounts are put together there, then moved.
WORKBENCH = "/proc"
OLD_ROOT = "/.root-before-pfs"

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
SYS_CLONE3 = 435  # on every architecture
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 0x1000, 0x2000, 0x4000, 0x80000
MNT_DETACH = 2
OUTLIVED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
# Does not let go of the interpreter meanwhile, for the child comes back from the same call.
_forking = ctypes.PyDLL(None, use_errno=True)
_forking.syscall.argtypes = (ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t)
_forking.syscall.restype = ctypes.c_long


class StepFailed(Exception):
    """A step before user code failed; the message says which and why."""


@contextlib.contextmanager
def _step(words: str) -> Iterator[None]:
    """Name what is being done, so that a failure reads `cannot <words>: <reason>`."""
    try:
        yield
    except OSError as error:
        raise StepFailed(f"cannot {words}: {error.strerror}") from error
    except ValueError as error:  # a zero byte in an argument, an equals sign in a variable's name
        raise StepFailed(f"cannot {words}: {error}") from error


def _checked(result: int) -> None:
    """Raise OSError for a C call that returned anything but zero."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: str, flags: int, kind: str | None = None, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _checked(_libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]))


def clone(flags: int) -> int:
    """Fork with new namespaces: the child's number, 0 in the child. Raises OSError where that is not allowed.

    Python does not know of this fork; that is well in a process of one thread.
    """
    arguments = (ctypes.c_uint64 * 8)(flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid: int = _forking.syscall(SYS_CLONE3, arguments, ctypes.sizeof(arguments))
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def private_pfs(binds: list[dict[str, Any]], outside: list[dict[str, Any]], variables: str) -> None:
    """Give this process its own /pfs of exactly these binds, all of it read-only except those marked writable.

    Those that lie `outside` of it are put over what the host has there, read-only.

    It must have a mount namespace of its own. The sources are looked up in the host's tree, so they may lie below the host's
    own /pfs. Raises StepFailed.
    """
    umask = os.umask(0o022)
    there = os.listdir("/")  # a stat would ask whatever is mounted there, dead or alive
    targets = [PFS, *(bind["target"] for bind in outside)]
    if missing := [target for target in targets if target.split("/")[1] not in there]:
        with _step(f"build a root directory with a {missing[0]} in it"):
            new_root(missing)
    build_pfs(binds, variables)
    for bind in outside:
        with _step(f"bind a secret to {bind['target']}"):
            bind_outside(bind["source"], bind["target"])
    os.umask(umask)


def own_namespace() -> None:
    """Leave the host's mount namespace; where that is not allowed, its user namespace too. Raises StepFailed."""
    uid, gid = os.geteuid(), os.getegid()
    with _step("create a private mount namespace"):
        try:
            _checked(_libc.unshare(CLONE_NEWNS))
        except PermissionError:
            _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
            keep_user(uid, gid)
        keep_mounts()


def keep_user(uid: int, gid: int) -> None:
    """Be the same user in a new user namespace.

    A number other than 0 loses all capabilities when it executes a program, so user code can undo nothing of what is mounted.
    """
    # The kernel takes a group map from an unprivileged process only after it gave up setgroups.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        _write(f"/proc/self/{name}", text)


def keep_mounts() -> None:
    """In a new mount namespace, let mounts of the host still arrive, and ours not leave."""
    _mount("none", "/", MS_REC | MS_SLAVE)


def own_proc() -> None:
    """Show the processes of this PID namespace in /proc. Not allowed where the host's own is partly covered."""
    _mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "proc")


def _write(path: str, text: str, flags: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def bind_outside(source: str, target: str) -> None:
    """Bind a directory where the host may have none, and gets none: then its place is in a copy of the directory above."""
    if not os.path.isdir(target):
        above = os.path.dirname(target)
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        copy_directory(above, target)
    _mount(source, target, MS_BIND)
    _make_read_only(target)


def copy_directory(place: str, missing: str) -> None:
    """Cover a directory with one that shows the same, read-only, and has another directory somewhere below it."""
    _mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    with os.scandir(place) as entries:
        for entry in entries:
            _mirror(entry, WORKBENCH)
    os.makedirs(WORKBENCH + missing.removeprefix(place))
    _make_read_only(WORKBENCH)
    _mount(WORKBENCH, place, MS_MOVE)


def new_root(missing: list[str]) -> None:
    """Stand in a copy of the root directory that also has these empty directories; the host has none and gets none.

    Every entry of the host's root is bound with all that is mounted below it. The copy itself is read-only: what user
    code put directly into it would be lost without a word.
    """
    _mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    os.mkdir(WORKBENCH + OLD_ROOT)
    _checked(_libc.pivot_root(os.fsencode(WORKBENCH), os.fsencode(WORKBENCH + OLD_ROOT)))
    os.chdir("/")
    with os.scandir(OLD_ROOT) as entries:
        for entry in entries:
            _mirror(entry, "")
    for path in missing:
        os.makedirs(path, exist_ok=True)
    _checked(_libc.umount2(os.fsencode(OLD_ROOT), MNT_DETACH))
    os.rmdir(OLD_ROOT)
    _make_read_only("/")


def _mirror(entry: os.DirEntry[str], place: str) -> None:
    """Make one entry of a directory appear in another one, without touching what may be a dead mount."""
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), f"{place}/{entry.name}")
    else:
        _make_entry(f"{place}/{entry.name}", directory=entry.is_dir(follow_symlinks=False))
        # Recursive by need: in a user namespace the mounts below can not be left out.
        _mount(entry.path, f"{place}/{entry.name}", MS_BIND | MS_REC)


def build_pfs(binds: list[dict[str, Any]], variables: str) -> None:
    """Mount a small tmpfs with the binds in it over /pfs.

    It is put together elsewhere and then moved, for a source may lie below the /pfs that it will cover.
    """
    with _step(f"mount a tmpfs for {PFS}"):
        _mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    for bind in binds:
        with _step(f"bind {bind['source']} to {bind['target']}"):
            _bind(bind["source"], WORKBENCH + bind["target"].removeprefix(PFS), writable=bind["writable"])
    if variables:
        with _step(f"write {PFS}/.env"):
            _write(f"{WORKBENCH}/.env", variables, os.O_CREAT | os.O_EXCL)
    with _step(f"mount {PFS}"):
        _make_read_only(WORKBENCH)
        _mount(WORKBENCH, PFS, MS_MOVE)


def _bind(source: str, target: str, *, writable: bool) -> None:
    """Bind one file or directory; file systems mounted below the source do not come along."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _make_entry(target, directory=os.path.isdir(source))
    _mount(source, target, MS_BIND)
    if not writable:
        _make_read_only(target)


def _make_entry(path: str, *, directory: bool) -> None:
    """Make the empty directory or file that something is bound to; there must be nothing yet."""
    if directory:
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _make_read_only(path: str) -> None:
    flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
    try:
        _mount("none", path, flags)
    except PermissionError:
        # In a user namespace a flag of the host's mount must be named again, or this would be taking it away.
        _mount("none", path, flags | MS_NOEXEC)


def run_child(request: dict[str, Any], fds: list[int], channel: socket.socket, launcher_pid: int) -> NoReturn:
    """Become user code, or say into the channel why not.

    Before it goes the number of the mount namespace if there is a private one. Executing the program closes the
    channel. That waits for the launcher to close its side, by when the appliance knows whom to kill if we lose it.
    """
    with _reporting(channel):
        os.setsid()
        if request["private_pfs"]:
            own_namespace()
            private_pfs(request["binds"], request["outside"], request["variables"])
            channel.sendall(str(_namespace("self")).encode())
        become_user_code(request, fds, channel, launcher_pid)


def run_first(request: dict[str, Any], fds: list[int], channel: socket.socket, result: int, isolation: Isolation) -> NoReturn:
    """Be the first process of a PID namespace: prepare it, start user code in it, and end with that.

    How user code ended is written to `result` once nothing of it lives: to give up its mounts the kernel lets our own end
    wait, for milliseconds on a busy machine. If we are killed the kernel kills everything.
    """
    with _reporting(channel):
        close_others({*fds, channel.fileno(), result})
        forget_signals()
        os.setsid()
        isolation.enter()
        private_pfs(request["binds"], request["outside"], request["variables"])
        with _step("mount /proc"):
            own_proc()
        _die_with_peer(channel)
        pid = start_user_code(request, fds, channel)
        channel.close()
        for fd in fds:
            os.close(fd)
        status = wait_for(pid)
        end_all_others()
        os.write(result, str(status).encode())
        os._exit(0)


@contextlib.contextmanager
def _reporting(channel: socket.socket) -> Iterator[None]:
    """Say into the channel what fails, after an exclamation mark, and end: never back into the launcher's loop."""
    try:
        yield
    except StepFailed as error:
        channel.sendall(f"!{error}".encode(errors="replace"))
    except BaseException as error:
        channel.sendall(f"!{error!r}".encode(errors="replace"))
    finally:
        os._exit(127)


def become_user_code(request: dict[str, Any], fds: list[int], channel: socket.socket, launcher_pid: int | None) -> NoReturn:
    """Change into the command of a request. Without `launcher_pid` something else sees to its end. Raises StepFailed."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    _become(request["user"])
    channel.recv(1)
    if launcher_pid is not None:
        _die_with(launcher_pid)
    execute(request)


def start_user_code(request: dict[str, Any], fds: list[int], channel: socket.socket) -> int:
    """Start the command of a request in a session of its own and return its number. Raises StepFailed.

    Spawning copies nothing of us, which forking does page by page; but it can not become another user.
    """
    if request["user"] is None:
        channel.recv(1)
        with _step(f"enter {request['cwd']}"):
            os.chdir(request["cwd"])
        with _step(f"execute {request['argv'][0]}"):
            return spawn(request["argv"], request["env"], fds)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        become_user_code(request, fds, channel, None)
    return pid


def spawn(argv: list[str], env: dict[str, str], fds: list[int]) -> int:
    """Start a program as `execvpe` would find it, with these streams. Raises OSError, ValueError."""
    streams = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    return os.posix_spawn(find_program(argv[0], env), argv, env, file_actions=streams, setsid=True)


def find_program(name: str, env: dict[str, str]) -> str:
    """Return the path of a program; a name without a slash is looked for in PATH. Raises OSError."""
    if "/" in name:
        return name
    found = None
    for directory in env.get("PATH", os.defpath).split(os.pathsep):
        path = f"{directory or '.'}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        found = found or (path if os.access(path, os.F_OK) else None)
    if found is not None:
        return found  # to hear from the kernel what is wrong with it
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def execute(request: dict[str, Any]) -> NoReturn:
    """Change into the command of a request. Raises StepFailed."""
    with _step(f"enter {request['cwd']}"):
        os.chdir(request["cwd"])
    with _step(f"execute {request['argv'][0]}"):
        os.execvpe(request["argv"][0], request["argv"], request["env"])


def close_others(kept: set[int]) -> None:
    """Close what this process inherited, but for the streams and these."""
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


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


def _become(user: dict[str, Any] | None) -> None:
    if user is None:
        return
    with _step(f"become user {user['name']}"):
        os.setgroups(user["groups"])
        os.setgid(user["gid"])
        os.setuid(user["uid"])


def _die_with(launcher_pid: int) -> None:
    """Be killed when the launcher is. Comes after every change of user or namespace: each of them clears it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != launcher_pid:
        os._exit(127)


def _die_with_peer(channel: socket.socket) -> None:
    """The same for who can not see its parent. That may have died before it was asked for; its end of the channel tells."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    poll = select.poll()
    poll.register(channel, 0)  # a hang-up is always told
    if poll.poll(0):
        os._exit(127)


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
        with _step("create private namespaces"):
            if self.flags & CLONE_NEWUSER:
                keep_user(self.uid, self.gid)
            keep_mounts()


_NAMESPACES = (CLONE_NEWNS | CLONE_NEWPID, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER)


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
        self.namespace = int(namespace) if namespace else None
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
            return os.getpgid(pid) == self.pid or (self.namespace is not None and _namespace(str(pid)) == self.namespace)
        except OSError:  # gone meanwhile
            return False


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
            return Run(request["run"], pid, ours, result)

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
            self.send({"run": run.number, "status": run.status, "signal": run.killed_by})

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


def _namespace(pid: str) -> int:
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino


def enter(request: dict[str, Any]) -> int:
    """Run a command as runs are run, but in our session, on our terminal; its exit code, or 128 and the signal."""
    isolation = Isolation()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    pid = clone(isolation.flags) if isolation.flags else os.fork()
    if pid == 0:
        enter_first(request, isolation)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):  # of the terminal, meant for the command
        signal.signal(number, signal.SIG_IGN)
    return _as_shells_tell(os.waitpid(pid, 0)[1])


def enter_first(request: dict[str, Any], isolation: Isolation) -> NoReturn:
    """In the child: prepare the namespaces, run the command in them, and end as it does."""
    status = 126
    try:
        if isolation.flags:
            isolation.enter()
        else:
            own_namespace()
        private_pfs(request["binds"], request["outside"], request["variables"])
        if isolation.flags:
            own_proc()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        pid = os.fork()
        if pid == 0:
            _become(request["user"])
            execute(request)
        status = _as_shells_tell(wait_for(pid))
    except StepFailed as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _as_shells_tell(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


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


def main(arguments: list[str]) -> int:
    """Serve the socket on standard input, or do what the arguments say.

    `probe` only tries a private /pfs and prints why it does not work. `enter` runs one command, a request as JSON on the
    descriptor that follows, on our own streams and terminal, and returns as it ends.
    """
    if arguments[:1] == ["enter"]:
        with open(int(arguments[1])) as file:
            return enter(json.load(file))
    if arguments == ["probe"]:
        try:
            own_namespace()
            private_pfs([], [], "")
        except StepFailed as error:
            sys.stdout.write(f"{error}\n")
            return 1
        return 0
    os.chdir("/")
    prepare_signals()
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    Launcher(socket.socket(fileno=0)).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
