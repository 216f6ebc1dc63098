"""How user code sees its inputs, as the spec or else the appliance has it, and which of them it opened."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipelines.helpers import COPY, Lab, Serving, images, spec_text

from appliance.errors import InvalidSpec
from appliance.mount import mountpoint
from appliance.pipelines.openings import Openings
from appliance.pipelines.spec import parse_specs
from appliance.store import jobs

pytestmark = pytest.mark.usefixtures("namespaces", "quiet")

KIND = "grep -o ' /pfs/images .*fuse.pfs' /proc/self/mountinfo | grep -o fuse || echo files"
"""Says how the input is seen."""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Lab]:
    """An appliance with a mount, whose pipelines see files unless they say otherwise."""
    (tmp_path / "mount").mkdir()
    if problem := mountpoint.find_problem(tmp_path / "mount"):
        if os.environ.get("APPLIANCE_REQUIRE_FUSE") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    with Serving(tmp_path / "data", mount=tmp_path / "mount") as app:
        yield Lab(app)


def opened(lab: Lab, pipeline: str = "edges") -> list[tuple[str, ...]]:
    """Return what the datums of the newest job have opened, in their order."""
    with lab.store.snapshot() as db:
        job = jobs.list_jobs(db, pipeline=pipeline)[0]
    listed = [datum.id for datum in lab.datums(job)]
    return [lab.calls.inspect_datum(pipeline, job.id, datum).opened for datum in listed]


@pytest.mark.parametrize(("view", "expected"), [("fuse", "fuse"), ("files", "files"), (None, "files")])
def test_pipeline_has_the_view_that_it_wants(mounted: Lab, view: str | None, expected: str) -> None:
    job = mounted.run(KIND, {"/a": b"1"}, input=images("/"), transform={"view": view})
    assert mounted.logs(job) == [expected]


def test_view_that_is_not_to_be_had_is_the_other_one(lab: Lab) -> None:
    job = lab.run(KIND + "; " + COPY, {"/a": b"1"}, input=images("/"), transform={"view": "fuse"})
    assert (lab.logs(job), lab.output()) == (["files"], {"/a": b"1"})


def test_pachyderm_knows_no_views() -> None:
    text = spec_text("true", transform={"view": "fuse"})
    assert parse_specs(text)[0].transform.view == "fuse"
    with pytest.raises(InvalidSpec, match=r"unknown field `transform\.view` in pipeline spec"):
        parse_specs(text, strict=True)


def test_files_that_were_opened_are_told(mounted: Lab) -> None:
    files = {"/a": b"1", "/b": b"2", "/d/c": b"3"}
    mounted.run("ls -lR /pfs/images; cat /pfs/images/d/c /pfs/images/a", files, input=images("/"), transform={"view": "fuse"})
    assert opened(mounted) == [("images:/a", "images:/d/c")]


def test_each_datum_has_opened_its_own(mounted: Lab) -> None:
    script = "test $images = /pfs/images/b || cat $images"
    fields: dict[str, Any] = {"transform": {"view": "fuse"}, "parallelism_spec": {"constant": 3}}
    mounted.run(script, {"/a": b"1", "/b": b"2", "/c": b"3"}, **fields)
    assert opened(mounted) == [("images:/a",), (), ("images:/c",)]


def test_skipped_datum_has_opened_what_it_did_when_it_ran(mounted: Lab) -> None:
    mounted.run("cat $images", {"/a": b"1"}, transform={"view": "fuse"})
    job = mounted.succeeded(mounted.put({"/b": b"2"}))
    assert (job.skipped, opened(mounted)) == (1, [("images:/a",), ("images:/b",)])


def test_last_try_counts(mounted: Lab, tmp_path: Path) -> None:
    script = f"if mkdir {tmp_path}/once; then cat /pfs/images/a; exit 1; fi; cat /pfs/images/b"
    fields: dict[str, Any] = {"transform": {"view": "fuse"}, "datum_tries": 2}
    mounted.run(script, {"/a": b"1", "/b": b"2"}, input=images("/"), **fields)
    assert opened(mounted) == [("images:/b",)]


def test_objects_that_were_read_are_told(lab: Lab) -> None:
    """Not those that were only looked at."""
    code = (
        "import os, urllib.request as u; at = os.environ['S3_ENDPOINT'] + '/images'; u.urlopen(at + '/a').read();"
        " u.urlopen(u.Request(at + '/b', method='HEAD')); u.urlopen(at + '?list-type=2').read()"
    )
    lab.put({"/a": b"1", "/b": b"2"})
    s3_input = {"pfs": {"repo": "images", "glob": "/", "s3": True}}
    lab.pipeline("", input=s3_input, transform={"cmd": [sys.executable, "-I", "-c", code]})
    lab.succeeded()
    assert opened(lab) == [("images:/a",)]


@contextmanager
def elsewhere() -> Iterator[int]:
    """A process in a mount namespace of its own."""
    command = ["unshare", "-Urm", "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_what_nobody_asks_for_makes_room_for_others() -> None:
    """Runs may be killed, and processes of others read the mount too."""
    openings, namespaces = Openings(), []
    with ExitStack() as stack:
        for _ in range(12):
            pid = stack.enter_context(elsewhere())
            namespaces.append(Path(f"/proc/{pid}/ns/mnt").stat().st_ino)
            note = openings.find_reader(pid)
            assert note is not None
            for number in range(10_001):
                note(1, f"/{number}")
    counts = [len(openings.take(namespace).list()) for namespace in namespaces]
    assert counts == [0] * 2 + [10_000] * 10
