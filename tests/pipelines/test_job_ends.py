"""How jobs end that do not simply succeed: tries, failures, timeouts, and being stopped in the middle."""

from pathlib import Path

import pytest
from pipelines.helpers import COPY, Gate, Lab, images, kill_launcher, wait_until
from store.helpers import commit_of, delete

from appliance.errors import ApplianceError, InvalidSpec, JobNotFound
from appliance.store import jobs, logs, repos
from appliance.store.jobs import Job

LONG = "1000s"
FOR_EVER = "sleep 1000"


# -- tries


def test_failed_try_is_repeated_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    script = f"echo x >> {tries}; echo > /pfs/out/$(wc -l < {tries}); test $(wc -l < {tries}) = 3"
    job = lab.run(script, {"/a": b""}, datum_tries=3)
    assert (job.state, job.failed, [datum.tries for datum in lab.datums(job)]) == ("success", 0, [3])
    assert lab.output() == {"/3": b"\n"}
    (datum,) = lab.datums(job)
    assert lab.logs(job, "job") == [
        f"datum {datum.id}: try {number} of 3 failed: user code exited with status 1" for number in (1, 2)
    ]


def test_datum_that_always_fails_fails_the_job(lab: Lab) -> None:
    job = lab.run("test $(basename $images) != bad", {"/bad": b"", "/good": b""}, datum_tries=2)
    bad, good = lab.datums(job)
    assert (job.state, job.processed, job.failed) == ("failure", 1, 1)
    assert job.reason == f"datum {bad.id} failed: user code exited with status 1"
    assert [(datum.state, datum.tries) for datum in (bad, good)] == [("failed", 2), ("success", 1)]


def test_failed_job_leaves_an_errored_commit_and_readers_where_they_were(lab: Lab) -> None:
    lab.run(f"test $(basename $images) != bad; {COPY}", {"/good": b"1"})
    job = lab.ended(lab.put({"/bad": b"", "/other": b""}))
    assert (commit_of(lab.store, "edges").id, commit_of(lab.store, "edges").error) == (job.id, job.reason)
    assert lab.output() == {"/good": b"1"}
    lab.succeeded(delete(lab.store, "images", "/bad"))
    assert lab.output() == {"/good": b"1", "/other": b""}


def test_command_that_does_not_exist_fails_the_datum(lab: Lab) -> None:
    job = lab.run("", {"/a": b""}, transform={"cmd": ["no-such-command"]})
    (datum,) = lab.datums(job)
    assert datum.reason == "user code could not be started: cannot execute no-such-command: No such file or directory"


def test_pipeline_without_a_command_is_refused(lab: Lab) -> None:
    with pytest.raises(InvalidSpec, match="invalid pipeline transform, no command specified"):
        lab.pipeline("", transform={"cmd": []})


def test_signal_is_told(lab: Lab) -> None:
    assert lab.run("kill -SEGV $$", {"/a": b""}).reason.endswith("failed: user code was killed by signal 11")


def test_accepted_return_code_is_success(lab: Lab) -> None:
    job = lab.run(f"{COPY}; exit 3", {"/a": b"1"}, transform={"accept_return_code": [3]})
    assert (job.state, lab.output()) == ("success", {"/a": b"1"})


def test_lost_launcher_is_not_the_datum_s_fault(lab: Lab, gate: Gate) -> None:
    """`datum_tries` is 1."""
    lab.put({"/a": b"1"})
    lab.pipeline(f"{gate.at()}; {COPY}")
    gate.wait()
    kill_launcher()
    gate.wait()
    gate.open()
    job = lab.ended()
    (datum,) = lab.datums(job)
    assert (job.state, datum.tries, lab.output()) == ("success", 2, {"/a": b"1"})
    assert lab.logs(job, "job") == [f"datum {datum.id}: the launcher of user code died, and the run with it; once more"]


