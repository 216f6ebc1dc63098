"""Taking commits out of history: squash folds one into its children, drop removes it and its data, clear empties an open one.

All of it is surgery on the intervals of the line that holds the commit, and costs what the commit changed (schema.py
explains lines). Rules and texts are Pachyderm's (`src/server/pfs/server/driver.go`, squash and drop).
"""

import time
from collections.abc import Callable, Iterable

from appliance.errors import Conflict, NotWritable
from appliance.names import CommitId, new_commit_id
from appliance.store import commits, files, history, propagation, running, snapshots
from appliance.store.burying import bury_job
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.snapshots import Kind, Past, Snapshot


def squash_set(db: Db, commit_id: CommitId) -> None:
    """Fold every commit of a set into its children, which keep what it brought.

    Raises CommitNotFound, Conflict if one has no child that shows its content, an unfinished child, or if commits of
    other sets were made from one.
    """
    _remove(db, _whole_set(db, commit_id), _squash)


def drop_set(db: Db, commit_id: CommitId) -> None:
    """Remove every commit of a set with its data; running jobs are killed. Raises CommitNotFound, Conflict for children."""
    _remove(db, _whole_set(db, commit_id), _drop)


def squash_commit(db: Db, repo: str, revision: str, *, recursive: bool = False) -> None:
    """Squash one commit, and with `recursive` all that were made from it. Raises as `squash_set`, and what names it."""
    _remove(db, _with_subvenance(db, repo, revision, "squash", recursive=recursive), _squash)


def drop_commit(db: Db, repo: str, revision: str, *, recursive: bool = False) -> None:
    """Drop one commit, and with `recursive` all that were made from it. Raises as `drop_set`, and what names it."""
    _remove(db, _with_subvenance(db, repo, revision, "drop", recursive=recursive), _drop)


def clear_commit(db: Db, repo: str, revision: str) -> None:
    """Undo everything that was written into an open commit. Raises NotWritable for a finished one, or a pipeline's."""
    commit = commits.get_commit(db, repo, revision)
    if not commit.is_open:
        raise NotWritable("cannot clear finished commit")
    if commit.origin == "AUTO":
        raise NotWritable(f"cannot clear the output commit {repo}@{commit.id}")
    files.undo(db, commit)
    parent = commits.get_by_row(db, commit.parent) if commit.parent is not None else None
    before = commits.find_readable(db, parent) if parent is not None else None
    sizes = (before.size_bytes, before.file_count) if before else (0, 0)
    db.execute("UPDATE commits SET size_bytes = ?, file_count = ? WHERE id = ?", (*sizes, commit.row))
    propagation.note_heads(db, commit.row)


# -- which commits


def _whole_set(db: Db, commit_id: CommitId) -> list[Commit]:
    members = commits.list_set(db, commit_id)
    others = {
        commit.id for member in members for commit in _list_subvenance(db, member) if commit.id != commit_id
    }  # fmt: skip
    if others:
        listed = ", ".join(sorted(others))
        raise Conflict(f'commit set "{commit_id}" cannot be dropped because it has subvenant commit sets: [{listed}]')
    return members


def _with_subvenance(db: Db, repo: str, revision: str, verb: str, *, recursive: bool) -> list[Commit]:
    """Return a commit and those made from it; with each output commit comes the one that shows the datums of its job."""
    history.check_user_repo(repo)
    commit = commits.get_commit(db, repo, revision)
    meta = commits.find_meta(db, repo, commit.id)
    chosen = [commit, *([meta] if meta else [])]
    subvenance = {found.row: found for one in chosen for found in _list_subvenance(db, one)}
    if subvenance and not recursive:
        raise Conflict(f"cannot {verb} commit ({repo}@{commit.id}) with subvenance without recursive")
    return [*chosen, *subvenance.values()]


def _list_subvenance(db: Db, commit: Commit) -> list[Commit]:
    """Return every commit that was made from one, directly or not."""
    sql = """
        WITH RECURSIVE down(id) AS (
            SELECT commit_id FROM commit_provenance WHERE upstream_id = ?
            UNION SELECT p.commit_id FROM commit_provenance p JOIN down ON p.upstream_id = down.id
        )
        SELECT d.id FROM down d JOIN commits c ON c.id = d.id JOIN repos r ON r.id = c.repo_id WHERE r.kind = 'user'
    """
    return [commits.get_by_row(db, row) for (row,) in db.execute(sql, (commit.row,)).fetchall()]


