"""A private /pfs: exactly what a run is to see there, and what is bound elsewhere for it."""

from __future__ import annotations

import os

from appliance.launching.kernel import (
    MNT_DETACH,
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    check,
    libc,
    mount,
    step,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


PFS = "/pfs"
# A directory that every Linux has and in which no input can lie: new mounts are put together there, then moved.
WORKBENCH = "/proc"
OLD_ROOT = "/.root-before-pfs"


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
        with step(f"build a root directory with a {missing[0]} in it"):
            new_root(missing)
    build_pfs(binds, variables)
    for bind in outside:
        with step(f"bind a secret to {bind['target']}"):
            bind_outside(bind["source"], bind["target"])
    os.umask(umask)


def bind_outside(source: str, target: str) -> None:
    """Bind a directory where the host may have none, and gets none: then its place is in a copy of the directory above."""
    if not os.path.isdir(target):
        above = os.path.dirname(target)
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        copy_directory(above, target)
    mount(source, target, MS_BIND)
    _make_read_only(target)


def copy_directory(place: str, missing: str) -> None:
    """Cover a directory with one that shows the same, read-only, and has another directory somewhere below it."""
    mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    with os.scandir(place) as entries:
        for entry in entries:
            _mirror(entry, WORKBENCH)
    os.makedirs(WORKBENCH + missing.removeprefix(place))
    _make_read_only(WORKBENCH)
    mount(WORKBENCH, place, MS_MOVE)


def new_root(missing: list[str]) -> None:
    """Stand in a copy of the root directory that also has these empty directories; the host has none and gets none.

    Every entry of the host's root is bound with all that is mounted below it. The copy itself is read-only: what user
    code put directly into it would be lost without a word.
    """
    mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    os.mkdir(WORKBENCH + OLD_ROOT)
    check(libc.pivot_root(os.fsencode(WORKBENCH), os.fsencode(WORKBENCH + OLD_ROOT)))
    os.chdir("/")
    with os.scandir(OLD_ROOT) as entries:
        for entry in entries:
            _mirror(entry, "")
    for path in missing:
        os.makedirs(path, exist_ok=True)
    check(libc.umount2(os.fsencode(OLD_ROOT), MNT_DETACH))
    os.rmdir(OLD_ROOT)
    _make_read_only("/")


def _mirror(entry: os.DirEntry[str], place: str) -> None:
    """Make one entry of a directory appear in another one, without touching what may be a dead mount."""
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), f"{place}/{entry.name}")
    else:
        _make_entry(f"{place}/{entry.name}", directory=entry.is_dir(follow_symlinks=False))
        # Recursive by need: in a user namespace the mounts below can not be left out.
        mount(entry.path, f"{place}/{entry.name}", MS_BIND | MS_REC)


def build_pfs(binds: list[dict[str, Any]], variables: str) -> None:
    """Mount a small tmpfs with the binds in it over /pfs.

    It is put together elsewhere and then moved, for a source may lie below the /pfs that it will cover.
    """
    with step(f"mount a tmpfs for {PFS}"):
        mount("tmpfs", WORKBENCH, MS_NOSUID | MS_NODEV, "tmpfs", "mode=755")
    for bind in binds:
        with step(f"bind {bind['source']} to {bind['target']}"):
            _bind(bind["source"], WORKBENCH + bind["target"].removeprefix(PFS), writable=bind["writable"])
    if variables:
        with step(f"write {PFS}/.env"):
            write_file(f"{WORKBENCH}/.env", variables, os.O_CREAT | os.O_EXCL)
    with step(f"mount {PFS}"):
        _make_read_only(WORKBENCH)
        mount(WORKBENCH, PFS, MS_MOVE)


def _bind(source: str, target: str, *, writable: bool) -> None:
    """Bind one file or directory; file systems mounted below the source do not come along."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _make_entry(target, directory=os.path.isdir(source))
    mount(source, target, MS_BIND)
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
        mount("none", path, flags)
    except PermissionError:
        # In a user namespace a flag of the host's mount must be named again, or this would be taking it away.
        mount("none", path, flags | MS_NOEXEC)
