"""Multipart uploads that nobody finishes: forgotten some days after they began, as a lifecycle rule of S3 does."""

import time

import trio

from appliance.store import Store, uploads

_INTERVAL_S = 3600.0
_STEP = 100


class Expiry:
    """Forgets uploads of an age, once when it starts and then every hour."""

    def __init__(self, store: Store, age_s: float) -> None:
        self._store, self._age_ns = store, int(age_s * 1_000_000_000)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        task_status.started()
        while True:
            while await trio.to_thread.run_sync(self.expire, time.time_ns()) == _STEP:
                pass
            await trio.sleep(_INTERVAL_S)

    def expire(self, now_ns: int) -> int:
        """Forget the oldest uploads, few enough not to hold up other writers, and return how many that were."""
        before_ns = now_ns - self._age_ns
        with self._store.snapshot() as db:
            if not uploads.is_any_older(db, before_ns):
                return 0
        return self._store.write(lambda db: uploads.expire_uploads(db, before_ns, limit=_STEP))
