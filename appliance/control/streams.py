"""What commands can ask of the appliance that has any number of answers: methods that yield, over one snapshot.

The answers are written down as they are found (in memory while they are few) and sent from there: memory does not grow
with their number, all are of one moment, and a client that reads slowly holds no snapshot open.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import trio

from appliance.control.describing import (
    DatumInfo,
    FileInfo,
    PipelineInfo,
    describe_datum,
    describe_directory,
    describe_file,
    describe_pipeline,
)
from appliance.control.files import as_pattern
from appliance.control.lines import END_LINE, answer_line
from appliance.control.specs import PlannedDatum, iter_planned_datums
from appliance.errors import InvalidRequest
from appliance.globs import compile_glob
from appliance.names import CommitId, clean_path, find_meta_owner, is_commit_id
from appliance.store import Db, commits, datums, diffs, jobs, listings, matching, pipelines, repos, snapshots
from appliance.store.commits import Commit, CommitSet, Origin
from appliance.store.jobs import Job, JobSet
from appliance.store.snapshots import Entry, Snapshot

_IN_MEMORY_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Touching:
    """A commit that added (`+`), changed (`*`) or deleted (`-`) a path, and the size it made it."""

    commit: Commit
    op: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What a path was and what it is; None where it is not."""

    old: FileInfo | None
    new: FileInfo | None


