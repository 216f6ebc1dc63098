"""`datum_batching`: one process for many datums, which asks for one after the other (Pachyderm's NextDatum).

The process starts with an empty /pfs and asks for its first datum: by `pachctl next datum`, or by a POST to the address in
APPLIANCE_NEXT_DATUM, which is what that command sends. The answer comes once the datum is laid out, with the variables that
/pfs/.env then has too. Asking again says that the datum in hand is done, or has failed if the request has a text: why. Where
there are no more datums no answer comes, and the process is stopped.

Everything else is the datum's own, as without: tries, time limit, log, output, state. A process that ends, runs into the
limit or is restarted takes only the datum in hand with it; the next one gets a new process.

Directories of inputs and of the output are bound once and filled anew for each datum, so inputs are always laid out as files.
"""

import os
import secrets
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from appliance import httpd
from appliance.errors import ApplianceError, Unsupported
from appliance.pipelines.doors import Doors, Lines
from appliance.pipelines.place import Place, as_lines
from appliance.pipelines.process import Bind, Exit, ProcessSpec
from appliance.pipelines.scratch import open_scratch
from appliance.pipelines.secrets import secret_binds
from appliance.pipelines.spec import Spec, leaves
from appliance.pipelines.streams import Pace
from appliance.pipelines.views import file_binds

ADDRESS = "APPLIANCE_NEXT_DATUM"
_REASON_BYTES = 64 * 1024
# What a process wrote before it asked is in the pipe by then; so many turns of the loop and it has been read.
_TURNS_TO_READ = 5

Explain = Callable[[Exit], str | None]
"""Says why an end is a failure; None if it is none."""


@dataclass(eq=False, slots=True)
class _Call:
    """A request for the next datum, with why the one before failed; answered once, None being a refusal."""

    reason: str
    answer: str | None = None
    answered: trio.Event = field(default_factory=trio.Event)

    def give(self, answer: str | None) -> None:
        self.answer = answer
        self.answered.set()


@dataclass(eq=False, slots=True)
class _Process:
    """A process, the call it waits with if it does, and how it ended. `roots` are the directories that are bound into it."""

    roots: dict[Path, int]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    lot: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    call: _Call | None = None
    has_datum: bool = False
    end: Exit | None = None
    error: ApplianceError | None = None
    is_over: bool = False

    async def wait(self, *, for_end: bool = False) -> None:
        """Wait until it asks for a datum, or has ended."""
        while not self.is_over and (for_end or self.call is None):
            await self.lot.park()


