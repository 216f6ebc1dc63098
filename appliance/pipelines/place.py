"""Where a datum runs: its /pfs, its environment, its sidecar. The same for a try of a job and for whoever debugs it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from appliance.errors import Unsupported
from appliance.pipelines import outputs
from appliance.pipelines.datums import Datum, datum_environment
from appliance.pipelines.doors import Doors, Lines, Work
from appliance.pipelines.environment import s3_environment, worker_environment
from appliance.pipelines.openings import Opened
from appliance.pipelines.process import Bind, Exit, ProcessSpec
from appliance.pipelines.scratch import make_out
from appliance.pipelines.secrets import secret_binds, secret_variables


@dataclass(frozen=True, slots=True)
class Place:
    """A datum with everything its command needs, for as long as `open_place` is open.

    `process` is how to run it, but for the command; `variables` are those of its environment that are the datum's own. It is
    laid out in `scratch`. `out` is what user code sees as /pfs/out, None where S3 takes its place; what is written goes to
    the datum with the number `output_row`. `opened` is what was opened of the inputs until now.
    """

    doors: Doors
    work: Work
    process: ProcessSpec
    variables: Mapping[str, str]
    scratch: Path
    out: Path | None
    output_row: int
    opened: Opened = field(default_factory=Opened)

    def command(self, argv: Sequence[str], stdin: Sequence[str]) -> ProcessSpec:
        """Return how to run a command here; `stdin` is lines."""
        return replace(self.process, argv=tuple(argv), stdin="".join(f"{line}\n" for line in stdin).encode())

    async def run(self, argv: Sequence[str], stdin: Sequence[str], lines: Lines) -> Exit:
        """Run a command to its end, or to the end of a datum's time. Raises ProcessNotStarted, ProcessLost."""
        spec, runner = self.command(argv, stdin), self.doors.runner
        end = await runner.run(spec, on_line=lines, pace=lines.pace, timeout_s=self.work.spec.datum_timeout_s)
        self.opened.update(self.doors.openings.take(end.namespace))
        return end

    async def collect(self) -> None:
        """Stage what is in `out`, which is empty afterwards. Raises ApplianceError as `outputs.collect`."""
        if self.out is not None and any(self.out.iterdir()):
            await trio.to_thread.run_sync(self._collect, self.out)

    def _collect(self, out: Path) -> None:
        outputs.collect(self.doors.store, self.output_row, out, self.work.inputs, strict=self.doors.strict)


@asynccontextmanager
async def open_place(doors: Doors, work: Work, scratch: Path, output_row: int) -> AsyncIterator[Place]:
    """Lay a datum out in the directory `scratch`, in which there is nothing yet, and open its sidecar if it has one.

    Raises Unsupported where it needs a /pfs and can not have one, ApplianceError and OSError if its inputs can not be had.
    """
    environment = {**doors.environment, **work.spec.transform.env, **_worker_environment(work)}
    variables = _datum_environment(work)
    if not work.spec.needs_sidecar:
        yield await trio.to_thread.run_sync(_make_place, doors, work, scratch, output_row, environment, variables)
        return
    s3_inputs = [item for item in work.inputs if item.s3]
    opened = Opened()
    async with doors.open_sidecar(s3_inputs, output_row if work.spec.s3_out else None, opened.add) as sidecar:
        variables |= s3_environment(sidecar)
        place = await trio.to_thread.run_sync(_make_place, doors, work, scratch, output_row, environment, variables)
        yield replace(place, opened=opened)


def _make_place(
    doors: Doors, work: Work, scratch: Path, output_row: int, environment: dict[str, str], variables: dict[str, str]
) -> Place:
    binds = doors.open_view(scratch / "in", work.inputs, work.spec.transform.view)
    out = None
    if not work.spec.s3_out:
        out = make_out(scratch, shared=bool(work.spec.transform.user) or doors.runner.foreign)
        binds = (*binds, Bind(out, "/pfs/out", writable=True))
    secrets = work.spec.transform.secrets
    environment = secret_variables(doors.find_secret, secrets) | environment
    binds = (*binds, *secret_binds(doors.find_secret, secrets, scratch / "secrets"))
    if binds and doors.no_pfs is not None and not doors.pfs_variable:
        raise Unsupported(f"the input or output of this datum is below /pfs, which can not be had here: {doors.no_pfs}")
    if doors.runner.foreign:
        file = scratch / "variables"
        file.write_text(as_lines(variables))
        binds = (*binds, Bind(file, "/pfs/.env"))
    process = ProcessSpec(
        argv=(),
        env=environment | variables,
        cwd=work.spec.transform.working_dir or None,
        user=work.spec.transform.user or None,
        binds=binds,
        variables=as_lines(variables) if doors.no_pfs is None and not doors.runner.foreign else "",
        image=work.spec.transform.image,
        memory_bytes=work.spec.memory_bytes,
        cpus=work.spec.cpus,
    )
    if doors.no_pfs is not None:
        process = _without_pfs(process, variables, scratch / "pfs")
    return Place(doors, work, process, variables, scratch, out, output_row)


def _without_pfs(process: ProcessSpec, variables: dict[str, str], pfs: Path) -> ProcessSpec:
    """Return how to run the same with $PFS in place of /pfs: a directory of links, as /pfs is in Pachyderm's workers."""
    pfs.mkdir()
    for bind in process.binds:
        if bind.outside:
            raise Unsupported(f"no secret can be mounted at {bind.target} here")
        link = Path(_moved(bind.target, pfs))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(bind.source)
    moved = {name: _moved(value, pfs) for name, value in variables.items()} | {"PFS": str(pfs)}
    (pfs / ".env").write_text(as_lines(moved))
    cwd = _moved(process.cwd, pfs) if process.cwd else None
    return replace(process, env={**process.env, **moved}, cwd=cwd, binds=(), private_pfs=False)


def _moved(path: str, pfs: Path) -> str:
    return f"{pfs}{path.removeprefix('/pfs')}" if path == "/pfs" or path.startswith("/pfs/") else path


def as_lines(variables: Mapping[str, str]) -> str:
    """Return the datum's variables, a line each, as Pachyderm has them in /pfs/.env; what has no line is left out."""
    return "".join(f"{name}={value}\n" for name, value in variables.items() if "\n" not in value)


def _worker_environment(work: Work) -> dict[str, str]:
    return worker_environment(work.spec.name, work.job.version)


def _datum_environment(work: Work) -> dict[str, str]:
    datum = Datum(work.stored.id, work.stored.hash, work.inputs)
    return datum_environment(datum, job_id=work.job.id, output_commit=work.job.id)
