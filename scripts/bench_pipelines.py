"""What `scripts/bench pipelines` measures: what a datum costs beside its command, and what many of them cost.

The appliance runs as it does for everybody (durable, every answer on disk), in a process of its own. Its input is laid down
before it starts. Times are those that a job has in its own record.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_store import Row, put_many

from appliance.control.client import Client
from appliance.errors import ApplianceError
from appliance.store import Store, repos

REPO = "in"
WAIT_S = 600
MIB = 1024**2
# A second of one processor, whatever else runs on it.
BUSY = "import time\nwhile time.process_time() < 1: pass"


class PipelinesFailed(OSError):
    """The appliance did not start, or a job did not succeed."""


@dataclass(frozen=True)
class Scale:
    """How much there is of everything."""

    datums: int = 300
    skipped: int = 9_990
    planned: int = 100_000
    new: int = 10


QUICK = Scale(30, 490, 5_000)


@dataclass(frozen=True)
class Job:
    """A job that has succeeded."""

    total: int
    processed: int
    skipped: int
    seconds: float


class Appliance:
    """A running appliance whose repo `in` has so many small files."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path) -> None:
        self._pid, self._client = process.pid, Client(data)

    def create(self, name: str, cmd: list[str], glob: str = "/*", **fields: Any) -> None:
        plain = {"pfs": {"repo": REPO, "glob": glob}}
        spec = {"pipeline": {"name": name}, "transform": {"cmd": cmd}, "input": plain, **fields}
        self._client.call("create_pipeline", text=json.dumps(spec))

    def wait(self, pipeline: str) -> Job:
        """Wait until the newest job of a pipeline has succeeded."""
        found = self._wait_until(pipeline, lambda job: job["finished_ns"] is not None)
        if found["state"] != "success":
            raise PipelinesFailed(f"{pipeline}: {found['state']}: {found['reason']}")
        seconds = (found["finished_ns"] - found["started_ns"]) / 1e9
        return Job(found["total"], found["processed"], found["skipped"], seconds)

    def wait_planned(self, pipeline: str) -> float:
        """Wait until all datums of a job are known, and return how long that took."""
        found = self._wait_until(pipeline, lambda job: job["state"] not in ("created", "starting"))
        return (time.time_ns() - int(found["started_ns"])) / 1e9

    def _wait_until(self, pipeline: str, is_there: Any) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found: dict[str, Any] = next(self._client.iterate("list_job", pipeline=pipeline))
            if is_there(found):
                return found
            time.sleep(0.02)
        raise PipelinesFailed(f"{pipeline} takes more than {WAIT_S} s")

    def put(self, paths: list[str]) -> None:
        """Put small files in one commit."""
        put = self._client.call("begin_put", repo=REPO, branch="master")
        for position, path in enumerate(paths):
            self._client.send_file([path.encode()], put=put, path=path, position=position)
        self._client.call("put_staged", put=put, repo=REPO, branch="master")

    def stop_pipeline(self, pipeline: str) -> None:
        self._client.call("stop_pipeline", pipeline=pipeline)

    def peak_bytes(self) -> int:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0


@contextlib.contextmanager
def serving(directory: Path, paths: Iterator[str]) -> Iterator[Appliance]:
    """Lay files down and serve them."""
    store = Store(directory, "fast")
    store.write(lambda db: repos.create_repo(db, REPO))
    store.write(put_many(REPO, paths, str.encode))
    store.close()
    options = ("--data", str(directory), "--s3-address", "127.0.0.1:0", "--no-mount", "--view", "files")
    command = [sys.executable, "-m", "appliance", "serve", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_ready(process, directory)
        yield Appliance(process, directory)
    finally:
        process.terminate()
        process.wait()


def wait_ready(process: subprocess.Popen[bytes], directory: Path) -> None:
    client, deadline = Client(directory), time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ApplianceError):
            client.call("inspect_appliance")
            return
        time.sleep(0.02)
    raise PipelinesFailed("the appliance does not start")


def bare_spawn_s(times: int) -> float:
    """Return what it takes to run a command that does nothing, from here."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        subprocess.run(["true"], check=True)
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def bare_parallel_s(command: list[str], count: int, at_once: int) -> float:
    """Return what it takes to run a command so many times, so many at once, with nothing around it."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True), range(count)))
    return time.perf_counter() - begun


