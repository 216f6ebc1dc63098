"""What adds to a branch's history: start, write, finish. Whatever moves a head propagates."""

import time
from dataclasses import dataclass

from appliance.errors import (
    Conflict,
    NotWritable,
    OutputBranch,
)
from appliance.names import Revision, check_name, find_meta_owner, is_commit_id, parse_revision
from appliance.store.commits import COLUMNS, Commit, get_by_row, get_commit, get_repo_id, iter_ancestors
from appliance.store.database import Db
from appliance.store.propagation import IS_OUTPUT, append, new_set_id, note_heads, propagate, set_head
from appliance.store.triggers import fire_triggers


@dataclass(frozen=True, slots=True)
class _Target:
    """A branch as a write finds it. One that is not there yet has neither number nor head."""

    repo_id: int
    is_output: bool = False
    head: Commit | None = None


def _find_target(db: Db, repo: str, branch: str) -> _Target:
    """Return the branch that is to be written to, in one look. Raises RepoNotFound."""
    sql = f"""
        SELECT {IS_OUTPUT}, {COLUMNS} FROM branches b JOIN commits c ON c.id = b.head_id JOIN repos r ON r.id = b.repo_id
        WHERE r.name = ? AND r.kind = 'user' AND b.name = ?
    """
    row = db.row(sql, (repo, branch))
    if row is None:
        return _Target(get_repo_id(db, repo))
    head = Commit(*row[1:])
    return _Target(head.repo_id, bool(row[0]), head)


def start_commit(db: Db, repo: str, branch: str, *, description: str = "", parent: str | None = None) -> Commit:
    """Open a commit on a branch, which is made if need be, and propagate.

    Raises RepoNotFound, InvalidName, OutputBranch, and Conflict while the head is open.
    """
    check_name("branch", branch)
    target = _find_target(db, repo, branch)
    chosen = get_commit(db, repo, parent) if parent is not None else target.head
    return _start(db, repo, branch, target, chosen, description)


def check_user_repo(repo: str) -> None:
    """Raise OutputBranch for a repo of the system, in which only jobs make commits and branches."""
    if pipeline := find_meta_owner(repo):
        raise OutputBranch(f"repo {repo} can not be changed: it shows what the datums of pipeline {pipeline} saw and wrote")


def _start(db: Db, repo: str, branch: str, target: _Target, parent: Commit | None, description: str = "") -> Commit:
    check_user_repo(repo)
    if target.is_output:
        raise OutputBranch(f"cannot start a commit on an output branch: {repo}@{branch}")
    if target.head is not None and target.head.is_open:
        raise _not_finished(target.head)
    if parent is not None:
        _check_settled(db, parent)
    commit = append(db, target.repo_id, repo, parent, branch, new_set_id(db), "USER", description)
    branch_id = set_head(db, commit, branch)
    propagate(db, [branch_id], commit.id)
    return commit


def _not_finished(commit: Commit) -> Conflict:
    return Conflict(f"parent commit {commit.id} has not been finished")


def _check_settled(db: Db, parent: Commit) -> None:
    """Raise Conflict if what a child of this commit begins with can still change: it, or the one before failed ones, is open.

    What an open commit takes later would reach under the versions that its descendants began.
    """
    for commit in iter_ancestors(db, parent):
        if commit.is_open:
            raise _not_finished(commit)
        if commit.error is None:
            return


def finish_commit(db: Db, commit: Commit, *, description: str = "", error: str | None = None) -> None:
    """Make a commit immutable. Raises NotWritable if it is already."""
    _finish(db, commit, description, error)
    db.changes.jobs = True
    note_heads(db, commit.row)


def _finish(db: Db, commit: Commit, description: str = "", error: str | None = None) -> None:
    if not commit.is_open:
        raise NotWritable(f"commit {commit.id} has already finished")
    if error is not None:
        db.execute("UPDATE commits SET size_bytes = 0, file_count = 0 WHERE id = ?", (commit.row,))
    db.execute(
        "UPDATE commits SET finished_ns = ?, error = ?, description = coalesce(nullif(?, ''), description) WHERE id = ?",
        (time.time_ns(), error, description, commit.row),
    )
    if error is None:
        fire_triggers(db, commit)


def finish_user_commit(db: Db, repo: str, revision: str, *, description: str = "") -> Commit:
    """Finish what `start_commit` began. Raises NotWritable for finished commits, OutputBranch for a pipeline's."""
    commit = get_commit(db, repo, revision)
    made = find_meta_owner(repo) is not None or db.value("SELECT 1 FROM jobs WHERE commit_id = ?", (commit.row,))
    if commit.is_open and made:
        raise OutputBranch("cannot finish a pipeline output or meta commit, use 'stop job' instead")
    finish_commit(db, commit, description=description)
    return get_by_row(db, commit.row)


def check_branch_writable(db: Db, repo: str, branch: str) -> None:
    """Raise OutputBranch if only a pipeline writes to a branch; RepoNotFound. A branch that is not there can be made."""
    check_user_repo(repo)
    if _find_target(db, repo, branch).is_output:
        raise OutputBranch(f"cannot start a commit on an output branch: {repo}@{branch}")


@dataclass(frozen=True, slots=True)
class Writing:
    """A commit that takes changes now. `one_off` ones were started by the write and are finished by it."""

    commit: Commit
    one_off: bool


def begin_write(db: Db, repo: str, revision: str) -> Writing:
    """Return where a write to `repo@revision` goes: the open head, the open commit named, else a new one-off commit.

    Raises RepoNotFound, OutputBranch, NotWritable for a finished commit id.
    """
    if is_commit_id(revision):
        commit = get_commit(db, repo, revision)
        if not commit.is_open:
            raise NotWritable(f"commit {commit.id} has already finished")
        if commit.origin == "AUTO":
            raise OutputBranch(f"cannot write to the output commit {repo}@{commit.id}")
        return Writing(commit, one_off=False)
    if parse_revision(revision) != Revision(revision):
        raise NotWritable(f"{repo}@{revision} is not a branch")
    target = _find_target(db, repo, revision)
    head = target.head
    if head is not None and head.is_open and not target.is_output:
        if head.origin == "AUTO":  # the branch was pointed at what a pipeline is working on
            raise OutputBranch(f"cannot write to the output commit {repo}@{head.id}")
        return Writing(head, one_off=False)
    return Writing(_start(db, repo, revision, target, head), one_off=True)


def end_write(db: Db, writing: Writing) -> None:
    """Finish a one-off commit."""
    if writing.one_off:
        _finish(db, writing.commit)  # starting it has announced the head, and whatever waits for it
    else:
        note_heads(db, writing.commit.row)