class Streams:
    """The streams. Every public method is one; the first argument is the snapshot."""

    def __init__(self, iter_staged: Callable[[Db], Iterator[dict[str, object]]], *, strict: bool = False) -> None:
        self._iter_staged = iter_staged
        self._strict = strict

    def list_repo(self, db: Db, kind: str = "user", repo: str | None = None) -> Iterator[repos.Repo]:
        """All repos of a type, or with an empty one of every type, newest first, or just one of them."""
        if kind not in ("", "user", "meta"):
            raise InvalidRequest(f'there are no repos of type "{kind}", only of user and meta')
        if repo is not None:
            found = repos.get_repo(db, repo)
            if kind in ("", "meta" if find_meta_owner(repo) else "user"):
                yield found
            return
        for system in (True, False):
            if kind in ("", "meta" if system else "user"):
                yield from repos.iter_repos(db, system=system)

    def list_staged(self, db: Db) -> Iterator[dict[str, object]]:
        """What was changed through the mount and waits for its commit."""
        yield from self._iter_staged(db)

    def list_branch(self, db: Db, repo: str) -> Iterator[repos.Branch]:
        """The branches of a repo by age."""
        yield from repos.iter_branches(db, repo)

    def list_commit(
        self,
        db: Db,
        repo: str | None = None,
        revision: str | None = None,
        after: str | None = None,
        origin: Origin | None = None,
        number: int = 0,
    ) -> Iterator[Commit]:
        """The commits of a repo, or of all, newest first; of one branch's history with a revision. None from `after` on."""
        if repo is None or revision is None:
            found = commits.iter_commits(db, repo)
        else:
            found = commits.iter_ancestors(db, commits.get_commit(db, repo, revision))
        if after is not None:
            if repo is None:
                raise InvalidRequest("cannot list commits from one without a repo")
            last = commits.get_commit(db, repo, after)
            found = takewhile(lambda commit: commit.row > last.row, found)
        if origin is not None:
            found = (commit for commit in found if commit.origin == origin)
        yield from islice(found, number or None)

    def list_commit_set(self, db: Db, commit_id: str) -> Iterator[Commit]:
        """All commits that share an id, upstream first."""
        if not is_commit_id(commit_id):
            raise InvalidRequest(f'invalid commit id "{commit_id}"')
        yield from commits.list_set(db, CommitId(commit_id))

    def list_commit_sets(self, db: Db, number: int = 0) -> Iterator[CommitSet]:
        """The ids that commits share, newest first, with what became of them."""
        yield from islice(commits.iter_sets(db), number or None)

    def find_commit(self, db: Db, repo: str, revision: str, path: str, limit: int = 0) -> Iterator[Touching]:
        """The commits at or before one that added, changed or deleted a path, newest first."""
        found = diffs.iter_touching(db, commits.get_commit(db, repo, revision), clean_path(path))
        for touch in islice(found, limit or None):
            yield Touching(touch.commit, touch.op, touch.entry.content.size_bytes if touch.entry else None)

    def list_file(self, db: Db, repo: str, revision: str, path: str = "/") -> Iterator[FileInfo]:
        """What is directly in a directory, or the file itself; a missing path lists nothing."""
        snapshot = snapshots.open_revision(db, repo, revision)
        wanted = clean_path(path)
        entry = snapshots.find(db, snapshot, wanted) if wanted != "/" else None
        if entry is not None:
            yield describe_file(db, entry)
            return
        base = wanted.rstrip("/")
        for child in listings.iter_children(db, snapshot, wanted):
            if child.entry is not None:
                yield describe_file(db, child.entry)
            else:
                yield describe_directory(db, snapshot, f"{base}/{child.name}/")

    def walk_file(self, db: Db, repo: str, revision: str, path: str = "/") -> Iterator[FileInfo]:
        """The files, and explicit directories, at or below a path, in order of paths, or those that match it as a pattern."""
        snapshot = snapshots.open_revision(db, repo, revision)
        yield from _walk(db, snapshot, clean_path(path))

    def glob_file(self, db: Db, repo: str, revision: str, pattern: str) -> Iterator[FileInfo]:
        """The files and directories that a glob matches, parents before what is below them."""
        snapshot = snapshots.open_revision(db, repo, revision)
        for found in matching.iter_matches(db, snapshot, compile_glob(pattern)):
            if not found.is_dir:
                yield describe_file(db, snapshots.get_file(db, snapshot, found.path))
                continue
            yield FileInfo(found.path.rstrip("/") + "/", True, found.size_bytes, found.digest, None, None, None)

    def diff_file(
        self,
        db: Db,
        repo: str,
        revision: str,
        path: str = "/",
        old_repo: str | None = None,
        old_revision: str | None = None,
        old_path: str | None = None,
    ) -> Iterator[Difference]:
        """What differs at or below a path from another commit, by default from the parent of the same one."""
        new = snapshots.open_revision(db, repo, revision)
        if old_revision is None:
            old = _open_parent(db, commits.get_commit(db, repo, revision))
        else:
            old = snapshots.open_revision(db, old_repo or repo, old_revision)
        wanted = clean_path(path)
        if old_path is not None and clean_path(old_path) != wanted:
            found = diffs.iter_diff_moved(db, old, clean_path(old_path), new, wanted)
        else:
            found = diffs.iter_diff(db, old, new, wanted)
        for before, after in found:
            yield Difference(_describe_side(db, before), _describe_side(db, after))

    def list_pipeline(
        self, db: Db, pipeline: str | None = None, versions_back: int = 0, commit_id: str | None = None
    ) -> Iterator[PipelineInfo]:
        """All pipelines, newest first, or one, each followed by so many of its earlier versions (-1: by all of them).

        With a commit id as they were when that commit set began.
        """
        if commit_id is not None:
            if not is_commit_id(commit_id):
                raise InvalidRequest(f'invalid commit id "{commit_id}"')
            chosen = pipelines.iter_at(db, CommitId(commit_id))
            yield from (describe_pipeline(found) for found in chosen if pipeline in (None, found.name))
            return
        names = [pipeline] if pipeline is not None else [found.name for found in pipelines.list_pipelines(db)]
        for name in names:
            most = None if versions_back < 0 else versions_back + 1
            yield from map(describe_pipeline, islice(pipelines.iter_versions(db, name), most))

    def list_job(
        self,
        db: Db,
        pipeline: str | None = None,
        job: str | None = None,
        inputs: list[tuple[str, str]] | None = None,
        versions_back: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first: of one pipeline, of one set, or made from all of some (repo, revision) commits, if asked so.

        Only of so many versions of their pipeline before the newest.
        """
        if pipeline is not None:
            pipelines.get_pipeline(db, pipeline)
        rows = [commits.get_commit(db, *read).row for read in inputs or ()]
        yield from jobs.iter_jobs(db, pipeline=pipeline, job_id=job, inputs=rows, versions_back=versions_back)

    def list_job_sets(self, db: Db) -> Iterator[JobSet]:
        """The ids that jobs share, newest first, with what became of them."""
        yield from jobs.iter_sets(db)

    def list_datum(self, db: Db, pipeline: str, job: str) -> Iterator[DatumInfo]:
        """The datums of a job, in order."""
        for datum in datums.iter_datums(db, jobs.get_job(db, pipeline, job).row):
            yield describe_datum(datum)

    def plan_datum(self, db: Db, text: str) -> Iterator[PlannedDatum]:
        """The datums that a pipeline of this spec would have now, in order."""
        yield from iter_planned_datums(db, text, strict=self._strict)


def _walk(db: Db, snapshot: Snapshot, path: str) -> Iterator[FileInfo]:
    """Yield what is at or below a path; if there is nothing, what is at or below the matches of it as a pattern."""
    found = False
    for entry in _iter_at(db, snapshot, path):
        found = True
        yield describe_file(db, entry)
    if found or (glob := as_pattern(path)) is None:
        return
    inside = None
    for match in matching.iter_matches(db, snapshot, glob):
        if inside is None or not match.path.startswith(inside):  # else it came with the directory that matched
            inside = f"{match.path.rstrip('/')}/"
            yield from (describe_file(db, entry) for entry in _iter_at(db, snapshot, match.path))


def _iter_at(db: Db, snapshot: Snapshot, path: str) -> Iterator[Entry]:
    entry = snapshots.find(db, snapshot, path) if path != "/" else None
    if entry is not None:
        yield entry
        return
    yield from snapshots.iter_entries(db, snapshot, path.rstrip("/") + "/")


def _open_parent(db: Db, commit: Commit) -> Snapshot:
    if commit.parent is None:
        return snapshots.EMPTY
    before = commits.find_readable(db, commits.get_by_row(db, commit.parent))
    return snapshots.open_commit(db, before) if before else snapshots.EMPTY


def _describe_side(db: Db, entry: Entry | None) -> FileInfo | None:
    return describe_file(db, entry) if entry is not None else None


# -- sending


class Spool:
    """Answers written down, a line of JSON each."""

    def __init__(self, directory: Path) -> None:
        """Make an empty one; what is too much for memory goes into a file without a name in `directory`."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(directory))  # noqa: SIM115

    def fill(self, items: Iterator[Any]) -> None:
        """Write all of them down. Blocks: from a worker thread, inside the snapshot they come from."""
        for item in items:
            self._file.write(answer_line(item))
        self._file.write(END_LINE)
        self._file.seek(0)

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what was written, in pieces, and forget it."""
        with self._file:
            while piece := await trio.to_thread.run_sync(self._file.read, _PIECE_BYTES):
                yield piece

    def close(self) -> None:
        """Forget what was written."""
        self._file.close()
