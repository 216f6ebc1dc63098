"""What tests of the mount do from outside."""

import ctypes
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from appliance.mount import mountpoint
from appliance.store import Db, Store, blobs, files, history
from appliance.store.blobs import Content

SERVE = Path(__file__).with_name("serve.py")
TIMEOUT_S = 20
KEEP, EXCHANGE = 1, 2
_HERE = -100


def run(program: str, *arguments: object) -> str:
    """Run a Python program in a process of its own and return what it prints; raises if it fails."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S).stdout.strip()


def rename(source: Path | str, target: Path | str, flags: int) -> None:
    """Call renameat2, for which Python has no name: with KEEP nothing is replaced, with EXCHANGE the two change places."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def is_mounted(directory: Path) -> bool:
    return mountpoint.find_mount(directory) is not None


def wait_unmounted(directory: Path) -> None:
    """Wait until nothing is mounted there; the kernel says when its list of mounts changes."""
    deadline = time.monotonic() + TIMEOUT_S
    with Path("/proc/self/mounts").open() as mounts:
        poll = select.poll()
        poll.register(mounts, select.POLLPRI)
        while is_mounted(directory):
            assert time.monotonic() < deadline, "the mount is still there"
            poll.poll(1000)


def serve_and_die(
    data: Path, directory: Path, environment: dict[str, str], *writable: str, meanwhile: Callable[[], object] | None = None
) -> None:
    """Mount a store in a process of its own and kill that, after something was done there."""
    command = [sys.executable, str(SERVE), str(data), str(directory), *writable]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        if meanwhile is None:
            assert names(directory) == []
        else:
            meanwhile()
        process.send_signal(signal.SIGKILL)


def put_joined(store: Store, repo: str, path: str, ranges: list[tuple[Content, int, int]]) -> None:
    """Put a file made of ranges of other contents."""

    def write(db: Db) -> None:
        writing = history.begin_write(db, repo, "master")
        files.put_file(db, writing.commit, path, blobs.join(db, ranges, "0" * 32 + "-2"))
        history.end_write(db, writing)

    store.write(write)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
