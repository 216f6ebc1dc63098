"""User code's output, line by line."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.store.database import Db
from appliance.store.datums import MATCHES


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of user code's output; `datum` is "" for the job's own remarks (stream `job`)."""

    row: int
    time_ns: int
    datum: str
    stream: str
    message: str


def add_log_lines(db: Db, job_row: int, lines: Iterable[tuple[int | None, int, str, str]]) -> None:
    """Keep (datum row, time_ns, stream, message) lines of a job."""
    sql = "INSERT INTO log_lines (job_id, datum_id, time_ns, stream, message) VALUES (?, ?, ?, ?, ?)"
    db.executemany(sql, ((job_row, *line) for line in lines))
    db.changes.logs.add(job_row)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which lines somebody wants: of one datum, of datums that read all these paths or digests, not older than a time."""

    datum: str | None = None
    inputs: Sequence[str] = ()
    since_ns: int = 0


def list_log_lines(db: Db, job_row: int, chosen: Chosen = Chosen(), *, after: int = 0, limit: int = 1000) -> list[LogLine]:
    """Return up to `limit` of the chosen log lines of a job behind the row `after`, in order."""
    sql = f"""
        SELECT l.id, l.time_ns, coalesce(lower(hex(d.datum_id)), ''), l.stream, l.message
        FROM log_lines l LEFT JOIN datums d ON d.id = l.datum_id
        WHERE l.job_id = :job AND l.id > :after AND l.time_ns >= :since
            AND (:datum IS NULL OR lower(hex(d.datum_id)) = :datum)
            AND (:inputs = '[]' OR l.datum_id IN (SELECT id FROM datums WHERE job_id = :job AND {MATCHES}))
        ORDER BY l.id LIMIT :limit
    """
    wanted = {"datum": chosen.datum, "inputs": json.dumps(chosen.inputs), "since": chosen.since_ns}
    return [LogLine(*row) for row in db.execute(sql, {"job": job_row, "after": after, "limit": limit, **wanted})]
