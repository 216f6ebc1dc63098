"""Jobs from the command line: forgotten, chosen by state, their logs by time and input, their datums begun anew."""

import json

import pytest
from cli.helpers import Shell, job_of


@pytest.fixture
def job(sh: Shell, repo: str) -> str:
    """A job that has said hello about one file, as `pipeline@id`."""
    name = f"{repo}-out"
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    pfs = {"repo": repo, "glob": "/", "s3": True}
    spec = {"pipeline": {"name": name}, "input": {"pfs": pfs}, "transform": {"cmd": ["echo", "hello"]}, "s3_out": True}
    sh("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
    found = f"{name}@{job_of(sh, name)}"
    sh("wait", "job", found)
    return found


def test_job_is_deleted(sh: Shell, job: str) -> None:
    sh("delete", "job", job)
    assert sh.refused("inspect", "job", job)[1] == f"job {job} not found"
    pipeline, _, job_id = job.partition("@")
    assert sh("inspect", "commit", f"{pipeline}@{job_id}").status == 0


def test_jobs_are_listed_by_state(sh: Shell, job: str) -> None:
    pipeline = job.partition("@")[0]
    assert len(sh("list", "job", "-p", pipeline, "--state", "success", "--state", "killed").rows) == 1
    assert sh("list", "job", "-p", pipeline, "--state", "failure").rows == []


def test_logs_are_chosen(sh: Shell, job: str) -> None:
    assert sh("logs", "-j", job, "--since", "1h").out == "hello\n"
    assert sh("logs", "-j", job, "--since", "600000h").out == "hello\n"
    assert sh("logs", "-j", job, "--since", "1ns").out == ""
    assert sh("logs", "-j", job, "--inputs", "/").out == "hello\n"
    assert sh("logs", "-j", job, "--inputs", "elsewhere").out == ""


def test_logs_refuse_what_is_no_time(sh: Shell, job: str) -> None:
    assert sh.refused("logs", "-j", job, "--since", "yesterday")[1] == '"yesterday" is no duration such as "30s" or "1h30m"'
    assert "use --since instead" in sh.try_("logs", "-j", job, "--tail", "3").err


def test_datum_of_a_job_that_has_ended_can_not_restart(sh: Shell, job: str) -> None:
    assert sh.refused("restart", "datum", job, "/") == (1, f"job {job} has already finished")


def test_remarks_of_the_appliance_are_shown_where_asked_for(sh: Shell, repo: str) -> None:
    name = f"{repo}-out"
    pfs = {"repo": repo, "glob": "/", "s3": True}
    transform = {"cmd": ["sh", "-c", "echo hello; exit 3"]}
    spec = {"pipeline": {"name": name}, "input": {"pfs": pfs}, "transform": transform, "s3_out": True, "datum_tries": 1}
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    sh("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
    job = f"{name}@{job_of(sh, name)}"
    sh.try_("wait", "job", job)
    assert sh("logs", "-j", job).out == "hello\n"
    (remark,) = sh("logs", "-j", job, "--master").out.splitlines()
    assert remark.endswith("try 1 of 1 failed: user code exited with status 3")
    assert sh("logs", "-j", job, "--worker").out.splitlines() == ["hello", remark]
