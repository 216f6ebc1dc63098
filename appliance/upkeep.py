"""What is done by itself to keep the store small: collecting, slowly, some time after something was removed."""

import logging
import threading
import time
from collections.abc import Iterator

import trio

from appliance.errors import ApplianceError
from appliance.store import Changes, Store
from appliance.store.collecting import Collected, Collector
from appliance.store.findings import Step

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0  # whoever removes one thing is about to remove more
_INTERVAL_S = 3600.0
_REST = 9  # parts of rest for each part of work
_LONGEST_REST_S = 1.0


class Upkeep:
    """Runs the collector by itself, and at once for who asks.

    The first run comes a while after the start, for what a killed process left; another one an hour after the last at the
    earliest, and only if something was removed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopped = threading.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        token = trio.lowlevel.current_trio_token()
        removed = trio.Event()

        def on_change(changes: Changes) -> None:
            if changes.garbage:
                token.run_sync_soon(lambda: removed.set())

        forget = self._store.listen(on_change)
        task_status.started()
        try:
            while True:
                await trio.sleep(_PATIENCE_S)
                removed = trio.Event()
                await trio.to_thread.run_sync(self._collect_slowly)
                await trio.sleep(_INTERVAL_S)
                await removed.wait()
        finally:
            forget()

    def stop(self) -> None:
        """Let a run end at its next step: it is in a thread, and no cancellation reaches it."""
        self._stopped.set()

    def collect(self) -> Iterator[Step | Collected]:
        """Collect now, as fast as possible; yield the steps, and what was removed."""
        collector = Collector(self._store)
        yield from self._run(collector)
        if self._stopped.is_set():
            raise ApplianceError("the appliance is being stopped")
        yield collector.total

    def _collect_slowly(self) -> None:
        collector = Collector(self._store)
        try:
            started = time.monotonic()
            for _step in self._run(collector):
                self._stopped.wait(min((time.monotonic() - started) * _REST, _LONGEST_REST_S))
                started = time.monotonic()
        except Exception:  # a full disk, most likely: there is another time
            log.exception("collecting failed")
        if collector.total.blobs:
            log.info("collected %s", collector.total)

    def _run(self, collector: Collector) -> Iterator[Step]:
        for step in collector.run():
            if self._stopped.is_set():
                return
            yield step
