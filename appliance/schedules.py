"""When something is due: five-field cron expressions and the descriptors of Pachyderm's cron library. Pure.

*/10 * * * *      minute hour day month weekday, in UTC
@hourly           also @yearly, @annually, @monthly, @weekly, @daily, @midnight
@every 1h30m      that long after the time before (whole seconds, at least one)
@never
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from appliance.errors import InvalidRequest
from appliance.quantities import parse_duration

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. Times are nanoseconds UTC. With neither field it never is."""

    cron: str | None = None
    every_s: int | None = None

    def next_after(self, time_ns: int) -> int | None:
        """Return the first time behind `time_ns` at which it is due, None for never."""
        if self.every_s is not None:
            return time_ns + self.every_s * _SECOND_NS
        return self._step(time_ns, reverse=False)

    def last_upto(self, time_ns: int) -> int | None:
        """Return the newest time not behind `time_ns` at which it was due; None for `@every`, which counts from the last."""
        found = self._step(time_ns + 1, reverse=True)
        return found if found is None or found <= time_ns else self._step(found, reverse=True)

    def _step(self, time_ns: int, *, reverse: bool) -> int | None:
        if self.cron is None:
            return None
        seconds = -(-time_ns // _SECOND_NS) if reverse else time_ns // _SECOND_NS
        try:
            found = next(CronSim(self.cron, datetime.fromtimestamp(seconds, UTC), reverse=reverse))
        except (StopIteration, OverflowError):  # the 30th of February
            return None
        return int(found.timestamp()) * _SECOND_NS


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule. Raises InvalidRequest."""
    text = text.strip()
    if text == "@never":
        return Schedule()
    if text.startswith("@every "):
        seconds = parse_duration(text.removeprefix("@every ").strip())
        if seconds <= 0:
            raise InvalidRequest(f'"{text}": the duration must be positive')
        return Schedule(every_s=max(1, int(seconds)))
    cron = _DESCRIPTORS.get(text, text)
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError) as error:
        raise InvalidRequest(f'"{text}" is no schedule: {error}') from None
    if len(cron.split()) != 5:
        raise InvalidRequest(f'"{text}" is no schedule: five fields are expected')
    return Schedule(cron=cron)
