"""Starts a disk that fails on command, and tells it what to do; see `server` for what there is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]

WRITING = ("write", "create", "mkdir", "setattr", "rename", "link", "unlink", "rmdir", "fsync")
"""Every operation that changes something."""
TAKING_SPACE = ("write", "create", "mkdir", "link")
TAKING_INODES = ("create", "mkdir")


class Disk:
    """A mounted disk. One thread at a time may tell it something."""

    def __init__(self, path: Path, process: "subprocess.Popen[str]") -> None:
        self.path = path
        self._process = process

    def tell(self, do: str, **details: Any) -> dict[str, Any]:
        """Send a command and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the disk has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def fail(self, kinds: Sequence[str], number: int, *, after: int = 0, times: int | None = None, name: str = "") -> None:
        """Let operations fail with an errno, the first `after` of them excepted; `times` of them or for good."""
        self.tell("fail", kinds=kinds, errno=number, after=after, times=times, name=name)

    def heal(self) -> int:
        """Let everything succeed again; return how many operations had failed."""
        failed: int = self.tell("failed")["failed"]
        self.tell("heal")
        return failed

    def cut(self, images: Sequence[Path], seeds: Sequence[int | None], after: int = 0) -> None:
        """Write what power cuts `after` operations from now may leave (seed None: a killed process) and return then."""
        self.tell("cut", after=after, seeds=list(seeds), images=[str(image) for image in images])


@contextmanager
def open_disk(directory: Path, *, fsync_ms: float = 0.0) -> Iterator[Disk]:
    """Mount a new, empty disk below a directory while the context is open."""
    path, backing = directory / "disk", directory / "backing"
    path.mkdir()
    backing.mkdir()
    command = [sys.executable, "-m", "disk.server", str(path), str(backing), "--fsync-ms", str(fsync_ms)]
    environment = {**os.environ, "PYTHONPATH": str(_TESTS)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    disk = Disk(path, process)
    try:
        disk._answer()
        yield disk
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # which tells it to quit
        process.wait(timeout=30)
        process.stdout.close()
