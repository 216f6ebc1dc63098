"""Commits: start, finish, find, and what follows from them downstream.

A branch head that moves gives every branch downstream a new open commit with the same global id, and a job where a
pipeline owns that branch, in the same transaction (*propagation*; Pachyderm's `pfs` and `pps` drivers).
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.errors import (
    BranchNotFound,
    CommitNotFound,
    Conflict,
    InvalidRequest,
    NotWritable,
    OutputBranch,
    RepoNotFound,
)
from appliance.names import CommitId, Revision, check_name, is_commit_id, new_commit_id, parse_revision
from appliance.store.database import Db

Origin = Literal["USER", "AUTO"]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as read. `row`, `line` and `seq` are the store's own numbers for it."""

    row: int
    repo_id: int
    repo: str
    id: CommitId
    line: int
    seq: int
    parent: int | None
    branch: str
    origin: Origin
    description: str
    started_ns: int
    finished_ns: int | None
    error: str | None
    size_bytes: int
    file_count: int

    @property
    def is_open(self) -> bool:
        """Started and not finished."""
        return self.finished_ns is None


_SELECT = """
    SELECT c.id, c.repo_id, r.name, lower(hex(c.global_id)), c.line_id, c.seq, c.parent_id, c.branch, c.origin,
           c.description, c.started_ns, c.finished_ns, c.error, c.size_bytes, c.file_count
    FROM commits c JOIN repos r ON r.id = c.repo_id
"""


def get_by_row(db: Db, row: int) -> Commit:
    """Return the commit with the store's number `row`, which must exist."""
    return Commit(*db.row(_SELECT + "WHERE c.id = ?", (row,)))


def get_repo_id(db: Db, repo: str) -> int:
    """Return the store's number of a repo or raise RepoNotFound."""
    repo_id: int | None = db.value("SELECT id FROM repos WHERE name = ? AND kind = 'user'", (repo,))
    if repo_id is None:
        raise RepoNotFound(f"repo {repo} not found")
    return repo_id


def get_head(db: Db, repo: str, branch: str) -> Commit:
    """Return the head of a branch. Raises RepoNotFound, BranchNotFound."""
    repo_id = get_repo_id(db, repo)
    row = db.row(_SELECT + "JOIN branches b ON b.head_id = c.id WHERE b.repo_id = ? AND b.name = ?", (repo_id, branch))
    if row is None:
        raise BranchNotFound(f'branch "{branch}" not found in repo {repo}')
    return Commit(*row)


def get_commit(db: Db, repo: str, revision: str) -> Commit:
    """Return the commit that `revision` names: a branch, an id, either with `^`, `~` or `.N` behind it.

    An id that the repo has no commit of, but that a commit set carries which rests on one of the repo's commits, means
    that one. Raises RepoNotFound, BranchNotFound, CommitNotFound, InvalidRequest.
    """
    parsed = parse_revision(revision)
    commit = _get_base(db, repo, parsed)
    if parsed.from_root is not None:
        commit = _from_root(db, commit, parsed.from_root)
    for _ in range(parsed.back):
        if commit.parent is None:
            raise CommitNotFound(f"commit {repo}@{revision} not found")
        commit = get_by_row(db, commit.parent)
    return commit


def _get_base(db: Db, repo: str, revision: Revision) -> Commit:
    if not is_commit_id(revision.name):
        return get_head(db, repo, revision.name)
    repo_id = get_repo_id(db, repo)
    found = find_in_set(db, repo_id, CommitId(revision.name))
    if found is None:
        raise CommitNotFound(f"commit {repo}@{revision.name} not found")
    return found


def find_in_set(db: Db, repo_id: int, commit_id: CommitId) -> Commit | None:
    """Return the repo's commit of a set: its own, else the one that the set's commits were made from."""
    row = db.row(_SELECT + "WHERE c.repo_id = ? AND c.global_id = ?", (repo_id, bytes.fromhex(commit_id)))
    if row is not None:
        return Commit(*row)
    upstream = """
        WITH RECURSIVE up(id) AS (
            SELECT id FROM commits WHERE global_id = ?
            UNION SELECT p.upstream_id FROM commit_provenance p JOIN up ON p.commit_id = up.id
        )
    """
    row = db.row(upstream + _SELECT + "JOIN up ON up.id = c.id WHERE c.repo_id = ?", (bytes.fromhex(commit_id), repo_id))
    return Commit(*row) if row else None


