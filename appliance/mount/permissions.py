"""Who may do what in a writable branch, by POSIX: owners, groups, modes. Pure.

The kernel could check this itself (`default_permissions`), but would then say EACCES where the whole is read-only, and that
has to be EROFS. So it asks us for everything, each name on the way included, as it keeps nothing of these trees.
"""

import errno
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pyfuse3

from appliance.mount.staged import Wanted

READ, WRITE, EXECUTE = 4, 2, 1

_NOW_NS = 2 * 10**9


class Status(Protocol):
    """What has an owner."""

    @property
    def mode(self) -> int:
        """Kind and permissions."""

    @property
    def uid(self) -> int:
        """Whose it is."""

    @property
    def gid(self) -> int:
        """Which group's it is."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The process that asks."""

    uid: int
    gid: int
    list_groups: Callable[[], set[int]] = field(repr=False, compare=False)

    @property
    def is_root(self) -> bool:
        """Whether it may do anything."""
        return self.uid == 0

    def is_in(self, gid: int) -> bool:
        """Tell whether it is of a group."""
        return gid == self.gid or gid in self.list_groups()


@dataclass(frozen=True, slots=True)
class Change:
    """Attributes that are to be as they say; None: as they are."""

    size_bytes: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    accessed_ns: int | None = None
    modified_ns: int | None = None


def check_access(caller: Caller, status: Status, wanted: int) -> None:
    """Raise EACCES unless all of `wanted` is allowed."""
    if not may(caller, status, wanted):
        raise pyfuse3.FUSEError(errno.EACCES)


def may(caller: Caller, status: Status, wanted: int) -> bool:
    """Tell whether all of `wanted` is allowed. Root may all, but execute what nobody may."""
    if caller.is_root:
        granted = READ | WRITE
        if stat.S_ISDIR(status.mode) or status.mode & 0o111:
            granted |= EXECUTE
    elif caller.uid == status.uid:
        granted = status.mode >> 6
    elif caller.is_in(status.gid):
        granted = status.mode >> 3
    else:
        granted = status.mode
    return not wanted & ~granted


def check_removal(caller: Caller, directory: Status, child: Status) -> None:
    """Raise EACCES or EPERM unless a name can be taken away from a directory."""
    check_access(caller, directory, WRITE | EXECUTE)
    if directory.mode & stat.S_ISVTX and not caller.is_root and caller.uid not in (child.uid, directory.uid):
        raise pyfuse3.FUSEError(errno.EPERM)


def check_link(caller: Caller, status: Status) -> None:
    """Raise EPERM unless something may get another name: Linux protects what one can not write to as well."""
    if not caller.is_root and caller.uid != status.uid and not may(caller, status, READ | WRITE):
        raise pyfuse3.FUSEError(errno.EPERM)


def check_change(caller: Caller, status: Status, change: Change) -> None:
    """Raise EACCES or EPERM unless attributes can be changed; the size has been checked where a file was opened for that.

    A link has neither mode nor size to change, which raises EOPNOTSUPP: on the disk those of what it leads to would be.
    Kernels before 6.6 ask for it.
    """
    if stat.S_ISLNK(status.mode) and (change.mode, change.size_bytes) != (None, None):
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)
    if caller.is_root:
        return
    is_owner = caller.uid == status.uid
    lent = status.mode & (stat.S_ISUID | stat.S_ISGID)
    if lent and change == Change(mode=status.mode & ~lent) and may(caller, status, WRITE):
        return  # the kernel asks for it in the name of whoever writes to such a file
    if not is_owner and (change.mode, change.uid, change.gid) != (None, None, None):
        raise pyfuse3.FUSEError(errno.EPERM)
    if change.uid not in (None, status.uid):
        raise pyfuse3.FUSEError(errno.EPERM)
    if change.gid is not None and change.gid != status.gid and not caller.is_in(change.gid):
        raise pyfuse3.FUSEError(errno.EPERM)
    if not is_owner and (change.accessed_ns, change.modified_ns) != (None, None):
        _check_times(caller, status, change)


def _check_times(caller: Caller, status: Status, change: Change) -> None:
    """Whoever may write may say that it was just now. pyfuse3 does not tell "now" from the time that it is."""
    now = time.time_ns()
    if any(when is None or abs(when - now) > _NOW_NS for when in (change.accessed_ns, change.modified_ns)):
        raise pyfuse3.FUSEError(errno.EPERM)
    check_access(caller, status, WRITE)


def choose_mode(caller: Caller, status: Status, mode: int, gid: int | None = None) -> int:
    """Return the mode that somebody gets who asks for one: nobody lends the rights of a group that is not theirs."""
    if caller.is_root or caller.is_in(status.gid if gid is None else gid):
        return mode
    return mode & ~stat.S_ISGID


def choose_new(caller: Caller, directory: Status, mode: int) -> Wanted:
    """Return what somebody gets who makes something in a directory, which may hand on its group."""
    if not directory.mode & stat.S_ISGID:
        return Wanted(mode, caller.uid, caller.gid)
    if stat.S_ISDIR(mode):
        return Wanted(mode | stat.S_ISGID, caller.uid, directory.gid)
    if mode & stat.S_IXGRP:
        mode = choose_mode(caller, directory, mode)
    return Wanted(mode, caller.uid, directory.gid)
