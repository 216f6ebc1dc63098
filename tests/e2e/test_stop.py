"""Stopping and being killed: what is left behind (nothing), and what is lost (nothing)."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from e2e.conftest import ROOT, Appliance, wait_until

SLEEPER = {
    "transform": {"cmd": ["sh"], "stdin": ["trap '' TERM", "echo started > /pfs/out/started", "sleep 1000"]},
}


def processes_below(pid: int) -> set[int]:
    """Return the processes that descend from one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start_endless_job(appliance: Appliance) -> None:
    appliance.pachctl("create", "repo", "in")
    appliance.pachctl("put", "file", "in@master:/file", "-f", "-", stdin="x")
    appliance.create_pipeline(pipeline={"name": "endless"}, input={"pfs": {"repo": "in", "glob": "/*"}}, **SLEEPER)
    assert appliance.process is not None
    pid = appliance.process.pid
    wait_until(lambda: any(b"sleep" in _command(child) for child in processes_below(pid)))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_is_quick_and_leaves_nothing_behind(appliance: Appliance, number: int) -> None:
    start_endless_job(appliance)
    assert appliance.process is not None
    family = processes_below(appliance.process.pid)
    with (appliance.mount / "in/file").open() as file:
        busy = subprocess.Popen(["sleep", "1000"], cwd=appliance.mount / "in", stdin=file)
    address = urlsplit(appliance.facts["s3_endpoint"])
    with socket.create_connection((address.hostname, address.port)) as idle:
        idle.sendall(b"PUT /master.in/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        started = time.monotonic()
        assert appliance.stop(number) == 0
        took = time.monotonic() - started
    assert busy.poll() is None  # it worked in the mount, and has not been asked
    busy.kill()
    busy.wait()
    assert not [pid for pid in family if is_alive(pid)]
    assert not os.path.ismount(appliance.mount)
    assert not (appliance.data / "control.sock").exists()
    assert not appliance.ready_file.exists()
    assert not list((appliance.data / "staging").iterdir())
    assert not list((appliance.data / "scratch").iterdir())
    assert took < 20  # a bound against hanging; how long it really takes is for the bench to say


@pytest.mark.usefixtures("namespaces")
def test_killed_appliance_leaves_no_process_and_no_mount(appliance: Appliance) -> None:
    start_endless_job(appliance)
    assert appliance.process is not None
    family = processes_below(appliance.process.pid)
    appliance.stop(signal.SIGKILL)
    wait_until(lambda: not [pid for pid in family if is_alive(pid)])
    wait_until(lambda: not os.path.ismount(appliance.mount))


@pytest.mark.usefixtures("namespaces")
def test_killed_appliance_finishes_its_jobs_after_the_next_start(appliance: Appliance, tmp_path: Path) -> None:
    # Each datum notes that it ran, and waits for a word from outside; the first two get it, then the appliance is killed.
    ran, go = tmp_path / "ran", tmp_path / "go"
    for directory in (ran, go):
        directory.mkdir()
    script = [
        "name=$(basename /pfs/in/*)",
        f"echo run >> {ran}/$name",
        f"until [ -e {go}/$name ]; do sleep 0.05; done",
        "sha256sum < /pfs/in/$name > /pfs/out/$name",
    ]
    appliance.pachctl("create", "repo", "in")
    for number in range(5):
        appliance.pachctl("put", "file", f"in@master:/{number}", "-f", "-", stdin=f"content {number}")
    appliance.create_pipeline(
        pipeline={"name": "hash"},
        input={"pfs": {"repo": "in", "glob": "/*"}},
        transform={"cmd": ["sh"], "stdin": script},
        parallelism_spec={"constant": 2},
    )
    (go / "0").touch()
    (go / "1").touch()
    wait_until(lambda: "2 + 0 / 5" in appliance.pachctl("list", "job", "-x"))
    assert appliance.pachctl("list", "file", "hash@master").splitlines()[1:] == []
    appliance.stop(signal.SIGKILL)
    for number in range(2, 5):
        (go / str(number)).touch()
    appliance.start("--durability", "fast")
    appliance.pachctl("wait", "commit", "hash@master")
    for number in range(5):
        expected = appliance.run("sha256sum", stdin=f"content {number}")
        assert appliance.pachctl("get", "file", f"hash@master:/{number}") == expected
    assert [(ran / name).read_text() for name in ("0", "1")] == ["run\n", "run\n"]


@pytest.mark.usefixtures("namespaces")
def test_chain_of_both_kinds_of_pipeline_survives_kills(appliance: Appliance) -> None:
    results = sorted((ROOT / "scripts" / "labresults").glob("*.csv"))
    words = ["put", "file", "labresults@master"]
    appliance.pachctl("create", "repo", "labresults")
    appliance.pachctl(*words, *(word for file in results for word in ("-f", str(file))))
    copy = 'd=$(mktemp -d) && aws s3 cp s3://labresults/ $d --recursive && aws s3 cp $d s3://out --recursive && rm -r "$d"'
    appliance.create_pipeline(
        pipeline={"name": "copied"},
        input={"pfs": {"repo": "labresults", "glob": "/", "s3": True}},
        transform={"cmd": ["sh", "-c", copy]},
        s3_out=True,
    )
    appliance.create_pipeline(
        pipeline={"name": "summed"},
        input={"pfs": {"repo": "copied", "glob": "/*"}},
        transform={"cmd": ["sh", "-c", "for f in /pfs/copied/*; do sha256sum < $f > /pfs/out/$(basename $f); done"]},
        parallelism_spec={"constant": 2},
    )
    for pipeline in ("copied", "summed"):
        wait_until(lambda name=pipeline: _state(appliance, name) in ("running", "success"))
        appliance.stop(signal.SIGKILL)
        appliance.start("--durability", "fast")
    appliance.pachctl("wait", "commit", "summed@master")
    for file in results:
        assert appliance.pachctl("get", "file", f"copied@master:/{file.name}") == file.read_text()
        expected = appliance.run("sha256sum", stdin=file.read_text())
        assert appliance.pachctl("get", "file", f"summed@master:/{file.name}") == expected


def _state(appliance: Appliance, pipeline: str) -> str:
    return appliance.pachctl("list", "job", "-p", pipeline).splitlines()[1].split()[-1]


def test_what_was_acknowledged_is_there_after_a_kill(appliance: Appliance) -> None:
    appliance.s3.create_bucket(Bucket="master.kept")
    versions = {}
    for number in range(20):
        answer = appliance.s3.put_object(Bucket="master.kept", Key=f"key-{number}", Body=os.urandom(40_000))
        versions[f"key-{number}"] = (answer["VersionId"], answer["ETag"])
    appliance.stop(signal.SIGKILL)
    appliance.start("--durability", "fast")
    for key, (version, etag) in versions.items():
        found = appliance.s3.get_object(Bucket="master.kept", Key=key, VersionId=version)
        found["Body"].read()
        assert found["ETag"] == etag
