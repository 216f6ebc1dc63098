"""`scripts/crash` in short: kills and power cuts under load, and a disk that is full while clients go on."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.harness import compare, disk_fsynced, list_keys, new_lines, now, prepare
from crash.load import COMMITS, FINISHED, REPO
from crash.serving import Broken, Serving, serving
from disk.client import TAKING_INODES, TAKING_SPACE, WRITING, Disk, open_disk
from e2e.conftest import s3_client
from mount.conftest import place as place

from appliance.pipelines.process import probe_namespaces

KEPT = "everything acknowledged was there, nothing else was"
LARGE = bytes(range(256)) * 1000


def crash(place: Path, *options: str) -> tuple[int, str]:
    """Run what `scripts/crash` runs; return its status and the last line."""
    command = [sys.executable, "-m", "crash.harness", "--seed", "7", "--place", str(place), *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


def test_acknowledged_writes_survive_kills(tmp_path: Path) -> None:
    assert crash(tmp_path, "--kills", "3", "--cuts", "0", "--pipelines", "0") == (0, KEPT)
    assert list(tmp_path.iterdir()) == []


def test_acknowledged_writes_survive_power_cuts(tmp_path: Path, place: Path) -> None:
    assert crash(tmp_path, "--kills", "0", "--cuts", "10", "--pipelines", "0") == (0, KEPT)
    assert [left for left in tmp_path.iterdir() if left != place] == []


@pytest.mark.skipif(probe_namespaces() is not None, reason="user code can not have a /pfs here")
def test_pipelines_survive_kills(tmp_path: Path) -> None:
    assert crash(tmp_path, "--kills", "0", "--cuts", "0", "--pipelines", "4") == (0, KEPT)
    assert list(tmp_path.iterdir()) == []


def test_write_that_is_not_there_is_found(tmp_path: Path) -> None:
    """The harness itself: it must not take everything for good."""
    lines = new_lines()
    lines["a"].ask({"/a/1": b"1"})
    lines["a"].acknowledge()
    found = {REPO: {"/a/1": b"1"}, COMMITS: {FINISHED: b"1"}}
    compare(found, lines, now(lines))
    for wrong in ({}, {"/a/1": b"2"}, {"/a/1": b"1", "/a/2": b""}, {"/a/1": b"1", "/z/1": b""}):
        with pytest.raises(Broken):
            compare({**found, REPO: wrong}, lines, now(lines))


def test_request_in_flight_may_have_been_carried_out_or_not() -> None:
    lines = new_lines()
    lines["a"].ask({"/a/1": b"1", "/a/2": b"2"})
    for part in ({}, {"/a/1": b"1", "/a/2": b"2"}):
        compare({REPO: part, COMMITS: {FINISHED: b"1"}}, lines, now(lines))
    with pytest.raises(Broken):
        compare({REPO: {"/a/1": b"1"}, COMMITS: {FINISHED: b"1"}}, lines, now(lines))


@pytest.fixture
def disk(tmp_path: Path, place: Path) -> Iterator[Disk]:
    with open_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def served(disk: Disk, tmp_path: Path) -> Iterator[Serving]:
    """An appliance whose data is on a disk that fails on command."""
    with serving(disk.path / "data", tmp_path / "log") as served:
        prepare(served.data)
        disk_fsynced(disk.path)
        yield served


@pytest.mark.parametrize(
    ("kinds", "number", "status", "code"),
    [
        (TAKING_SPACE, errno.ENOSPC, 507, "InsufficientStorage"),
        (TAKING_INODES, errno.ENOSPC, 507, "InsufficientStorage"),
        (WRITING, errno.EIO, 503, "ServiceUnavailable"),
        (WRITING, errno.EROFS, 503, "ServiceUnavailable"),
    ],
)
def test_fault_of_the_disk_is_told_in_xml_and_ends_without_a_restart(
    served: Serving, disk: Disk, tmp_path: Path, kinds: tuple[str, ...], number: int, status: int, code: str
) -> None:
    s3, bucket = s3_client(served.endpoint), f"master.{REPO}"
    s3.put_object(Bucket=bucket, Key="kept", Body=LARGE)
    disk.fail(kinds, number)
    with pytest.raises(s3.exceptions.ClientError) as failed:
        s3.put_object(Bucket=bucket, Key="new", Body=LARGE + b"new")
    answer = failed.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (status, code)
    assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == LARGE
    assert disk.heal() > 0
    s3.put_object(Bucket=bucket, Key="new", Body=LARGE + b"new")
    assert list_keys(served.endpoint, REPO) == {"/kept", "/new"}
    assert "Traceback" not in (tmp_path / "log").read_text()
