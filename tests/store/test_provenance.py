"""What follows from a commit downstream: one set, in order, and invisible until it is done."""

import pytest
from store.helpers import (
    claim,
    commit_of,
    create_pipeline,
    create_repos,
    datums_of,
    delete,
    derive,
    finish,
    fork,
    job_of,
    process,
    put,
    run_pipeline,
    start,
    tree,
    waiting,
)

from appliance.errors import Conflict, InvalidRequest, PipelineNotFound
from appliance.names import find_meta_owner
from appliance.store import Store, commits, completing, jobs, pipelines, repos, running
from appliance.store.collecting import collect


@pytest.fixture
def diamond(store: Store) -> Store:
    """`images` feeds `edges` and `sizes`; `report` is made from both and from `images` itself. No job has run."""
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    create_pipeline(store, "sizes", "images")
    create_pipeline(store, "report", "sizes", "images", "edges")
    return store


def set_of(store: Store, commit_id: str) -> list[str]:
    """Return the repos of a set, those of the system left out."""
    with store.snapshot() as db:
        return [commit.repo for commit in commits.list_set(db, commit_id) if find_meta_owner(commit.repo) is None]


def jobs_of(store: Store, **which: str) -> list[jobs.Job]:
    with store.snapshot() as db:
        return jobs.list_jobs(db, **which)


def run_all(store: Store) -> None:
    """Run everything that waits in the diamond, upstream first."""
    while any(not job.finished_ns for job in jobs_of(store)):
        for name in ("edges", "sizes", "report"):
            if any(not job.finished_ns for job in jobs_of(store, pipeline=name)):
                run_pipeline(store, name, {name: {f"/{name}": b"1"}})


def test_put_makes_one_set_downstream_with_upstream_first(diamond: Store) -> None:
    commit = put(diamond, "images", "/a", b"1")
    found = set_of(diamond, commit)
    assert (found[0], set(found[1:3]), found[3:]) == ("images", {"edges", "sizes"}, ["report"])


def test_each_pipeline_gets_one_job_of_a_set(diamond: Store) -> None:
    commit = put(diamond, "images", "/a", b"1")
    assert sorted(job.pipeline for job in jobs_of(diamond, job_id=commit)) == ["edges", "report", "sizes"]


def test_commit_rests_on_those_of_its_own_set(diamond: Store) -> None:
    commit = put(diamond, "images", "/a", b"1")
    with diamond.snapshot() as db:
        found = commits.list_provenance(db, commits.get_commit(db, "report", commit))
    assert sorted((other.repo, other.id) for other in found) == [(name, commit) for name in ("edges", "images", "sizes")]


def test_untouched_input_is_taken_at_its_head(store: Store) -> None:
    create_repos(store, "images", "labels")
    create_pipeline(store, "edges", "images", "labels")
    old = put(store, "labels", "/l", b"1")
    new = put(store, "images", "/a", b"1")
    with store.snapshot() as db:
        found = commits.list_provenance(db, commits.get_commit(db, "edges", new))
    assert {(commit.repo, commit.id) for commit in found} == {("images", new), ("labels", old)}


def test_id_of_a_set_names_the_commit_that_it_was_made_from(store: Store) -> None:
    create_repos(store, "images", "labels")
    create_pipeline(store, "edges", "images", "labels")
    put(store, "labels", "/l", b"old")
    new = put(store, "images", "/a", b"1")
    put(store, "labels", "/l", b"new")
    assert tree(store, "labels", new) == {"/l": b"old"}


def test_start_propagates_at_once_and_finish_not_again(diamond: Store) -> None:
    commit = start(diamond, "images")
    put(diamond, "images", "/a", b"1")
    assert len(set_of(diamond, commit)) == 4
    finish(diamond, "images")
    assert len(jobs_of(diamond, pipeline="edges")) == 2


def test_job_knows_that_its_input_is_still_open(diamond: Store) -> None:
    run_all(diamond)
    start(diamond, "images")
    assert (waiting(diamond, "edges").open_inputs, waiting(diamond, "report").open_inputs) == (1, 3)
    finish(diamond, "images")
    assert (waiting(diamond, "edges").open_inputs, waiting(diamond, "report").open_inputs) == (0, 2)


def test_jobs_of_a_pipeline_wait_for_each_other(diamond: Store) -> None:
    run_all(diamond)
    first = put(diamond, "images", "/a", b"1")
    put(diamond, "images", "/a", b"2")
    assert job_of(diamond, claim(diamond, "edges", [])).id == first


