"""Directories that user code writes to, and that are empty again afterwards.

A worker has one for all its datums: `out`, and a directory for each input below `in`, stay and are emptied. Making and
removing them for each datum would take longer than most else, on a disk that discards what is freed at once.
"""

import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

_OUT_MODE = 0o755
_SHARED_MODE = 0o777


@asynccontextmanager
async def open_scratch(directory: Path) -> AsyncIterator[Path]:
    """Give a place for a directory that is gone afterwards, whatever was left in it."""
    try:
        yield directory
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, directory)


@asynccontextmanager
async def emptied(directory: Path) -> AsyncIterator[None]:
    """See to it that nothing is left in a scratch directory behind the block."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(clear, directory)


def make_out(directory: Path, *, shared: bool) -> Path:
    """Return the empty directory for output, made or as it was left; with `shared` everybody may write to it.

    Nobody else gets there from outside, whatever its mode.
    """
    out, mode = directory / "out", _SHARED_MODE if shared else _OUT_MODE
    with suppress(FileExistsError):
        out.mkdir(parents=True)
    if stat.S_IMODE(out.stat().st_mode) != mode:
        out.chmod(mode)
    return out


def clear(directory: Path) -> None:
    """Empty a scratch directory; one in which something was changed that can not be undone is removed."""
    try:
        inputs = directory / "in"
        for place in inputs.iterdir() if inputs.exists() else ():
            _empty(place)
        for name in ("secrets", "pfs"):
            remove_tree(directory / name)
        out = directory / "out"
        if out.exists():
            _empty(out)
            if out.stat().st_uid != os.geteuid() or os.listxattr(out):
                out.rmdir()
    except OSError:
        remove_tree(directory)


def _empty(place: Path) -> None:
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108 - may be a million


def remove_tree(directory: Path) -> None:
    """Remove a tree, also where user code took the permission to away from us. What is not ours to remove stays."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for path in directory.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
        shutil.rmtree(directory, ignore_errors=True)
