"""`scripts/bench` runs and leaves nothing behind. What it measures is not for tests to judge."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.mount import mountpoint

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench.py"
ROWS = [
    *("put", "put, 16 in parallel", "get", "head", "list, 200 keys"),
    *("put 16 MiB", "put 16 MiB, multipart", "get 16 MiB"),
    *("put_object", "get_object", "head_object", "list_objects_v2, 200 keys", "upload_file 16 MiB", "download_file 16 MiB"),
]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short name: those of pytest are too long for sockets inside."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_the_s3_table_has_every_row(scratch: Path) -> None:
    numbers = scratch / "numbers.json"
    command = [sys.executable, str(SCRIPT), "s3", "--quick", "--rounds", "1", "--json", str(numbers)]
    done = subprocess.run([*command, "--directory", str(scratch)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    printed = [line.partition("  ")[0] for line in done.stdout.splitlines()]
    assert [row for row in ROWS if row not in printed] == []
    assert list(json.loads(numbers.read_text())["operations"]) == ROWS
    assert [left.name for left in scratch.iterdir()] == ["numbers.json"]


def test_the_store_table_has_every_row(scratch: Path) -> None:
    numbers = scratch / "numbers.json"
    command = [sys.executable, str(SCRIPT), "store", "--quick", "--rounds", "1", "--json", str(numbers)]
    done = subprocess.run([*command, "--directory", str(scratch)], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(numbers.read_text())["rows"]
    assert len(rows) >= 15
    assert all(f"{row['what']}: " in done.stdout for row in rows)
    assert [left.name for left in scratch.iterdir()] == ["numbers.json"]


def test_the_pipelines_table_has_every_row(scratch: Path) -> None:
    numbers = scratch / "numbers.json"
    command = [sys.executable, str(SCRIPT), "pipelines", "--quick", "--rounds", "1", "--json", str(numbers)]
    done = subprocess.run([*command, "--directory", str(scratch)], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(numbers.read_text())["rows"]
    assert len(rows) == 7
    assert all(f"{row['what']}: " in done.stdout for row in rows)
    assert [left.name for left in scratch.iterdir()] == ["numbers.json"]


def test_the_table_of_large_objects_finds_them_unchanged(scratch: Path) -> None:
    command = [sys.executable, str(SCRIPT), "large", "--quick", "--directory", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "put 96 MiB in parts" in done.stdout
    assert list(scratch.iterdir()) == []


def test_the_table_of_other_stores_has_both_ways(scratch: Path) -> None:
    command = [sys.executable, str(SCRIPT), "external", "--quick", "--rounds", "1", "--directory", str(scratch)]
    command += ["--only", "small", "--only", "big"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for row in ("in: 50 objects", "in: one of 16 MiB", "out: 50 objects", "out: one of 16 MiB", "memory above idle"):
        assert row in done.stdout
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not all(map(shutil.which, ("s3fs", "fusermount3"))), reason="s3fs or fusermount3 is not installed")
def test_the_mount_table_has_every_part(scratch: Path) -> None:
    if problem := mountpoint.find_problem(scratch):
        pytest.skip(problem)
    numbers = scratch / "numbers.json"
    command = [sys.executable, str(SCRIPT), "mount", "--quick", "--rounds", "1", "--json", str(numbers)]
    done = subprocess.run([*command, "--directory", str(scratch)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(numbers.read_text())
    assert {part: len(rows) for part, rows in found.items()} == {
        "Reading": 16,
        "Writing": 5,
        "commit": 2,
        "First touch": 8,
        "stat": 6,
    }
    assert [left.name for left in scratch.iterdir()] == ["numbers.json"]


def test_an_interrupted_run_leaves_nothing_behind(scratch: Path) -> None:
    command = [sys.executable, str(SCRIPT), "s3", "--quick", "--directory", str(scratch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not list(scratch.glob("*/durable/ready.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    assert list(scratch.iterdir()) == []
    assert str(scratch) not in _commands()


def _commands() -> str:
    """Return the command lines of everything that runs."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