class _CurrentLines:
    """Passes lines on to the datum in hand; those before the first belong to that one."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.taker: Lines | None = None
        self._taken = 0

    def __call__(self, stream: str, line: bytes, time_ns: int) -> None:
        self._taken += 1
        if self.taker is not None:
            self.taker(stream, line, time_ns)

    async def settle(self) -> None:
        """Return when what was written until now has been taken."""
        before = -1
        while before != self._taken:
            before = self._taken
            for _ in range(_TURNS_TO_READ):
                await self.pace()


class Batch:
    """The datums of one worker, in turn. `doors` are those to lay them out with."""

    def __init__(self, doors: Doors, spec: Spec, nursery: trio.Nursery, own: Path, address: str, pace: Pace) -> None:
        self.doors = replace(doors, open_view=lambda scratch, inputs, _view: file_binds(doors.store, scratch, inputs))
        self._spec, self._nursery, self._own, self._address = spec, nursery, own, address
        self._lines = _CurrentLines(pace)
        self._process: _Process | None = None

    async def run(self, place: Place, lines: Lines, explain: Explain) -> str | None:
        """Have a datum processed that is laid out; None, or why that failed. Raises ProcessNotStarted, ProcessLost."""
        self._lines.taker = lines
        with trio.move_on_after(self._spec.datum_timeout_s or float("inf")) as limit:
            try:
                return await self._give(place, explain)
            except trio.Cancelled:  # the time limit, or whoever wants it to begin anew
                with trio.CancelScope(shield=True):
                    await self.stop()
                raise
        assert limit.cancelled_caught
        return explain(Exit(None, None, timed_out=True))

    async def _give(self, place: Place, explain: Explain) -> str | None:
        process = await self._get_process(place)
        await process.wait()
        if process.call is not None:
            process.call.give(as_lines(place.variables))
            process.call, process.has_datum = None, True
            await process.wait()
        await self._lines.settle()
        if process.call is not None:
            return process.call.reason or None
        self._process = None
        if process.error is not None:
            raise process.error
        assert process.end is not None
        if (failure := explain(process.end)) is not None or process.has_datum:
            return failure
        return "user code ended without asking for a datum: it has to call `pachctl next datum`"

    async def _get_process(self, place: Place) -> _Process:
        """Return the process that runs, or a new one. It must see the directories that are filled now."""
        if self._process is not None and self._process.roots != _identify(self._process.roots):
            await self.stop()
        if self._process is None or self._process.is_over:
            spec = await trio.to_thread.run_sync(self._lay_process, place)
            roots = [bind.source for bind in spec.binds if bind.source.parent != self._own and not bind.outside]
            self._process = _Process(_identify(roots))
            self._nursery.start_soon(self._run, self._process, spec)
        await trio.to_thread.run_sync(_write_over, self._own / "variables", as_lines(place.variables))
        return self._process

    def _lay_process(self, place: Place) -> ProcessSpec:
        """Return how to start the process: with places for all inputs, and nothing that is a single datum's."""
        transform, inputs = self._spec.transform, place.scratch / "in"
        names = dict.fromkeys(leaf.name for leaf in leaves(self._spec.input) if not leaf.s3)
        for name in names:
            (inputs / name).mkdir(parents=True, exist_ok=True)
        self._own.mkdir(parents=True, exist_ok=True)
        _write_over(self._own / "variables", "")
        binds = [Bind(inputs / name, f"/pfs/{name}") for name in names]
        binds += [Bind(place.out, "/pfs/out", writable=True)] if place.out is not None else []
        binds += [Bind(self._own / "variables", "/pfs/.env")]
        binds += secret_binds(self.doors.find_secret, transform.secrets, self._own / "secrets")
        spec = place.command(transform.cmd, transform.stdin)
        env = {name: value for name, value in spec.env.items() if name not in place.variables} | {ADDRESS: self._address}
        if not self.doors.runner.foreign:  # there what an image has is all there is
            env["PATH"] = f"{env.get('PATH', '')}:{sysconfig.get_path('scripts')}"
        return replace(spec, env=env, binds=tuple(binds), variables="")

    async def _run(self, process: _Process, spec: ProcessSpec) -> None:
        try:
            with process.scope:
                process.end = await self.doors.runner.run(spec, on_line=self._lines, pace=self._lines.pace)
        except ApplianceError as error:
            process.error = error
        finally:
            process.is_over = True
            process.lot.unpark_all()
            if process.call is not None:  # nobody is left to hear the answer
                process.call.give(None)

    async def stop(self) -> None:
        """End the process, if there is one, with all that it started."""
        process, self._process = self._process, None
        if process is not None:
            process.scope.cancel()
            await process.wait(for_end=True)

    async def answer(self, request: httpd.Request) -> httpd.Reply:
        """Answer a request for a datum, when there is one. Of two the older is refused: whoever sent it is gone."""
        reason = (await request.body.read(_REASON_BYTES)).decode(errors="replace").strip()
        if request.method != "POST" or request.target != f"/{self._address.rpartition('/')[2]}":
            return refuse(404, "there is nothing here")
        if (process := self._process) is None or process.is_over:
            return refuse(409, "this process is not running any more")
        if process.call is not None:
            process.call.give(None)
        call = process.call = _Call(reason)
        process.lot.unpark_all()
        await call.answered.wait()
        if call.answer is None:
            return refuse(409, "the next datum was asked for twice")
        return httpd.Reply(200, [("Content-Type", "text/plain; charset=utf-8")], call.answer.encode())


def refuse(status: int, text: str) -> httpd.Reply:
    """Return a reply with a line of text."""
    return httpd.Reply(status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())


@asynccontextmanager
async def open_batch(doors: Doors, spec: Spec, scratch: Path, pace: Pace) -> AsyncIterator[Batch]:
    """Give what runs datums that are laid out in `scratch`, one at a time; its process ends with the block.

    Raises Unsupported where user code can not have a /pfs of its own. Has a nursery, as `open_launcher`.
    """
    if doors.no_pfs is not None:
        raise Unsupported(f"datum_batching needs a /pfs, which can not be had here: {doors.no_pfs}")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    address = f"http://127.0.0.1:{port}/{secrets.token_hex(16)}"
    async with trio.open_nursery() as nursery, open_scratch(scratch.with_name(f"{scratch.name}-process")) as own:
        batch = Batch(doors, spec, nursery, own, address, pace)
        await nursery.start(partial(httpd.serve, batch.answer, listeners, error_reply=refuse))
        try:
            yield batch
        finally:
            with trio.CancelScope(shield=True):
                await batch.stop()
            nursery.cancel_scope.cancel()


def _identify(roots: dict[Path, int] | list[Path]) -> dict[Path, int]:
    """Return directories with what tells them from others of the same name; 0 for one that is gone."""
    return {path: path.stat().st_ino if path.exists() else 0 for path in roots}


def _write_over(file: Path, text: str) -> None:
    """Write a file that is bound somewhere: it has to stay the same one."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with os.fdopen(fd, "w") as opened:
        opened.write(text)
