"""The place where a mount goes: whether it can, what a dead process left there, and taking a mount away."""

import ctypes
import errno
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError

FUSE_TYPE = "fuse.pfs"

_DEVICE = Path("/dev/fuse")
_CAP_SYS_ADMIN = 21
_MNT_FORCE, _MNT_DETACH = 1, 2
_MS_BIND = 4096
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
_UNMOUNT_S = 5.0
_READ_AHEAD_KIB = 1024


class MountUnavailable(ApplianceError):
    """There can be no mount here; the message is the reason in one line."""


def find_problem(directory: Path) -> str | None:
    """Return why a mount at `directory` is impossible, without trying; None if nothing speaks against it.

    What a dead process left there is no problem: mounting removes it.
    """
    return _find_problem_of_machine() or find_problem_of_place(directory)


def _find_problem_of_machine() -> str | None:
    return find_problem_of_module() or find_problem_of_device() or find_problem_of_rights()


def find_problem_of_module() -> str | None:
    """Return what to do about a missing pyfuse3."""
    if importlib.util.find_spec("pyfuse3") is None:
        return "pyfuse3 is not installed (pip install 'pfs-appliance[mount]')"
    return None


def find_problem_of_device() -> str | None:
    """Return why the kernel's side of FUSE can not be reached."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{_DEVICE}: No such file or directory (modprobe fuse; for a container --device {_DEVICE})"
    except PermissionError as error:
        return f"{_DEVICE}: {error.strerror} (chmod 666 {_DEVICE}, as the fuse3 package has it)"
    except OSError as error:
        return f"{_DEVICE}: {error.strerror}"
    return None


def find_problem_of_rights() -> str | None:
    """Return why this user may not mount."""
    if os.geteuid() == 0:
        return None if _may_mount() else "this container may not mount (no CAP_SYS_ADMIN: --cap-add SYS_ADMIN)"
    problem = _find_problem_of_helper()
    return f"{problem}; or `unshare -Urm appliance serve`: what is started in there sees the mount" if problem else None


def _find_problem_of_helper() -> str | None:
    """Return why the setuid program that mounts for others than root can not."""
    helper = shutil.which("fusermount3")
    if helper is None:
        return "fusermount3 is not installed (apt install fuse3)"
    if not Path(helper).stat().st_mode & stat.S_ISUID:
        return f"{helper} may not mount (chmod u+s {helper})"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return f"fusermount3 mounts only for users with a name, and {os.getuid()} has none in /etc/passwd"
    if _read_status("NoNewPrivs") == "1":
        return "fusermount3 may not mount here: no_new_privs is set"
    return None


def find_problem_of_binding() -> str | None:
    """Return why there can be no further mount points."""
    return None if os.geteuid() == 0 and _may_mount() else "only root may make them; all is below the first mount point too"


def _may_mount() -> bool:
    return bool(int(_read_status("CapEff"), 16) >> _CAP_SYS_ADMIN & 1)


def _read_status(name: str) -> str:
    """Return what the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def find_problem_of_place(directory: Path) -> str | None:
    if is_stale(directory):
        return None
    if not directory.exists():
        return f"{directory} does not exist"
    if not directory.is_dir():
        return f"{directory} is not a directory"
    mounted = find_mount(directory.resolve())
    if mounted is not None and mounted.type == FUSE_TYPE:
        return f"another appliance is mounted at {directory}"
    return None


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of the kernel's list of mounts; `device` is `major:minor`."""

    device: str
    type: str


def find_mount(directory: Path) -> Mounted | None:
    """Return what is mounted at a resolved path, the topmost if several are. Does not touch the path itself."""
    wanted = str(directory)
    found = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        if _unescape(fields.split(" ")[4]) == wanted:
            found = Mounted(fields.split(" ")[2], kind.split(" ")[0])
    return found


def _unescape(text: str) -> str:
    for escaped, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(escaped, character)
    return text


def is_stale(directory: Path) -> bool:
    """Tell whether a mount is there whose server is dead."""
    try:
        directory.stat()
    except OSError as error:
        return error.errno in _DEAD
    return False


def remove_stale(directory: Path) -> None:
    """Take away what dead servers left at `directory`, however many. Raises MountUnavailable if that is forbidden."""
    while is_stale(directory):
        if not detach(directory):
            raise MountUnavailable(f"{directory} is the mount of a dead process and could not be unmounted")


def bind(source: Path, directory: Path) -> None:
    """Show a part of our mount at a directory too. Not from the thread that serves the mount. Raises MountUnavailable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(directory), None, _MS_BIND, None) != 0:
        number = ctypes.get_errno()
        reason = os.strerror(number)
        if number == errno.EPERM:
            reason = "a further mount point is a bind mount, which only root may make; it is all below the first one too"
        raise MountUnavailable(f"no mount at {directory}: {reason}")


def detach(directory: Path, *, force: bool = False) -> bool:
    """Take a mount away at once, leaving it to those who still use it; False if it could not be done. Blocks.

    With `force` their calls fail that are waiting for an answer (root only).
    """
    flags = _MNT_DETACH | (_MNT_FORCE if force else 0)
    if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(directory), flags) == 0:
        return True
    command = ("fusermount3", "-u", "-z", "-q", str(directory))
    with suppress(FileNotFoundError, subprocess.TimeoutExpired):
        return subprocess.run(command, timeout=_UNMOUNT_S, check=False).returncode == 0
    return False


def widen_read_ahead(directory: Path) -> None:
    """Let the kernel ask our mount for 1 MiB at a time instead of 128 KiB, if we may: large files read twice as fast."""
    mounted = find_mount(directory)
    if mounted is not None:
        with suppress(OSError):
            Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").write_text(f"{_READ_AHEAD_KIB}\n")