def test_open_output_is_invisible(diamond: Store) -> None:
    run_all(diamond)
    put(diamond, "images", "/a", b"1")
    job = claim(diamond, "edges", ["new"])
    process(diamond, job, {"new": {"/new": b"1"}})
    assert tree(diamond, "edges") == {"/edges": b"1"}


def test_open_output_asked_for_by_its_id_is_refused(diamond: Store) -> None:
    commit = put(diamond, "images", "/a", b"1")
    with pytest.raises(Conflict, match=rf"^output commit edges@{commit} not finished$"):
        tree(diamond, "edges", commit)


def test_failed_output_is_invisible_and_the_next_goes_on_before_it(diamond: Store) -> None:
    run_all(diamond)
    commit = put(diamond, "images", "/a", b"1")
    job = claim(diamond, "edges", ["bad"])
    diamond.write(lambda db: running.fail_job(db, job.row, "failure", "exit status 1"))
    assert (tree(diamond, "edges"), tree(diamond, "edges", commit)) == ({"/edges": b"1"}, {})
    put(diamond, "images", "/a", b"2")
    run_pipeline(diamond, "edges", {"good": {"/good": b"2"}})
    assert tree(diamond, "edges") == {"/good": b"2"}


def test_job_below_a_failed_one_knows_what_failed(diamond: Store) -> None:
    run_all(diamond)
    put(diamond, "images", "/a", b"1")
    job = claim(diamond, "edges", ["bad"])
    diamond.write(lambda db: running.fail_job(db, job.row, "failure", "exit status 1"))
    assert waiting(diamond, "report").failed_inputs == ("edges",)


def test_output_branch_before_its_first_job_is_empty(diamond: Store) -> None:
    assert tree(diamond, "report") == {}


def test_moved_branch_propagates_under_an_id_of_its_own(diamond: Store) -> None:
    put(diamond, "images", "/a", b"1")
    put(diamond, "images", "/a", b"2")
    before = len(jobs_of(diamond, pipeline="report"))
    fork(diamond, "images", "master", "master^")
    assert len(jobs_of(diamond, pipeline="report")) == before + 1
    assert tree(diamond, "images", jobs_of(diamond, pipeline="report")[0].id) == {"/a": b"1"}


def test_branch_that_nobody_depends_on_makes_no_jobs(diamond: Store) -> None:
    before = len(jobs_of(diamond))
    put(diamond, "images", "/a", b"1", "dev")
    assert len(jobs_of(diamond)) == before


def test_delete_propagates_as_a_put_does(diamond: Store) -> None:
    put(diamond, "images", "/a", b"1")
    assert len(set_of(diamond, delete(diamond, "images", "/a"))) == 4


def test_missing_upstream_branch_is_made_empty(store: Store) -> None:
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    assert tree(store, "images") == {}


def test_repo_in_its_own_provenance_is_refused(store: Store) -> None:
    create_repos(store, "images")
    with pytest.raises(InvalidRequest, match=r"^repo images cannot be in the provenance of its own branch$"):
        store.write(lambda db: repos.create_branch(db, "images", "dev", provenance=[("images", "master")]))


def test_circle_is_refused(store: Store) -> None:
    create_repos(store, "a", "b", "c")
    derive(store, "b", "a")
    derive(store, "c", "b")
    with pytest.raises(InvalidRequest):
        derive(store, "a", "c")


def test_circle_through_another_branch_of_a_repo_is_refused(store: Store) -> None:
    create_repos(store, "a", "b")
    derive(store, "b", "a")
    with pytest.raises(InvalidRequest, match='multiple branches from the same repo, "a", cannot participate in a DAG'):
        store.write(lambda db: repos.create_branch(db, "a", "dev", provenance=[("b", "master")]))


def test_two_branches_of_a_repo_below_the_same_branch_are_refused(store: Store) -> None:
    """A set has one commit of a repo: every later put would fail."""
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    with pytest.raises(InvalidRequest, match='multiple branches from the same repo, "edges", cannot participate in a DAG'):
        store.write(lambda db: repos.create_branch(db, "edges", "dev", provenance=[("images", "master")]))


def test_two_branches_of_a_repo_above_the_same_branch_are_refused(store: Store) -> None:
    """The id of the set could mean either."""
    create_repos(store, "images", "edges")
    sources = [("images", "master"), ("images", "dev")]
    with pytest.raises(InvalidRequest, match='multiple branches from the same repo, "images", cannot participate in a DAG'):
        store.write(lambda db: repos.create_branch(db, "edges", "master", provenance=sources))