def _from_root(db: Db, commit: Commit, number: int) -> Commit:
    history = list(iter_ancestors(db, commit))
    if not 1 <= number <= len(history):
        raise CommitNotFound(f"commit {commit.repo}@{commit.branch}.{number} not found")
    return history[-number]


def iter_ancestors(db: Db, commit: Commit) -> Iterator[Commit]:
    """Yield a commit, its parent, its parent's parent and so on."""
    yield commit
    while commit.parent is not None:
        commit = get_by_row(db, commit.parent)
        yield commit


def iter_commits(db: Db, repo: str | None = None) -> Iterator[Commit]:
    """Yield the commits of a repo, or all, newest first."""
    if repo is None:
        rows = db.execute(_SELECT + "WHERE r.kind = 'user' ORDER BY c.id DESC")
    else:
        rows = db.execute(_SELECT + "WHERE c.repo_id = ? ORDER BY c.id DESC", (get_repo_id(db, repo),))
    return (Commit(*row) for row in rows)


def list_set(db: Db, commit_id: CommitId) -> list[Commit]:
    """Return all commits that share a global id, upstream first. Raises CommitNotFound if there is none."""
    rows = db.execute(_SELECT + "WHERE c.global_id = ? ORDER BY c.id", (bytes.fromhex(commit_id),)).fetchall()
    if not rows:
        raise CommitNotFound(f"commit set {commit_id} not found")
    return [Commit(*row) for row in rows]


def list_provenance(db: Db, commit: Commit) -> list[Commit]:
    """Return every commit that `commit` was made from, directly or not, nearest first."""
    sql = """
        WITH RECURSIVE up(id, depth) AS (
            SELECT upstream_id, 1 FROM commit_provenance WHERE commit_id = ?
            UNION SELECT p.upstream_id, depth + 1 FROM commit_provenance p JOIN up ON p.commit_id = up.id
        ), nearest(id, depth) AS (SELECT id, min(depth) FROM up GROUP BY id)
    """
    query = sql + _SELECT + "JOIN nearest ON nearest.id = c.id ORDER BY nearest.depth, c.id"
    return [Commit(*row) for row in db.execute(query, (commit.row,))]


def list_direct_provenance(db: Db, commit_row: int) -> list[Commit]:
    """Return the commits that one was made from directly, by repo."""
    sql = _SELECT + "JOIN commit_provenance p ON p.upstream_id = c.id WHERE p.commit_id = ? ORDER BY r.name, c.id"
    return [Commit(*row) for row in db.execute(sql, (commit_row,))]


def find_readable(db: Db, commit: Commit) -> Commit | None:
    """Return the newest commit at or before `commit` that readers of a branch may see, None before there is any.

    An open commit of a user's branch shows what was written so far; one that a pipeline is working on, or that failed,
    shows nothing, and readers stay with the one before.
    """
    for candidate in iter_ancestors(db, commit):
        if candidate.error is None and not (candidate.is_open and candidate.origin == "AUTO"):
            return candidate
    return None


def check_readable(commit: Commit) -> Commit:
    """Return a commit somebody named by its id, or raise Conflict while a pipeline is still working on it."""
    if commit.is_open and commit.origin == "AUTO":
        raise Conflict(f"output commit {commit.repo}@{commit.id} not finished")
    return commit


def start_commit(db: Db, repo: str, branch: str, *, description: str = "", parent: str | None = None) -> Commit:
    """Open a commit on a branch, which is made if need be, and propagate.

    Raises RepoNotFound, InvalidName, OutputBranch, and Conflict while the head is open.
    """
    repo_id = get_repo_id(db, repo)
    check_name("branch", branch)
    found = db.row("SELECT id, head_id FROM branches WHERE repo_id = ? AND name = ?", (repo_id, branch))
    _check_startable(db, repo, branch, found)
    if parent is not None:
        parent_row: int | None = get_commit(db, repo, parent).row
    else:
        parent_row = found[1] if found else None
    if parent_row is not None:
        _check_settled(db, parent_row)
    row = append(db, repo_id, parent_row, branch, new_commit_id(), "USER", description)
    branch_id = set_head(db, repo_id, branch, row)
    commit = get_by_row(db, row)
    propagate(db, [branch_id], commit.id)
    return commit


