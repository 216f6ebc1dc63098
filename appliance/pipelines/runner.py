"""One job, from claim to finished commit.

claim → list datums → run those that are not skipped → egress → the union of all outputs becomes the output commit, whose last
piece is also the job's end. What is done is in the database; a job that a crash interrupted goes on where it stood.
"""

import itertools
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol

import trio

from appliance.errors import ApplianceError, JobNotFound, PipelineNotFound
from appliance.pipelines.batching import open_batch
from appliance.pipelines.doors import Doors, Work, write
from appliance.pipelines.joblog import DatumLines, LogBuffer
from appliance.pipelines.listing import list_datums
from appliance.pipelines.scratch import open_scratch
from appliance.pipelines.slots import Slots, Turn
from appliance.pipelines.spec import Egress as Wanted
from appliance.pipelines.spec import Spec, from_json
from appliance.pipelines.worker import Execute, execute_in, run_command, run_datum
from appliance.store import (
    Store,
    blobs,
    completing,
    datums,
    discarding,
    jobs,
    outputs,
    pipelines,
    running,
)
from appliance.store.blobs import Content
from appliance.store.datums import StoredDatum
from appliance.store.jobs import Job
from appliance.store.snapshots import Entry, Kind

log = logging.getLogger(__name__)

_BATCH = 500
_STEP = 5000
# Each page of the output costs a look at all datums, so there should be few of them.
_OUTPUT_PAGE = 5000
# Commands at a time: more than cores, for many wait for something else, but not as many as anybody may ask for.
_MOST_AT_ONCE = max(32, 4 * (os.cpu_count() or 1))
# While those run, one datum is prepared and one is written down.
_BESIDE = 2


class Egress(Protocol):
    """Copies a job's output to another store or a database.

    It blocks, raises ApplianceError, and gives up soon after `stop` says so.
    `output` gives the output's files in path order, each time it is called.
    """

    def __call__(
        self,
        wanted: Wanted,
        output: Callable[[], Iterator[Entry]],
        read: Callable[[Content], Iterator[bytes]],
        stop: Callable[[], bool],
    ) -> None: ...


async def run_job(doors: Doors, egress: Egress, row: int) -> None:
    """Run a job to its end, whatever that is. Cancelling leaves it to be taken up again; its log is kept.

    Raises ApplianceError if not even its failure can be written down.
    """
    try:
        await trio.to_thread.run_sync(_clean_up, doors.store, row)
        job = await write(doors.store, lambda db: running.begin_job(db, row))
    except JobNotFound:
        return
    if job.finished_ns is not None:  # between the plan and now
        return
    logs = LogBuffer(doors.store, row)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs.run)
        try:
            await _run_to_end(doors, egress, job, logs)
        finally:
            with trio.CancelScope(shield=True):  # what user code said while it was being stopped is the most wanted
                await logs.flush()
        nursery.cancel_scope.cancel()


def _clean_up(store: Store, row: int) -> None:
    """Remove bit by bit what a killed run of a job left half done, so that taking it up again is a small write."""
    with store.snapshot() as db:
        half_done = datums.list_half_done(db, row)
        was_listing = jobs.get_by_row(db, row).state == "starting"
    for datum in half_done:
        while store.write(partial(discarding.remove_files, datum_row=datum, limit=_STEP)):
            pass
    while was_listing and store.write(partial(datums.remove_list, row=row, limit=_STEP)):
        pass


async def _run_to_end(doors: Doors, egress: Egress, job: Job, logs: LogBuffer) -> None:
    try:
        spec = await trio.to_thread.run_sync(_load_spec, doors.store, job)
        with trio.move_on_after(_time_left(job, spec)) as limit:
            await _run(doors, egress, job, spec, logs)
    except Exception as raised:
        await _end_badly(doors, job, logs, _innermost(raised))
    else:
        if limit.cancelled_caught:
            await _fail(doors, job, logs, "killed", "job timed out")


def _load_spec(store: Store, job: Job) -> Spec:
    with store.snapshot() as db:
        return from_json(pipelines.get_spec(db, job.pipeline, job.version))