def test_new_provenance_gives_an_existing_branch_a_new_head(store: Store) -> None:
    create_repos(store, "images", "edges")
    before = put(store, "edges", "/a", b"1")
    put(store, "images", "/a", b"1")
    derive(store, "edges", "images")
    head = commit_of(store, "edges")
    assert (head.id != before, head.origin) == (True, "AUTO")


def test_commit_of_a_branch_without_a_pipeline_can_be_finished(store: Store) -> None:
    """Nobody else would."""
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    commit = put(store, "images", "/a", b"1")
    assert finish(store, "edges") == commit


def test_stopped_pipeline_gets_no_commits(diamond: Store) -> None:
    run_all(diamond)
    diamond.write(lambda db: pipelines.set_stopped(db, "edges", True))
    commit = put(diamond, "images", "/a", b"1")
    assert "edges" not in set_of(diamond, commit)


def test_pipeline_started_again_does_not_hold_up_those_below(diamond: Store) -> None:
    run_all(diamond)
    diamond.write(lambda db: pipelines.set_stopped(db, "edges", True))
    put(diamond, "images", "/a", b"1")
    diamond.write(lambda db: pipelines.set_stopped(db, "edges", False))
    for name in ("sizes", "edges", "sizes"):
        if any(not job.finished_ns for job in jobs_of(diamond, pipeline=name)):
            run_pipeline(diamond, name, {name: {f"/{name}": b"2"}})
    assert waiting(diamond, "report").open_inputs == 0


def test_stopping_kills_the_jobs(diamond: Store) -> None:
    diamond.write(lambda db: pipelines.set_stopped(db, "edges", True))
    (job,) = jobs_of(diamond, pipeline="edges")
    assert (job.state, commit_of(diamond, "edges").error) == ("killed", "all jobs killed because pipeline was stopped")


def test_update_kills_the_jobs_and_makes_one(diamond: Store) -> None:
    new = pipelines.NewPipeline("edges", b'{"v": 2}', "", "master", [("images", "master")], "other salt")
    diamond.write(lambda db: pipelines.update_pipeline(db, new))
    assert [(job.state, job.version) for job in jobs_of(diamond, pipeline="edges")] == [("created", 2), ("killed", 1)]
    with diamond.snapshot() as db:
        assert pipelines.get_pipeline(db, "edges").salt == "salt"


def test_update_of_a_stopped_pipeline_opens_no_commit(diamond: Store) -> None:
    """Nobody would finish it, and those below would wait for it."""
    diamond.write(lambda db: pipelines.set_stopped(db, "edges", True))
    new = pipelines.NewPipeline("edges", b"{}", "", "master", [("images", "master")], "salt")
    diamond.write(lambda db: pipelines.update_pipeline(db, new))
    assert not commit_of(diamond, "edges").is_open


def test_pipeline_that_others_rest_on_is_not_deleted(diamond: Store) -> None:
    with pytest.raises(Conflict, match="branch report@master depends on it"):
        diamond.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    assert len(jobs_of(diamond, pipeline="edges")) == 1


def test_deleted_pipeline_takes_jobs_and_repo_along(diamond: Store) -> None:
    put(diamond, "images", "/a", b"1")
    run_all(diamond)
    for name in ("report", "edges", "sizes"):
        diamond.write(lambda db, name=name: pipelines.delete_pipeline(db, name))
    with diamond.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db)] == ["images"]
        assert jobs.list_jobs(db) == []
    collect(diamond)
    with diamond.snapshot() as db:
        assert db.value("SELECT count(*) FROM jobs") == db.value("SELECT count(*) FROM datums") == 0
        with pytest.raises(PipelineNotFound):
            pipelines.get_pipeline(db, "edges")


def test_repo_kept_from_a_deleted_pipeline_can_be_written(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    job = claim(store, "edges", ["one"])
    put(store, "images", "/a", b"1")
    process(store, job, {"one": {"/one": b"1"}})
    assert [datum.state for datum in datums_of(store, job)] == ["success"]
    completing.complete_job(store, job.row)
    store.write(lambda db: pipelines.delete_pipeline(db, "edges", keep_repo=True))
    put(store, "edges", "/mine", b"23")
    assert tree(store, "edges") == {"/mine": b"23", "/one": b"1"}
    assert (commit_of(store, "edges").file_count, commit_of(store, "edges").size_bytes) == (2, 3)
