"""Making commits and moving heads, and what follows from that downstream.

A branch head that moves gives every branch downstream a new open commit with the same global id, and a job where a
pipeline owns that branch, in the same transaction (*propagation*; Pachyderm's `pfs` and `pps` drivers).
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from appliance.errors import Conflict
from appliance.names import CommitId, new_commit_id
from appliance.store.commits import Commit, Origin, find_readable, get_by_row
from appliance.store.database import CommitSet, Db


def new_set_id(db: Db) -> CommitId:
    """Return the id for a commit that somebody starts: a fresh one, in a joint set that set's."""
    return CommitId(db.commit_set.id) if db.commit_set else new_commit_id()


@contextmanager
def joint_set(db: Db, commit_id: CommitId) -> Iterator[None]:
    """Make all commits inside under one id, and propagate once, at the end (Pachyderm's transactions)."""
    assert db.commit_set is None
    joint = db.commit_set = CommitSet(commit_id)
    try:
        yield
    finally:
        db.commit_set = None
    propagate(db, joint.moved, commit_id, due=joint.due)


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
    """Make an open commit after `parent`: on the parent's line if it is the tip, else on a new one.

    Raises Conflict if the repo has a commit of that id already: a set has one of each repo.
    """
    _check_alone(db, repo_id, repo, parent, commit_id)
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


def _check_alone(db: Db, repo_id: int, repo: str, parent: Commit | None, commit_id: CommitId) -> None:
    if db.commit_set is None:
        return
    if db.value("SELECT 1 FROM commits WHERE repo_id = ? AND global_id = ?", (repo_id, bytes.fromhex(commit_id))):
        origin = parent.id if parent else "nothing"
        text = f"inconsistent dependencies: cannot create commit from {origin}"
        raise Conflict(f"{text}; repo ({repo}) already has a commit in this transaction")


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


def note_heads(db: Db, commit_row: int) -> None:
    """Tell listeners that what readers of these branches see has changed."""
    sql = "SELECT r.name, b.name FROM branches b JOIN repos r ON r.id = b.repo_id WHERE b.head_id = ?"
    db.changes.heads.update((repo, branch) for repo, branch in db.execute(sql, (commit_row,)))
    # An output branch whose newer commits are still open shows this one.
    sql = "SELECT r.name, c.branch FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.id = ?"
    db.changes.heads.add(db.row(sql, (commit_row,)))


def propagate(db: Db, moved: Iterable[int], commit_id: CommitId, *, due: Iterable[int] = ()) -> None:
    """Open a commit of the set `commit_id` on every branch downstream of those that moved, upstream first.

    Branches that are `due` get one too, and so does what is downstream of them. The branch of a stopped pipeline gets none,
    and neither does one that is never made again for the upstream branch, nor what is downstream of nothing else. In a joint
    set all this waits for its end.
    """
    if db.commit_set is not None:
        db.commit_set.moved.update(moved)
        db.commit_set.due.update(due)
        return
    own = set(due)
    downstream = list_downstream(db, own.union(moved), awake=True)
    for branch_id in (*sorted(own.difference(downstream)), *downstream):
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


_AWAKE = """
    AND NOT p.never AND p.branch_id NOT IN (
        SELECT branch_id FROM pipelines WHERE stopped
        UNION SELECT meta_branch_id FROM pipelines WHERE stopped AND meta_branch_id IS NOT NULL)
"""


def list_downstream(db: Db, moved: Iterable[int], *, awake: bool = False) -> list[int]:
    """Return the branches downstream of `moved`, or of these those that are `awake` to it, each after its upstream ones."""
    ids = ", ".join(str(int(branch)) for branch in moved)
    running = _AWAKE if awake else ""
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


def set_quiet(db: Db, branch_id: int, upstream: Iterable[int]) -> None:
    """Let a branch not be made again for what comes to some of its upstream branches; for the others it is."""
    db.execute("UPDATE branch_provenance SET never = 0 WHERE branch_id = ?", (branch_id,))
    sql = "UPDATE branch_provenance SET never = 1 WHERE branch_id = ? AND upstream_id = ?"
    db.executemany(sql, ((branch_id, source) for source in upstream))


# Whether only propagation writes to a branch `b`.
IS_OUTPUT = """
    (EXISTS (SELECT 1 FROM branch_provenance p WHERE p.branch_id = b.id)
     OR EXISTS (SELECT 1 FROM pipelines p WHERE p.branch_id = b.id))
"""


def is_output_branch(db: Db, branch_id: int) -> bool:
    """Tell whether only propagation writes to a branch."""
    return bool(db.value(f"SELECT {IS_OUTPUT} FROM branches b WHERE b.id = ?", (branch_id,)))
