"""User code's output, line by line."""

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.store.database import Db


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


def list_log_lines(db: Db, job_row: int, *, datum: str | None = None, after: int = 0, limit: int = 1000) -> list[LogLine]:
    """Return up to `limit` log lines of a job, of one datum if asked so, behind the row `after`, in order."""
    sql = """
        SELECT l.id, l.time_ns, coalesce(lower(hex(d.datum_id)), ''), l.stream, l.message
        FROM log_lines l LEFT JOIN datums d ON d.id = l.datum_id
        WHERE l.job_id = ?1 AND l.id > ?2 AND (?3 IS NULL OR lower(hex(d.datum_id)) = ?3) ORDER BY l.id LIMIT ?4
    """
    return [LogLine(*row) for row in db.execute(sql, (job_row, after, datum, limit))]
