"""A forked child on its way to user code."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import warnings  # noqa: F401 - by os.execvpe, when a changed user may be unable to read the library

from appliance.launching.isolation import Isolation, own_namespace, own_proc
from appliance.launching.kernel import StepFailed, die_with_parent, step
from appliance.launching.pfs import private_pfs
from appliance.launching.processes import end_all_others, forget_signals, namespace_of, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


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
            channel.sendall(str(namespace_of("self")).encode())
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
        with step("mount /proc"):
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
    become(request["user"])
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
        with step(f"enter {request['cwd']}"):
            os.chdir(request["cwd"])
        with step(f"execute {request['argv'][0]}"):
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
    with step(f"enter {request['cwd']}"):
        os.chdir(request["cwd"])
    with step(f"execute {request['argv'][0]}"):
        os.execvpe(request["argv"][0], request["argv"], request["env"])


def close_others(kept: set[int]) -> None:
    """Close what this process inherited, but for the streams and these."""
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def become(user: dict[str, Any] | None) -> None:
    if user is None:
        return
    with step(f"become user {user['name']}"):
        os.setgroups(user["groups"])
        os.setgid(user["gid"])
        os.setuid(user["uid"])


def _die_with(launcher_pid: int) -> None:
    """Be killed when the launcher is. Comes after every change of user or namespace: each of them clears it."""
    die_with_parent()
    if os.getppid() != launcher_pid:
        os._exit(127)


def _die_with_peer(channel: socket.socket) -> None:
    """The same for who can not see its parent. That may have died before it was asked for; its end of the channel tells."""
    die_with_parent()
    poll = select.poll()
    poll.register(channel, 0)  # a hang-up is always told
    if poll.poll(0):
        os._exit(127)
