"""Jobs that somebody asks for, when no input has changed: on chosen commits, or once more on what the inputs are now."""

from collections.abc import Iterable

from appliance.errors import Conflict, InvalidRequest
from appliance.names import CommitId
from appliance.store import commits, jobs, pipelines, propagation
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.pipelines import Pipeline


def run_pipeline(db: Db, name: str, chosen: Iterable[tuple[str, str]], job_id: str | None = None) -> CommitId:
    """Start a job of a pipeline, and of those downstream, and return its id.

    It works on the `chosen` (repo, revision) commits, for other inputs on what the job `job_id` worked on, and without that
    on the heads. Raises InvalidRequest for a commit of a repo that is no input, Conflict while the pipeline is stopped.
    """
    pipeline = _get_running(db, name)
    before = commits.list_direct_provenance(db, jobs.get_job(db, name, job_id).commit_row) if job_id else []
    own = [commits.get_commit(db, repo, revision) for repo, revision in chosen]
    commit_id = propagation.new_set_id(db)
    branches = pipelines.list_branches(db, pipeline.row)
    for branch_id in branches:
        propagation.make_auto_commit(db, branch_id, commit_id)
        made = commits.get_by_row(db, db.value("SELECT head_id FROM branches WHERE id = ?", (branch_id,)))
        read = {commit.repo_id for commit in commits.list_direct_provenance(db, made.row)}
        for commit in (*(commit for commit in before if commit.repo_id in read), *own):
            if commit.repo_id not in read:
                raise InvalidRequest(f"repo {commit.repo} is not an input of pipeline {name}")
            _make_from(db, made, commit)
    propagation.propagate(db, branches, commit_id)
    return commit_id


def rerun_pipeline(db: Db, name: str, salt: str | None) -> None:
    """Start a job of a pipeline on the heads of its inputs; a new salt makes it process every datum again.

    Raises Conflict while the pipeline is stopped.
    """
    pipeline = _get_running(db, name)
    if salt is not None:
        db.execute("UPDATE pipelines SET salt = ? WHERE id = ?", (salt, pipeline.row))
    pipelines.start_set(db, pipeline.row)


def _get_running(db: Db, name: str) -> Pipeline:
    pipeline = pipelines.get_pipeline(db, name)
    if pipeline.stopped:
        raise Conflict(f'pipeline "{name}" is stopped')
    return pipeline


def _make_from(db: Db, made: Commit, source: Commit) -> None:
    """Let a commit be made from another one of a repo it was made from."""
    sql = """
        DELETE FROM commit_provenance WHERE commit_id = ? AND upstream_id IN (SELECT id FROM commits WHERE repo_id = ?)
    """
    db.execute(sql, (made.row, source.repo_id))
    db.execute("INSERT INTO commit_provenance (commit_id, upstream_id) VALUES (?, ?)", (made.row, source.row))
