"""Jobs that somebody asks for, and pipelines that are deleted under others."""

import pytest
from pipelines.helpers import COPY, Lab, images
from store.helpers import create_repos

from appliance.errors import Conflict, InvalidRequest, RepoNotFound

LIST = "ls /pfs/images > /pfs/out/list"


def test_run_reads_chosen_commits(lab: Lab) -> None:
    lab.put({"/a": b"1"})
    old = lab.put({"/b": b"2"})
    lab.put({"/c": b"3"})
    lab.pipeline(LIST, input=images("/"))
    assert lab.succeeded().total == 1
    job = lab.succeeded(lab.calls.run_pipeline("edges", [("images", old)]))
    assert lab.output() == {"/list": b"a\nb\n"}
    assert lab.calls.inspect_commit("edges", job.id).provenance == (f"images@{old}",)


def test_run_reads_what_another_job_has_read(lab: Lab) -> None:
    first = lab.run(LIST, {"/a": b"1"}, input=images("/"))
    lab.put({"/b": b"2"})
    lab.succeeded()
    again = lab.succeeded(lab.calls.run_pipeline("edges", job=first.id))
    assert (lab.output(), again.skipped) == ({"/list": b"a\n"}, 0)


def test_run_without_commits_reads_the_heads_and_runs_what_is_downstream(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"})
    lab.pipeline("cp -r /pfs/edges/. /pfs/out", "montage", input={"pfs": {"repo": "edges", "glob": "/*"}})
    lab.succeeded(pipeline="montage")
    job_id = lab.calls.run_pipeline("edges")
    assert lab.succeeded(job_id).skipped == 1
    assert lab.succeeded(job_id, "montage").skipped == 1


def test_next_commit_is_worked_on_as_if_nothing_had_been_run(lab: Lab) -> None:
    first = lab.put({"/a": b"1"})
    lab.put({"/b": b"2"})
    lab.pipeline(COPY)
    lab.succeeded()
    lab.succeeded(lab.calls.run_pipeline("edges", [("images", first)]))
    assert lab.output() == {"/a": b"1"}
    lab.succeeded(lab.put({"/c": b"3"}))
    assert lab.output() == {"/a": b"1", "/b": b"2", "/c": b"3"}


def test_run_of_what_is_no_input_is_refused(lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1"})
    create_repos(lab.store, "other")
    other = lab.put({"/x": b""}, "other")
    with pytest.raises(InvalidRequest, match="repo other is not an input of pipeline edges"):
        lab.calls.run_pipeline("edges", [("other", other)])
    assert lab.newest() == job


def test_stopped_pipeline_does_not_run_on_demand(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"})
    lab.calls.stop_pipeline("edges")
    for ask in (lab.calls.run_pipeline, lab.calls.rerun_pipeline):
        with pytest.raises(Conflict, match="is stopped"):
            ask("edges")


def test_rerun_skips_what_is_done_unless_told_otherwise(lab: Lab) -> None:
    first = lab.run(COPY, {"/a": b"1"})
    lab.calls.rerun_pipeline("edges")
    again = lab.succeeded()
    assert (again.skipped, again.processed) == (1, 0)
    lab.calls.rerun_pipeline("edges", reprocess=True)
    last = lab.succeeded()
    assert (last.skipped, last.processed, last.version) == (0, 1, first.version)


def test_pipeline_that_others_read_is_deleted_by_force_alone(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"})
    lab.pipeline("true", "montage", input={"pfs": {"repo": "edges", "glob": "/*"}})
    lab.succeeded(pipeline="montage")
    with pytest.raises(Conflict):
        lab.calls.delete_pipeline("edges")
    lab.calls.delete_pipeline("edges", force=True)
    with pytest.raises(RepoNotFound):
        lab.calls.inspect_repo("edges")
    lab.calls.rerun_pipeline("montage")
    assert lab.succeeded(pipeline="montage").total == 0
