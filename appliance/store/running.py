"""The life of a job, from claim to end."""

import time

from appliance.store import commits, files, history
from appliance.store.burying import bury_job
from appliance.store.database import Db
from appliance.store.datums import drop_half_done
from appliance.store.jobs import SELECT, Job, get_by_row


def begin_job(db: Db, row: int) -> Job:
    """Claim a job for running. What an earlier run of it finished stays; what it left half done is dropped.

    Harmless if it has ended: the job returned says so.
    """
    job = get_by_row(db, row)
    if job.finished_ns is not None:
        return job
    if job.state == "starting":  # killed while listing its datums
        db.execute("DELETE FROM datums WHERE job_id = ?", (row,))
    drop_half_done(db, row)
    sql = """
        UPDATE jobs SET state = CASE state WHEN 'created' THEN 'starting' ELSE state END,
            restarts = restarts + (state <> 'created'), started_ns = coalesce(started_ns, ?)
        WHERE id = ?
    """
    db.execute(sql, (time.time_ns(), row))
    db.changes.jobs = True
    return get_by_row(db, row)


def run_job(db: Db, row: int) -> Job:
    """Mark that all datums of a job are known and may run."""
    sql = """
        UPDATE jobs SET state = 'running', total = (SELECT count(*) FROM datums WHERE job_id = ?1 AND position >= 0),
            skipped = (SELECT count(*) FROM datums WHERE job_id = ?1 AND state = 'skipped')
        WHERE id = ?1 AND finished_ns IS NULL
    """
    db.execute(sql, (row,))
    db.changes.jobs = True
    return get_by_row(db, row)


def set_egressing(db: Db, row: int) -> None:
    """Mark that a job's output is on its way to another store."""
    db.execute("UPDATE jobs SET state = 'egressing' WHERE id = ? AND finished_ns IS NULL", (row,))
    db.changes.jobs = True


def fail_job(db: Db, row: int, state: str, reason: str) -> None:
    """End a job without output: its commit is finished with an error and shows nothing. Harmless if it has ended or gone."""
    job = find_unfinished(db, row)
    if job is not None:
        drop_half_done(db, row)
        commit = commits.get_by_row(db, job.commit_row)
        files.undo(db, commit)
        history.finish_commit(db, commit, error=reason)
        _finish_meta(db, job, error=reason)
        _end(db, row, state, reason)


def set_finishing(db: Db, row: int) -> Job | None:
    """Mark that the output of a job is being written to its commit; None if it has ended or gone."""
    db.execute("UPDATE jobs SET state = 'finishing' WHERE id = ? AND finished_ns IS NULL", (row,))
    db.changes.jobs = True
    return find_unfinished(db, row)


def end_well(db: Db, job: Job, totals: tuple[int, int]) -> None:
    """End a job whose commit has all of its output: so many bytes, so many files."""
    db.execute("UPDATE commits SET size_bytes = ?, file_count = ? WHERE id = ?", (*totals, job.commit_row))
    history.finish_commit(db, commits.get_by_row(db, job.commit_row))
    _finish_meta(db, job)
    _end(db, job.row, "success", "" if job.total > job.skipped else "there were no datums to process")


def _finish_meta(db: Db, job: Job, error: str | None = None) -> None:
    """Finish the commit that shows the job's datums; one that a set was left without is not missed."""
    meta = commits.find_meta(db, job.pipeline, job.id)
    if meta is not None and meta.is_open:
        history.finish_commit(db, meta, error=error)


def find_unfinished(db: Db, row: int) -> Job | None:
    """Return a job that has not ended; None if it has, or has gone."""
    found = db.row(SELECT + "WHERE j.id = ? AND j.finished_ns IS NULL", (row,))
    return Job(*found) if found else None


def _end(db: Db, row: int, state: str, reason: str) -> None:
    sql = "UPDATE jobs SET state = ?, reason = ?, finished_ns = ? WHERE id = ?"
    db.execute(sql, (state, reason, time.time_ns(), row))
    db.changes.jobs = True


def delete_job(db: Db, row: int) -> None:
    """Forget a job with its datums and logs; one that is running is killed first. Its output commit stays."""
    fail_job(db, row, "killed", "job deleted")
    bury_job(db, row)
