"""What somebody does to jobs and datums from outside: delete, restart, look at some of their logs."""

import pytest
from pipelines.helpers import COPY, Gate, Lab
from store.helpers import start

from appliance.errors import ApplianceError, DatumNotFound, JobNotFound
from appliance.store import logs, running
from appliance.store.collecting import collect
from appliance.store.logs import Chosen


def delete_job(lab: Lab, job_id: str) -> None:
    lab.store.write(lab.requests.delete_job("edges", job_id))


def test_deleted_job_is_gone_and_its_output_stays(lab: Lab) -> None:
    job = lab.run("echo said; " + COPY, {"/a": b"1"})
    delete_job(lab, job.id)
    with pytest.raises(JobNotFound):
        lab.calls.inspect_job("edges", job.id)
    collect(lab.store)
    assert lab.output() == {"/a": b"1"}
    assert lab.logs(job) == []


def test_outputs_that_later_jobs_share_outlive_the_job_that_made_them(lab: Lab) -> None:
    first = lab.run(COPY, {"/a": b"1"})
    lab.succeeded(lab.put({"/b": b"2"}))
    delete_job(lab, first.id)
    third = lab.succeeded(lab.put({"/c": b"3"}))
    assert (third.skipped, third.processed) == (2, 1)
    assert lab.output() == {"/a": b"1", "/b": b"2", "/c": b"3"}


def test_running_job_is_killed_when_it_is_deleted(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(gate.at())
    gate.wait()
    delete_job(lab, lab.newest().id)
    gate.wait_gone()
    assert lab.output() == {}


def test_restarted_datum_begins_anew_and_keeps_its_tries(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline("touch /pfs/out/half; " + gate.at() + "; " + COPY)
    gate.wait()
    lab.calls.restart_datum("edges", lab.newest().id, ["/a"])
    gate.wait()
    gate.open()
    job = lab.succeeded()
    [datum] = lab.datums(job)
    assert f"datum {datum.id}: restarted" in lab.logs(job, "job")
    assert (job.processed, datum.state) == (1, "success")


def test_only_the_datum_that_is_named_restarts(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1", "/b": b"2"})
    lab.pipeline(gate.at("$(ls /pfs/images)"), parallelism_spec={"constant": 2})
    assert gate.wait(2) == ["a", "b"]
    lab.calls.restart_datum("edges", lab.newest().id, ["/b"])
    assert gate.wait() == ["b"]
    gate.open(2)
    assert [datum.tries for datum in lab.datums(lab.succeeded())] == [1, 2]


def test_datum_that_is_not_there_can_not_restart(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(gate.at())
    gate.wait()
    job = lab.newest()
    with pytest.raises(DatumNotFound, match=rf"datum matching filter \[/x\] could not be found for job ID {job.id}"):
        lab.calls.restart_datum("edges", job.id, ["/x"])
    gate.open()
    lab.succeeded()
    with pytest.raises(ApplianceError, match="has already finished"):
        lab.calls.restart_datum("edges", job.id, ["/a"])


def test_logs_are_chosen_by_inputs_and_time(lab: Lab) -> None:
    job = lab.run("ls /pfs/images", {"/a": b"1", "/b": b"2"})
    with lab.store.snapshot() as db:
        digest = next(datum for datum in lab.datums(job) if b'"/b"' in datum.inputs).inputs.partition(b'"digest":"')[2][:64]
        lines = logs.list_log_lines(db, job.row)
        last_ns = max(line.time_ns for line in lines)

        def messages(chosen: Chosen) -> list[str]:
            return [line.message for line in logs.list_log_lines(db, job.row, chosen) if line.stream == "stdout"]

        assert messages(Chosen(inputs=["/a"])) == ["a"]
        assert messages(Chosen(inputs=[digest.decode()])) == ["b"]
        assert messages(Chosen(inputs=["/b", digest.decode()])) == ["b"]
        assert messages(Chosen(inputs=["/a", "/b"])) == []
        assert sorted(messages(Chosen())) == ["a", "b"]
        assert messages(Chosen(since_ns=last_ns + 1)) == []


def test_job_that_waits_for_its_input_can_be_deleted(lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1"})
    start(lab.store, "images")
    waiting = lab.newest()
    assert waiting.id != job.id
    lab.store.write(lambda db: running.delete_job(db, waiting.row))
    assert lab.newest() == job
