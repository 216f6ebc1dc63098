"""Triggers: a branch that takes over the head of another one of its repo once enough has happened there.

Evaluated when a commit on the watched branch finishes without error; firing points the branch at that same commit and
propagates. Rules and texts are Pachyderm's (`src/server/pfs/server/trigger.go`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import msgspec

from appliance.errors import InvalidRequest
from appliance.names import CommitId, check_name, new_commit_id
from appliance.quantities import parse_size
from appliance.schedules import parse_schedule
from appliance.store import commits, propagation
from appliance.store.commits import Commit
from appliance.store.database import Db


@dataclass(frozen=True, slots=True)
class Trigger:
    """When to take over the head of `branch`.

    `size` is how much it must have grown by (`100M`), `commits` how many must have come, `rate_limit_spec` a schedule that
    must have been due since; any of them is enough, with `all` every one is needed. With `cron_spec` only the clock counts.
    """

    branch: str
    all: bool = False
    rate_limit_spec: str = ""
    size: str = ""
    commits: int = 0
    cron_spec: str = ""


def set_trigger(db: Db, branch_id: int, trigger: Trigger | None) -> None:
    """Give a branch a trigger, or none. Raises InvalidRequest, InvalidName."""
    if trigger is not None:
        _check(trigger)
        _check_loop(db, branch_id, trigger)
        if db.value("SELECT 1 FROM branch_provenance WHERE branch_id = ?", (branch_id,)):
            raise InvalidRequest("a branch cannot have both provenance and a trigger")
    text = msgspec.json.encode(trigger).decode() if trigger else None
    db.execute("UPDATE branches SET trigger = ? WHERE id = ?", (text, branch_id))
    db.changes.triggers = True


def find_trigger(db: Db, branch_id: int) -> Trigger | None:
    """Return the trigger of a branch."""
    return _parse(db.value("SELECT trigger FROM branches WHERE id = ?", (branch_id,)))


def _parse(text: str | None) -> Trigger | None:
    return msgspec.json.decode(text, type=Trigger) if text else None


def _check(trigger: Trigger) -> None:
    if not trigger.branch:
        raise InvalidRequest("triggers must specify a branch to trigger on")
    check_name("branch", trigger.branch)
    if trigger.commits < 0:
        raise InvalidRequest("can't trigger on a negative number of commits")
    for what, text in (("rate limit", trigger.rate_limit_spec), ("cron", trigger.cron_spec)):
        try:
            parse_schedule(text or "@never")
        except InvalidRequest as error:
            raise InvalidRequest(f"invalid trigger {what} spec: {error}") from None
    try:
        parse_size(trigger.size or "0")
    except InvalidRequest as error:
        raise InvalidRequest(f"invalid trigger size: {error}") from None
    if not (trigger.size or trigger.commits or trigger.rate_limit_spec or trigger.cron_spec):
        raise InvalidRequest("triggers must say when: by size, number of commits, rate limit or cron")


def _check_loop(db: Db, branch_id: int, trigger: Trigger) -> None:
    repo_id, name = db.row("SELECT repo_id, name FROM branches WHERE id = ?", (branch_id,))
    watched: str | None = trigger.branch
    seen = {name}
    while watched is not None:
        if watched in seen:
            raise InvalidRequest("triggers cannot form a loop")
        seen.add(watched)
        found = _parse(db.value("SELECT trigger FROM branches WHERE repo_id = ? AND name = ?", (repo_id, watched)))
        watched = found.branch if found else None


# -- firing


def fire_triggers(db: Db, commit: Commit) -> None:
    """Let the branches that wait for what has just finished on another one take it over, and propagate."""
    waiting = _list_waiting(db, commit.repo_id)
    if not waiting:
        return
    fired: list[int] = []
    watched = [name for (name,) in db.execute("SELECT name FROM branches WHERE head_id = ?", (commit.row,))]
    finished = commits.get_by_row(db, commit.row)
    while watched:  # they chain
        due = [item for item in waiting if item.trigger.branch in watched and _is_due(db, item, finished)]
        watched = [item.name for item in due]
        for item in due:
            fired.append(propagation.set_head(db, finished, item.name))
    if fired:
        propagation.propagate(db, fired, _choose_set(db, fired, commit.id))


@dataclass(frozen=True, slots=True)
class _Waiting:
    name: str
    head: int
    trigger: Trigger


def _list_waiting(db: Db, repo_id: int) -> list[_Waiting]:
    sql = "SELECT name, head_id, trigger FROM branches WHERE repo_id = ? AND trigger IS NOT NULL"
    rows = db.execute(sql, (repo_id,)).fetchall()
    return [_Waiting(name, head, msgspec.json.decode(text, type=Trigger)) for name, head, text in rows]


def _is_due(db: Db, waiting: _Waiting, new: Commit) -> bool:
    trigger = waiting.trigger
    if trigger.cron_spec or waiting.head == new.row:
        return False
    old = commits.get_by_row(db, waiting.head)
    conditions = []
    if trigger.size:
        conditions.append(new.size_bytes - old.size_bytes >= parse_size(trigger.size))
    if trigger.commits:
        conditions.append(_has_passed(db, old, new, trigger.commits))
    if trigger.rate_limit_spec:
        due_ns = parse_schedule(trigger.rate_limit_spec).next_after(old.finished_ns or 0)
        conditions.append(due_ns is not None and due_ns < (new.finished_ns or 0))
    return all(conditions) if trigger.all else any(conditions)


def _has_passed(db: Db, old: Commit, new: Commit, number: int) -> bool:
    """Tell whether at least so many commits lead from one to another; counts no further than that."""
    between = 0
    for commit in islice(commits.iter_ancestors(db, new), number):
        if commit.row == old.row:
            return False
        between += 1
    return between == number


def _choose_set(db: Db, moved: Iterable[int], commit_id: CommitId) -> CommitId:
    """Return the id for what follows downstream: the commit's own, unless some repo there has a commit of it already."""
    sql = "SELECT 1 FROM commits c JOIN branches b ON b.repo_id = c.repo_id WHERE b.id = ? AND c.global_id = ?"
    wanted = bytes.fromhex(commit_id)
    taken = any(db.value(sql, (branch, wanted)) for branch in propagation.list_downstream(db, moved))
    return new_commit_id() if taken else commit_id