def _innermost(error: Exception) -> Exception:
    """Return what was raised first in the nurseries that an error came through."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _end_badly(doors: Doors, job: Job, logs: LogBuffer, error: Exception) -> None:
    if isinstance(error, JobNotFound | PipelineNotFound):  # deleted while it ran
        return
    if isinstance(error, ApplianceError):
        await _fail(doors, job, logs, "failure", str(error))
    else:
        log.error("job %s@%s", job.pipeline, job.id, exc_info=error)
        await _fail(doors, job, logs, "failure", f"internal error: {error!r}")


async def _fail(doors: Doors, job: Job, logs: LogBuffer, state: str, reason: str) -> None:
    await logs.flush()  # before the end is known, for who follows the log stops there
    await write(doors.store, lambda db: running.fail_job(db, job.row, state, reason))


def _time_left(job: Job, spec: Spec) -> float:
    if spec.job_timeout_s is None or job.started_ns is None:
        return float("inf")
    return max(0.0, spec.job_timeout_s - (time.time_ns() - job.started_ns) / 1e9)


async def _run(doors: Doors, egress: Egress, job: Job, spec: Spec, logs: LogBuffer) -> None:
    if job.state == "starting":
        await trio.to_thread.run_sync(list_datums, doors.store, job, spec)
        job = await write(doors.store, lambda db: running.run_job(db, job.row))
    await _run_datums(doors, job, spec, logs)
    await logs.flush()
    if failed := await trio.to_thread.run_sync(_find_failed, doors.store, job):
        raise ApplianceError(f"datum {failed.id} failed: {failed.reason}")
    await trio.to_thread.run_sync(_check_output, doors.store, job)  # before anything goes elsewhere
    if spec.egress is not None and spec.egress.is_somewhere and job.state != "finishing":  # then it is done
        await _copy_out(doors, egress, job, spec.egress)
    await _complete(doors.store, job)


def _find_failed(store: Store, job: Job) -> StoredDatum | None:
    with store.snapshot() as db:
        return next(datums.iter_datums(db, job.row, state="failed"), None)


async def _complete(store: Store, job: Job) -> None:
    stopped = Event()
    try:
        await trio.to_thread.run_sync(completing.complete_job, store, job.row, stopped.is_set, abandon_on_cancel=True)
    finally:
        stopped.set()


def _check_output(store: Store, job: Job) -> None:
    with store.snapshot() as db:
        outputs.check_output(db, job.row)


# -- datums


async def _run_datums(doors: Doors, job: Job, spec: Spec, logs: LogBuffer) -> None:
    """Run the waiting datums, as many at a time as the pipeline asks for."""
    send, receive = trio.open_memory_channel[tuple[StoredDatum, Turn]](0)
    async with trio.open_nursery() as nursery:
        at_once = min(spec.parallelism_spec.constant, _MOST_AT_ONCE)
        slots = Slots(at_once)
        # A process that serves many datums can not be ahead of itself.
        beside = 0 if spec.transform.datum_batching else _BESIDE
        for number in range(at_once + beside):
            scratch = doors.scratch / f"{job.row}-{number}"
            nursery.start_soon(_work, doors, job, spec, scratch, logs, receive.clone())
        receive.close()
        async with send:
            after = -1
            while batch := await trio.to_thread.run_sync(_list_waiting, doors.store, job, after):
                for datum in batch:
                    await send.send((datum, slots.next()))
                after = batch[-1].position


def _list_waiting(store: Store, job: Job, after: int) -> list[StoredDatum]:
    with store.snapshot() as db:
        return list(itertools.islice(datums.iter_datums(db, job.row, state="waiting", after=after), _BATCH))


async def _work(
    doors: Doors,
    job: Job,
    spec: Spec,
    scratch: Path,
    logs: LogBuffer,
    queue: trio.MemoryReceiveChannel[tuple[StoredDatum, Turn]],
) -> None:
    async with queue, open_scratch(scratch), _open_way(doors, spec, scratch, logs) as (doors, execute):
        async for datum, turn in queue:
            lines = DatumLines(logs, datum.row)
            await run_datum(doors, Work(job, spec, datum), scratch, lines, logs.remark, turn, execute)
            turn.begun.set()


@asynccontextmanager
async def _open_way(doors: Doors, spec: Spec, scratch: Path, logs: LogBuffer) -> AsyncIterator[tuple[Doors, Execute]]:
    """Give how a worker's datums are run: a process for each, or one for all."""
    if not spec.transform.datum_batching:
        yield doors, run_command
        return
    async with open_batch(doors, spec, scratch, logs.pace) as batch:
        yield batch.doors, execute_in(batch)


# -- egress


async def _copy_out(doors: Doors, egress: Egress, job: Job, wanted: Wanted) -> None:
    await write(doors.store, lambda db: running.set_egressing(db, job.row))
    stopped = Event()
    output = partial(_iter_output, doors.store, job)
    read = _reader(doors.store)

    def run() -> None:
        try:
            egress(wanted, output, read, stopped.is_set)
        except ApplianceError as error:
            raise ApplianceError(f"egress error: {error}") from error

    try:
        # Abandoned when cancelled: the transfer notices `stopped` between two pieces. It takes long, so it takes no
        # place of those threads that everything else shares.
        await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    finally:
        stopped.set()


def _iter_output(store: Store, job: Job) -> Iterator[Entry]:
    """Yield a job's output in path order, asking the store for a page at a time."""
    after = ""
    while True:
        with store.snapshot() as db:
            page = list(itertools.islice(outputs.iter_output(db, job.row, after=after), _OUTPUT_PAGE))
        if not page:
            return
        yield from (entry for entry in page if entry.kind == Kind.FILE)
        after = page[-1].path


def _reader(store: Store) -> Callable[[Content], Iterator[bytes]]:
    def read(content: Content) -> Iterator[bytes]:
        with store.snapshot() as db:
            extents = blobs.list_extents(db, store.blobs, content)
        return blobs.read_extents(extents)

    return read
