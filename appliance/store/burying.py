"""Deleting pipelines and jobs: gone at once for everybody, and off the disk bit by bit.

What is deleted is *buried*: its rows belong to a pipeline that nobody sees (`pipelines.deleted`), whose branch is that of a
repo that nobody sees either, until the collector has removed them in small writes. Killed at any point it goes on where it
was. An output that datums of other jobs share is theirs from then on.
"""

import time

from appliance.names import new_commit_id
from appliance.store.database import Db


def bury_pipeline(db: Db, row: int) -> None:
    """Take a pipeline away with all its jobs, which must have ended. Its output branch is a branch like any other then."""
    branch, _ = _dig(db)
    sql = "UPDATE pipelines SET deleted = 1, name = name || '@' || id, branch_id = ?, meta_branch_id = NULL WHERE id = ?"
    db.execute(sql, (branch, row))
    db.execute("DELETE FROM cron_inputs WHERE pipeline_id = ?", (row,))
    db.changes.jobs = db.changes.garbage = True


def bury_job(db: Db, row: int) -> None:
    """Take a job away, which must have ended. Its output commit is a commit like any other then."""
    branch, commit = _dig(db)
    sql = """
        INSERT INTO pipelines (name, branch_id, version, salt, created_ns, deleted) VALUES ('job@' || ?, ?, 0, '', ?, 1)
        RETURNING id
    """
    pipeline = db.value(sql, (row, branch, time.time_ns()))
    db.execute("UPDATE jobs SET pipeline_id = ?, commit_id = ? WHERE id = ?", (pipeline, commit, row))
    db.changes.jobs = db.changes.garbage = True


def _dig(db: Db) -> tuple[int, int]:
    """Make a branch and a commit for what has to have some, in a repo that is deleted already."""
    name, now_ns = new_commit_id(), time.time_ns()
    sql = "INSERT INTO repos (name, kind, created_ns) VALUES ('buried@' || ?, 'deleted', ?) RETURNING id"
    repo = db.value(sql, (name, now_ns))
    line = db.value("INSERT INTO lines (repo_id, tip_seq) VALUES (?, 1) RETURNING id", (repo,))
    sql = """
        INSERT INTO commits (repo_id, line_id, seq, global_id, branch, origin, started_ns, finished_ns)
        VALUES (?, ?, 1, ?, 'deleted', 'AUTO', ?, ?) RETURNING id
    """
    commit = db.value(sql, (repo, line, bytes.fromhex(name), now_ns, now_ns))
    sql = "INSERT INTO branches (repo_id, name, head_id, created_ns) VALUES (?, 'deleted', ?, ?) RETURNING id"
    return db.value(sql, (repo, commit, now_ns)), commit


def is_anything_buried(db: Db) -> bool:
    """Tell whether there is something left to remove."""
    return db.value("SELECT 1 FROM pipelines WHERE deleted LIMIT 1") is not None


def remove_buried(db: Db, limit: int) -> bool:
    """Remove up to so many rows of what is buried; tell whether there is more."""
    while limit > 0:
        pipeline = db.value("SELECT id FROM pipelines WHERE deleted ORDER BY id LIMIT 1")
        if pipeline is None:
            return False
        limit -= _remove_of_pipeline(db, pipeline, limit)
    return True


def _remove_of_pipeline(db: Db, pipeline: int, limit: int) -> int:
    # The newest first: what their datums share with older ones then goes with those.
    job = db.value("SELECT max(id) FROM jobs WHERE pipeline_id = ?", (pipeline,))
    if job is not None:
        return _remove_of_job(db, job, limit)
    branch = db.value("DELETE FROM pipelines WHERE id = ? RETURNING branch_id", (pipeline,))
    db.execute("DELETE FROM branches WHERE id = ?", (branch,))
    return 1


def _remove_of_job(db: Db, job: int, limit: int) -> int:
    sql = "DELETE FROM log_lines WHERE id IN (SELECT id FROM log_lines WHERE job_id = ? LIMIT ?)"
    if removed := db.execute(sql, (job, limit)).rowcount:
        return removed
    datum = db.value("SELECT id FROM datums WHERE job_id = ? ORDER BY position DESC LIMIT 1", (job,))
    if datum is not None:
        return _remove_datum(db, datum, limit)
    return db.execute("DELETE FROM jobs WHERE id = ?", (job,)).rowcount


def _remove_datum(db: Db, datum: int, limit: int) -> int:
    heir = db.value("SELECT min(id) FROM datums WHERE output_of = ?1 AND id <> ?1", (datum,))
    if heir is not None:
        _take_place(db, datum, heir)
        return 1
    sql = """
        DELETE FROM datum_files WHERE datum_id = ?1 AND path IN (SELECT path FROM datum_files WHERE datum_id = ?1 LIMIT ?2)
    """
    removed = db.execute(sql, (datum, limit)).rowcount
    if removed < limit:
        db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum}",))
        db.execute("UPDATE datums SET output_of = NULL WHERE id = ?", (datum,))
        db.execute("DELETE FROM datums WHERE id = ?", (datum,))
        removed += 1
    return removed


def _take_place(db: Db, datum: int, heir: int) -> None:
    """Let a datum be the one that was skipped for it: its files stay where they are, however many."""
    columns = "job_id, position, datum_id, hash, state, reason, tries, inputs, started_ns, finished_ns"
    values = db.row(f"SELECT {columns} FROM datums WHERE id = ?", (heir,))
    db.execute("DELETE FROM datums WHERE id = ?", (heir,))
    marks = ", ".join("?" for _ in values)
    db.execute(f"UPDATE datums SET ({columns}) = ({marks}) WHERE id = ?", (*values, datum))
