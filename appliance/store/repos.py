"""Repos and branches: make, list, delete."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appliance.errors import AlreadyExists, BranchNotFound, Conflict, InvalidRequest, NotFound, OutputBranch
from appliance.names import check_name, find_meta_owner, new_commit_id
from appliance.store import commits, history, propagation, snapshots
from appliance.store.database import Db
from appliance.store.triggers import Trigger, find_trigger, set_trigger


@dataclass(frozen=True, slots=True)
class Repo:
    """A repo as listed. `size_bytes` is that of the head of `master`, 0 without one."""

    name: str
    description: str
    created_ns: int
    size_bytes: int
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as listed; `provenance` are (repo, branch) pairs it is made from directly."""

    repo: str
    name: str
    head: commits.Commit
    created_ns: int
    provenance: tuple[tuple[str, str], ...]
    is_output: bool
    trigger: Trigger | None


def create_repo(db: Db, name: str, *, description: str = "", update: bool = False) -> None:
    """Make a repo. Raises InvalidName, and AlreadyExists unless `update`, which changes only the description."""
    check_name("repo", name)
    if exists(db, name):
        if not update:
            raise AlreadyExists(f"repo {name} already exists")
        db.execute("UPDATE repos SET description = ? WHERE name = ? AND kind = 'user'", (description, name))
        return
    insert_repo(db, name, description)


def insert_repo(db: Db, name: str, description: str) -> None:
    """Make a repo, which may be one of the system. The name is free."""
    values = (name, description, time.time_ns())
    db.execute("INSERT INTO repos (name, description, created_ns) VALUES (?, ?, ?)", values)
    db.changes.repos = True


def exists(db: Db, name: str) -> bool:
    """Tell whether there is a repo of this name."""
    return db.value("SELECT 1 FROM repos WHERE name = ? AND kind = 'user'", (name,)) is not None


def get_created_ns(db: Db, name: str) -> int:
    """Return when a repo was made. Raises RepoNotFound."""
    created_ns: int = db.value("SELECT created_ns FROM repos WHERE id = ?", (commits.get_repo_id(db, name),))
    return created_ns


def get_branch_created_ns(db: Db, repo: str, branch: str) -> int:
    """Return when the repo of a branch was made, in one look. Raises RepoNotFound, BranchNotFound."""
    sql = """
        SELECT r.created_ns FROM repos r JOIN branches b ON b.repo_id = r.id
        WHERE r.name = ? AND r.kind = 'user' AND b.name = ?
    """
    created_ns: int | None = db.value(sql, (repo, branch))
    if created_ns is None:
        commits.get_head(db, repo, branch)  # says which of the two is missing
        raise BranchNotFound(f'branch "{branch}" not found in repo {repo}')
    return created_ns


def get_repo(db: Db, name: str) -> Repo:
    """Return one repo or raise RepoNotFound."""
    repo_id = commits.get_repo_id(db, name)
    description, created_ns = db.row("SELECT description, created_ns FROM repos WHERE id = ?", (repo_id,))
    names = tuple(
        row[0] for row in db.execute("SELECT name FROM branches WHERE repo_id = ? ORDER BY created_ns, id", (repo_id,))
    )
    size_bytes = 0
    if "master" in names:
        head = commits.find_readable(db, commits.get_head(db, name, "master"))
        size_bytes = head.size_bytes if head else 0
    return Repo(name, description, created_ns, size_bytes, names)


def iter_repos(db: Db, *, system: bool = False) -> Iterator[Repo]:
    """Yield all repos of users, or all of the `system`, newest first (as `pachctl list repo`)."""
    names = db.execute("SELECT name FROM repos WHERE kind = 'user' ORDER BY created_ns DESC, id DESC").fetchall()
    return (get_repo(db, name) for (name,) in names if (find_meta_owner(name) is not None) == system)


