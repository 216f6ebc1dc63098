"""What is due by the clock: branches with a cron trigger, and cron inputs of pipelines."""

import logging
import time

import trio

from appliance.errors import ApplianceError
from appliance.schedules import parse_schedule
from appliance.store import Changes, Store, crons, triggers
from appliance.store.crons import Ticking
from appliance.store.triggers import Timed

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60.0  # somebody may set the clock
_SECOND_NS = 1_000_000_000
_MOST_TICKS = 100


class Clock:
    """Fires cron triggers and lets cron inputs tick.

    A trigger that was due while nothing ran, and would have found something new, fires at the start; of cron inputs every
    tick that was missed is made up for, one by one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen_ns: dict[int, int] = {}
        """Branches by number, and up to when each was looked after."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        wake = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def on_change(changes: Changes) -> None:
            if changes.triggers:
                token.run_sync_soon(lambda: wake.set())

        remove = self._store.listen(on_change)
        task_status.started()
        try:
            while True:
                wake = trio.Event()
                wait_s = await trio.to_thread.run_sync(self.fire_due, time.time_ns())
                with trio.move_on_after(wait_s):
                    await wake.wait()
        finally:
            remove()

    def fire_due(self, now_ns: int) -> float:
        """Fire what is due and return the seconds until something may be."""
        with self._store.snapshot() as db:
            timed, ticking = triggers.list_timed(db), crons.list_ticking(db)
        upcoming = [due_ns for item in ticking if (due_ns := self._tick(item, now_ns)) is not None]
        for item in timed:
            due_ns = self._find_due(item, now_ns)
            if due_ns is not None and due_ns <= now_ns:
                self._fire(item.branch_id)
                self._seen_ns[item.branch_id] = now_ns
                due_ns = parse_schedule(item.cron_spec).next_after(now_ns)
            if due_ns is not None:
                upcoming.append(due_ns)
        wait_s = (min(upcoming, default=now_ns + 3600 * _SECOND_NS) - now_ns) / _SECOND_NS
        return min(max(wait_s, 0.0), _LONGEST_WAIT_S)

    def _tick(self, item: Ticking, now_ns: int) -> int | None:
        """Make the ticks that are due and return when the next one is."""
        schedule = parse_schedule(item.spec)
        due_ns = schedule.next_after(item.last_ns)
        for _ in range(_MOST_TICKS):  # and then somebody else may have a turn
            if due_ns is None or due_ns > now_ns:
                break
            try:
                self._store.write(lambda db, due_ns=due_ns: crons.tick(db, item.row, due_ns))  # type: ignore[misc]
            except ApplianceError:
                log.exception("cron input %s can not tick", item.repo)
                return now_ns + int(_LONGEST_WAIT_S * _SECOND_NS)
            due_ns = schedule.next_after(due_ns)
        return due_ns

    def _find_due(self, timed: Timed, now_ns: int) -> int | None:
        schedule = parse_schedule(timed.cron_spec)
        if timed.branch_id not in self._seen_ns:
            self._seen_ns[timed.branch_id] = now_ns
            missed_ns = schedule.last_upto(now_ns)
            if missed_ns is not None and 0 < timed.watched_ns <= missed_ns:
                return missed_ns
        return schedule.next_after(self._seen_ns[timed.branch_id])

    def _fire(self, branch_id: int) -> None:
        try:
            self._store.write(lambda db: triggers.fire_timed(db, branch_id))
        except ApplianceError:
            log.exception("a cron trigger could not fire")
