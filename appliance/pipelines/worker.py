"""One datum and its tries.

Each try begins with nothing written and leaves nothing behind when it fails. The store knows what was staged; the row of
the datum says how it ended, and a crash in between means the try never was.
"""

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from appliance.errors import ApplianceError
from appliance.pipelines.batching import Batch
from appliance.pipelines.doors import Doors, Lines, Work
from appliance.pipelines.link import ProcessLost, ProcessNotStarted
from appliance.pipelines.openings import OpenedFile
from appliance.pipelines.place import Place, open_place
from appliance.pipelines.process import Exit
from appliance.pipelines.scratch import emptied
from appliance.pipelines.slots import Turn
from appliance.pipelines.spec import Spec
from appliance.store import Db, Store, datums, discarding, opened

# A datum whose run is lost more often than this with its launcher is taken to be the reason.
_MOST_LOST = 3
# Files that are removed in a write.
_STEP = 5000

Remark = Callable[[str], None]
"""Takes a line of our own for the job's log."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of a try: why it failed, None if it did not, whether `err_cmd` made up for it, and what it opened."""

    failure: str | None
    recovered: bool = False
    opened: tuple[OpenedFile, ...] = ()

    @property
    def state(self) -> str:
        if self.failure is None:
            return "success"
        return "recovered" if self.recovered else "failed"


class _Start:
    """Writes down that a try begins, when its command does. Nobody waits for that: what the try writes comes behind it."""

    def __init__(self, store: Store, row: int) -> None:
        self._store, self._row = store, row
        self._written: Future[int] | None = None

    def now(self) -> None:
        """Begin, if it has not."""
        if self._written is None:
            self._written = self._store.submit(lambda db: datums.start_try(db, self._row))

    async def settle(self) -> None:
        """Wait until it is written down, if it has begun at all. Raises as `wait`."""
        if self._written is not None:
            await self.wait()

    async def wait(self) -> None:
        """Wait until it is written down. Raises what the store raises once the job has ended."""
        self.now()
        assert self._written is not None
        if self._written.done():
            self._written.result()
        else:
            await trio.to_thread.run_sync(self._written.result)


Execute = Callable[[Place, Lines], Awaitable[str | None]]
"""Has a datum processed that is laid out, and returns why that failed, None if it did not. Raises ProcessLost."""


async def run_command(place: Place, lines: Lines) -> str | None:
    """Run the pipeline's command for a datum: an `Execute`."""
    return await _run(place, place.work.spec.transform.cmd, place.work.spec.transform.stdin, lines)


def execute_in(batch: Batch) -> Execute:
    """Return what gives datums to a process that serves many."""

    async def execute(place: Place, lines: Lines) -> str | None:
        try:
            return await batch.run(place, lines, lambda end: _explain(end, place.work.spec))
        except ProcessNotStarted as error:
            return _as_text(error)

    return execute


async def run_datum(
    doors: Doors, work: Work, scratch: Path, lines: Lines, remark: Remark, turn: Turn, execute: Execute = run_command
) -> None:
    """Run a datum until a try succeeds or all have failed, and write down how it ended. Leaves `scratch` empty.

    Commands run while it is their `turn`; what is before and behind them goes on beside the commands of others.
    When the last try has failed `err_cmd` may recover the datum: it has no output then, and is no failure of the job. A try
    that a crash of the appliance or of the launcher ended does not count, as in Pachyderm. Raises what the store raises
    once the job has ended.
    """
    most = max(work.spec.datum_tries, 1)
    for number in range(1, most + 1):
        tried = await _run_try(doors, work, scratch, lines, remark, turn, execute, last=number == most)
        if tried.failure is None:
            break
        remark(f"datum {work.stored.id}: try {number} of {most} failed: {tried.failure}")
        await trio.to_thread.run_sync(_clear, doors.store, work.stored.row)
    await trio.to_thread.run_sync(_finish, doors.store, work, tried)


