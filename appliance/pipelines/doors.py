"""What jobs are handed from outside, and what a datum to run is: the words that runner, worker and place share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import trio

from appliance.pipelines.datums import DatumInput
from appliance.pipelines.environment import Sidecar
from appliance.pipelines.openings import Openings
from appliance.pipelines.process import Bind, Exit, ProcessSpec
from appliance.pipelines.restarting import Tries
from appliance.pipelines.secrets import FindSecret
from appliance.pipelines.spec import Spec, View
from appliance.pipelines.streams import OnLine, Pace
from appliance.store import Db, Store
from appliance.store.datums import StoredDatum
from appliance.store.jobs import Job

T = TypeVar("T")

OpenSidecar = Callable[[Sequence[DatumInput], int | None, Callable[[int, str], None]], AbstractAsyncContextManager[Sidecar]]
"""Opens a job's own gateway: its S3 inputs, the row of the datum whose output is `out` (None without), and who is told of
objects of the inputs that are read: by the lines of their versions, and their paths."""

OpenView = Callable[[Path, Sequence[DatumInput], View | None], tuple[Bind, ...]]
"""Prepares a datum's inputs, in a scratch directory if need be, and returns what to bind. Blocks. A view that is not to be
had is the other one; None is the appliance's."""


class Runner(Protocol):
    """What runs user code; see `process.Launcher`, which is one.

    `foreign` means that user code sees another machine's files and may be anybody; `shell` is what shell is there, None for
    those of this machine.
    """

    @property
    def foreign(self) -> bool: ...

    @property
    def shell(self) -> str | None: ...

    async def run(self, spec: ProcessSpec, *, on_line: OnLine, pace: Pace = ..., timeout_s: float | None = None) -> Exit:
        """Run to the end."""

    def attach(self, spec: ProcessSpec) -> tuple[tuple[str, ...], str]:
        """Return a command that runs this on the terminal of whoever executes it, and what to tell it: see `process`."""


class Lines(Protocol):
    """What takes the output of a datum's process, line by line."""

    def __call__(self, stream: str, line: bytes, time_ns: int) -> None: ...

    async def pace(self) -> None:
        """Wait while there are more lines than can be kept."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What `app` hands to jobs. `environment` is what user code inherits; `scratch` is a directory on the blobs' file system.

    `no_pfs` is why user code can not have a /pfs of its own here, None if it can. Without, only datums that need none run,
    unless `pfs_variable`: then $PFS names a directory in its place.
    """

    store: Store
    runner: Runner
    open_sidecar: OpenSidecar
    open_view: OpenView
    find_secret: FindSecret
    scratch: Path
    environment: Mapping[str, str]
    strict: bool = False
    no_pfs: str | None = None
    pfs_variable: bool = False
    tries: Tries = field(default_factory=Tries)
    openings: Openings = field(default_factory=Openings)


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
