"""Changing the attributes of what is staged: those of the thing on disk, by its descriptor where it is open."""

import os
import stat
from pathlib import Path

from appliance.mount import permissions
from appliance.mount.permissions import Caller, Change
from appliance.mount.places import Shown
from appliance.mount.staged import drop_rights


def apply(target: int | Path, shown: Shown, change: Change, caller: Caller) -> None:
    """Make a change that was checked to something that shows like this. Blocks for the disk."""
    if change.size_bytes is not None:
        os.truncate(target, change.size_bytes)
        note_write(target, caller)
    if (change.uid, change.gid) != (None, None):
        _set_owner(target, _or(change.uid, -1), _or(change.gid, -1))
    if change.mode is not None:
        mode = permissions.choose_mode(caller, shown, change.mode, change.gid)
        os.chmod(target, stat.S_IMODE(mode))  # noqa: PTH101 - may be a descriptor
    if (change.accessed_ns, change.modified_ns) != (None, None):
        accessed_ns, modified_ns, _ = shown.times_ns
        _set_times(target, (_or(change.accessed_ns, accessed_ns), _or(change.modified_ns, modified_ns)))


def note_write(target: int | Path, caller: Caller) -> None:
    """Take from a file that somebody has shortened or written what only root may leave there."""
    if not caller.is_root:
        drop_rights(target)


def _set_owner(target: int | Path, uid: int, gid: int) -> None:
    if isinstance(target, int):
        os.fchown(target, uid, gid)
    else:
        os.chown(target, uid, gid, follow_symlinks=False)


def _set_times(target: int | Path, times_ns: tuple[int, int]) -> None:
    if isinstance(target, int):
        os.utime(target, ns=times_ns)
    else:
        os.utime(target, ns=times_ns, follow_symlinks=False)


def _or(wanted: int | None, otherwise: int) -> int:
    return otherwise if wanted is None else wanted
