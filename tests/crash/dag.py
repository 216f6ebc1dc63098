"""Five pipelines with two hundred datums, killed again and again while they run.

    images ─┬─ left  ─── lower-left ─┬ both (reads lower-left, writes through S3)
            └─ right ─── lower-right

Each datum makes the content of its file longer by a letter, and says in a file beside the appliance that it ran.
"""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from crash.serving import Broken, Serving, serving
from store.checks import check
from store.helpers import create_repos, put_all, tree

from appliance.control.client import Client as Control
from appliance.store import Store, jobs
from appliance.store import datums as stored

FILES = 40
# name, input, letter
PIPELINES = (
    ("left", "images", "l"),
    ("right", "images", "r"),
    ("lower-left", "left", "L"),
    ("lower-right", "right", "R"),
    ("both", "lower-left", "b"),
)
_LONGEST_S = 300
_TO_DIE_S = 10
# Runs a daemon besides, which has to go with its datum.
_FILES = """
echo $PPS_PIPELINE_NAME $PACH_DATUM_ID >> {runs}
setsid sh -c 'while :; do sleep 1; done' &
sleep 0.0$(( $(od -An -N1 -tu1 /dev/urandom) % 5 ))
file=$(ls /pfs/in); {{ cat /pfs/in/$file; printf {letter}; }} > /pfs/out/$file
"""
_S3 = """
import os, sys, urllib.request
with open({runs!r}, "a") as runs: print("both", os.environ["PACH_DATUM_ID"], file=runs)
(name,) = os.listdir("/pfs/in")
def put(key, data):
    urllib.request.urlopen(urllib.request.Request(os.environ["S3_ENDPOINT"] + "/out/" + key, data=data, method="PUT"))
put("half-" + name, b"of a try")
put(name, open("/pfs/in/" + name, "rb").read() + b"b")
urllib.request.urlopen(urllib.request.Request(os.environ["S3_ENDPOINT"] + "/out/half-" + name, method="DELETE"))
"""

Done = dict[tuple[str, str], int]
"""How often each datum had run that was done, by pipeline and id."""


class Dag:
    """One data directory with the pipelines in it, and what is known of their runs."""

    def __init__(self, directory: Path, token: str) -> None:
        self.data, self._runs, self._token = directory / "data", directory / "runs", token
        self._runs.touch()
        self._log = directory / "log"
        self._done: Done = {}
        self._content = {f"/{number:02}": str(number).encode() * 3 for number in range(FILES)}
        store = Store(self.data, "fast")
        create_repos(store, "images")
        put_all(store, "images", self._content)
        store.close()

    def begin(self) -> None:
        """Create the pipelines."""
        with serving(self.data, self._log, "fast"):
            for name, repo, letter in PIPELINES:
                Control(self.data).call("create_pipeline", text=json.dumps(self._spec(name, repo, letter)))

    def _spec(self, name: str, repo: str, letter: str) -> dict[str, object]:
        command = ["sh", "-ec", _FILES.format(runs=self._runs, letter=letter)]
        if name == "both":
            command = [sys.executable, "-I", "-S", "-c", _S3.format(runs=str(self._runs))]
        return {
            "pipeline": {"name": name},
            "input": {"pfs": {"repo": repo, "name": "in", "glob": "/*"}},
            "transform": {"cmd": command, "env": {"CRASH_TOKEN": self._token}},
            "parallelism_spec": {"constant": 2},
            "datum_tries": 1,
            "s3_out": name == "both",
        }

    def kill_after(self, seconds: float) -> None:
        """Serve for a while, kill it, and see that nothing is left and what was done is not done again."""
        with serving(self.data, self._log, "fast") as served:
            time.sleep(seconds)
            served.end(9)
        self._see_that_all_is_gone()
        self._look()

    def finish(self) -> None:
        """Let it get done, and compare with what an undisturbed run gives."""
        with serving(self.data, self._log, "fast") as served:
            self._wait(served)
            served.end(15)
        self._see_that_all_is_gone()
        self._look()
        self._compare()

    def is_done(self) -> bool:
        store = Store(self.data, "fast")
        try:
            with store.snapshot() as db:
                return all(job.finished_ns is not None for job in jobs.list_jobs(db))
        finally:
            store.close()

    def _wait(self, served: Serving) -> None:
        deadline = time.monotonic() + _LONGEST_S
        while any(job["finished_ns"] is None for job in Control(self.data).iterate("list_job")):
            if served.process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"the jobs do not get done: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _look(self) -> None:
        """What was done before has not run since; remember what is done now."""
        runs = Counter((name, datum) for name, datum in map(str.split, self._runs.read_text().splitlines()))
        for datum, times in self._done.items():
            if runs[datum] != times:
                raise Broken(f"datum {datum} was done after {times} runs, and has run {runs[datum]} times now")
        store = Store(self.data, "fast")
        with store.snapshot() as db:
            for job in jobs.list_jobs(db):
                for datum in stored.iter_datums(db, job.row, state="success"):
                    self._done[(job.pipeline, datum.id)] = runs[(job.pipeline, datum.id)]
        store.close()

    def _compare(self) -> None:
        store = Store(self.data, "fast")
        expected = {"images": self._content}
        for name, repo, letter in PIPELINES:
            expected[name] = {path: content + letter.encode() for path, content in expected[repo].items()}
            if (found := tree(store, name)) != expected[name]:
                raise Broken(f"{name} has {found}")
        with store.snapshot() as db:
            wrong = [job for job in jobs.list_jobs(db) if (job.state, job.failed) != ("success", 0)]
        check(store)
        store.close()
        left = [path for place in ("staging", "scratch") for path in (self.data / place).iterdir()]
        if wrong or left or len(self._done) != FILES * len(PIPELINES):
            raise Broken(f"jobs {wrong}, {len(self._done)} datums done, left lying about: {left}")

    def _see_that_all_is_gone(self) -> None:
        """No process of user code, none of the appliance, and no mount of theirs."""
        deadline = time.monotonic() + _TO_DIE_S
        while left := list(self._iter_left()):
            if time.monotonic() > deadline:
                raise Broken(f"still there: {left}")
            time.sleep(0.01)
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.data) in line]
        if mounts:
            raise Broken(f"still mounted: {mounts}")

    def _iter_left(self) -> Iterator[str]:
        marks = (f"CRASH_TOKEN={self._token}".encode(), str(self.data).encode())
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if any(mark in (process / name).read_bytes() for mark in marks for name in ("environ", "cmdline")):
                    yield f"{process.name} {(process / 'cmdline').read_text()[:200]}"
            except OSError:  # gone meanwhile
                continue


def run_pipelines(directory: Path, seed: str, count: int) -> Iterator[None]:
    """Kill a run of the pipelines until it is done, at most so many times."""
    chance = random.Random(seed)
    dag = Dag(directory, seed.replace(" ", "-"))
    dag.begin()
    for _ in range(count):
        dag.kill_after(chance.uniform(0, 1.2))
        yield
        if dag.is_done():
            break
    dag.finish()
