"""One datum: its view, its sidecar, its process, its tries.

Each try begins with nothing written and leaves nothing behind when it fails. The store knows what was staged; the row of
the datum says how it ended, and a crash in between means the try never was.
"""

import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import trio

from appliance.errors import ApplianceError, Unsupported
from appliance.pipelines import outputs
from appliance.pipelines.datums import Datum, DatumInput, datum_environment
from appliance.pipelines.environment import Sidecar, base_environment, s3_environment
from appliance.pipelines.process import Bind, Exit, Launcher, ProcessLost, ProcessSpec
from appliance.pipelines.spec import Spec
from appliance.store import Db, Store, datums
from appliance.store.datums import StoredDatum
from appliance.store.jobs import Job

T = TypeVar("T")

# A datum whose run is lost more often than this with its launcher is taken to be the reason.
_MOST_LOST = 3

OpenSidecar = Callable[[Sequence[DatumInput], int | None], AbstractAsyncContextManager[Sidecar]]
"""Opens a job's own gateway: its S3 inputs, and the row of the datum whose output is `out` (None without)."""

OpenView = Callable[[Path, Sequence[DatumInput]], tuple[Bind, ...]]
"""Prepares a datum's inputs, in a scratch directory if need be, and returns what to bind. Blocks."""


class Lines(Protocol):
    """What takes the output of a datum's process, line by line."""

    def __call__(self, stream: str, line: bytes, time_ns: int) -> None: ...

    async def pace(self) -> None:
        """Wait while there are more lines than can be kept."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What `app` hands to jobs. `environment` is the appliance's own; `scratch` is a directory on the blobs' file system.

    `no_pfs` is why user code can not have a /pfs of its own here, None if it can. Without, only datums that need none run.
    """

    store: Store
    launcher: Launcher
    open_sidecar: OpenSidecar
    open_view: OpenView
    scratch: Path
    environment: Mapping[str, str]
    strict: bool = False
    no_pfs: str | None = None


async def write(store: Store, function: Callable[[Db], T]) -> T:
    """Run a write of the store from the loop."""
    return await trio.to_thread.run_sync(store.write, function)


@dataclass(frozen=True, slots=True)
class Work:
    """A datum to run, with what it belongs to."""

    job: Job
    spec: Spec
    stored: StoredDatum

    @property
    def inputs(self) -> tuple[DatumInput, ...]:
        """What the datum consists of."""
        return decode_inputs(self.stored.inputs)


def encode_inputs(inputs: tuple[DatumInput, ...]) -> bytes:
    """Return a datum's inputs as its row keeps them."""
    return msgspec.json.encode(inputs)


def decode_inputs(data: bytes) -> tuple[DatumInput, ...]:
    """Return a datum's inputs from its row."""
    return msgspec.json.decode(data, type=tuple[DatumInput, ...])


async def run_datum(doors: Doors, work: Work, lines: Lines, remark: Callable[[str], None]) -> str | None:
    """Run a datum until a try succeeds or all have failed; None, or the reason of the last failure.

    A try that a crash of the appliance or of the launcher ended does not count, as in Pachyderm. Raises what the store
    raises once the job has ended.
    """
    for number in range(1, work.spec.datum_tries + 1):
        reason = await _run_try(doors, work, lines, remark)
        if reason is None:
            await write(doors.store, lambda db: datums.finish_datum(db, work.stored, "success"))
            return None
        remark(f"datum {work.stored.id}: try {number} of {work.spec.datum_tries} failed: {reason}")
    await write(doors.store, lambda db: datums.finish_datum(db, work.stored, "failed", reason or ""))
    return reason


