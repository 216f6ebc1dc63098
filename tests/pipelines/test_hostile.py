"""User code that behaves as badly as it can: it is contained, its job says what happened, and the appliance serves on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipelines.helpers import COPY, Gate, Lab, Serving

from appliance.store.jobs import Job

pytestmark = pytest.mark.usefixtures("namespaces", "quiet")


def serves_on(lab: Lab) -> None:
    """Another pipeline runs as ever."""
    lab.pipeline(COPY, "after")
    assert lab.succeeded(pipeline="after").failed == 0


def count_lines(lab: Lab, job: Job) -> int:
    with lab.store.snapshot() as db:
        return int(db.value("SELECT count(*) FROM log_lines WHERE job_id = ?", (job.row,)))


def last_line(lab: Lab, job: Job) -> str:
    with lab.store.snapshot() as db:
        return str(db.value("SELECT message FROM log_lines WHERE job_id = ? ORDER BY id DESC LIMIT 1", (job.row,)))


def test_daemons_end_with_their_datum(lab: Lab, gate: Gate) -> None:
    """Forked twice, in sessions of their own, deaf to signals, with the streams open, and holding the gate."""
    daemon = "trap '' TERM HUP INT; while :; do sleep 1; done"
    script = f'exec 9> {gate.held}; for n in 1 2 3; do setsid sh -c "({daemon}) &" & done; wait; {COPY}'
    assert lab.run(script, {"/a": b"1"}).state == "success"
    gate.wait_gone()
    serves_on(lab)


def test_command_that_ignores_the_end_of_its_job_is_killed(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(f"trap '' TERM; {gate.at()}; sleep 1000")
    gate.wait()
    lab.stop_job(lab.newest().id)
    gate.wait_gone()
    assert lab.ended().reason == "job stopped"
    serves_on(lab)


def test_command_that_closes_its_streams_is_waited_for(lab: Lab) -> None:
    script = f"exec 0<&- 1>&- 2>&-; sleep 0.1; {COPY}"
    assert lab.run(script, {"/a": b"1"}).state == "success"
    assert lab.output() == {"/a": b"1"}


def test_output_that_is_no_text_is_kept_readable(lab: Lab) -> None:
    job = lab.run(r"printf 'a\377\376b\000c\n'", {"/a": b""})
    assert lab.logs(job) == ["a\ufffd\ufffdb\0c"]


def test_of_output_without_end_the_beginning_and_the_end_are_kept(lab: Lab) -> None:
    """A gigabyte takes ten seconds; this is a part of it."""
    job = lab.run("yes 0123456789012345678901234567890123456789 | head -c 120000000; echo; echo last", {"/a": b""})
    assert (job.state, last_line(lab, job)) == ("success", "last")
    with lab.store.snapshot() as db:
        sql = "SELECT message FROM log_lines WHERE job_id = ? AND message LIKE '[%' "
        (left_out,) = db.execute(sql, (job.row,)).fetchone()
        kept = db.value("SELECT sum(length(message) + 1) FROM log_lines WHERE job_id = ?", (job.row,)) - len(left_out) - 1
    assert left_out == f"[{120_000_000 + 1 + 5 - kept} bytes of output are left out here]"
    assert count_lines(lab, job) < 1_000_000
    serves_on(lab)


def test_ten_thousand_files_are_taken_in(lab: Lab) -> None:
    job = lab.run("cd /pfs/out; mkdir d; seq 10000 | sed 's,^,d/,' | xargs touch", {"/a": b""})
    assert job.state == "success"
    with lab.store.snapshot() as db:
        assert db.value("SELECT file_count FROM commits WHERE id = ?", (job.commit_row,)) == 10_000
    serves_on(lab)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 48 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("then", ["", "; yes | head -n 200000"])
def test_datum_that_fills_the_disk_fails_and_takes_nothing_along(small_disk: Path, then: str) -> None:
    with Serving(small_disk / "data") as app:
        lab = Lab(app)
        job = lab.run(f"cat /dev/zero > /pfs/out/big{then}; test -z '{then}'", {"/a": b"1"})
        assert job.state == "failure"
        assert job.reason.endswith("user code exited with status 1")
        serves_on(lab)