def _clear(store: Store, row: int) -> None:
    """Remove what a failed try has staged, bit by bit, so that what comes next is a small write."""
    with store.snapshot() as db:
        if not discarding.has_files(db, row):
            return
    while store.write(partial(discarding.remove_files, datum_row=row, limit=_STEP)):
        pass


def _finish(store: Store, work: Work, tried: _Tried) -> None:
    """Write down how a datum ended. What it moved is counted before, for that may take long and others want to write."""
    stored = work.stored
    given = sum(item.size_bytes for item in work.inputs if not item.s3 and not item.empty_files)
    with store.snapshot() as db:
        written = datums.count_staged(db, stored.row) if tried.failure is None else 0

    def finish(db: Db) -> None:
        datums.finish_datum(db, stored, tried.state, tried.failure or "", given_bytes=given, written_bytes=written)
        opened.add_opened(db, stored.row, tried.opened)

    store.write(finish)


async def _run_try(
    doors: Doors, work: Work, scratch: Path, lines: Lines, remark: Remark, turn: Turn, execute: Execute, *, last: bool
) -> _Tried:
    """Run a datum once, again if it is lost or to be restarted. Any other error is the try's own, as in Pachyderm."""
    lost = 0
    while True:
        start, tried = _Start(doors.store, work.stored.row), None
        try:
            with doors.tries.running(work.stored.row):
                tried = await _try(doors, work, scratch, lines, remark, turn, execute, start, last=last)
        except ProcessLost as error:
            lost += 1
            if lost > _MOST_LOST:
                return _Tried(str(error))
            remark(f"datum {work.stored.id}: {error}; once more")
            continue
        except (ApplianceError, OSError) as error:
            tried = _Tried(_as_text(error))
        if tried is not None:
            await start.wait()
            return tried
        await start.settle()
        remark(f"datum {work.stored.id}: restarted")


async def _try(
    doors: Doors,
    work: Work,
    scratch: Path,
    lines: Lines,
    remark: Remark,
    turn: Turn,
    execute: Execute,
    start: _Start,
    *,
    last: bool,
) -> _Tried:
    spec = work.spec
    async with emptied(scratch), open_place(doors, work, scratch, work.stored.row) as place:
        async with turn.slot():
            start.now()
            if spec.s3_out:  # there it may also read, and what an earlier try wrote has to be gone
                await start.wait()
            failure = await execute(place, lines)
        if failure is None:
            failure = await _collect(place)
        if failure is None or not (last and spec.transform.err_cmd):
            return _Tried(failure, opened=place.opened.list())
        async with turn.slot():
            recovered = await _recover(place, lines, remark)
            return _Tried(failure, recovered, place.opened.list())


async def _run(place: Place, argv: Sequence[str], stdin: Sequence[str], lines: Lines) -> str | None:
    """Run a command; None, or why it failed. Raises ProcessLost."""
    try:
        return _explain(await place.run(argv, stdin, lines), place.work.spec)
    except ProcessNotStarted as error:
        return _as_text(error)


async def _collect(place: Place) -> str | None:
    try:
        await place.collect()
    except (ApplianceError, OSError) as error:
        return _as_text(error)
    return None


async def _recover(place: Place, lines: Lines, remark: Remark) -> bool:
    """Run `err_cmd` where the command ran, with what that left, and tell whether it recovered the datum.

    It gets a datum's time of its own: in Pachyderm 2 the deadline has passed when the command ran into it.
    """
    transform = place.work.spec.transform
    failure = await _run(place, transform.err_cmd, transform.err_stdin, lines)
    if failure is not None:
        remark(f"datum {place.work.stored.id}: err_cmd failed: {failure}")
    return failure is None


def _as_text(error: Exception) -> str:
    return str(error).encode(errors="backslashreplace").decode()


def _explain(end: Exit, spec: Spec) -> str | None:
    if end.timed_out:
        return f"datum timed out after {spec.datum_timeout}"
    if end.signal is not None:
        return f"user code was killed by signal {end.signal}"
    if end.status and end.status not in spec.transform.accept_return_code:
        return f"user code exited with status {end.status}"
    return None