def _check_startable(db: Db, repo: str, branch: str, found: tuple[int, int] | None) -> None:
    if found is None:
        return
    if is_output_branch(db, found[0]):
        raise OutputBranch(f"cannot start a commit on an output branch: {repo}@{branch}")
    head = get_by_row(db, found[1])
    if head.is_open:
        raise Conflict(f"parent commit {head.id} has not been finished")


def _check_settled(db: Db, row: int) -> None:
    """Raise Conflict if what a child of this commit begins with can still change: it, or the one before failed ones, is open.

    What an open commit takes later would reach under the versions that its descendants began.
    """
    for commit in iter_ancestors(db, get_by_row(db, row)):
        if commit.is_open:
            raise Conflict(f"parent commit {commit.id} has not been finished")
        if commit.error is None:
            return


def is_output_branch(db: Db, branch_id: int) -> bool:
    """Tell whether only propagation writes to a branch."""
    sql = "SELECT 1 FROM branch_provenance WHERE branch_id = ?1 UNION SELECT 1 FROM pipelines WHERE branch_id = ?1"
    return db.value(sql, (branch_id,)) is not None


def finish_commit(db: Db, commit: Commit, *, description: str = "", error: str | None = None) -> None:
    """Make a commit immutable. Raises NotWritable if it is already."""
    if not commit.is_open:
        raise NotWritable(f"commit {commit.id} has already finished")
    if error is not None:
        db.execute("UPDATE commits SET size_bytes = 0, file_count = 0 WHERE id = ?", (commit.row,))
    db.execute(
        "UPDATE commits SET finished_ns = ?, error = ?, description = coalesce(nullif(?, ''), description) WHERE id = ?",
        (time.time_ns(), error, description, commit.row),
    )
    db.changes.jobs = True
    _note_heads(db, commit.row)


def finish_user_commit(db: Db, repo: str, revision: str, *, description: str = "") -> Commit:
    """Finish what `start_commit` began. Raises NotWritable for finished commits, OutputBranch for a pipeline's."""
    commit = get_commit(db, repo, revision)
    if commit.is_open and commit.origin == "AUTO":
        raise OutputBranch("cannot finish a pipeline output or meta commit, use 'stop job' instead")
    finish_commit(db, commit, description=description)
    return get_by_row(db, commit.row)


def check_branch_writable(db: Db, repo: str, branch: str) -> None:
    """Raise OutputBranch if only a pipeline writes to a branch; RepoNotFound. A branch that is not there can be made."""
    found = db.value("SELECT id FROM branches WHERE repo_id = ? AND name = ?", (get_repo_id(db, repo), branch))
    if found is not None and is_output_branch(db, found):
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
    repo_id = get_repo_id(db, repo)
    found = db.row("SELECT id, head_id FROM branches WHERE repo_id = ? AND name = ?", (repo_id, revision))
    if found is not None and not is_output_branch(db, found[0]):
        head = get_by_row(db, found[1])
        if head.is_open and head.origin == "AUTO":  # the branch was pointed at what a pipeline is working on
            raise OutputBranch(f"cannot write to the output commit {repo}@{head.id}")
        if head.is_open:
            return Writing(head, one_off=False)
    return Writing(start_commit(db, repo, revision), one_off=True)


def end_write(db: Db, writing: Writing) -> None:
    """Finish a one-off commit."""
    if writing.one_off:
        finish_commit(db, writing.commit)
    else:
        _note_heads(db, writing.commit.row)


def append(
    db: Db, repo_id: int, parent: int | None, branch: str, commit_id: CommitId, origin: Origin, description: str = ""
) -> int:
    """Make an open commit after `parent` and return its row: on the parent's line if it is the tip, else on a new one."""
    line, seq, size_bytes, file_count = _next_place(db, repo_id, parent)
    sql = """
        INSERT INTO commits (repo_id, line_id, seq, global_id, parent_id, branch, origin, description, started_ns,
                             size_bytes, file_count)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """
    values = (repo_id, line, seq, bytes.fromhex(commit_id), parent, branch, origin, description, time.time_ns())
    row = db.execute(sql, (*values, size_bytes, file_count)).lastrowid
    db.execute("UPDATE lines SET tip_seq = ? WHERE id = ?", (seq, line))
    assert row is not None
    return row