class Bench:
    """One run; rows are printed as they are measured."""

    def __init__(self, scratch: Path, scale: Scale, rounds: int) -> None:
        self.scratch, self.scale, self.rounds = scratch, scale, rounds
        self.rows: list[Row] = []

    def add(self, what: str, value: float, limit: float, unit: str) -> None:
        row = Row(what, value, limit, unit)
        self.rows.append(row)
        print(f"{'ok  ' if row.ok else 'MISS'} {what}: {value:.3g} {unit} (limit {limit:g})", flush=True)

    def overhead(self) -> None:
        """A datum after the other, each with a command that does nothing."""
        count = self.scale.datums
        with serving(self.scratch / "overhead", (f"/{number:06}" for number in range(count))) as appliance:
            found = []
            for number in range(self.rounds):
                bare = bare_spawn_s(100)
                appliance.create(f"true-{number}", ["true"])
                found.append(appliance.wait(f"true-{number}").seconds / count - bare)
        self.add("a datum beyond a bare spawn of its command", statistics.median(found) * 1000, 5, "ms")

    def skipping(self) -> None:
        """A few new datums beside many that are as they were."""
        skipped, new = self.scale.skipped, self.scale.new
        with serving(self.scratch / "skipping", (f"/{number:06}" for number in range(skipped))) as appliance:
            appliance.create("copy", ["sh", "-c", "cp $in /pfs/out"], parallelism_spec={"constant": 4})
            appliance.wait("copy")
            found = []
            for number in range(self.rounds):
                appliance.put([f"/new-{number}-{each}" for each in range(new)])
                job = appliance.wait("copy")
                if job.processed != new:
                    raise PipelinesFailed(f"{job.processed} datums were processed instead of {new}")
                found.append(job.seconds)
        self.add(f"a job of {skipped + new:,} datums of which {skipped:,} are skipped", statistics.median(found), 2, "s")

    def planning(self) -> None:
        count = self.scale.planned
        with serving(self.scratch / "planning", (f"/{number:06}" for number in range(count))) as appliance:
            appliance.create("plan", ["sleep", "1000"])
            took = appliance.wait_planned("plan")
            appliance.stop_pipeline("plan")
            peak = appliance.peak_bytes()
        self.add(f"planning of {count:,} datums", took, 5, "s")
        self.add("resident memory meanwhile", peak / MIB, 200, "MiB")

    def joining(self) -> None:
        """Twice as many files make as many datums."""
        count = self.scale.planned
        paths = (f"/{side}/{number:06}" for side in "ab" for number in range(count))
        with serving(self.scratch / "joining", paths) as appliance:
            sides = [{"repo": REPO, "name": side, "glob": f"/{side}/(*)", "join_on": "$1"} for side in "ab"]
            appliance.create("join", ["sleep", "1000"], input={"join": [{"pfs": side} for side in sides]})
            took = appliance.wait_planned("join")
            appliance.stop_pipeline("join")
            peak = appliance.peak_bytes()
        self.add(f"planning of a join of 2 x {count:,} files", took, 10, "s")
        self.add("resident memory meanwhile", peak / MIB, 200, "MiB")

    def parallel(self) -> None:
        """Eight seconds of work for the processors there are, two at the most."""
        processors = min(2, len(os.sched_getaffinity(0)))
        with serving(self.scratch / "parallel", (f"/{number}" for number in range(8))) as appliance:
            command = [sys.executable, "-I", "-S", "-c", BUSY]
            ideal = bare_parallel_s(command, 8, processors)
            appliance.create("busy", command, parallelism_spec={"constant": processors})
            took = appliance.wait("busy").seconds
        self.add(f"8 datums of 1 s on {processors} processors, against bare processes", took / ideal, 1.1, "x")


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run everything, print the table, and return it."""
    bench = Bench(scratch, QUICK if options.quick else Scale(), options.rounds)
    for step in (bench.overhead, bench.skipping, bench.planning, bench.joining, bench.parallel):
        step()
    return {"rows": [vars(row) | {"ok": row.ok} for row in bench.rows]}