async def _run_try(doors: Doors, work: Work, lines: Lines, remark: Callable[[str], None]) -> str | None:
    """Run a datum once, again if it is lost; None, or why it failed: any error is the try's own, as in Pachyderm."""
    for lost in itertools.count(1):
        await write(doors.store, lambda db: datums.start_try(db, work.stored.row))
        try:
            return await _try(doors, work, lines)
        except ProcessLost as error:
            if lost > _MOST_LOST:
                return str(error)
            remark(f"datum {work.stored.id}: {error}; once more")
        except (ApplianceError, OSError) as error:
            return str(error).encode(errors="backslashreplace").decode()
    raise AssertionError


async def _try(doors: Doors, work: Work, lines: Lines) -> str | None:
    """Run a datum once and stage its output; None, or why it failed."""
    async with _scratch(doors.scratch, work.stored.row) as scratch:
        binds = await trio.to_thread.run_sync(doors.open_view, scratch / "in", work.inputs)
        out = scratch / "out"
        if not work.spec.s3_out:
            out.mkdir()
            binds = (*binds, Bind(out, "/pfs/out", writable=True))
        failure = _explain(await _run(doors, work, binds, lines), work.spec)
        if failure is None and not work.spec.s3_out:
            await trio.to_thread.run_sync(_collect, doors, work, out)
        return failure


def _collect(doors: Doors, work: Work, out: Path) -> None:
    outputs.collect(doors.store, work.stored.row, out, work.inputs, strict=doors.strict)


async def _run(doors: Doors, work: Work, binds: tuple[Bind, ...], lines: Lines) -> Exit:
    environment = base_environment(doors.environment) | dict(work.spec.transform.env) | _datum_environment(work)
    if not work.spec.needs_sidecar:
        return await _launch(doors, work, binds, environment, lines)
    s3_inputs = [item for item in work.inputs if item.s3]
    async with doors.open_sidecar(s3_inputs, work.stored.row if work.spec.s3_out else None) as sidecar:
        return await _launch(doors, work, binds, environment | s3_environment(sidecar), lines)


def _datum_environment(work: Work) -> dict[str, str]:
    datum = Datum(work.stored.id, work.stored.hash, work.inputs)
    return {
        **datum_environment(datum, job_id=work.job.id, output_commit=work.job.id),
        "PPS_PIPELINE_NAME": work.spec.name,
        "PACH_IN_WORKER": "true",
    }


async def _launch(doors: Doors, work: Work, binds: tuple[Bind, ...], environment: dict[str, str], lines: Lines) -> Exit:
    if binds and doors.no_pfs is not None:
        raise Unsupported(f"the input or output of this datum is below /pfs, which can not be had here: {doors.no_pfs}")
    transform = work.spec.transform
    stdin = "".join(line + "\n" for line in transform.stdin).encode()
    process = ProcessSpec(
        argv=tuple(transform.cmd),
        env=environment,
        stdin=stdin,
        cwd=transform.working_dir or None,
        user=transform.user or None,
        binds=binds,
        private_pfs=doors.no_pfs is None,
    )
    return await doors.launcher.run(process, on_line=lines, pace=lines.pace, timeout_s=work.spec.datum_timeout_s)


def _explain(end: Exit, spec: Spec) -> str | None:
    if end.timed_out:
        return f"datum timed out after {spec.datum_timeout}"
    if end.signal is not None:
        return f"user code was killed by signal {end.signal}"
    if end.status and end.status not in spec.transform.accept_return_code:
        return f"user code exited with status {end.status}"
    return None


@asynccontextmanager
async def _scratch(parent: Path, number: int) -> AsyncIterator[Path]:
    """Give a directory that is gone afterwards."""
    directory = parent / str(number)
    await trio.to_thread.run_sync(_make_empty, directory)
    try:
        yield directory
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, directory)


def _make_empty(directory: Path) -> None:
    remove_tree(directory)
    directory.mkdir(parents=True)


def remove_tree(directory: Path) -> None:
    """Remove a tree, also where user code took the permission to away from us. What is not ours to remove stays."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for path in directory.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
        shutil.rmtree(directory, ignore_errors=True)