def delete_repo(db: Db, name: str, *, force: bool = False) -> None:
    """Delete a repo with its history. Raises RepoNotFound, Conflict while something downstream rests on it.

    With `force` branches and commits that were made from it stay, without that provenance; what pipelines read is kept.
    """
    repo_id = commits.get_repo_id(db, name)
    owner = "SELECT 1 FROM pipelines p JOIN branches b ON b.id = p.branch_id WHERE b.repo_id = ?"
    pipeline = find_meta_owner(name)
    if db.value(owner, (repo_id,)) or db.value("SELECT 1 FROM pipelines WHERE name = ?", (pipeline,)):
        raise Conflict("cannot delete a repo associated with a pipeline - delete the pipeline instead")
    if force:
        _cut_off(db, [row[0] for row in db.execute("SELECT id FROM branches WHERE repo_id = ?", (repo_id,))])
        sql = "DELETE FROM commit_provenance WHERE upstream_id IN (SELECT id FROM commits WHERE repo_id = ?)"
        db.execute(sql, (repo_id,))
    _check_unused(db, repo_id, name)
    drop_repo(db, repo_id)


def _cut_off(db: Db, branches: Iterable[int]) -> None:
    """Let nothing depend on some branches any more. Raises Conflict if a pipeline reads one."""
    sql = """
        SELECT r.name, b.name, p.name FROM branch_provenance v JOIN pipelines p ON p.branch_id = v.branch_id
        JOIN branches b ON b.id = v.upstream_id JOIN repos r ON r.id = b.repo_id WHERE v.upstream_id = ?
    """
    for branch_id in branches:
        if found := db.row(sql, (branch_id,)):
            raise Conflict(f"branch {found[0]}@{found[1]} is an input of pipeline {found[2]} - delete the pipeline first")
        db.execute("DELETE FROM branch_provenance WHERE upstream_id = ?", (branch_id,))


def cut_off_readers(db: Db, name: str) -> None:
    """Let no branch be made from this repo's any more, not even those of pipelines, which then find nothing there."""
    sql = "SELECT id FROM branches WHERE repo_id = ?"
    db.execute(f"DELETE FROM branch_provenance WHERE upstream_id IN ({sql})", (commits.get_repo_id(db, name),))
    db.changes.jobs = True


def drop_repo(db: Db, repo_id: int) -> None:
    """Take a repo away from everybody at once, whatever it holds; nothing may rest on it. Its rows wait for the collector."""
    name = db.value("SELECT name FROM repos WHERE id = ?", (repo_id,))
    sql = "SELECT id, name FROM branches WHERE repo_id = ?"
    for branch_id, branch in db.execute(sql, (repo_id,)).fetchall():
        db.changes.heads.add((name, branch))
        db.execute("DELETE FROM uploads WHERE target = ?", (f"branch/{branch_id}",))
    db.execute("DELETE FROM branches WHERE repo_id = ?", (repo_id,))
    db.execute("UPDATE repos SET kind = 'deleted', name = name || '@' || id WHERE id = ?", (repo_id,))
    db.changes.repos = db.changes.garbage = True
    db.changes.removed.add(name)


def _check_unused(db: Db, repo_id: int, name: str) -> None:
    sql = """
        SELECT r.name, d.name FROM branch_provenance p JOIN branches u ON u.id = p.upstream_id
        JOIN branches d ON d.id = p.branch_id JOIN repos r ON r.id = d.repo_id
        WHERE u.repo_id = ?1 AND d.repo_id <> ?1
    """
    if dependent := db.row(sql, (repo_id,)):
        raise Conflict(f"cannot delete repo {name}: branch {dependent[0]}@{dependent[1]} depends on it")
    sql = """
        SELECT r.name, lower(hex(d.global_id)) FROM commits u JOIN commit_provenance p ON p.upstream_id = u.id
        JOIN commits d ON d.id = p.commit_id JOIN repos r ON r.id = d.repo_id
        WHERE u.repo_id = ?1 AND d.repo_id <> ?1 AND r.kind = 'user'
    """
    if dependent := db.row(sql, (repo_id,)):
        raise Conflict(f"cannot delete repo {name}: commit {dependent[0]}@{dependent[1]} was made from it")


