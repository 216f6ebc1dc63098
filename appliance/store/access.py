"""Who may use a data directory: its owner, alone. Wrong modes are repaired at the start, a wrong owner is refused."""

import os
import stat
from pathlib import Path

from appliance.errors import DiskFailed

_PRIVATE_FILES = ("appliance.db", "appliance.db-wal", "appliance.db-shm", "lock")
_PRIVATE_DIRECTORIES = ("blobs", "staging")


def make_private(directory: Path) -> None:
    """Give the owner of a data directory what it needs and everybody else nothing.

    What belongs to somebody else is refused with DiskFailed, also to root: files that root makes would lock their owner out.
    Copies often come with other modes, and those are repaired. Blob files are looked at when they are read.
    """
    _secure(directory, 0o700)
    for name in _PRIVATE_DIRECTORIES:
        _secure(directory / name, 0o700)
    for name in _PRIVATE_FILES:
        _secure(directory / name, 0o600)


def _secure(path: Path, mode: int) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        owner = f"{path} belongs to user {found.st_uid}, and this process is user {os.geteuid()}"
        raise DiskFailed(f"{owner}: run it as the owner, or give the directory away with chown -R")
    if stat.S_IMODE(found.st_mode) != mode and not stat.S_ISLNK(found.st_mode):
        path.chmod(mode)
