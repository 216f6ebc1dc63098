"""An appliance in a process of its own, and the command line in ours."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import run
from appliance.control.client import Client


@dataclass(frozen=True)
class Serving:
    """An appliance that is ready, and what it said about itself."""

    process: subprocess.Popen[str]
    data: Path
    ready_file: Path
    said: dict[str, str]


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Serving]:
    """Run `serve` with its data in a directory while the context is open; it must stop well by itself."""
    data, ready_file, errors = directory / "data", directory / "ready.json", directory / "stderr"
    command = serve_command(data, "--ready-file", str(ready_file), *options)
    with errors.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        said: dict[str, str] = {}
        while "Durability" not in said:
            line = process.stdout.readline()
            assert line, f"serve has ended: {errors.read_text()}"
            key, _, value = line.rstrip("\n").partition(": ")
            said[key] = value
        yield Serving(process, data, ready_file, said)
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0, errors.read_text()
    assert not (complaints := errors.read_text()), complaints


def serve_command(data: Path, *options: str) -> list[str]:
    """Return the command of an appliance on a free port, without a mount unless that is an option."""
    mount = () if "--mount" in options else ("--no-mount",)
    quick = ("--s3-address", "127.0.0.1:0", *mount, "--durability", "fast")
    return [sys.executable, "-m", "appliance", "serve", "--data", str(data), *quick, *options]


@contextmanager
def asked(command: Sequence[str], data: Path) -> Iterator[Client]:
    """Run an appliance by some command, and give what asks it once it has said all of itself."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("Durability"):
                    break
            yield Client(data)
        finally:
            process.terminate()


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The words of a table's lines, without the header."""
        return [line.split() for line in self.out.splitlines()[1:]]

    @property
    def objects(self) -> list[Any]:
        """What `--raw` printed."""
        decoder, found, rest = json.JSONDecoder(), [], self.out.strip()
        while rest:
            item, end = decoder.raw_decode(rest)
            found.append(item)
            rest = rest[end:].lstrip()
        return found


class Shell:
    """Runs commands against one appliance, in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
        self._capture, self._monkeypatch = capture, monkeypatch
        monkeypatch.setenv("APPLIANCE_HOME", str(data))

    def try_(self, *arguments: str | Path, stdin: bytes = b"") -> Ran:
        """Run a command, however it ends."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        status = run([os.fspath(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        return Ran(status, out.decode(), err.decode())

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Ran:
        """Run a command that succeeds and has nothing to complain about."""
        ran = self.try_(*arguments, stdin=stdin)
        assert (ran.status, ran.err) == (0, ""), ran
        return ran

    def refused(self, *arguments: str | Path, stdin: bytes = b"") -> tuple[int, str]:
        """Run a command that fails with one line and prints nothing else; return its status and that line."""
        ran = self.try_(*arguments, stdin=stdin)
        assert (ran.status != 0, ran.out, ran.err.count("\n")) == (True, "", 1), ran
        return ran.status, ran.err.rstrip("\n")


def paths(listing: Ran) -> list[str]:
    """Return the first column of a table."""
    return [row[0] for row in listing.rows]


def job_of(sh: Shell, pipeline: str) -> str:
    """Return the id of the newest job of a pipeline."""
    found: str = sh("list", "job", "-p", pipeline, "--raw").objects[0]["id"]
    return found


def write_tree(directory: Path, files: Sequence[str]) -> None:
    """Write small files, each with its own name as content."""
    for name in files:
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