def _next_place(db: Db, repo_id: int, parent: int | None) -> tuple[int, int, int, int]:
    """Return line, seq, size and file count of a commit after `parent`."""
    if parent is None:
        return _new_line(db, repo_id, None, None), 1, 0, 0
    before = get_by_row(db, parent)
    line, seq = before.line, before.seq
    tip = db.value("SELECT tip_seq FROM lines WHERE id = ?", (line,))
    counted = find_readable(db, before)  # a commit that failed has nothing, and hides nothing from those after it
    size_bytes, file_count = (counted.size_bytes, counted.file_count) if counted else (0, 0)
    if seq == tip:
        return line, seq + 1, size_bytes, file_count
    return _new_line(db, repo_id, line, seq), 1, size_bytes, file_count


def _new_line(db: Db, repo_id: int, base_line: int | None, base_seq: int | None) -> int:
    sql = "INSERT INTO lines (repo_id, base_line_id, base_seq) VALUES (?, ?, ?)"
    line = db.execute(sql, (repo_id, base_line, base_seq)).lastrowid
    assert line is not None
    return line


def set_head(db: Db, repo_id: int, branch: str, head: int) -> int:
    """Point a branch at a commit, making the branch if need be; return the branch's number. Does not propagate."""
    sql = """
        INSERT INTO branches (repo_id, name, head_id, created_ns) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (repo_id, name) DO UPDATE SET head_id = ?3
        RETURNING id
    """
    branch_id: int = db.value(sql, (repo_id, branch, head, time.time_ns()))
    db.changes.heads.add((db.value("SELECT name FROM repos WHERE id = ?", (repo_id,)), branch))
    return branch_id


def _note_heads(db: Db, commit_row: int) -> None:
    """Tell listeners that what readers of these branches see has changed."""
    sql = "SELECT r.name, b.name FROM branches b JOIN repos r ON r.id = b.repo_id WHERE b.head_id = ?"
    db.changes.heads.update((repo, branch) for repo, branch in db.execute(sql, (commit_row,)))
    # An output branch whose newer commits are still open shows this one.
    sql = "SELECT r.name, c.branch FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.id = ?"
    db.changes.heads.add(db.row(sql, (commit_row,)))


def propagate(db: Db, moved: Iterable[int], commit_id: CommitId) -> None:
    """Open a commit of the set `commit_id` on every branch downstream of those that moved, upstream first."""
    for branch_id in _list_downstream(db, moved):
        make_auto_commit(db, branch_id, commit_id)


def make_auto_commit(db: Db, branch_id: int, commit_id: CommitId) -> int:
    """Open the next commit of a branch with provenance, and the job of the pipeline that owns the branch.

    The heads of its upstream branches are what it is made from.
    """
    repo_id, name, head = db.row("SELECT repo_id, name, head_id FROM branches WHERE id = ?", (branch_id,))
    row = append(db, repo_id, head, name, commit_id, "AUTO")
    set_head(db, repo_id, name, row)
    _record_provenance(db, branch_id, row)
    sql = """
        INSERT INTO jobs (pipeline_id, version, commit_id, state, created_ns)
        SELECT id, version, ?, 'created', ? FROM pipelines WHERE branch_id = ? AND NOT stopped
    """
    db.execute(sql, (row, time.time_ns(), branch_id))
    db.changes.jobs = True
    return row


def _record_provenance(db: Db, branch_id: int, commit_row: int) -> None:
    sql = """
        INSERT INTO commit_provenance (commit_id, upstream_id)
        SELECT DISTINCT ?, b.head_id FROM branch_provenance p JOIN branches b ON b.id = p.upstream_id WHERE p.branch_id = ?
    """
    db.execute(sql, (commit_row, branch_id))


def _list_downstream(db: Db, moved: Iterable[int]) -> list[int]:
    """Return the branches downstream of `moved`, each after all of its own upstream ones."""
    ids = ", ".join(str(int(branch)) for branch in moved)
    sql = f"""
        WITH RECURSIVE down(id, depth) AS (
            SELECT branch_id, 1 FROM branch_provenance WHERE upstream_id IN ({ids})
            UNION SELECT p.branch_id, depth + 1 FROM branch_provenance p JOIN down ON p.upstream_id = down.id
        )
        SELECT id FROM down GROUP BY id ORDER BY max(depth)
    """
    return [row[0] for row in db.execute(sql)]


def check_no_cycle(db: Db, branch_id: int, upstream: Iterable[int]) -> None:
    """Raise InvalidRequest if `upstream` holds a branch that rests on `branch_id` itself."""
    if set(_list_downstream(db, [branch_id])) & set(upstream):
        raise InvalidRequest("branches can not depend on each other in a circle")
