"""One datum and its tries.

Each try begins with nothing written and leaves nothing behind when it fails. The store knows what was staged; the row of
the datum says how it ended, and a crash in between means the try never was.
"""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import ApplianceError
from appliance.pipelines.doors import Doors, Lines, Work, write
from appliance.pipelines.place import Place, open_place
from appliance.pipelines.process import Exit, ProcessLost
from appliance.pipelines.scratch import open_scratch
from appliance.pipelines.spec import Spec
from appliance.store import datums

# A datum whose run is lost more often than this with its launcher is taken to be the reason.
_MOST_LOST = 3

Remark = Callable[[str], None]
"""Takes a line of our own for the job's log."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of a try: why it failed, None if it did not, and whether `err_cmd` made up for it."""

    failure: str | None
    recovered: bool = False

    @property
    def state(self) -> str:
        if self.failure is None:
            return "success"
        return "recovered" if self.recovered else "failed"


async def run_datum(doors: Doors, work: Work, lines: Lines, remark: Remark) -> None:
    """Run a datum until a try succeeds or all have failed, and write down how it ended.

    When the last try has failed `err_cmd` may recover the datum: it has no output then, and is no failure of the job. A try
    that a crash of the appliance or of the launcher ended does not count, as in Pachyderm. Raises what the store raises
    once the job has ended.
    """
    most = max(work.spec.datum_tries, 1)
    for number in range(1, most + 1):
        tried = await _run_try(doors, work, lines, remark, last=number == most)
        if tried.failure is None:
            break
        remark(f"datum {work.stored.id}: try {number} of {most} failed: {tried.failure}")
    await write(doors.store, lambda db: datums.finish_datum(db, work.stored, tried.state, tried.failure or ""))


async def _run_try(doors: Doors, work: Work, lines: Lines, remark: Remark, *, last: bool) -> _Tried:
    """Run a datum once, again if it is lost or to be restarted. Any other error is the try's own, as in Pachyderm."""
    lost = 0
    while True:
        await write(doors.store, lambda db: datums.start_try(db, work.stored.row))
        try:
            with doors.tries.running(work.stored.row):
                return await _try(doors, work, lines, remark, last=last)
            remark(f"datum {work.stored.id}: restarted")
        except ProcessLost as error:
            lost += 1
            if lost > _MOST_LOST:
                return _Tried(str(error))
            remark(f"datum {work.stored.id}: {error}; once more")
        except (ApplianceError, OSError) as error:
            return _Tried(_as_text(error))


async def _try(doors: Doors, work: Work, lines: Lines, remark: Remark, *, last: bool) -> _Tried:
    scratch, row = doors.scratch / str(work.stored.row), work.stored.row
    async with open_scratch(scratch), open_place(doors, work, scratch, row) as place:
        failure = await _run_command(place, lines)
        if failure is None or not (last and work.spec.transform.err_cmd):
            return _Tried(failure)
        return _Tried(failure, recovered=await _run_handler(place, lines, remark))


async def _run_command(place: Place, lines: Lines) -> str | None:
    """Run the command and stage its output; None, or why that failed."""
    spec = place.work.spec
    try:
        failure = _explain(await place.run(spec.transform.cmd, spec.transform.stdin, lines), spec)
        if failure is None:
            await place.collect()
    except ProcessLost:
        raise
    except (ApplianceError, OSError) as error:
        return _as_text(error)
    return failure


async def _run_handler(place: Place, lines: Lines, remark: Remark) -> bool:
    """Run `err_cmd` where the command ran, with what that left, and tell whether it recovered the datum.

    It gets a datum's time of its own: in Pachyderm 2 the deadline has passed when the command ran into it.
    """
    transform = place.work.spec.transform
    try:
        failure = _explain(await place.run(transform.err_cmd, transform.err_stdin, lines), place.work.spec)
    except ProcessLost:
        raise
    except (ApplianceError, OSError) as error:
        failure = _as_text(error)
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
