"""Jobs as they are read.

The database is the queue: what should run is a function of these rows alone, so waking twice, or after a crash, gives the
same plan.

    job    created → starting (datums being listed) → running → egressing → finishing (its output being written)
           → success | failure | killed | unrunnable
    datum  waiting → running → success | failed | recovered, or skipped from the start
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.errors import InvalidRequest, JobNotFound
from appliance.names import CommitId, is_commit_id
from appliance.store.database import Db


@dataclass(frozen=True, slots=True)
class Job:
    """A job as read. Its id is the global id of its output commit."""

    row: int
    pipeline: str
    version: int
    id: CommitId
    commit_row: int
    state: str
    reason: str
    created_ns: int
    started_ns: int | None
    finished_ns: int | None
    restarts: int
    total: int
    processed: int
    skipped: int
    failed: int
    recovered: int
    downloaded_bytes: int
    uploaded_bytes: int
    process_ns: int


SELECT = """
    SELECT j.id, p.name, j.version, lower(hex(c.global_id)), j.commit_id, j.state, j.reason, j.created_ns, j.started_ns,
           j.finished_ns, j.restarts, j.total, j.processed, j.skipped, j.failed, j.recovered,
           j.downloaded_bytes, j.uploaded_bytes, j.process_ns
    FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id AND NOT p.deleted JOIN commits c ON c.id = j.commit_id
"""


def get_job(db: Db, pipeline: str, job_id: str) -> Job:
    """Return a job by its pipeline and id. Raises JobNotFound."""
    found = None
    if is_commit_id(job_id):
        found = db.row(SELECT + "WHERE p.name = ? AND c.global_id = ?", (pipeline, bytes.fromhex(job_id)))
    if found is None:
        raise JobNotFound(f"job {pipeline}@{job_id} not found")
    return Job(*found)


def get_by_row(db: Db, row: int) -> Job:
    """Return the job with the store's number `row`. Raises JobNotFound: its pipeline may be gone."""
    found = db.row(SELECT + "WHERE j.id = ?", (row,))
    if found is None:
        raise JobNotFound("the job was deleted")
    return Job(*found)


def list_jobs(db: Db, *, pipeline: str | None = None, job_id: str | None = None) -> list[Job]:
    """Return jobs, newest first, of one pipeline and of one set if asked so."""
    return list(iter_jobs(db, pipeline=pipeline, job_id=job_id))


def iter_jobs(
    db: Db,
    *,
    pipeline: str | None = None,
    job_id: str | None = None,
    inputs: Sequence[int] = (),
    versions_back: int | None = None,
) -> Iterator[Job]:
    """Yield jobs, newest first, of one pipeline and of one set if asked so. Raises InvalidRequest.

    Only those made from all commits with the numbers `inputs`, and of so many versions of their pipeline before its newest.
    """
    if job_id is not None and not is_commit_id(job_id):
        raise InvalidRequest(f'invalid job id "{job_id}"')
    wanted = bytes.fromhex(job_id) if job_id is not None else None
    sql = f"""
        {SELECT} WHERE (?1 IS NULL OR p.name = ?1) AND (?2 IS NULL OR c.global_id = ?2)
            AND (?3 IS NULL OR j.version >= p.version - ?3)
            AND (?4 = '[]' OR NOT EXISTS (
                SELECT value FROM json_each(?4) EXCEPT
                SELECT upstream_id FROM commit_provenance WHERE commit_id = j.commit_id))
        ORDER BY j.id DESC
    """
    return (Job(*row) for row in db.execute(sql, (pipeline, wanted, versions_back, json.dumps(list(inputs)))))


@dataclass(frozen=True, slots=True)
class JobSet:
    """The jobs that share an id, counted by what became of them."""

    id: CommitId
    jobs: int
    unfinished: int
    failed: int
    created_ns: int
    changed_ns: int


def iter_sets(db: Db) -> Iterator[JobSet]:
    """Yield the ids that jobs have, newest first."""
    sql = """
        SELECT lower(hex(c.global_id)), count(*), sum(j.finished_ns IS NULL),
               sum(j.finished_ns IS NOT NULL AND j.state <> 'success'), min(j.created_ns),
               max(coalesce(j.finished_ns, j.started_ns, j.created_ns))
        FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id JOIN commits c ON c.id = j.commit_id
        WHERE NOT p.deleted GROUP BY c.global_id ORDER BY max(j.id) DESC
    """
    return (JobSet(*row) for row in db.execute(sql))


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest unfinished job of a pipeline and how its inputs stand."""

    row: int
    pipeline: str
    open_inputs: int
    failed_inputs: tuple[str, ...]


def list_waiting(db: Db) -> list[Waiting]:
    """Return the oldest unfinished job of each pipeline: jobs of one pipeline run in order."""
    sql = """
        SELECT min(j.id), p.name, j.commit_id FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id
        WHERE j.finished_ns IS NULL GROUP BY j.pipeline_id ORDER BY 1
    """
    return [_waiting(db, *row) for row in db.execute(sql).fetchall()]


def _waiting(db: Db, row: int, pipeline: str, commit_row: int) -> Waiting:
    sql = """
        SELECT r.name, u.finished_ns, u.error FROM commit_provenance p JOIN commits u ON u.id = p.upstream_id
        JOIN repos r ON r.id = u.repo_id WHERE p.commit_id = ? ORDER BY r.name
    """
    inputs = db.execute(sql, (commit_row,)).fetchall()
    failed = tuple(name for name, _, error in inputs if error is not None)
    return Waiting(row, pipeline, sum(finished is None for _, finished, _ in inputs), failed)
