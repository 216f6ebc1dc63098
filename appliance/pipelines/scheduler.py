"""What should run now, and the loop that sees to it.

`plan` is a pure function of committed rows. The loop asks it after every commit that touched a job; asking too often is
harmless. Jobs of one pipeline run in order, those of different pipelines side by side.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import trio

from appliance.errors import ApplianceError
from appliance.pipelines.doors import Doors, write
from appliance.pipelines.runner import Egress, run_job
from appliance.store import Changes, Store, jobs, running
from appliance.store.jobs import Waiting

log = logging.getLogger(__name__)

# Before a job whose rows can not be written, because the disk is full for example, is taken up again.
_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs (row numbers) to start, to give up with their reason, and to stop because they have ended meanwhile."""

    start: tuple[int, ...]
    give_up: tuple[tuple[int, str], ...]
    stop: tuple[int, ...]


def plan(waiting: Iterable[Waiting], running: Collection[int]) -> Plan:
    """Decide about the oldest unfinished job of each pipeline, given which jobs are running here."""
    start: list[int] = []
    give_up: list[tuple[int, str]] = []
    unfinished = set()
    for job in waiting:
        unfinished.add(job.row)
        if job.row in running or job.open_inputs:
            continue
        if job.failed_inputs:
            failed = ", ".join(job.failed_inputs)
            give_up.append((job.row, f"unrunnable because the following upstream pipelines failed: {failed}"))
        else:
            start.append(job.row)
    return Plan(tuple(start), tuple(give_up), tuple(row for row in running if row not in unfinished))


class Scheduler:
    """Runs the jobs of a store until cancelled."""

    def __init__(self, doors: Doors, egress: Egress) -> None:
        self._doors, self._egress = doors, egress
        self._running: dict[int, trio.CancelScope] = {}
        self._wake = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Plan and run; on cancellation jobs are stopped where they are, to be taken up by the next start."""
        forget = self._doors.store.listen(self._make_listener(trio.lowlevel.current_trio_token()))
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    self._wake = trio.Event()
                    await self._step_if_possible(nursery)
                    await self._wake.wait()
        finally:
            forget()

    def _make_listener(self, token: trio.lowlevel.TrioToken) -> Callable[[Changes], None]:
        def on_changes(changes: Changes) -> None:
            if changes.jobs:
                try:
                    token.run_sync_soon(self._set_wake, idempotent=True)
                except trio.RunFinishedError:
                    return  # the loop has ended; the next start plans anew

        return on_changes

    def _set_wake(self) -> None:
        self._wake.set()

    async def _step_if_possible(self, nursery: trio.Nursery) -> None:
        """A store that can not be written now must not end the appliance: what it has can still be read."""
        try:
            await self._step(nursery)
        except ApplianceError:
            log.exception("the scheduler could not go on, and will try again")
            await trio.sleep(_AGAIN_S)
            self._wake.set()

    async def _step(self, nursery: trio.Nursery) -> None:
        waiting = await trio.to_thread.run_sync(_list_waiting, self._doors.store)
        todo = plan(waiting, self._running.keys())
        for row in todo.stop:
            self._running[row].cancel()
        for row in todo.start:
            self._running[row] = trio.CancelScope()
            nursery.start_soon(self._run_one, row)
        for row, reason in todo.give_up:  # last, for while it waits jobs end, and the plan is an old one
            await write(
                self._doors.store,
                lambda db, row=row, reason=reason: running.fail_job(db, row, "unrunnable", reason),  # type: ignore[misc]
            )

    async def _run_one(self, row: int) -> None:
        try:
            with self._running[row]:
                await self._run_if_possible(row)
        finally:
            del self._running[row]
            self._wake.set()

    async def _run_if_possible(self, row: int) -> None:
        """A job ends in a way that is written down; where even that fails it is taken up again later."""
        try:
            await run_job(self._doors, self._egress, row)
        except Exception:
            log.exception("job %d could neither run nor fail, and will be tried again", row)
            await trio.sleep(_AGAIN_S)


def _list_waiting(store: Store) -> list[Waiting]:
    with store.snapshot() as db:
        return jobs.list_waiting(db)
