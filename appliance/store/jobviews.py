"""Jobs as their datums' directories show them: by the id that a job has in common with its commit, whatever the pipeline.

Pipelines that run for one commit share that id, and a datum's id says all of its inputs: so two datums of one id are given
the same, whosever they are.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from appliance.names import CommitId, is_commit_id
from appliance.store.database import Db

_JOBS = "FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id AND NOT p.deleted JOIN commits c ON c.id = j.commit_id"


@dataclass(frozen=True, slots=True)
class Given:
    """A file or directory that a datum is given below `/<name>`."""

    name: str
    repo: str
    commit: CommitId
    path: str
    is_directory: bool

    @property
    def place(self) -> str:
        """Where it is."""
        return f"/{self.name}{self.path}".rstrip("/")


def iter_running(db: Db) -> Iterator[tuple[str, int]]:
    """Yield the ids of jobs that are running, in order, and when they were made."""
    sql = f"""
        SELECT lower(hex(c.global_id)), min(j.created_ns) {_JOBS} WHERE j.finished_ns IS NULL AND j.started_ns IS NOT NULL
        GROUP BY c.global_id ORDER BY c.global_id
    """
    return db.execute(sql)


def find_created_ns(db: Db, job_id: str) -> int | None:
    """Return when a job was made, running or not; None if there is none of this id."""
    if not is_commit_id(job_id):
        return None
    created_ns: int | None = db.value(f"SELECT min(j.created_ns) {_JOBS} WHERE c.global_id = ?", (bytes.fromhex(job_id),))
    return created_ns


def iter_datums(db: Db, job_id: str, after: str) -> Iterator[str]:
    """Yield the ids of a job's datums behind one of them, in order."""
    sql = f"""
        SELECT DISTINCT lower(hex(d.datum_id)) {_JOBS} JOIN datums d ON d.job_id = j.id
        WHERE c.global_id = ? AND d.position >= 0 AND d.datum_id > ? ORDER BY d.datum_id
    """
    return (datum_id for (datum_id,) in db.execute(sql, (bytes.fromhex(job_id), bytes.fromhex(after))))


def find_given(db: Db, job_id: str, datum_id: str) -> list[Given] | None:
    """Return what a datum is given as files; None if there is no such datum."""
    try:
        key = bytes.fromhex(job_id), bytes.fromhex(datum_id)
    except ValueError:
        return None
    sql = f"""
        SELECT d.inputs {_JOBS} JOIN datums d ON d.job_id = j.id
        WHERE c.global_id = ? AND d.datum_id = ? AND d.position >= 0 LIMIT 1
    """
    inputs = db.value(sql, key)
    if inputs is None:
        return None
    found: list[dict[str, Any]] = json.loads(inputs)
    return [
        Given(item["name"], item["repo"], CommitId(item["commit"]), item["path"], item["is_dir"])
        for item in found
        if not item["s3"]
    ]
