"""What commands can follow: answers that come as things happen, until the client goes away."""

from collections.abc import AsyncGenerator, Sequence
from itertools import takewhile

import trio

from appliance.control.lines import answer_line
from appliance.errors import BranchNotFound, InvalidRequest
from appliance.store import Changes, Store, commits, jobs, logs, pipelines
from appliance.store.commits import Commit, Origin
from appliance.store.jobs import Job
from appliance.store.logs import Chosen, LogLine

_BATCH = 500


class Follow:
    """Waits for changes of a store. Use as a context manager, inside the event loop."""

    def __init__(self, store: Store) -> None:
        self._store, self._changed = store, trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def __enter__(self) -> "Follow":
        self._remove = self._store.listen(self._on_change)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._remove()

    def _on_change(self, _changes: Changes) -> None:
        self._token.run_sync_soon(lambda: self._changed.set())

    async def wait(self) -> None:
        """Return once something has changed since the last call."""
        await self._changed.wait()
        self._changed = trio.Event()


async def iter_finished(
    store: Store, repo: str, branch: str, last: int, origin: Origin | None
) -> AsyncGenerator[bytes, None]:
    """Yield the commits of a branch behind one, oldest first, each as soon as it is finished, as lines of JSON.

    A branch that is not there yet is waited for. The commits that are there already are kept as numbers until they are sent.
    """
    with Follow(store) as follow:
        while True:
            waiting = await trio.to_thread.run_sync(_list_behind, store, repo, branch, last)
            for start in range(0, len(waiting), _BATCH):
                found = await trio.to_thread.run_sync(_read_finished, store, waiting[start : start + _BATCH])
                for commit in found:
                    last = commit.row
                    if origin is None or commit.origin == origin:
                        yield answer_line(commit)
                if len(found) < _BATCH:
                    break
            await follow.wait()


async def iter_logs(store: Store, of: Sequence[Job], chosen: Chosen, *, follow: bool) -> AsyncGenerator[bytes, None]:
    """Yield what user code of some jobs wrote, job after job, as lines of JSON; with `follow` until each has ended."""
    with Follow(store) as changes:
        for job in of:
            after = 0
            while True:
                found, ended = await trio.to_thread.run_sync(_read_logs, store, job.row, chosen, after)
                for line in found:
                    yield answer_line(_describe_line(job, line))
                if found:
                    after = found[-1].row
                elif ended or not follow:
                    break
                else:
                    await changes.wait()


def choose_jobs(store: Store, pipeline: str | None, job: str | None) -> list[Job]:
    """Return one job of a pipeline, or all, oldest first. Raises InvalidRequest, PipelineNotFound, JobNotFound."""
    if pipeline is None:
        raise InvalidRequest("must specify the Job or Pipeline that the datum is from to get logs for it")
    with store.snapshot() as db:
        if job is not None:
            return [jobs.get_job(db, pipeline, job)]
        pipelines.get_pipeline(db, pipeline)
        return jobs.list_jobs(db, pipeline=pipeline)[::-1]


def _read_logs(store: Store, job_row: int, chosen: Chosen, after: int) -> tuple[list[LogLine], bool]:
    with store.snapshot() as db:
        ended = jobs.get_by_row(db, job_row).finished_ns is not None
        return logs.list_log_lines(db, job_row, chosen, after=after), ended


def _describe_line(job: Job, line: LogLine) -> dict[str, str | int]:
    fields = {"pipeline": job.pipeline, "job": job.id, "datum": line.datum, "stream": line.stream}
    return {**fields, "time_ns": line.time_ns, "message": line.message}


def find_start(store: Store, repo: str, branch: str, after: str | None, *, new: bool) -> int:
    """Return the number of the commit behind which to begin: `after`, with `new` the newest that is finished, else none.

    Raises RepoNotFound, CommitNotFound.
    """
    with store.snapshot() as db:
        commits.get_repo_id(db, repo)
        if after is not None:
            return commits.get_commit(db, repo, after).row
        try:
            head = commits.get_head(db, repo, branch) if new else None
        except BranchNotFound:
            return 0
        while head is not None and head.is_open:
            head = commits.get_by_row(db, head.parent) if head.parent is not None else None
        return head.row if head else 0


def _list_behind(store: Store, repo: str, branch: str, last: int) -> list[int]:
    """Return the numbers of a branch's commits behind one, oldest first."""
    with store.snapshot() as db:
        try:
            head = commits.get_head(db, repo, branch)
        except BranchNotFound:
            return []
        return [commit.row for commit in takewhile(lambda commit: commit.row > last, commits.iter_ancestors(db, head))][::-1]


def _read_finished(store: Store, rows: Sequence[int]) -> list[Commit]:
    """Return commits up to the first that is open, or gone."""
    with store.snapshot() as db:
        found = (commits.find_by_row(db, row) for row in rows)
        return [commit for commit in takewhile(lambda commit: commit is not None and not commit.is_open, found) if commit]
