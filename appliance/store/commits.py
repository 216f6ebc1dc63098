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


_COLUMNS = """
    c.id, c.repo_id, r.name, lower(hex(c.global_id)), c.line_id, c.seq, c.parent_id, c.branch, c.origin, c.description,
    c.started_ns, c.finished_ns, c.error, c.size_bytes, c.file_count
"""
_SELECT = f"SELECT {_COLUMNS} FROM commits c JOIN repos r ON r.id = c.repo_id "


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


@dataclass(frozen=True, slots=True)
class _Target:
    """A branch as a write finds it. One that is not there yet has neither number nor head."""

    repo_id: int
    is_output: bool = False
    head: Commit | None = None


def _find_target(db: Db, repo: str, branch: str) -> _Target:
    """Return the branch that is to be written to, in one look. Raises RepoNotFound."""
    sql = f"""
        SELECT {_IS_OUTPUT}, {_COLUMNS} FROM branches b JOIN commits c ON c.id = b.head_id JOIN repos r ON r.id = b.repo_id
        WHERE r.name = ? AND r.kind = 'user' AND b.name = ?
    """
    row = db.row(sql, (repo, branch))
    if row is None:
        return _Target(get_repo_id(db, repo))
    head = Commit(*row[1:])
    return _Target(head.repo_id, bool(row[0]), head)


# Whether only propagation writes to a branch `b`.
_IS_OUTPUT = """
    (EXISTS (SELECT 1 FROM branch_provenance p WHERE p.branch_id = b.id)
     OR EXISTS (SELECT 1 FROM pipelines p WHERE p.branch_id = b.id))
"""


def start_commit(db: Db, repo: str, branch: str, *, description: str = "", parent: str | None = None) -> Commit:
    """Open a commit on a branch, which is made if need be, and propagate.

    Raises RepoNotFound, InvalidName, OutputBranch, and Conflict while the head is open.
    """
    check_name("branch", branch)
    target = _find_target(db, repo, branch)
    chosen = get_commit(db, repo, parent) if parent is not None else target.head
    return _start(db, repo, branch, target, chosen, description)


def _start(db: Db, repo: str, branch: str, target: _Target, parent: Commit | None, description: str = "") -> Commit:
    if target.is_output:
        raise OutputBranch(f"cannot start a commit on an output branch: {repo}@{branch}")
    if target.head is not None and target.head.is_open:
        raise _not_finished(target.head)
    if parent is not None:
        _check_settled(db, parent)
    commit = append(db, target.repo_id, repo, parent, branch, new_commit_id(), "USER", description)
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


def is_output_branch(db: Db, branch_id: int) -> bool:
    """Tell whether only propagation writes to a branch."""
    return bool(db.value(f"SELECT {_IS_OUTPUT} FROM branches b WHERE b.id = ?", (branch_id,)))


def finish_commit(db: Db, commit: Commit, *, description: str = "", error: str | None = None) -> None:
    """Make a commit immutable. Raises NotWritable if it is already."""
    _finish(db, commit, description, error)
    db.changes.jobs = True
    _note_heads(db, commit.row)


def _finish(db: Db, commit: Commit, description: str = "", error: str | None = None) -> None:
    if not commit.is_open:
        raise NotWritable(f"commit {commit.id} has already finished")
    if error is not None:
        db.execute("UPDATE commits SET size_bytes = 0, file_count = 0 WHERE id = ?", (commit.row,))
    db.execute(
        "UPDATE commits SET finished_ns = ?, error = ?, description = coalesce(nullif(?, ''), description) WHERE id = ?",
        (time.time_ns(), error, description, commit.row),
    )


def finish_user_commit(db: Db, repo: str, revision: str, *, description: str = "") -> Commit:
    """Finish what `start_commit` began. Raises NotWritable for finished commits, OutputBranch for a pipeline's."""
    commit = get_commit(db, repo, revision)
    if commit.is_open and db.value("SELECT 1 FROM jobs WHERE commit_id = ?", (commit.row,)):
        raise OutputBranch("cannot finish a pipeline output or meta commit, use 'stop job' instead")
    finish_commit(db, commit, description=description)
    return get_by_row(db, commit.row)


def check_branch_writable(db: Db, repo: str, branch: str) -> None:
    """Raise OutputBranch if only a pipeline writes to a branch; RepoNotFound. A branch that is not there can be made."""
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
        _note_heads(db, writing.commit.row)


def append(
    db: Db,
    repo_id: int,
    repo: str,
    parent: Commit | None,
    branch: str,
    commit_id: CommitId,
    origin: Origin,
    description: str = "",
) -> Commit:
    """Make an open commit after `parent`: on the parent's line if it is the tip, else on a new one."""
    line, seq = _next_place(db, repo_id, parent)
    # A commit that failed has nothing, and hides nothing from those after it.
    counted = find_readable(db, parent) if parent is not None else None
    size_bytes, file_count = (counted.size_bytes, counted.file_count) if counted else (0, 0)
    before, now_ns = parent.row if parent else None, time.time_ns()
    sql = """
        INSERT INTO commits (repo_id, line_id, seq, global_id, parent_id, branch, origin, description, started_ns,
                             size_bytes, file_count)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """
    values = (repo_id, line, seq, bytes.fromhex(commit_id), before, branch, origin, description, now_ns)
    row = db.execute(sql, (*values, size_bytes, file_count)).lastrowid
    db.execute("UPDATE lines SET tip_seq = ? WHERE id = ?", (seq, line))
    assert row is not None
    made = (row, repo_id, repo, commit_id, line, seq, before, branch, origin, description, now_ns, None, None)
    return Commit(*made, size_bytes, file_count)