def create_branch(
    db: Db,
    repo: str,
    name: str,
    *,
    head: str | None = None,
    provenance: Iterable[tuple[str, str]] = (),
    trigger: Trigger | None = None,
) -> None:
    """Make a branch or re-point it: at `head`, else at an empty commit of its own if it is new.

    With new provenance it gets an open commit that is made from the heads of its upstream branches. Upstream branches that
    do not exist are made. A trigger it had goes with anything that is said about it. Raises RepoNotFound, InvalidName,
    CommitNotFound, InvalidRequest.
    """
    repo_id = commits.get_repo_id(db, repo)
    history.check_user_repo(repo)
    check_name("branch", name)
    upstream = [ensure_branch(db, *source) for source in provenance]
    if upstream and trigger:
        raise InvalidRequest("a branch cannot have both provenance and a trigger")
    existing = db.value("SELECT head_id FROM branches WHERE repo_id = ? AND name = ?", (repo_id, name))
    chosen = _choose_head(db, repo, name, head, existing)
    branch_id = propagation.set_head(db, chosen, name)
    if head or upstream or trigger:
        set_trigger(db, branch_id, trigger)
    changed = bool(upstream) and set_provenance(db, branch_id, upstream)
    if changed or chosen.row != existing:
        propagation.propagate(db, [branch_id], propagation.new_set_id(db), due=[branch_id] if changed else ())


def _choose_head(db: Db, repo: str, name: str, head: str | None, existing: int | None) -> commits.Commit:
    if head is not None:
        _check_repointable(db, repo, name)
        return commits.get_commit(db, repo, head)
    if existing is not None:
        return commits.get_by_row(db, existing)
    return make_empty_commit(db, repo, name)


def make_empty_commit(db: Db, repo: str, branch: str, description: str = "") -> commits.Commit:
    """Make a finished commit without files or parent, for a branch to begin with."""
    repo_id = commits.get_repo_id(db, repo)
    commit = propagation.append(db, repo_id, repo, None, branch, new_commit_id(), "AUTO", description)
    history.finish_commit(db, commit)
    return commits.get_by_row(db, commit.row)


def _check_repointable(db: Db, repo: str, name: str) -> None:
    branch_id = find_branch_id(db, repo, name)
    if branch_id is not None and propagation.is_output_branch(db, branch_id):
        raise OutputBranch(f"{repo}@{name} is an output branch: its head can not be set")


def ensure_branch(db: Db, repo: str, name: str) -> int:
    """Return the number of a branch, making it (empty) if the repo lacks it. Raises RepoNotFound."""
    found = find_branch_id(db, repo, name)
    if found is None:
        create_branch(db, repo, name)
        found = find_branch_id(db, repo, name)
    assert found is not None
    return found


def set_provenance(db: Db, branch_id: int, upstream: Iterable[int]) -> bool:
    """Replace what a branch is made from; tell whether that changed anything.

    Raises InvalidRequest for its own repo, a circle, or two branches of one repo in what hangs together: a commit set has
    one commit of a repo.
    """
    chosen = set(upstream)
    sql = "SELECT upstream_id FROM branch_provenance WHERE branch_id = ?"
    if chosen == {row[0] for row in db.execute(sql, (branch_id,))}:
        return False
    own = _find_repo(db, branch_id)
    if own in {_find_repo(db, source) for source in chosen}:
        raise InvalidRequest(f"repo {own} cannot be in the provenance of its own branch")
    if chosen & set(propagation.list_downstream(db, [branch_id])):
        raise InvalidRequest("branches can not depend on each other in a circle")
    db.execute("DELETE FROM branch_provenance WHERE branch_id = ?", (branch_id,))
    rows = [(branch_id, source) for source in sorted(chosen)]
    db.executemany("INSERT INTO branch_provenance (branch_id, upstream_id) VALUES (?, ?)", rows)
    _check_one_branch_each(db, branch_id)
    return True


def _find_repo(db: Db, branch_id: int) -> str:
    name: str = db.value("SELECT r.name FROM branches b JOIN repos r ON r.id = b.repo_id WHERE b.id = ?", (branch_id,))
    return name


def _check_one_branch_each(db: Db, branch_id: int) -> None:
    """Raise InvalidRequest if a set that reaches this branch, or goes out from it, would meet a repo twice."""
    above, below = propagation.list_upstream(db, branch_id), propagation.list_downstream(db, [branch_id])
    sets = [[branch, *propagation.list_downstream(db, [branch])] for branch in (branch_id, *above)]
    sets += [[branch, *propagation.list_upstream(db, branch)] for branch in (branch_id, *below)]
    for branches in sets:
        counted = Counter(_find_repo(db, branch) for branch in branches)
        repo, times = counted.most_common(1)[0]
        if times > 1:
            raise InvalidRequest(f'multiple branches from the same repo, "{repo}", cannot participate in a DAG')