def _remove(db: Db, chosen: Iterable[Commit], remove: Callable[[Db, Commit], None]) -> None:
    """Take commits out, downstream before upstream and young before old, then see to the branches that pointed at them."""
    moved: list[int] = []
    for commit in sorted(chosen, key=lambda commit: commit.row, reverse=True):
        heads = db.execute("SELECT id, name FROM branches WHERE head_id = ?", (commit.row,)).fetchall()
        for branch_id, name in heads:
            _step_back(db, commit, name)
            moved.append(branch_id)
        remove(db, commit)
    _propagate_stale(db, moved)


def _step_back(db: Db, commit: Commit, branch: str) -> None:
    """Point a branch at its head's parent, or at a fresh empty commit if there is none."""
    if commit.parent is not None:
        propagation.set_head(db, commits.get_by_row(db, commit.parent), branch)
        return
    empty = propagation.append(db, commit.repo_id, commit.repo, None, branch, new_commit_id(), "AUTO")
    db.execute("UPDATE commits SET finished_ns = ? WHERE id = ?", (time.time_ns(), empty.row))
    propagation.set_head(db, empty, branch)


def _propagate_stale(db: Db, moved: Iterable[int]) -> None:
    """Give branches downstream a new commit unless their heads were made from just what is upstream now."""
    sql = """
        SELECT 1 FROM branches b WHERE b.id = ? AND EXISTS (
            SELECT u.head_id FROM branch_provenance p JOIN branches u ON u.id = p.upstream_id WHERE p.branch_id = b.id
            EXCEPT SELECT upstream_id FROM commit_provenance WHERE commit_id = b.head_id)
    """
    stale = [branch for branch in propagation.list_downstream(db, moved) if db.value(sql, (branch,))]
    if stale:
        propagation.propagate(db, moved, new_commit_id())


# -- taking one out


def _squash(db: Db, commit: Commit) -> None:
    _check_children(db, commit)
    following = db.value("SELECT min(seq) FROM commits WHERE line_id = ? AND seq > ?", (commit.line, commit.seq))
    _fold_into_forks(db, commit)
    if following is None:
        files.undo(db, commit)
    else:
        _fold_into(db, commit, following)
    _delete_row(db, commit)


def _check_children(db: Db, commit: Commit) -> None:
    children = _list_children(db, commit)
    if not children:
        text = "cannot squash a commit that has no children as that would cause data loss, use the drop operation instead"
        raise Conflict(f"{text}: {commit.repo}@{commit.id}")
    for child in children:
        heir = _find_heir(db, child)
        if heir is None:
            text = f"cannot squash commit {commit.repo}@{commit.id}: its child {child.id} failed and still shows it"
            raise Conflict(f"{text}, drop that first")
        if heir.is_open:
            raise Conflict(f"cannot squash until child commit {heir.repo}@{heir.id} is finished, consider using WaitCommit")


def _find_heir(db: Db, child: Commit) -> Commit | None:
    """Return the first commit from `child` on that did not fail; a failed one shows what is in its parent."""
    heir: Commit | None = child
    while heir is not None and heir.error is not None:
        heir = next(iter(_list_children(db, heir)), None)
    return heir


def _list_children(db: Db, commit: Commit) -> list[Commit]:
    sql = "SELECT id FROM commits WHERE parent_id = ? ORDER BY id"
    return [commits.get_by_row(db, row) for (row,) in db.execute(sql, (commit.row,)).fetchall()]


def _drop(db: Db, commit: Commit) -> None:
    if _list_children(db, commit):
        raise Conflict(f"cannot drop a commit that has children: {commit.repo}@{commit.id}")
    job = db.value("SELECT id FROM jobs WHERE commit_id = ? AND finished_ns IS NULL", (commit.row,))
    if job is not None:
        running.fail_job(db, job, "killed", "its commit was deleted")
    files.undo(db, commit)
    _delete_row(db, commit)


