"""A datum of a job to be looked at: laid out as it was when it ran, for as long as the client listens.

The client runs the command itself, on its own terminal; what it needs for that is the first line of the answer. Then lines
without content go on to come, so that a client that has left is noticed.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import trio

from appliance.app import App
from appliance.control.lines import answer_line
from appliance.errors import InvalidRequest
from appliance.pipelines.doors import Work, write
from appliance.pipelines.place import Place, open_place
from appliance.pipelines.scratch import open_scratch
from appliance.pipelines.spec import from_json
from appliance.pipelines.views import lay_file
from appliance.store import Db, datums, debugging, jobs, pipelines
from appliance.store.snapshots import Entry

_STILL_HERE_S = 0.5


class WantedDatum(msgspec.Struct, forbid_unknown_fields=True):
    """What `debug_datum` is asked: to run a command, or the client's `shell`, or the pipeline's own command.

    `terminal` is the type of the client's, if it has one.
    """

    pipeline: str
    job: str
    datum: str
    command: list[str] | None = None
    shell: str | None = None
    terminal: str | None = None


class WantedChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What `debug_changes` is asked, with the number that `debug_datum` has told."""

    number: int


@dataclass(frozen=True, slots=True)
class Laid:
    """A datum that is laid out: what to execute, what to tell that program, and what the command reads.

    `own_command` is that of the pipeline. Changes are asked for by `number`; their files lie below `directory`.
    """

    number: int
    argv: tuple[str, ...]
    request: str
    stdin: str
    own_command: tuple[str, ...]
    directory: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A path whose output is another than what is recorded: files to compare, None where it was not or is not."""

    path: str
    op: str
    size_bytes: int
    old: str | None
    new: str | None


class Debugging:
    """The datums that are being looked at."""

    def __init__(self, app: App) -> None:
        self._doors = app.doors
        self._open: dict[int, Place] = {}

    async def open(self, wanted: WantedDatum) -> AsyncGenerator[bytes, None]:
        """Yield how to run the command, then empty lines until the client leaves; then it is as if nothing had been."""
        store, doors = self._doors.store, self._doors
        work = await trio.to_thread.run_sync(self._find, wanted)
        row = await write(store, lambda db: debugging.open_copy(db, work.stored))
        try:
            directory = doors.scratch / str(row)
            async with open_scratch(directory), open_place(doors, work, directory, row) as place:
                self._open[row] = place
                yield answer_line(_describe(place, wanted, directory))
                while True:
                    await trio.sleep(_STILL_HERE_S)
                    yield answer_line(None)
        finally:
            self._open.pop(row, None)
            with trio.CancelScope(shield=True):
                await write(store, lambda db: debugging.drop_copy(db, row))

    def _find(self, wanted: WantedDatum) -> Work:
        with self._doors.store.snapshot() as db:
            job = jobs.get_job(db, wanted.pipeline, wanted.job)
            spec = from_json(pipelines.get_spec(db, job.pipeline, job.version))
            return Work(job, spec, datums.get_datum(db, job, wanted.datum))

    async def changes(self, wanted: WantedChanges) -> AsyncGenerator[bytes, None]:
        """Take in what was written and yield what is different from the recorded output."""
        place = self._open.get(wanted.number)
        if place is None:
            raise InvalidRequest("this datum is not being looked at any more")
        await place.collect()
        for change in await trio.to_thread.run_sync(partial(_list_changes, place)):
            yield answer_line(change)


def _describe(place: Place, wanted: WantedDatum, directory: Path) -> Laid:
    transform, runner = place.work.spec.transform, place.doors.runner
    chosen = [runner.shell or wanted.shell] if wanted.shell else wanted.command
    if chosen is None and transform.datum_batching:
        raise InvalidRequest(f"the command of pipeline {wanted.pipeline} asks for datums: give another one behind --")
    spec = place.command(chosen or transform.cmd, transform.stdin if chosen is None else ())
    if wanted.terminal:
        spec = replace(spec, env={**spec.env, "TERM": wanted.terminal})
    argv, request = runner.attach(spec)
    return Laid(place.output_row, argv, request, spec.stdin.decode(), tuple(transform.cmd), str(directory))


def _list_changes(place: Place) -> Sequence[Changed]:
    """Lay out both sides of every change, to be compared."""
    store, directory = place.doors.store, place.doors.scratch / str(place.output_row)
    with store.snapshot() as db:
        return list(_iter_changes(place, db, directory))


def _iter_changes(place: Place, db: Db, directory: Path) -> Iterator[Changed]:
    store = place.doors.store
    for old, new in debugging.iter_changes(db, place.work.stored, place.output_row):
        seen = new or old
        assert seen is not None

        def lay(side: str, entry: Entry | None) -> str | None:
            if entry is None or entry.path.endswith("/"):
                return None
            lay_file(store, db, entry, directory / side)
            return side + entry.path

        op = "+" if old is None else "-" if new is None else "*"
        yield Changed(seen.path, op, seen.content.size_bytes, lay("recorded", old), lay("now", new))
