"""Pipelines as rows: the spec and its versions, the output branch, stopped or not.

What a spec means is `appliance.pipelines.spec`'s business; here it is text with a list of upstream branches.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.errors import AlreadyExists, Conflict, PipelineNotFound
from appliance.names import CommitId, check_name, meta_repo, parse_revision
from appliance.store import burying, commits, crons, propagation, repos, running, triggers
from appliance.store.crons import Cron
from appliance.store.database import Db
from appliance.store.triggers import Trigger


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline at its newest version. `spec` is JSON; `last_job_state` is None before the first."""

    row: int
    name: str
    version: int
    spec: bytes
    salt: str
    stopped: bool
    created_ns: int
    branch: str
    last_job_state: str | None


_SELECT = """
    SELECT p.id, p.name, p.version, v.spec, p.salt, p.stopped, p.created_ns, b.name,
           (SELECT state FROM jobs j WHERE j.pipeline_id = p.id ORDER BY j.id DESC LIMIT 1)
    FROM pipelines p
    JOIN pipeline_versions v ON v.pipeline_id = p.id AND v.version = p.version
    JOIN branches b ON b.id = p.branch_id
"""


def exists(db: Db, name: str) -> bool:
    """Tell whether there is a pipeline of this name."""
    return db.value("SELECT 1 FROM pipelines WHERE name = ? AND NOT deleted", (name,)) is not None


def get_pipeline(db: Db, name: str) -> Pipeline:
    """Return a pipeline or raise PipelineNotFound."""
    row = db.row(_SELECT + "WHERE p.name = ? AND NOT p.deleted", (name,))
    if row is None:
        raise PipelineNotFound(f'pipeline "{name}" not found')
    return Pipeline(*row)


def list_pipelines(db: Db) -> list[Pipeline]:
    """Return all pipelines, newest first."""
    return [Pipeline(*row) for row in db.execute(_SELECT + "WHERE NOT p.deleted ORDER BY p.created_ns DESC, p.id DESC")]


_SELECT_VERSION = """
    SELECT p.id, p.name, v.version, v.spec, p.salt, p.stopped, v.created_ns, b.name,
           (SELECT state FROM jobs j WHERE j.pipeline_id = p.id AND j.version = v.version ORDER BY j.id DESC LIMIT 1)
    FROM pipelines p JOIN pipeline_versions v ON v.pipeline_id = p.id JOIN branches b ON b.id = p.branch_id
"""


def iter_versions(db: Db, name: str) -> Iterator[Pipeline]:
    """Yield a pipeline as it was at each of its versions, newest first. Raises PipelineNotFound."""
    row = get_pipeline(db, name).row
    return (Pipeline(*found) for found in db.execute(_SELECT_VERSION + "WHERE p.id = ? ORDER BY v.version DESC", (row,)))


def get_version(db: Db, text: str) -> Pipeline:
    """Return a pipeline, or as it was some versions ago: `p`, `p^`, `p~2`, `p.1`. Raises PipelineNotFound, InvalidRequest."""
    wanted = parse_revision(text)
    newest = get_pipeline(db, wanted.name)
    version = (wanted.from_root or newest.version) - wanted.back
    if version == newest.version:
        return newest
    found = db.row(_SELECT_VERSION + "WHERE p.id = ? AND v.version = ?", (newest.row, version))
    if found is None:
        raise PipelineNotFound(f'pipeline "{text}" not found')
    return Pipeline(*found)


def iter_at(db: Db, commit_id: CommitId) -> Iterator[Pipeline]:
    """Yield the pipelines as they were when a commit set began, newest first. Raises CommitNotFound."""
    began_ns = min(commit.started_ns for commit in commits.list_set(db, commit_id))
    sql = """
        WHERE NOT p.deleted
            AND v.version = (SELECT max(version) FROM pipeline_versions w WHERE w.pipeline_id = p.id AND w.created_ns <= ?)
        ORDER BY v.created_ns DESC, p.id DESC
    """
    return (Pipeline(*found) for found in db.execute(_SELECT_VERSION + sql, (began_ns,)))


def get_spec(db: Db, pipeline: str, version: int) -> bytes:
    """Return the spec of one version of a pipeline. Raises PipelineNotFound."""
    sql = """
        SELECT v.spec FROM pipeline_versions v JOIN pipelines p ON p.id = v.pipeline_id
        WHERE p.name = ? AND v.version = ? AND NOT p.deleted
    """
    spec: bytes | None = db.value(sql, (pipeline, version))
    if spec is None:
        raise PipelineNotFound(f'version {version} of pipeline "{pipeline}" not found')
    return spec


@dataclass(frozen=True, slots=True)
class NewPipeline:
    """What a pipeline is made of, as far as the store cares: `inputs` are branches, `triggers` those of some of them.

    What comes to `quiet` inputs starts no jobs.
    """

    name: str
    spec: bytes
    description: str
    output_branch: str
    inputs: Sequence[tuple[str, str]]
    salt: str
    quiet: Sequence[tuple[str, str]] = ()
    triggers: Sequence[tuple[str, str, Trigger]] = ()
    crons: Sequence[Cron] = ()


