"""What `scripts/bench external` measures: objects of another store coming in and going out, beside rclone and aws.

All talk to the same `rclone serve s3`. In: the appliance puts into a repo, one commit, all of it on disk when it is done;
the others copy into a directory and sync nothing. Out: the appliance copies a repo's files, rclone and aws a directory.
What is timed is a whole command, from its start to its end. Processor time is that of all processes: this machine's for both
sides. Memory is the appliance's peak above what it took when idle.
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
    server: subprocess.Popen[bytes]
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

    def processor_s(self) -> float:
        """What the server, the appliance and all commands that have ended took of the processors."""
        return sum(map(_processor_s, (self.server.pid, self.appliance.pid))) + sum(os.times()[2:4])

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


@dataclass(frozen=True, slots=True)
class Objects:
    """So many objects of a size."""

    count: int
    size_bytes: int

    def __str__(self) -> str:
        size = f"{self.size_bytes // MIB} MiB" if self.size_bytes >= MIB else f"{self.size_bytes // 1024} KiB"
        return f"one of {size}" if self.count == 1 else f"{self.count} objects of {size}"


SIZES = {"small": Objects(5000, 1024), "middle": Objects(1000, MIB), "big": Objects(1, 3072 * MIB)}
QUICK = {"small": Objects(50, 1024), "middle": Objects(5, MIB), "big": Objects(1, 16 * MIB)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this table alone."""
    parser.add_argument("--only", choices=SIZES, action="append", metavar="SIZE", help=f"of {', '.join(SIZES)}; repeatable")
    parser.add_argument("--way", choices=WAYS, help="in or out alone")
    parser.add_argument("--big-mib", type=int, metavar="N", help="the size of the big one (default 3072)")


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Print the table. Raises ExternalFailed if a command fails or memory grows with what is moved."""
    sizes = {what: size for what, size in (QUICK if options.quick else SIZES).items() if what in (options.only or SIZES)}
    if options.big_mib and "big" in sizes:
        sizes["big"] = Objects(1, options.big_mib * MIB)
    _make_source(scratch / "served", sizes)
    rows: dict[str, Row] = {}
    with _running(scratch) as lab:
        # The server hashes each object when it is first asked about it, whoever that is; it remembers.
        lab.run("aws", "s3", "ls", "--recursive", "s3://source")
        for what, size in sizes.items():
            lab.make_repos(what, options.rounds)
            if options.way == "out":
                _in_appliance(lab, what, 0)
            for direction, ways in WAYS.items() if options.way is None else [(options.way, WAYS[options.way])]:
                rows[f"{direction}: {size}"] = _measure(lab, ways, what, options.rounds)
        growth = lab.memory("VmHWM") - lab.idle_bytes
    for name, row in rows.items():
        _print_row(name, row)
    print(f"memory above idle                {growth / MIB:8.0f} MiB")
    if growth > LARGEST_GROWTH:
        raise ExternalFailed(f"{growth / MIB:.0f} MiB of memory above idle is more than {LARGEST_GROWTH / MIB:.0f} MiB")
    return {"rows": rows, "memory_growth_bytes": growth}


Row = dict[str, dict[str, float]]
"""By the name of a way: median seconds, and median seconds of processor."""


def _measure(lab: Lab, ways: dict[str, Way], what: str, rounds: int) -> Row:
    """The median of each way; they take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            started, before = time.monotonic(), lab.processor_s()
            way(lab, what, number)
            times[name].append((time.monotonic() - started, lab.processor_s() - before))
            shutil.rmtree(lab.scratch / "served" / "out")
            (lab.scratch / "served" / "out").mkdir()
    medians = {name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in times.items()}
    return {name: {"seconds": seconds, "processor_s": processor_s} for name, (seconds, processor_s) in medians.items()}


def _print_row(name: str, row: Row) -> None:
    own = row["appliance"]
    against = [f"{own['seconds'] / row[peer]['seconds']:.2f} × {peer}'s" for peer in ("rclone", "aws")]
    of_processors = own["processor_s"] / row["rclone"]["processor_s"]
    print(f"{name:<32} {own['seconds']:8.2f} s  = {', '.join(against)}; of the processors {of_processors:.2f} × rclone's")


def _processor_s(pid: int) -> float:
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _make_source(served: Path, sizes: dict[str, Objects]) -> None:
    (served / "out").mkdir(parents=True)
    for what, objects in sizes.items():
        directory = served / "source" / what
        directory.mkdir(parents=True)
        for number in range(objects.count):
            with (directory / f"{number:05}").open("wb") as file:
                for start in range(0, objects.size_bytes, MIB):
                    file.write(os.urandom(min(MIB, objects.size_bytes - start)))


@contextlib.contextmanager
def _running(scratch: Path) -> Iterator[Lab]:
    """The server and an appliance with credentials for it."""
    log = scratch / "server.log"
    serve = [BIN / "rclone", "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{KEY}", "--config", ""]
    ready = scratch / "ready.json"
    appliance = [sys.executable, "-m", "appliance", "serve", "--data", scratch / "data", "--s3-address", "127.0.0.1:0"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_process([*serve, scratch / "served"], log))
        process = stack.enter_context(_process([*appliance, "--no-mount", "--ready-file", ready], scratch / "appliance.log"))
        endpoint = _wait(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()))[0]
        _wait(ready.exists)
        lab = Lab(scratch, endpoint, server, process, _environment(scratch, endpoint))
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