def _next_place(db: Db, repo_id: int, parent: Commit | None) -> tuple[int, int]:
    """Return line and seq of a commit after `parent`."""
    if parent is None:
        return _new_line(db, repo_id, None, None), 1
    if parent.seq == db.value("SELECT tip_seq FROM lines WHERE id = ?", (parent.line,)):
        return parent.line, parent.seq + 1
    return _new_line(db, repo_id, parent.line, parent.seq), 1


def _new_line(db: Db, repo_id: int, base_line: int | None, base_seq: int | None) -> int:
    sql = "INSERT INTO lines (repo_id, base_line_id, base_seq) VALUES (?, ?, ?)"
    line = db.execute(sql, (repo_id, base_line, base_seq)).lastrowid
    assert line is not None
    return line


def set_head(db: Db, commit: Commit, branch: str) -> int:
    """Point a branch of its repo at a commit, making it if need be; return its number. Does not propagate."""
    sql = """
        INSERT INTO branches (repo_id, name, head_id, created_ns) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (repo_id, name) DO UPDATE SET head_id = ?3
        RETURNING id
    """
    branch_id: int = db.value(sql, (commit.repo_id, branch, commit.row, time.time_ns()))
    db.changes.heads.add((commit.repo, branch))
    return branch_id


def _note_heads(db: Db, commit_row: int) -> None:
    """Tell listeners that what readers of these branches see has changed."""
    sql = "SELECT r.name, b.name FROM branches b JOIN repos r ON r.id = b.repo_id WHERE b.head_id = ?"
    db.changes.heads.update((repo, branch) for repo, branch in db.execute(sql, (commit_row,)))
    # An output branch whose newer commits are still open shows this one.
    sql = "SELECT r.name, c.branch FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.id = ?"
    db.changes.heads.add(db.row(sql, (commit_row,)))


def propagate(db: Db, moved: Iterable[int], commit_id: CommitId) -> None:
    """Open a commit of the set `commit_id` on every branch downstream of those that moved, upstream first.

    The branch of a stopped pipeline gets none, and neither does what is downstream of nothing else.
    """
    for branch_id in list_downstream(db, moved, through_stopped=False):
        make_auto_commit(db, branch_id, commit_id)


def make_auto_commit(db: Db, branch_id: int, commit_id: CommitId) -> None:
    """Open the next commit of a branch with provenance, and the job of the pipeline that owns the branch.

    The heads of its upstream branches are what it is made from.
    """
    name, head_row = db.row("SELECT name, head_id FROM branches WHERE id = ?", (branch_id,))
    head = get_by_row(db, head_row)
    commit = append(db, head.repo_id, head.repo, head, name, commit_id, "AUTO")
    set_head(db, commit, name)
    _record_provenance(db, branch_id, commit.row)
    sql = """
        INSERT INTO jobs (pipeline_id, version, commit_id, state, created_ns)
        SELECT id, version, ?, 'created', ? FROM pipelines WHERE branch_id = ?
    """
    db.execute(sql, (commit.row, time.time_ns(), branch_id))
    db.changes.jobs = True


def _record_provenance(db: Db, branch_id: int, commit_row: int) -> None:
    sql = """
        INSERT INTO commit_provenance (commit_id, upstream_id)
        SELECT DISTINCT ?, b.head_id FROM branch_provenance p JOIN branches b ON b.id = p.upstream_id WHERE p.branch_id = ?
    """
    db.execute(sql, (commit_row, branch_id))


def list_downstream(db: Db, moved: Iterable[int], *, through_stopped: bool = True) -> list[int]:
    """Return the branches downstream of `moved`, each after all of its own upstream ones."""
    ids = ", ".join(str(int(branch)) for branch in moved)
    running = "" if through_stopped else "AND p.branch_id NOT IN (SELECT branch_id FROM pipelines WHERE stopped)"
    sql = f"""
        WITH RECURSIVE down(id, depth) AS (
            SELECT p.branch_id, 1 FROM branch_provenance p WHERE p.upstream_id IN ({ids}) {running}
            UNION
            SELECT p.branch_id, depth + 1 FROM branch_provenance p JOIN down ON p.upstream_id = down.id WHERE true {running}
        )
        SELECT id FROM down GROUP BY id ORDER BY max(depth)
    """
    return [row[0] for row in db.execute(sql)]


def list_upstream(db: Db, branch_id: int) -> list[int]:
    """Return the branches that a branch is made from, directly or not."""
    sql = """
        WITH RECURSIVE up(id) AS (
            SELECT upstream_id FROM branch_provenance WHERE branch_id = ?
            UNION SELECT p.upstream_id FROM branch_provenance p JOIN up ON p.branch_id = up.id
        )
        SELECT id FROM up
    """
    return [row[0] for row in db.execute(sql, (branch_id,))]
