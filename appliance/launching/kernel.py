"""Calls of the kernel that Python does not have: mounts, namespaces, `prctl`; and steps that say what failed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
SYS_CLONE3 = 435  # on every architecture
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 0x1000, 0x2000, 0x4000, 0x80000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
libc.unshare.argtypes = (ctypes.c_int,)
libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
# Does not let go of the interpreter meanwhile, for the child comes back from the same call.
_forking = ctypes.PyDLL(None, use_errno=True)
_forking.syscall.argtypes = (ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t)
_forking.syscall.restype = ctypes.c_long


class StepFailed(Exception):
    """A step before user code failed; the message says which and why."""


@contextlib.contextmanager
def step(words: str) -> Iterator[None]:
    """Name what is being done, so that a failure reads `cannot <words>: <reason>`."""
    try:
        yield
    except OSError as error:
        raise StepFailed(f"cannot {words}: {error.strerror}") from error
    except ValueError as error:  # a zero byte in an argument, an equals sign in a variable's name
        raise StepFailed(f"cannot {words}: {error}") from error


def check(result: int) -> None:
    """Raise OSError for a C call that returned anything but zero."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source: str, target: str, flags: int, kind: str | None = None, data: str | None = None) -> None:
    """As mount(2). Raises OSError."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    check(libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]))


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


def die_with_parent() -> None:
    """Be killed when the process is that forked us. Every change of user or namespace takes that back."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Be the parent of what our children leave behind. Raises OSError."""
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def write_file(path: str, text: str, flags: int = 0) -> None:
    """Write a short text at once, as files of the kernel want it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