def create_pipeline(db: Db, new: NewPipeline) -> None:
    """Make a pipeline with its output repo and branch, and its first job.

    Raises AlreadyExists for a pipeline or repo of that name, RepoNotFound for an input; missing input branches are made.
    """
    if exists(db, new.name):
        raise AlreadyExists(f'pipeline "{new.name}" already exists')
    if repos.exists(db, new.name):
        raise AlreadyExists(f'pipeline "{new.name}" cannot be created because a repo with the same name already exists')
    repos.create_repo(db, new.name, description=f"Output repo for pipeline {new.name}.")
    repos.insert_repo(db, meta_repo(new.name), f"Meta repo for pipeline {new.name}.")
    branches = _make_branch(db, new.name, new.output_branch), _make_branch(db, meta_repo(new.name), new.output_branch)
    sql = "INSERT INTO pipelines (name, branch_id, meta_branch_id, version, salt, created_ns) VALUES (?, ?, ?, 1, ?, ?)"
    row = db.execute(sql, (new.name, *branches, new.salt, time.time_ns())).lastrowid
    assert row is not None
    _connect(db, row, new)
    _record_version(db, row, 1, new.spec)
    start_set(db, row)


def _connect(db: Db, row: int, new: NewPipeline) -> None:
    """Make what the pipeline reads what its branches are made from; input branches and cron repos that lack are made."""
    crons.set_crons(db, row, new.name, new.crons)
    for repo, branch, trigger in new.triggers:
        triggers.set_trigger(db, repos.ensure_branch(db, repo, branch), trigger)
    inputs = [repos.ensure_branch(db, repo, branch) for repo, branch in new.inputs]
    quiet = {repos.ensure_branch(db, repo, branch) for repo, branch in new.quiet}
    for branch_id in list_branches(db, row):
        repos.set_provenance(db, branch_id, inputs)
        propagation.set_quiet(db, branch_id, quiet)


def _make_branch(db: Db, repo: str, branch: str) -> int:
    """Make a branch with an empty commit that nobody made: readers find nothing before the first job has ended."""
    check_name("branch", branch)
    commit = repos.make_empty_commit(db, repo, branch, "before the first job")
    return propagation.set_head(db, commit, branch)


def list_branches(db: Db, row: int) -> list[int]:
    """Return the branches that get a commit from each job of a pipeline: its output, and what shows its datums."""
    return list(db.row("SELECT branch_id, meta_branch_id FROM pipelines WHERE id = ?", (row,)))


def update_pipeline(db: Db, new: NewPipeline, *, reprocess: bool = False) -> None:
    """Give a pipeline a new spec: its unfinished jobs are killed, and a new one runs.

    Raises PipelineNotFound, Conflict if the output branch would change.
    """
    old = get_pipeline(db, new.name)
    if old.branch != new.output_branch:
        raise Conflict(f'the output branch of pipeline "{new.name}" is {old.branch} and can not change')
    _connect(db, old.row, new)
    salt = new.salt if reprocess else old.salt
    version = old.version + 1
    db.execute("UPDATE pipelines SET version = ?, salt = ? WHERE id = ?", (version, salt, old.row))
    _record_version(db, old.row, version, new.spec)
    kill_jobs(db, old.row, "all jobs killed because pipeline was updated")
    if not old.stopped:
        start_set(db, old.row)


def _record_version(db: Db, pipeline_row: int | None, version: int, spec: bytes) -> None:
    sql = "INSERT INTO pipeline_versions (pipeline_id, version, spec, created_ns) VALUES (?, ?, ?, ?)"
    db.execute(sql, (pipeline_row, version, spec, time.time_ns()))


def start_set(db: Db, row: int) -> None:
    """Open the commits of a new set on a pipeline's branches and on everything downstream of them."""
    propagation.propagate(db, [], propagation.new_set_id(db), due=list_branches(db, row))


def kill_jobs(db: Db, pipeline_row: int, reason: str) -> None:
    """End all unfinished jobs of a pipeline; whoever runs one finds out and stops."""
    sql = "SELECT id FROM jobs WHERE pipeline_id = ? AND finished_ns IS NULL ORDER BY id"
    for (row,) in db.execute(sql, (pipeline_row,)).fetchall():
        running.fail_job(db, row, "killed", reason)


def set_stopped(db: Db, name: str, stopped: bool) -> None:
    """Stop a pipeline, which kills its jobs, or start it again, which makes one for the current heads."""
    pipeline = get_pipeline(db, name)
    if pipeline.stopped == stopped:
        return
    db.execute("UPDATE pipelines SET stopped = ? WHERE id = ?", (stopped, pipeline.row))
    if stopped:
        kill_jobs(db, pipeline.row, "all jobs killed because pipeline was stopped")
    else:
        start_set(db, pipeline.row)


def delete_pipeline(db: Db, name: str, *, keep_repo: bool = False, force: bool = False) -> None:
    """Delete a pipeline, its jobs and, unless kept, its output repo; their rows wait for the collector.

    Raises PipelineNotFound, Conflict while another pipeline or branch rests on its output. With `force` those stay, and
    find nothing where it was.
    """
    pipeline = get_pipeline(db, name)
    ticks = crons.list_repos(db, pipeline.row)
    kill_jobs(db, pipeline.row, "pipeline was deleted")
    branches = list_branches(db, pipeline.row)
    burying.bury_pipeline(db, pipeline.row)
    db.execute("DELETE FROM branch_provenance WHERE branch_id IN (?, ?)", tuple(branches))
    for repo in (*([] if keep_repo else [name]), meta_repo(name), *ticks):
        if force:
            repos.cut_off_readers(db, repo)
        repos.delete_repo(db, repo, force=force)
