"""Directories that user code writes to and that are gone afterwards."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio


@asynccontextmanager
async def open_scratch(directory: Path) -> AsyncIterator[Path]:
    """Give an empty directory that is gone afterwards, whatever was left in it."""
    await trio.to_thread.run_sync(_make_empty, directory)
    try:
        yield directory
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, directory)


def _make_empty(directory: Path) -> None:
    remove_tree(directory)
    directory.mkdir(parents=True)


def remove_tree(directory: Path) -> None:
    """Remove a tree, also where user code took the permission to away from us. What is not ours to remove stays."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for path in directory.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
        shutil.rmtree(directory, ignore_errors=True)