def test_datum_whose_launcher_dies_every_time_fails(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(gate.at())
    for _ in range(4):
        gate.wait()
        kill_launcher()
    job = lab.ended()
    (datum,) = lab.datums(job)
    assert (job.state, datum.reason) == ("failure", "the launcher of user code died, and the run with it")


# -- err_cmd


def test_err_cmd_recovers_the_datum_which_then_has_no_output(lab: Lab) -> None:
    script = f"{COPY}; test $(basename $images) != bad"
    handler = {"err_cmd": ["sh", "-e"], "err_stdin": ["cat $images", "ls /pfs/out"]}
    job = lab.run(script, {"/bad": b"1", "/good": b"2"}, datum_tries=2, transform=handler)
    assert (job.state, job.processed, job.failed, job.recovered) == ("success", 1, 0, 1)
    assert lab.output() == {"/good": b"2"}
    bad, _ = lab.datums(job)
    assert (bad.state, bad.tries, bad.reason) == ("recovered", 2, "user code exited with status 1")
    assert lab.logs(job) == ["1bad"]  # once, after the last try, with what that left


def test_recovered_datum_runs_again_in_the_next_job(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bad").touch()
    lab.run(f"test ! -e {tmp_path}/bad; {COPY}", {"/a": b"1"}, transform={"err_cmd": ["true"]})
    (tmp_path / "bad").unlink()
    job = lab.succeeded(lab.put({"/b": b"2"}))
    assert (job.processed, job.skipped, lab.output()) == (2, 0, {"/a": b"1", "/b": b"2"})


def test_err_cmd_that_fails_fails_the_datum(lab: Lab) -> None:
    job = lab.run("exit 1", {"/a": b""}, transform={"err_cmd": ["sh", "-c", "exit 2"]})
    (datum,) = lab.datums(job)
    assert (job.state, job.failed, datum.reason) == ("failure", 1, "user code exited with status 1")
    assert lab.logs(job, "job")[0] == f"datum {datum.id}: err_cmd failed: user code exited with status 2"


def test_err_cmd_recovers_a_timeout(lab: Lab) -> None:
    job = lab.run(FOR_EVER, {"/a": b""}, datum_timeout="50ms", transform={"err_cmd": ["true"]})
    assert (job.state, job.recovered) == ("success", 1)


def test_err_cmd_has_a_time_limit_too(lab: Lab) -> None:
    handler = {"err_cmd": ["sh"], "err_stdin": [FOR_EVER]}
    job = lab.run("exit 1", {"/a": b""}, datum_timeout="50ms", transform=handler)
    assert (job.state, lab.logs(job, "job")[0].partition(": ")[2]) == (
        "failure",
        "err_cmd failed: datum timed out after 50ms",
    )


def test_err_cmd_recovers_a_command_that_does_not_exist(lab: Lab) -> None:
    job = lab.run("", {"/a": b""}, transform={"cmd": ["no-such-command"], "err_cmd": ["true"]})
    assert (job.state, job.recovered) == ("success", 1)


# -- timeouts


def test_datum_timeout_kills_the_try(lab: Lab) -> None:
    job = lab.run(FOR_EVER, {"/a": b""}, datum_timeout="50ms", datum_tries=2)
    (datum,) = lab.datums(job)
    assert (datum.tries, datum.reason) == (2, "datum timed out after 50ms")


def test_job_timeout_kills_the_job(lab: Lab, gate: Gate) -> None:
    job = lab.run(f"exec 9> {gate.held}; {FOR_EVER}", {"/a": b""}, job_timeout="1s", datum_timeout=LONG)
    assert (job.state, job.reason) == ("killed", "job timed out")
    gate.wait_gone()


# -- stopped in the middle


def running(lab: Lab, gate: Gate, datums: int = 1) -> Job:
    """A job of two datums, the first or both of which are at the gate with their output written."""
    lab.put({"/a": b"1", "/b": b"2"})
    lab.pipeline(f"{COPY}; {gate.at()}", parallelism_spec={"constant": datums})
    gate.wait(datums)
    return lab.newest()


def test_stopped_job_is_killed(lab: Lab, gate: Gate) -> None:
    job = running(lab, gate)
    lab.stop_job(job.id)
    ended = lab.ended()
    gate.wait_gone()
    assert (ended.state, ended.reason, ended.processed) == ("killed", "job stopped", 0)
    assert (commit_of(lab.store, "edges").error, lab.output()) == ("job stopped", {})


def test_stopped_job_keeps_what_user_code_said_while_it_was_stopped(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(f"trap 'echo bye; exit' TERM; {gate.at()}")
    gate.wait()
    lab.stop_job(lab.newest().id)
    assert wait_until(lab.store, lambda db: logs.list_log_lines(db, lab.newest().row))[0].message == "bye"


def test_job_after_a_stopped_one_runs(lab: Lab, gate: Gate) -> None:
    lab.stop_job(running(lab, gate).id)
    gate.wait_gone()
    gate.open(3)
    job = lab.succeeded(lab.put({"/c": b"3"}))
    assert (job.processed, lab.output()) == (3, {"/a": b"1", "/b": b"2", "/c": b"3"})


def test_ended_job_can_not_be_stopped(lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1"})
    with pytest.raises(ApplianceError, match=rf"^job edges@{job.id} has already finished$"):
        lab.stop_job(job.id)


def test_stopped_pipeline_kills_its_job(lab: Lab, gate: Gate) -> None:
    job = running(lab, gate)
    lab.calls.stop_pipeline("edges")
    gate.wait_gone()
    ended = lab.ended(job.id)
    assert (ended.state, ended.reason) == ("killed", "all jobs killed because pipeline was stopped")


def test_started_pipeline_runs_for_what_is_there_now(lab: Lab, gate: Gate) -> None:
    running(lab, gate)
    lab.calls.stop_pipeline("edges")
    gate.wait_gone()
    gate.open(2)
    lab.calls.start_pipeline("edges")
    lab.succeeded()
    assert lab.output() == {"/a": b"1", "/b": b"2"}


def test_updated_pipeline_kills_its_job_and_runs_again(lab: Lab, gate: Gate) -> None:
    job = running(lab, gate)
    lab.pipeline("echo new > /pfs/out/$(basename $images)", update=True)
    gate.wait_gone()
    assert lab.ended(job.id).reason == "all jobs killed because pipeline was updated"
    assert lab.succeeded().version == 2
    assert lab.output() == {"/a": b"new\n", "/b": b"new\n"}


def test_deleted_pipeline_kills_its_job(lab: Lab, gate: Gate) -> None:
    job = running(lab, gate, datums=2)
    lab.calls.delete_pipeline("edges")
    gate.wait_gone()
    with lab.store.snapshot() as db, pytest.raises(JobNotFound):
        jobs.get_by_row(db, job.row)
    lab.pipeline(COPY)
    assert (lab.succeeded().processed, lab.output()) == (2, {"/a": b"1", "/b": b"2"})


def test_job_deleted_while_its_datum_ends_harms_nobody(lab: Lab, gate: Gate) -> None:
    """Its user code ends on its own at the same time, and its output goes nowhere."""
    running(lab, gate, datums=2)
    gate.open(2)
    lab.calls.delete_pipeline("edges")
    lab.pipeline(COPY, "other")
    assert lab.succeeded(pipeline="other").processed == 2
    with lab.store.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db) if repo.name == "edges"] == []


def test_pipeline_can_be_stopped_while_it_lists_its_datums(lab: Lab) -> None:
    lab.put({f"/{number}": b"" for number in range(2000)})
    lab.pipeline(FOR_EVER, input=images("/*"))
    wait_until(lab.store, lambda db: jobs.list_jobs(db)[0].state != "created")
    lab.calls.stop_pipeline("edges")
    assert lab.ended().state == "killed"