@dataclass(frozen=True, slots=True)
class Timed:
    """A branch with a cron trigger."""

    branch_id: int
    cron_spec: str
    watched_ns: int
    """When the commit it would take over was finished; 0 if there is none that it does not have."""


def list_timed(db: Db) -> list[Timed]:
    """Return the branches that wait for the clock."""
    rows = db.execute("SELECT id, trigger FROM branches WHERE trigger IS NOT NULL").fetchall()
    found = [(branch_id, msgspec.json.decode(text, type=Trigger)) for branch_id, text in rows]
    return [
        Timed(branch_id, trigger.cron_spec, _watched_ns(db, branch_id)) for branch_id, trigger in found if trigger.cron_spec
    ]


def fire_timed(db: Db, branch_id: int) -> bool:
    """Let a branch with a cron trigger take over what it watches, and propagate; tell whether there was something new."""
    commit = _find_watched(db, branch_id)
    if commit is None:
        return False
    name = db.value("SELECT name FROM branches WHERE id = ?", (branch_id,))
    propagation.set_head(db, commit, name)
    propagation.propagate(db, [branch_id], new_commit_id())
    return True


def _watched_ns(db: Db, branch_id: int) -> int:
    commit = _find_watched(db, branch_id)
    return (commit.finished_ns or 0) if commit else 0


def _find_watched(db: Db, branch_id: int) -> Commit | None:
    """Return the newest finished commit of the watched branch, None if the branch has it or is gone."""
    sql = """
        SELECT b.head_id, w.head_id FROM branches b
        JOIN branches w ON w.repo_id = b.repo_id AND w.name = json_extract(b.trigger, '$.branch') WHERE b.id = ?
    """
    found = db.row(sql, (branch_id,))
    if found is None:
        return None
    for commit in commits.iter_ancestors(db, commits.get_by_row(db, found[1])):
        if commit.finished_ns is not None and commit.error is None:
            return commit if commit.row != found[0] else None
    return None
