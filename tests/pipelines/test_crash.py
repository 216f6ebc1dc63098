"""A job whose appliance goes away in the middle: the next one finishes it, and nobody can tell."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipelines.helpers import COPY, ENVIRONMENT, LONGEST_S, Gate, Lab, Serving, spec_text, wait_until
from store.helpers import commit_of, create_repos, put_all, tree

from appliance.control.client import Client
from appliance.pipelines.spec import parse_specs, to_json
from appliance.store import Store, datums, jobs, logs, pipelines
from appliance.store.blobs import INLINE_BYTES
from appliance.store.pipelines import NewPipeline

pytestmark = pytest.mark.usefixtures("namespaces", "quiet")

NAMES = "abcde"
FILES = {f"/{name}": name.encode() * (INLINE_BYTES + 1 if name == "b" else 3) for name in NAMES}
PUT = """
import os, sys, urllib.request
name = os.path.basename(os.environ["images"])
def put(key, data):
    url = os.environ["S3_ENDPOINT"] + "/out/" + key
    urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT"))
put("partial" if name == "c" and not os.path.exists(sys.argv[2]) else name, open("/pfs/images/" + name, "rb").read())
if os.system(sys.argv[1]):
    sys.exit(1)
"""


@contextmanager
def killed(data: Path) -> Iterator[None]:
    """Run an appliance as a process of its own, and in the end kill it so that it can do nothing about it."""
    command = [sys.executable, "-m", "appliance", "serve", "--data", str(data), "--s3-address", "127.0.0.1:0"]
    options = ["--no-mount", "--view", "files", "--durability", "fast"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}) as process:
        try:
            yield
        finally:
            process.kill()


def wait_done(data: Path, count: int) -> None:
    """Wait until so many datums are done, which may be a moment after the next has begun."""
    control, deadline = Client(data), time.monotonic() + LONGEST_S
    (job,) = control.iterate("list_job")
    while [datum["state"] for datum in control.iterate("list_datum", pipeline="edges", job=job["id"])].count(
        "success"
    ) < count:
        assert time.monotonic() < deadline


def prepare(data: Path, text: str) -> Path:
    """Make a data directory with a pipeline whose first job, over five files, waits to be run."""
    (spec,) = parse_specs(text)
    new = NewPipeline(spec.name, to_json(spec), "", "master", [("images", "master")], "salt")
    store = Store(data, "fast")
    create_repos(store, "images")
    put_all(store, "images", FILES)
    store.write(lambda db: pipelines.create_pipeline(db, new))
    store.close()
    return data


def finish(data: Path) -> tuple[jobs.Job, dict[str, bytes]]:
    """Let an appliance finish the job; return it with what readers then see."""
    with Serving(data) as app:
        lab = Lab(app)
        return lab.succeeded(), lab.output()


def look(data: Path) -> list[tuple[str, str]]:
    """Return how the datums of an unfinished job stand, and see that it shows nothing yet."""
    store = Store(data, "fast")
    try:
        assert (tree(store, "edges"), commit_of(store, "edges").is_open) == ({}, True)
        with store.snapshot() as db:
            found = list(datums.iter_datums(db, jobs.list_jobs(db)[0].row))
        return [(name, datum.state) for name, datum in zip(NAMES, found, strict=True)]
    finally:
        store.close()


class Marks:
    """Files beside the appliance: a line for each run of a datum, and whether there was a crash yet."""

    def __init__(self, directory: Path) -> None:
        self.runs, self.crashed = directory / "runs", directory / "crashed"

    def script(self, gate: Gate, *, at: str = "c") -> str:
        """Return user code that says it runs, writes its output, and before there was a crash stops at the gate."""
        stop = f"if test $(basename $images) = {at} && ! test -e {self.crashed}; then {gate.at()}; fi"
        return f"basename $images >> {self.runs}; {COPY}; {stop}"

    def count(self) -> str:
        return "".join(sorted(self.runs.read_text().split()))


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_killed_job_is_finished_without_running_anything_twice(data: Path, gate: Gate, marks: Marks) -> None:
    prepare(data, spec_text(marks.script(gate)))
    with killed(data):
        gate.wait()
        wait_done(data, 2)
    gate.wait_gone()
    assert look(data) == [("a", "success"), ("b", "success"), ("c", "running"), ("d", "waiting"), ("e", "waiting")]
    marks.crashed.touch()
    job, output = finish(data)
    assert (output, marks.count()) == (FILES, "abccde")
    assert (job.restarts, job.total, job.processed, job.skipped, job.failed) == (1, 5, 5, 0, 0)


def test_job_killed_again_and_again_gets_done(data: Path, gate: Gate, marks: Marks) -> None:
    script = f"basename $images >> {marks.runs}; {COPY}; {gate.at('$(basename $images)')}"
    prepare(data, spec_text(script))
    for done, name in enumerate("abc", 1):
        with killed(data):
            assert gate.wait() == [name]
            gate.open()
            gate.wait()
            wait_done(data, done)
        gate.wait_gone()
    gate.open(2)
    job, output = finish(data)
    assert (output, marks.count(), job.restarts, job.processed) == (FILES, "abbccdde", 3, 5)


def test_datums_that_ran_side_by_side_are_all_taken_up_again(data: Path, gate: Gate, marks: Marks) -> None:
    prepare(data, spec_text(marks.script(gate, at="$(basename $images)"), parallelism_spec={"constant": 3}))
    with killed(data):
        gate.wait(3)
    gate.wait_gone()
    assert [state for _, state in look(data)] == ["running", "running", "running", "waiting", "waiting"]
    marks.crashed.touch()
    assert finish(data)[1] == FILES
    assert marks.count() == "aabbccde"


def test_half_of_an_s3_output_is_never_seen(data: Path, gate: Gate, marks: Marks) -> None:
    command = [sys.executable, "-I", "-c", PUT, marks.script(gate).replace(COPY, ":"), str(marks.crashed)]
    prepare(data, spec_text("", transform={"cmd": command}, s3_out=True))
    with killed(data):
        gate.wait()
        wait_done(data, 2)
    gate.wait_gone()
    look(data)
    marks.crashed.touch()
    job, output = finish(data)
    assert (output, marks.count(), job.processed) == (FILES, "abccde", 5)


def test_interrupted_try_does_not_count(data: Path, gate: Gate, marks: Marks) -> None:
    """`datum_tries` is 1."""
    prepare(data, spec_text(marks.script(gate)))
    with killed(data):
        gate.wait()
    gate.wait_gone()
    gate.open()
    assert finish(data)[0].failed == 0


def test_job_of_an_appliance_that_stops_in_order_goes_on_too(data: Path, gate: Gate, marks: Marks) -> None:
    prepare(data, spec_text(f"trap 'echo bye; exit 1' TERM; {marks.script(gate)}"))
    with Serving(data) as app:
        gate.wait()
        lab = Lab(app)
        row = lab.newest().row
        wait_until(lab.store, lambda db: len(list(datums.iter_datums(db, row, state="success"))) == 2)
    gate.wait_gone()
    assert look(data)[1:4] == [("b", "success"), ("c", "running"), ("d", "waiting")]
    marks.crashed.touch()
    job, output = finish(data)
    assert (job.row, output, marks.count(), job.failed) == (row, FILES, "abccde", 0)
    store = Store(data, "fast")
    with store.snapshot() as db:
        assert [line.message for line in logs.list_log_lines(db, row)] == ["bye"]
    store.close()


def test_pipeline_deleted_after_the_crash_is_no_trouble(data: Path, gate: Gate, marks: Marks) -> None:
    prepare(data, spec_text(marks.script(gate)))
    with killed(data):
        gate.wait()
    gate.wait_gone()
    store = Store(data, "fast")
    store.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    store.close()
    with Serving(data) as app:
        lab = Lab(app)
        lab.pipeline(COPY)
        assert lab.succeeded().processed == 5
