"""Cron inputs of pipelines: repos that get a file for every tick.

A tick is one commit on master of its repo that adds an empty file named by its time, as `2006-01-02T15:04:05Z`
(Pachyderm's `src/server/pps/server/monitor.go`, makeCronCommits).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from appliance.errors import InvalidRequest
from appliance.names import DEFAULT_BRANCH
from appliance.store import blobs, files, history, propagation, repos, snapshots
from appliance.store.blobs import Digest, StagedBlob
from appliance.store.database import Db
from appliance.store.snapshots import Kind

_SECOND_NS = 1_000_000_000
_NOTHING = StagedBlob(0, Digest(hashlib.sha256().digest()), hashlib.md5(usedforsecurity=False).digest(), b"", None)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron input. `start_ns` is when its schedule begins; with `overwrite` there is only the file of the newest tick."""

    name: str
    repo: str
    spec: str
    start_ns: int
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Ticking:
    """A cron input that ticks; `last_ns` is the time of its newest tick, or when it starts."""

    row: int
    pipeline: str
    repo: str
    spec: str
    last_ns: int
    overwrite: bool


def set_crons(db: Db, pipeline_row: int, pipeline: str, crons: Sequence[Cron]) -> None:
    """Give a pipeline these cron inputs in place of those it had; one that stays goes on from its newest tick.

    Repos that are missing are made. Repos of those that are gone stay, as everything else that a pipeline has read.
    """
    sql = "SELECT repo, last_ns, made FROM cron_inputs WHERE pipeline_id = ?"
    before = {repo: (last_ns, made) for repo, last_ns, made in db.execute(sql, (pipeline_row,)).fetchall()}
    db.execute("DELETE FROM cron_inputs WHERE pipeline_id = ?", (pipeline_row,))
    for cron in crons:
        last_ns, made = before.get(cron.repo, (0, not repos.exists(db, cron.repo)))
        if not repos.exists(db, cron.repo):
            repos.create_repo(db, cron.repo, description=f"Cron tick repo for pipeline {pipeline}.")
        repos.ensure_branch(db, cron.repo, DEFAULT_BRANCH)
        sql = "INSERT INTO cron_inputs (pipeline_id, name, repo, spec, last_ns, overwrite, made) VALUES (?, ?, ?, ?, ?, ?, ?)"
        since_ns = max(last_ns, cron.start_ns)
        db.execute(sql, (pipeline_row, cron.name, cron.repo, cron.spec, since_ns, cron.overwrite, made))
    db.changes.triggers = True


def list_repos(db: Db, pipeline_row: int) -> list[str]:
    """Return the repos that were made for the ticks of a pipeline."""
    return [repo for (repo,) in db.execute("SELECT repo FROM cron_inputs WHERE pipeline_id = ? AND made", (pipeline_row,))]


_TICKING = """
    SELECT c.id, p.name, c.repo, c.spec, c.last_ns, c.overwrite FROM cron_inputs c JOIN pipelines p ON p.id = c.pipeline_id
"""


def list_ticking(db: Db) -> list[Ticking]:
    """Return the cron inputs of all pipelines that are not stopped."""
    return [Ticking(*row) for row in db.execute(_TICKING + "WHERE NOT p.stopped ORDER BY c.id")]


def tick(db: Db, row: int, due_ns: int) -> None:
    """Make the tick of a time, unless the input has gone, stopped or ticked that far meanwhile."""
    found = db.row(_TICKING + "WHERE c.id = ? AND NOT p.stopped AND c.last_ns < ?", (row, due_ns))
    if found is not None:
        _tick(db, Ticking(*found), due_ns)


def tick_now(db: Db, pipeline: str, now_ns: int) -> None:
    """Let all cron inputs of a pipeline tick, as one commit set. Raises InvalidRequest if it has none."""
    found = db.execute(_TICKING + "WHERE p.name = ? ORDER BY c.id", (pipeline,)).fetchall()
    if not found:
        raise InvalidRequest("pipeline doesn't have a cron input")
    with propagation.joint_set(db, propagation.new_set_id(db)):
        for row in found:
            _tick(db, Ticking(*row), now_ns)


def _tick(db: Db, cron: Ticking, due_ns: int) -> None:
    writing = history.begin_write(db, cron.repo, DEFAULT_BRANCH)
    if cron.overwrite:
        snapshot = snapshots.open_commit(db, writing.commit)
        for entry in list(snapshots.iter_entries(db, snapshot, "/")):
            if entry.kind == Kind.FILE:
                files.delete_path(db, writing.commit, entry.path)
    files.put_file(db, writing.commit, f"/{tick_name(due_ns)}", blobs.record(db, _NOTHING))
    history.end_write(db, writing)
    db.execute("UPDATE cron_inputs SET last_ns = max(last_ns, ?) WHERE id = ?", (due_ns, cron.row))
    db.changes.triggers = True


def tick_name(time_ns: int) -> str:
    """Return the name of a tick's file: its time in UTC, to the second."""
    return datetime.fromtimestamp(time_ns // _SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