def _delete_row(db: Db, commit: Commit) -> None:
    """Remove the commit itself and what hangs on it: its job, and its line if that was its last commit."""
    db.execute("UPDATE commits SET parent_id = ? WHERE parent_id = ?", (commit.parent, commit.row))
    for (job,) in db.execute("SELECT id FROM jobs WHERE commit_id = ?", (commit.row,)).fetchall():
        bury_job(db, job)
    db.execute("DELETE FROM commit_provenance WHERE upstream_id = ?", (commit.row,))  # of repos that were deleted
    db.execute("DELETE FROM commits WHERE id = ?", (commit.row,))
    tip = db.value("SELECT max(seq) FROM commits WHERE line_id = ?", (commit.line,))
    if tip is None:
        db.execute("DELETE FROM lines WHERE id = ?", (commit.line,))
    else:
        db.execute("UPDATE lines SET tip_seq = ? WHERE id = ?", (tip, commit.line))
    db.changes.jobs = db.changes.garbage = True
    db.changes.removed.add(commit.repo)


# -- intervals


def _fold_into(db: Db, commit: Commit, following: int) -> None:
    """Let the next commit of the line have begun, or ended, what this one did."""
    line, seq = commit.line, commit.seq
    db.execute("DELETE FROM entries WHERE line_id = ? AND from_seq = ? AND until_seq = ?", (line, seq, following))
    db.execute("UPDATE entries SET from_seq = ? WHERE line_id = ? AND from_seq = ?", (following, line, seq))
    db.execute("UPDATE entries SET until_seq = ? WHERE line_id = ? AND until_seq = ?", (following, line, seq))
    db.execute("UPDATE lines SET changed_seq = ? WHERE id = ? AND changed_seq = ?", (following, line, seq))


def _fold_into_forks(db: Db, commit: Commit) -> None:
    """Give every line that began at this commit what it changed, and let it begin at the commit before."""
    sql = "SELECT id FROM lines WHERE base_line_id = ? AND base_seq = ?"
    forks = [row[0] for row in db.execute(sql, (commit.line, commit.seq)).fetchall()]
    if not forks:
        return
    base = _place_before(db, commit)
    for fork in forks:
        first = db.value("SELECT min(seq) FROM commits WHERE line_id = ?", (fork,))
        _copy_changes(db, commit, fork, first)
        sql = "UPDATE lines SET base_line_id = ?, base_seq = ?, changed_seq = max(changed_seq, ?) WHERE id = ?"
        db.execute(sql, (*base, first, fork))
        if base[0] is None:  # nothing is left there that would have to be hidden
            db.execute("DELETE FROM entries WHERE line_id = ? AND kind = ?", (fork, int(Kind.NOTHING)))


def _place_before(db: Db, commit: Commit) -> tuple[int | None, int | None]:
    """Return the line and seq of what was there before a commit."""
    seq = db.value("SELECT max(seq) FROM commits WHERE line_id = ? AND seq < ?", (commit.line, commit.seq))
    if seq is not None:
        return commit.line, seq
    line, base_seq = db.row("SELECT base_line_id, base_seq FROM lines WHERE id = ?", (commit.line,))
    return line, base_seq


def _copy_changes(db: Db, commit: Commit, fork: int, first: int) -> None:
    """Say on another line, from its first commit on, what this commit changed, where that line says nothing itself yet."""
    place = Snapshot((Past(commit.line, commit.seq),))
    sql = """
        SELECT path FROM entries WHERE line_id = ?1 AND from_seq = ?2
        UNION SELECT path FROM entries WHERE line_id = ?1 AND until_seq = ?2
    """
    for (path,) in db.execute(sql, (commit.line, commit.seq)).fetchall():
        own = db.value("SELECT min(from_seq) FROM entries WHERE line_id = ? AND path = ?", (fork, path))
        if own == first:
            continue
        if snapshots.find(db, place, path) is None:
            _copy_nothing(db, fork, path, first, own)
        else:
            _copy_version(db, commit, fork, path, first, own)


def _copy_version(db: Db, commit: Commit, fork: int, path: str, first: int, until: int | None) -> None:
    sql = """
        INSERT INTO entries
            (line_id, path, from_seq, until_seq, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata)
        SELECT ?, path, ?, ?, kind, size_bytes, modified_ns, etag, blob_id, list_id, metadata
        FROM entries WHERE line_id = ? AND path = ? AND from_seq = ?
    """
    db.execute(sql, (fork, first, until, commit.line, path, commit.seq))


def _copy_nothing(db: Db, fork: int, path: str, first: int, until: int | None) -> None:
    sql = """
        INSERT INTO entries (line_id, path, from_seq, until_seq, kind, modified_ns) VALUES (?, ?, ?, ?, ?, ?)
    """
    db.execute(sql, (fork, path, first, until, int(Kind.NOTHING), time.time_ns()))
