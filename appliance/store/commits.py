"""Commits as they are read: find one, its ancestors, its set, what it was made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.errors import (
    BranchNotFound,
    CommitNotFound,
    Conflict,
    RepoNotFound,
)
from appliance.names import CommitId, Revision, is_commit_id, meta_repo, parse_revision
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


COLUMNS = """
    c.id, c.repo_id, r.name, lower(hex(c.global_id)), c.line_id, c.seq, c.parent_id, c.branch, c.origin, c.description,
    c.started_ns, c.finished_ns, c.error, c.size_bytes, c.file_count
"""
# Commits of a deleted repo, which wait for the collector, are nobody's any more.
_SELECT = f"SELECT {COLUMNS} FROM commits c JOIN repos r ON r.id = c.repo_id AND r.kind = 'user' "


def get_by_row(db: Db, row: int) -> Commit:
    """Return the commit with the store's number `row`, which must exist."""
    return Commit(*db.row(_SELECT + "WHERE c.id = ?", (row,)))


def find_by_row(db: Db, row: int) -> Commit | None:
    """Return the commit with the store's number `row`, None if it was taken out of history."""
    found = db.row(_SELECT + "WHERE c.id = ?", (row,))
    return Commit(*found) if found else None


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
            SELECT c.id FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.global_id = ? AND r.kind = 'user'
            UNION SELECT p.upstream_id FROM commit_provenance p JOIN up ON p.commit_id = up.id
        )
    """
    row = db.row(upstream + _SELECT + "JOIN up ON up.id = c.id WHERE c.repo_id = ?", (bytes.fromhex(commit_id), repo_id))
    return Commit(*row) if row else None


def find_meta(db: Db, pipeline: str, job_id: CommitId) -> Commit | None:
    """Return the commit that shows the datums of a job, None if there is none: the job is older than such commits."""
    sql = _SELECT + "WHERE r.name = ? AND c.global_id = ?"
    row = db.row(sql, (meta_repo(pipeline), bytes.fromhex(job_id)))
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
        rows = db.execute(_SELECT + "ORDER BY c.id DESC")
    else:
        rows = db.execute(_SELECT + "WHERE c.repo_id = ? ORDER BY c.id DESC", (get_repo_id(db, repo),))
    return (Commit(*row) for row in rows)


def list_set(db: Db, commit_id: CommitId) -> list[Commit]:
    """Return all commits that share a global id, upstream first. Raises CommitNotFound if there is none."""
    rows = db.execute(_SELECT + "WHERE c.global_id = ? ORDER BY c.id", (bytes.fromhex(commit_id),)).fetchall()
    if not rows:
        raise CommitNotFound(f"commit set {commit_id} not found")
    return [Commit(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class CommitSet:
    """The commits that share an id, counted by what became of them."""

    id: CommitId
    commits: int
    unfinished: int
    failed: int
    started_ns: int
    changed_ns: int


def iter_sets(db: Db) -> Iterator[CommitSet]:
    """Yield the ids that commits have, newest first."""
    sql = """
        SELECT lower(hex(global_id)), count(*), sum(finished_ns IS NULL), sum(error IS NOT NULL), min(started_ns),
               max(coalesce(finished_ns, started_ns))
        FROM commits c JOIN repos r ON r.id = c.repo_id WHERE r.kind = 'user' GROUP BY global_id ORDER BY max(c.id) DESC
    """
    return (CommitSet(*row) for row in db.execute(sql))


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
