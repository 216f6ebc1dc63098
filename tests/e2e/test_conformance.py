"""`scripts/conformance` runs, and what it says is so. Whole days of all clients and a million inputs take longer."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.mount import mountpoint
from appliance.pipelines.process import probe_namespaces

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


DAYS = [("aws cli", ["--plain"]), ("minio-py", ["--auth"]), ("s3cmd", ["--plain"]), ("obstore", ["--auth"])]


@pytest.mark.parametrize(("name", "options"), DAYS)
def test_a_client_has_a_good_day(name: str, options: list[str]) -> None:
    command = [sys.executable, str(SCRIPTS / "conformance_clients.py"), "--quick", *options, "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    row = next((line for line in done.stdout.splitlines() if line.startswith(f"| {name} |")), done.stderr)
    if "not installed" in row:
        pytest.skip(row)
    assert done.returncode == 0, done.stdout + done.stderr
    assert row.count("all pass") == (1 if "--plain" in options else 2)


@pytest.mark.parametrize("name", ["pandas", "delta"])
def test_an_engine_runs_as_user_code(name: str) -> None:
    if problem := probe_namespaces():
        pytest.skip(problem)
    command = [sys.executable, str(SCRIPTS / "conformance_engines.py"), "--rows", "100", "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if "not installed" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| passes |" in done.stdout


def test_the_readme_has_a_row_for_each_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    clients = importlib.import_module("conformance_clients")
    head, line, *rows = clients.table([(client, []) for client in clients.CLIENTS], ("plain", "tls")).splitlines()
    readme = (SCRIPTS.parent / "README.md").read_text()
    assert head in readme
    assert line in readme
    assert [row for row in rows if row.rstrip("| ") not in readme] == []


def test_some_hostile_input(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "conformance_fuzz.py"), "--inputs", "1000", "--keep", str(tmp_path / "found")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout
    assert "1,000 inputs, 0 wrong" in done.stdout
    assert not (tmp_path / "found").exists()


def need_fuse(place: Path) -> None:
    if problem := mountpoint.find_problem(place):
        if os.environ.get("APPLIANCE_REQUIRE_FUSE") == "1":
            pytest.fail(problem)
        pytest.skip(problem)


def test_three_doors_show_one_store_at_every_moment(tmp_path: Path) -> None:
    """Longer where there is time for it: APPLIANCE_DOORS_S=60."""
    need_fuse(tmp_path)
    seconds = os.environ.get("APPLIANCE_DOORS_S", "4")
    command = [sys.executable, str(SCRIPTS / "conformance_doors.py"), "--seconds", seconds, "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=float(seconds) + 120, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing wrong" in done.stdout


def test_a_mount_that_is_killed_loses_nothing_and_hangs_nobody(tmp_path: Path) -> None:
    need_fuse(tmp_path)
    command = [sys.executable, str(SCRIPTS / "conformance_mount.py"), "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "killed 2 times: nothing was lost, nothing hung\n"


def test_suites_of_file_systems_fail_where_a_plain_directory_does_not(tmp_path: Path) -> None:
    if (problem := mountpoint.find_problem(tmp_path) or probe_namespaces()) or os.geteuid() != 0:
        pytest.skip(problem or "only root can be others")
    tests = tmp_path / "tests/some"
    tests.mkdir(parents=True)
    (tests / "00.t").write_text("echo 1..2; mkdir d && echo ok 1; rmdir d && echo ok 2")
    (tests / "01.t").write_text("echo 1..1; test $(stat -f -c %T .) = fuseblk && echo not ok 1 - tried fuse || echo ok 1")
    (tests / "02.t").write_text("echo 1..2; echo not ok 1 - tried nothing; echo 'not ok 2 - tried this # TODO'")
    command = [sys.executable, str(SCRIPTS / "conformance_suites.py"), "--pjdfstest", str(tmp_path), "--only", "some"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stderr
    assert [line for line in done.stdout.splitlines() if "FAILED" in line] == ["  FAILED some/01 1: - tried fuse"]
    assert "out: 5 tests, 1 fail; on the plain directory 1" in done.stdout


def test_other_peoples_stores_get_and_give_everything() -> None:
    if problem := probe_namespaces():
        pytest.skip(problem)
    command = [sys.executable, str(SCRIPTS / "conformance_external.py"), "--quick", "--only", "amazon"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "egress of 50 objects killed 1 times: all there, none twice" in done.stdout


def test_a_suite_that_is_none() -> None:
    done = subprocess.run([SCRIPTS / "conformance", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "conformance: there is no suite nothing\n")
