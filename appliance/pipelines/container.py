"""User code in containers of podman or docker: the image of the spec, with /pfs bound into it.

The engine's command is a process of the launcher like user code itself; what it started is removed when that was not its own
end. Containers share the network of this machine, so the sidecar is where it says it is.
"""

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path

import trio

from appliance.errors import ApplianceError, Unsupported
from appliance.pipelines.link import ProcessNotStarted
from appliance.pipelines.process import Exit, Launcher, ProcessSpec
from appliance.pipelines.streams import OnLine, Pace

ENGINES = ("podman", "docker")
_ANSWERS_S = 60.0
_LABEL = "appliance"
# What the engine's own command reads: user code's value can not be passed through its environment.
_OF_THE_ENGINE = ("PATH", "HOME", "TMPDIR", "XDG_", "DOCKER_", "CONTAINER", "LD_", "BUILDAH_", "REGISTRY_", "STORAGE_")
# By convention of `docker run`: the engine itself failed, the command can not be executed, or is not there.
_NOT_STARTED = (125, 126, 127)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers: its program, the environment of its commands, and the label of our containers."""

    program: str
    environment: Mapping[str, str]
    label: str


def open_engine(program: str | None, environment: Mapping[str, str], data: Path) -> Engine:
    """Find an engine, by name or the first there is, and remove what a killed appliance on this data has left. Blocks.

    Raises Unsupported, saying what was tried.
    """
    label = f"{_LABEL}={sha256(os.fsencode(data)).hexdigest()[:16]}"
    problems = []
    for name in [program] if program else ENGINES:
        if shutil.which(name, path=environment.get("PATH")) is None:
            problems.append(f"{name} is not installed")
            continue
        engine = Engine(name, environment, label)
        try:
            _remove_left(engine)
        except ApplianceError as error:
            problems.append(str(error))
        else:
            return engine
    raise Unsupported(f"containers can not be run here: {'; '.join(problems)}")


def find_problem_of_engine(name: str, environment: Mapping[str, str]) -> str | None:
    """Return why an engine can not be used here; None if it answers. Blocks."""
    if shutil.which(name, path=environment.get("PATH")) is None:
        return f"{name} is not installed"
    try:
        _ask(Engine(name, environment, _LABEL), "ps", "--quiet")
    except ApplianceError as error:
        return str(error)
    return None


def _remove_left(engine: Engine) -> None:
    if left := _ask(engine, "ps", "--all", "--quiet", "--filter", f"label={engine.label}").split():
        _ask(engine, "rm", "--force", *left)


def _ask(engine: Engine, *arguments: str) -> str:
    """Run a command of the engine and return what it prints. Raises ApplianceError."""
    command = [engine.program, *arguments]
    try:
        done = subprocess.run(
            command, env=dict(engine.environment), capture_output=True, text=True, check=False, timeout=_ANSWERS_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ApplianceError(f"{engine.program} does not answer: {error}") from None
    if done.returncode != 0:
        raise ApplianceError(f"{engine.program} {arguments[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Containers:
    """Runs processes as containers; a `doors.Runner`."""

    shell = "sh"
    foreign = True

    def __init__(self, launcher: Launcher, engine: Engine) -> None:
        self._launcher, self._engine = launcher, engine
        self._numbers = count(1)

    async def run(
        self, spec: ProcessSpec, *, on_line: OnLine, pace: Pace = trio.lowlevel.checkpoint, timeout_s: float | None = None
    ) -> Exit:
        """Run a container to its end; see `Launcher.run`. An empty command is the image's own.

        Raises ProcessNotStarted also for what the engine refuses, with what it says.
        """
        name, last = self._name(), _LastError(on_line)
        argv, passed = _run_command(self._engine, name, spec)
        if spec.stdin:
            argv.insert(2, "--interactive")
        process = ProcessSpec(
            argv=(*argv, *_image_and_command(spec)),
            env={**self._engine.environment, **passed},
            stdin=spec.stdin,
            private_pfs=False,
        )
        ended = False
        try:
            end = await self._launcher.run(process, on_line=last, pace=pace, timeout_s=timeout_s)
            ended = not end.timed_out and end.signal is None
        finally:
            if not ended:
                await self._remove(name)
        if end.status in _NOT_STARTED and last.text.startswith(("Error:", f"{self._engine.program}:")):
            raise ProcessNotStarted(f"user code could not be started: {last.text}")
        return end

    def attach(self, spec: ProcessSpec) -> tuple[tuple[str, ...], str]:
        """Return a command that runs this on the terminal of whoever executes it, and nothing to tell it."""
        argv, passed = _run_command(self._engine, self._name(), spec)
        argv += [f"--env={name}={value}" for name, value in passed.items()]
        terminal = ["--interactive", *(["--tty"] if "TERM" in spec.env else [])]
        return (*argv, *terminal, *_image_and_command(spec)), ""

    def _name(self) -> str:
        return f"{self._engine.label.replace('=', '-')}-{os.getpid()}-{next(self._numbers)}"

    async def _remove(self, name: str) -> None:
        """Kill a container that goes on without its command. Is not cancelled."""
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(_ask, self._engine, "rm", "--force", "--volumes", name)
            except ApplianceError as error:
                if "no such container" not in str(error).lower():
                    raise


class _LastError:
    """Passes lines on, and remembers the last one of standard error."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self.text = ""

    def __call__(self, stream: str, line: bytes, time_ns: int) -> None:
        if stream == "stderr" and line:
            self.text = line.decode(errors="replace")
        self._on_line(stream, line, time_ns)


def _run_command(engine: Engine, name: str, spec: ProcessSpec) -> tuple[list[str], dict[str, str]]:
    """Return the command up to the image, and the variables that go through its environment.

    So that others on this machine do not read secrets in its arguments.
    """
    command = [engine.program, "run", "--rm", f"--name={name}", f"--label={engine.label}", "--network=host"]
    command += ["--log-driver=none", *_limits(spec)]
    command += [f"--mount={mount}" for mount in _mounts(spec)]
    if spec.user:
        command.append(f"--user={spec.user}")
    if spec.cwd:
        command.append(f"--workdir={spec.cwd}")
    passed = {key: value for key, value in spec.env.items() if not key.startswith(_OF_THE_ENGINE)}
    command += [f"--env={key}={value}" for key, value in spec.env.items() if key not in passed]
    command += [f"--env={key}" for key in passed]
    if spec.argv:
        command.append(f"--entrypoint={spec.argv[0]}")
    return command, passed


def _limits(spec: ProcessSpec) -> Iterator[str]:
    if spec.memory_bytes:
        yield f"--memory={spec.memory_bytes}"
    if spec.cpus:
        yield f"--cpus={spec.cpus:g}"


def _mounts(spec: ProcessSpec) -> Iterator[str]:
    """Yield the arguments of --mount, which are a line of CSV each."""
    for bind in spec.binds:
        fields = ["type=bind", f"source={bind.source}", f"target={bind.target}", *([] if bind.writable else ["readonly"])]
        yield _csv_line(fields)


def _csv_line(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _image_and_command(spec: ProcessSpec) -> tuple[str, ...]:
    return spec.image, *spec.argv[1:]