def find_branch_id(db: Db, repo: str, name: str) -> int | None:
    """Return the store's number of a branch, None if the repo lacks it. Raises RepoNotFound."""
    repo_id = commits.get_repo_id(db, repo)
    found: int | None = db.value("SELECT id FROM branches WHERE repo_id = ? AND name = ?", (repo_id, name))
    return found


def find_alias(db: Db, repo: str, branch: str) -> tuple[str, str] | None:
    """Return (repo, branch) of the one branch with these names once capitals are small and underscores dashes.

    None if there is none, or more than one.
    """
    sql = """
        SELECT r.name, b.name FROM repos r JOIN branches b ON b.repo_id = r.id
        WHERE replace(lower(r.name), '_', '-') = ? AND r.kind = 'user' AND replace(lower(b.name), '_', '-') = ? LIMIT 2
    """
    found = list(db.execute(sql, (repo, branch)))
    return found[0] if len(found) == 1 else None


def get_branch(db: Db, repo: str, name: str) -> Branch:
    """Return one branch. Raises RepoNotFound, BranchNotFound."""
    head = commits.get_head(db, repo, name)
    branch_id = find_branch_id(db, repo, name)
    assert branch_id is not None
    sql = """
        SELECT r.name, b.name FROM branch_provenance p JOIN branches b ON b.id = p.upstream_id
        JOIN repos r ON r.id = b.repo_id WHERE p.branch_id = ? ORDER BY 1, 2
    """
    created_ns = db.value("SELECT created_ns FROM branches WHERE id = ?", (branch_id,))
    provenance = tuple((row[0], row[1]) for row in db.execute(sql, (branch_id,)))
    return Branch(
        repo, name, head, created_ns, provenance, propagation.is_output_branch(db, branch_id), find_trigger(db, branch_id)
    )


def iter_branches(db: Db, repo: str) -> Iterator[Branch]:
    """Yield the branches of a repo by age. Raises RepoNotFound."""
    names = db.execute(
        "SELECT name FROM branches WHERE repo_id = ? ORDER BY created_ns, id", (commits.get_repo_id(db, repo),)
    )
    return (get_branch(db, repo, name) for (name,) in names)


def list_all_branches(db: Db) -> list[tuple[str, str, int]]:
    """Return (repo, branch, created_ns) of every branch of every user repo, by name."""
    sql = """
        SELECT r.name, b.name, r.created_ns FROM branches b JOIN repos r ON r.id = b.repo_id
        WHERE r.kind = 'user' ORDER BY b.name || '.' || r.name
    """
    return [found for found in db.execute(sql) if find_meta_owner(found[0]) is None]


def delete_branch(db: Db, repo: str, name: str, *, force: bool = False) -> None:
    """Remove a branch; its commits stay. Raises BranchNotFound, Conflict if others depend on it or a pipeline owns it.

    With `force` branches that were made from it stay, without that provenance; what a pipeline reads is kept.
    """
    branch_id = find_branch_id(db, repo, name)
    if branch_id is None:
        raise BranchNotFound(f'branch "{name}" not found in repo {repo}')
    history.check_user_repo(repo)
    if force:
        _cut_off(db, [branch_id])
    if db.value("SELECT 1 FROM branch_provenance WHERE upstream_id = ?", (branch_id,)):
        raise Conflict(f"branch {repo}@{name} is in the provenance of other branches")
    if pipeline := db.value("SELECT name FROM pipelines WHERE branch_id = ?", (branch_id,)):
        raise Conflict(f"branch {repo}@{name} is the output branch of pipeline {pipeline}")
    db.execute("DELETE FROM uploads WHERE target = ?", (f"branch/{branch_id}",))
    db.execute("DELETE FROM branches WHERE id = ?", (branch_id,))
    db.changes.heads.add((repo, name))


def delete_empty_branch(db: Db, repo: str, name: str) -> bool:
    """Delete a branch without files, and its repo with the last one. Returns False, changing nothing, if it has files.

    That is deleting a bucket. Raises NotFound, Conflict as `delete_branch` and `delete_repo` do.
    """
    head = commits.find_readable(db, commits.get_head(db, repo, name))
    if head is not None and any(
        snapshots.iter_entries(db, snapshots.open_commit(db, head))
    ):  # explicit directories count too
        return False
    delete_branch(db, repo, name)
    if not get_repo(db, repo).branches:
        try:
            delete_repo(db, repo)
        except (Conflict, NotFound):
            return True  # something was made from its commits: the repo stays, without branches
    return True
