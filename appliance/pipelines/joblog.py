"""What user code prints, on its way to the store."""

import logging
import time

import trio

from appliance.errors import DiskFailed, JobNotFound
from appliance.pipelines.doors import write
from appliance.store import Db, Store, jobs, logs

log = logging.getLogger(__name__)


class LogBuffer:
    """Collects a job's log lines and writes them a few times a second, so that a chatty process costs few commits.

    One that writes faster than that has to wait, once some thousands of its lines do. While the disk takes nothing as many
    are kept in memory, and no more: user code may be what fills it, and must not wait for itself.
    """

    _EVERY_S = 0.2
    _MOST = 2000
    _FULL = 10_000

    def __init__(self, store: Store, job_row: int) -> None:
        self._store, self._job = store, job_row
        self._lines: list[tuple[int | None, int, str, str]] = []
        self._flushing = trio.Lock()
        self._lost = 0

    def add(self, datum_row: int | None, time_ns: int, stream: str, text: str) -> None:
        """Add a line of a datum's."""
        self._lines.append((datum_row, time_ns, stream, text))

    def remark(self, text: str) -> None:
        """Add a line of our own."""
        self.add(None, time.time_ns(), "job", text)

    async def pace(self) -> None:
        """Wait until there is room for more."""
        if len(self._lines) >= self._FULL:
            await self.flush()
        else:
            await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Write what has come, until cancelled."""
        while True:
            await trio.sleep(self._EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what has come now. What can not be written stays for the next time, as far as there is room."""
        async with self._flushing:
            try:
                await self._write_all()
            except DiskFailed as error:
                self._make_room(error)

    async def _write_all(self) -> None:
        if self._lost:
            self.remark(f"{self._lost} lines of log are lost: the disk was full or failed")
            self._lost = 0
        while lines := self._lines[: self._MOST]:
            await write(self._store, lambda db, lines=lines: self._keep(db, lines))  # type: ignore[misc]
            del self._lines[: len(lines)]

    def _make_room(self, error: DiskFailed) -> None:
        over = len(self._lines) - self._FULL // 2
        if over > 0:
            log.warning("job %d: %d lines of its log are lost: %s", self._job, over, error)
            self._lost += over
            del self._lines[:over]

    def _keep(self, db: Db, lines: list[tuple[int | None, int, str, str]]) -> None:
        try:
            jobs.get_by_row(db, self._job)
        except JobNotFound:
            return
        logs.add_log_lines(db, self._job, lines)


class DatumLines:
    """Takes the lines of one datum's process; see `doors.Lines`."""

    def __init__(self, log: LogBuffer, datum_row: int) -> None:
        self._log, self._datum_row = log, datum_row
        self.pace = log.pace

    def __call__(self, stream: str, line: bytes, time_ns: int) -> None:
        self._log.add(self._datum_row, time_ns, stream, line.decode(errors="replace"))
