"""What `scripts/bench external` measures: objects of another store coming in and going out, beside rclone and aws.

All talk to the same `rclone serve s3`. In: the appliance puts into a repo, one commit, all of it on disk when it is done;
the others copy into a directory and sync nothing. Out: the appliance copies a repo's files, rclone and aws a directory.
What is timed is a whole command, from its start to its end. Memory is the appliance's peak above what it took when idle.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(__file__).resolve().parent.parent / ".venv" / "bin"
KEY = "bench"
MIB = 1024**2
LARGEST_GROWTH = 150 * MIB
WAIT_S = 30


class ExternalFailed(OSError):
    """A command failed, or something arrived that was not sent."""


@dataclass
class Lab:
    """What runs, and how to reach it."""

    scratch: Path
    endpoint: str
    appliance: subprocess.Popen[bytes]
    environment: dict[str, str]
    idle_bytes: int = 0
    taken: list[Path] = field(default_factory=list)

    def run(self, program: str, *words: str | Path) -> None:
        """Run a command. Raises ExternalFailed with what it said."""
        command = [str(BIN / program), *map(str, words)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExternalFailed(f"{program} {' '.join(map(str, words))}: {done.stderr.strip()[-500:]}")

    def make_repos(self, what: str, count: int) -> None:
        """Have an empty repo for each round, if they are not there."""
        for number in range(count):
            self.run("pachctl", "update", "repo", f"in-{what}-{number}")

    def memory(self, name: str) -> int:
        """VmRSS or VmHWM of the appliance, in bytes."""
        status = Path(f"/proc/{self.appliance.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def fresh(self) -> Path:
        """A directory that does not exist yet; the last one is removed."""
        while self.taken:
            shutil.rmtree(self.taken.pop(), ignore_errors=True)
        self.taken.append(self.scratch / f"copy-{time.monotonic_ns()}")
        return self.taken[-1]


Way = Callable[[Lab, str, int], object]


def _in_appliance(lab: Lab, what: str, number: int) -> None:
    lab.run("pachctl", "put", "file", f"in-{what}-{number}@master", "-r", "-f", f"s3://source/{what}?endpoint={lab.endpoint}")


def _in_rclone(lab: Lab, what: str, _number: int) -> None:
    lab.run("rclone", "copy", f":s3:source/{what}", lab.fresh())


def _in_aws(lab: Lab, what: str, _number: int) -> None:
    lab.run("aws", "s3", "cp", "--recursive", "--quiet", f"s3://source/{what}", lab.fresh())


def _out_appliance(lab: Lab, what: str, number: int) -> None:
    to = f"s3://out/a{number}?endpoint={lab.endpoint}"
    lab.run("pachctl", "get", "file", f"in-{what}-0@master:/", "-r", "-o", to)


def _out_rclone(lab: Lab, what: str, number: int) -> None:
    lab.run("rclone", "copy", lab.scratch / "served" / "source" / what, f":s3:out/r{number}{what}")


def _out_aws(lab: Lab, what: str, number: int) -> None:
    source = lab.scratch / "served" / "source" / what
    lab.run("aws", "s3", "cp", "--recursive", "--quiet", source, f"s3://out/w{number}{what}")


WAYS: dict[str, dict[str, Way]] = {
    "in": {"appliance": _in_appliance, "rclone": _in_rclone, "aws": _in_aws},
    "out": {"appliance": _out_appliance, "rclone": _out_rclone, "aws": _out_aws},
}


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Print the table. Raises ExternalFailed if a command fails or memory grows with what is moved."""
    count, big_bytes = (50, 16 * MIB) if options.quick else (5000, 3072 * MIB)
    sizes = {"small": f"{count} objects of 1 KiB", "big": f"one of {big_bytes // MIB} MiB"}
    _make_source(scratch / "served", count, big_bytes)
    rows: dict[str, dict[str, float]] = {}
    with _running(scratch) as lab:
        # The server hashes each object when it is first asked about it, whoever that is; it remembers.
        lab.run("aws", "s3", "ls", "--recursive", "s3://source")
        for direction, ways in WAYS.items():
            for what, said in sizes.items():
                lab.make_repos(what, options.rounds)
                rows[f"{direction}: {said}"] = _times(lab, ways, what, options.rounds)
        growth = lab.memory("VmHWM") - lab.idle_bytes
    for name, times in rows.items():
        against = ", ".join(f"{times['appliance'] / times[peer]:.2f} × {peer}'s" for peer in ("rclone", "aws"))
        print(f"{name:<32} {times['appliance']:8.2f} s  = {against}")
    print(f"memory above idle                {growth / MIB:8.0f} MiB")
    if growth > LARGEST_GROWTH:
        raise ExternalFailed(f"{growth / MIB:.0f} MiB of memory above idle is more than {LARGEST_GROWTH / MIB:.0f} MiB")
    return {"seconds": rows, "memory_growth_bytes": growth}


def _times(lab: Lab, ways: dict[str, Way], what: str, rounds: int) -> dict[str, float]:
    """The median time of each way; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            started = time.monotonic()
            way(lab, what, number)
            times[name].append(time.monotonic() - started)
            shutil.rmtree(lab.scratch / "served" / "out")
            (lab.scratch / "served" / "out").mkdir()
    return {name: statistics.median(taken) for name, taken in times.items()}


def _make_source(served: Path, count: int, big_bytes: int) -> None:
    small, big = served / "source" / "small", served / "source" / "big"
    for directory in (small, big, served / "out"):
        directory.mkdir(parents=True)
    for number in range(count):
        (small / f"{number:05}").write_bytes(number.to_bytes(8, "big") * 128)
    with (big / "object").open("wb") as file:
        for _ in range(big_bytes // MIB):
            file.write(os.urandom(MIB))


@contextlib.contextmanager
def _running(scratch: Path) -> Iterator[Lab]:
    """The server and an appliance with credentials for it."""
    log = scratch / "server.log"
    serve = [BIN / "rclone", "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{KEY}", "--config", ""]
    ready = scratch / "ready.json"
    appliance = [sys.executable, "-m", "appliance", "serve", "--data", scratch / "data", "--s3-address", "127.0.0.1:0"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process([*serve, scratch / "served"], log))
        process = stack.enter_context(_process([*appliance, "--no-mount", "--ready-file", ready], scratch / "appliance.log"))
        endpoint = _wait(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()))[0]
        _wait(ready.exists)
        lab = Lab(scratch, endpoint, process, _environment(scratch, endpoint))
        lab.run("pachctl", "deploy", "storage", "amazon", "us-east-1", KEY, KEY, "--endpoint", endpoint)
        _wait(lambda: lab.memory("VmRSS") > 60 * MIB or time.sleep(2) or True)  # the gateway is imported after the start
        lab.idle_bytes = lab.memory("VmRSS")
        yield lab


def _environment(scratch: Path, endpoint: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "APPLIANCE_", "RCLONE_"))}
    return kept | {
        "APPLIANCE_HOME": str(scratch / "data"),
        "HOME": str(scratch),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": "us-east-1",
        "RCLONE_CONFIG": "",
        "RCLONE_S3_PROVIDER": "Rclone",
        "RCLONE_S3_ENDPOINT": endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": KEY,
        "RCLONE_S3_SECRET_ACCESS_KEY": KEY,
    }


@contextlib.contextmanager
def _process(command: list[Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := find()):
        if time.monotonic() > deadline:
            raise ExternalFailed("a server does not start")
        time.sleep(0.02)
    return found
