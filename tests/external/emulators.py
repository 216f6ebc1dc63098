"""Real servers of other people's object stores as processes on free loopback ports; each gives its address."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from external.google import START_EMULATOR, bridged
from external.installed import npm_program, python_with
from external.servers import KEY_ID, SECRET, served


@contextmanager
def moto() -> Iterator[str]:
    """moto's server: close to S3, asks nobody who they are."""
    program = Path(sys.executable).with_name("moto_server")
    with served([str(program), "-H", "127.0.0.1", "-p", "0"]) as endpoint:
        yield endpoint


@contextmanager
def rclone(directory: Path) -> Iterator[str]:
    """rclone's server: a directory as buckets; checks signatures. Skips the test where it is not installed."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if program is None:
        pytest.skip("rclone is not installed")
    command = [program, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY_ID},{SECRET}", str(directory)]
    with served(command) as endpoint:
        yield endpoint


@contextmanager
def azurite(directory: Path | None = None) -> Iterator[str]:
    """Microsoft's own emulator, which checks signatures; in memory, or in a directory. Skips where it can not be had."""
    program = npm_program("azurite", "3.37.0", "azurite-blob")
    place = ["--inMemoryPersistence"] if directory is None else ["--location", str(directory)]
    with served(
        [str(program), "--blobPort", "0", *place, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    ) as endpoint:
        yield endpoint


@contextmanager
def google() -> Iterator[tuple[str, str]]:
    """An emulator of Google's JSON interface, in memory, and a bridge to it: the addresses of the bridge and of the emulator.

    Skips where it can not be had.
    """
    python = python_with("gcp-storage-emulator", "2026.7.19")
    with served([str(python), "-c", START_EMULATOR]) as emulator, bridged(emulator) as endpoint:
        yield endpoint, emulator
