"""Jobs, their datums and their logs: rows and state changes.

The database is the queue: what should run is a function of these rows alone, so waking twice, or after a crash, gives the
same plan.

    job    created → starting (datums being listed) → running → egressing → success | failure | killed | unrunnable
    datum  waiting → running → success | failed, or skipped from the start
"""

import heapq
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from appliance.errors import DatumNotFound, InvalidRequest, JobNotFound, NotWritable, PathConflict
from appliance.names import CommitId, is_commit_id
from appliance.store import commits, files
from appliance.store.blobs import Content, get_digest
from appliance.store.database import Db


@dataclass(frozen=True, slots=True)
class Job:
    """A job as read. Its id is the global id of its output commit."""

    row: int
    pipeline: str
    version: int
    id: CommitId
    commit_row: int
    state: str
    reason: str
    created_ns: int
    started_ns: int | None
    finished_ns: int | None
    restarts: int
    total: int
    processed: int
    skipped: int
    failed: int
    recovered: int


_SELECT = """
    SELECT j.id, p.name, j.version, lower(hex(c.global_id)), j.commit_id, j.state, j.reason, j.created_ns, j.started_ns,
           j.finished_ns, j.restarts, j.total, j.processed, j.skipped, j.failed, j.recovered
    FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id JOIN commits c ON c.id = j.commit_id
"""


def get_job(db: Db, pipeline: str, job_id: str) -> Job:
    """Return a job by its pipeline and id. Raises JobNotFound."""
    found = None
    if is_commit_id(job_id):
        found = db.row(_SELECT + "WHERE p.name = ? AND c.global_id = ?", (pipeline, bytes.fromhex(job_id)))
    if found is None:
        raise JobNotFound(f"job {pipeline}@{job_id} not found")
    return Job(*found)


def get_by_row(db: Db, row: int) -> Job:
    """Return the job with the store's number `row`. Raises JobNotFound: its pipeline may be gone."""
    found = db.row(_SELECT + "WHERE j.id = ?", (row,))
    if found is None:
        raise JobNotFound("the job was deleted")
    return Job(*found)


def list_jobs(db: Db, *, pipeline: str | None = None, job_id: str | None = None) -> list[Job]:
    """Return jobs, newest first, of one pipeline and of one set if asked so."""
    if job_id is not None and not is_commit_id(job_id):
        raise InvalidRequest(f'invalid job id "{job_id}"')
    wanted = bytes.fromhex(job_id) if job_id is not None else None
    sql = _SELECT + "WHERE (?1 IS NULL OR p.name = ?1) AND (?2 IS NULL OR c.global_id = ?2) ORDER BY j.id DESC"
    return [Job(*row) for row in db.execute(sql, (pipeline, wanted))]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest unfinished job of a pipeline and how its inputs stand."""

    row: int
    pipeline: str
    open_inputs: int
    failed_inputs: tuple[str, ...]


def list_waiting(db: Db) -> list[Waiting]:
    """Return the oldest unfinished job of each pipeline: jobs of one pipeline run in order."""
    sql = """
        SELECT min(j.id), p.name, j.commit_id FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id
        WHERE j.finished_ns IS NULL GROUP BY j.pipeline_id ORDER BY 1
    """
    return [_waiting(db, *row) for row in db.execute(sql).fetchall()]


def _waiting(db: Db, row: int, pipeline: str, commit_row: int) -> Waiting:
    sql = """
        SELECT r.name, u.finished_ns, u.error FROM commit_provenance p JOIN commits u ON u.id = p.upstream_id
        JOIN repos r ON r.id = u.repo_id WHERE p.commit_id = ? ORDER BY r.name
    """
    inputs = db.execute(sql, (commit_row,)).fetchall()
    failed = tuple(name for name, _, error in inputs if error is not None)
    return Waiting(row, pipeline, sum(finished is None for _, finished, _ in inputs), failed)


def begin_job(db: Db, row: int) -> Job:
    """Claim a job for running. What an earlier run of it finished stays; what it left half done is dropped.

    Harmless if it has ended: the job returned says so.
    """
    job = get_by_row(db, row)
    if job.finished_ns is not None:
        return job
    if job.state == "starting":  # killed while listing its datums
        db.execute("DELETE FROM datums WHERE job_id = ?", (row,))
    _drop_half_done(db, row)
    sql = """
        UPDATE jobs SET state = CASE state WHEN 'created' THEN 'starting' ELSE state END,
            restarts = restarts + (state <> 'created'), started_ns = coalesce(started_ns, ?)
        WHERE id = ?
    """
    db.execute(sql, (time.time_ns(), row))
    db.changes.jobs = True
    return get_by_row(db, row)


def _drop_half_done(db: Db, row: int) -> None:
    """Put datums that were running back to waiting, with nothing staged; what still arrives for them is refused."""
    running = "SELECT id FROM datums WHERE job_id = ? AND state = 'running'"
    db.execute(f"DELETE FROM datum_files WHERE datum_id IN ({running})", (row,))
    db.execute(f"DELETE FROM uploads WHERE target IN (SELECT 'datum/' || id FROM ({running}))", (row,))
    db.execute("UPDATE datums SET state = 'waiting' WHERE job_id = ? AND state = 'running'", (row,))


@dataclass(frozen=True, slots=True)
class NewDatum:
    """A datum to be recorded: ids as bytes, inputs as JSON."""

    datum_id: bytes
    hash: bytes
    inputs: bytes


def add_datums(db: Db, job: Job, first: int, datums: Sequence[NewDatum], *, skip: bool) -> None:
    """Record datums, numbered from `first`; with `skip`, those that the base job has under the same hash are not to run."""
    base = _find_base(db, job) if skip else None
    sql = "INSERT INTO datums (job_id, position, datum_id, hash, state, inputs, output_of) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for position, datum in enumerate(datums, first):
        output = _find_output(db, base, datum.hash)
        state = "waiting" if output is None else "skipped"
        db.execute(sql, (job.row, position, datum.datum_id, datum.hash, state, datum.inputs, output))


def _find_base(db: Db, job: Job) -> int | None:
    sql = """
        SELECT max(b.id) FROM jobs b JOIN jobs j ON b.pipeline_id = j.pipeline_id
        WHERE j.id = ? AND b.id < j.id AND b.state = 'success'
    """
    found: int | None = db.value(sql, (job.row,))
    return found


def _find_output(db: Db, base: int | None, digest: bytes) -> int | None:
    sql = "SELECT output_of FROM datums WHERE job_id = ? AND hash = ? AND state IN ('success', 'skipped')"
    found: int | None = db.value(sql, (base, digest)) if base is not None else None
    return found


def run_job(db: Db, row: int) -> Job:
    """Mark that all datums of a job are known and may run."""
    sql = """
        UPDATE jobs SET state = 'running', total = (SELECT count(*) FROM datums WHERE job_id = ?1),
            skipped = (SELECT count(*) FROM datums WHERE job_id = ?1 AND state = 'skipped')
        WHERE id = ?1 AND finished_ns IS NULL
    """
    db.execute(sql, (row,))
    db.changes.jobs = True
    return get_by_row(db, row)


@dataclass(frozen=True, slots=True)
class StoredDatum:
    """A datum as read; `inputs` is JSON."""

    row: int
    job_row: int
    position: int
    id: str
    hash: str
    state: str
    reason: str
    tries: int
    inputs: bytes
    started_ns: int | None
    finished_ns: int | None


_SELECT_DATUM = """
    SELECT id, job_id, position, lower(hex(datum_id)), lower(hex(hash)), state, reason, tries, inputs, started_ns,
           finished_ns
    FROM datums
"""


def iter_datums(db: Db, job_row: int, *, state: str | None = None, after: int = -1) -> Iterator[StoredDatum]:
    """Yield a job's datums in order, of one state if asked so, behind the position `after`."""
    sql = _SELECT_DATUM + "WHERE job_id = ?1 AND position > ?3 AND (?2 IS NULL OR state = ?2) ORDER BY position"
    return (StoredDatum(*row) for row in db.execute(sql, (job_row, state, after)))


def get_datum(db: Db, job: Job, datum_id: str) -> StoredDatum:
    """Return a datum of a job by its id (64 hex). Raises DatumNotFound."""
    try:
        wanted = bytes.fromhex(datum_id)
    except ValueError:
        wanted = b""
    row = db.row(_SELECT_DATUM + "WHERE job_id = ? AND datum_id = ?", (job.row, wanted))
    if row is None:
        raise DatumNotFound(f"datum {datum_id} not found in job {job.pipeline}@{job.id}")
    return StoredDatum(*row)


def start_try(db: Db, datum_row: int) -> int:
    """Begin a try of a datum with nothing written yet, and return its number from 1, crashes included.

    Raises JobNotFound, NotWritable once its job has ended.
    """
    found = db.row("SELECT j.finished_ns FROM datums d JOIN jobs j ON j.id = d.job_id WHERE d.id = ?", (datum_row,))
    if found is None:
        raise JobNotFound("the job was deleted")
    if found[0] is not None:
        raise NotWritable("the job has ended")
    db.execute("DELETE FROM datum_files WHERE datum_id = ?", (datum_row,))
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum_row}",))
    sql = """
        UPDATE datums SET state = 'running', tries = tries + 1, started_ns = coalesce(started_ns, ?) WHERE id = ?
        RETURNING tries
    """
    number: int = db.value(sql, (time.time_ns(), datum_row))
    return number


def put_datum_file(
    db: Db, datum_row: int, path: str, kind: files.Kind, content: Content, metadata: files.Metadata | None = None
) -> int:
    """Stage an output file of a datum that is running, replacing one of the same path, and return when, in ns.

    Raises NotWritable once it has ended, InvalidPath, PathConflict if a part of the path is a file or the path is a
    directory.
    """
    check_writable(db, datum_row)
    files.check_kind(path, kind)
    _check_staged_path(db, datum_row, path)
    sql = """
        INSERT OR REPLACE INTO datum_files
            (datum_id, path, kind, modified_ns, size_bytes, etag, blob_id, list_id, metadata)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    """
    now_ns = time.time_ns()
    db.execute(sql, (datum_row, path, int(kind), now_ns, *files.pack(content, metadata)))
    return now_ns


def check_writable(db: Db, datum_row: int) -> None:
    """Raise NotWritable unless a datum is running: only then has it an output that takes changes."""
    if db.value("SELECT 1 FROM datums WHERE id = ? AND state = 'running'", (datum_row,)) is None:
        raise NotWritable("the output cannot be written: its datum is not running")


def _check_staged_path(db: Db, datum_row: int, path: str) -> None:
    snapshot = files.Snapshot((files.Staging(datum_row),))
    files.check_free(db, snapshot, path)


def delete_datum_file(db: Db, datum_row: int, path: str) -> bool:
    """Remove a staged output file; tell whether there was one. Raises NotWritable once the datum has ended."""
    check_writable(db, datum_row)
    return db.execute("DELETE FROM datum_files WHERE datum_id = ? AND path = ?", (datum_row, path)).rowcount > 0


def finish_datum(db: Db, datum: StoredDatum, state: str, reason: str = "") -> None:
    """End a running datum as `success` (what it staged is its output) or `failed` (what it staged is dropped).

    Raises NotWritable if it is not running: its job has ended meanwhile, or is no more.
    """
    check_writable(db, datum.row)
    if state != "success":
        db.execute("DELETE FROM datum_files WHERE datum_id = ?", (datum.row,))
    sql = "UPDATE datums SET state = ?, reason = ?, finished_ns = ?, output_of = ? WHERE id = ?"
    output = datum.row if state == "success" else None
    db.execute(sql, (state, reason, time.time_ns(), output, datum.row))
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum.row}",))
    counter = "processed" if state == "success" else "failed"
    db.execute(f"UPDATE jobs SET {counter} = {counter} + 1 WHERE id = ?", (datum.job_row,))
    db.changes.jobs = True


def set_egressing(db: Db, row: int) -> None:
    """Mark that a job's output is on its way to another store."""
    db.execute("UPDATE jobs SET state = 'egressing' WHERE id = ? AND finished_ns IS NULL", (row,))
    db.changes.jobs = True


def fail_job(db: Db, row: int, state: str, reason: str) -> None:
    """End a job without output: its commit is finished with an error and shows nothing. Harmless if it has ended or gone."""
    job = _find_unfinished(db, row)
    if job is not None:
        _drop_half_done(db, row)
        commits.finish_commit(db, commits.get_by_row(db, job.commit_row), error=reason)
        _end(db, row, state, reason)


def complete_job(db: Db, row: int) -> None:
    """Make the union of the datums' outputs the output commit and end the job, all at once.

    Harmless if it has ended or gone. Raises PathConflict as `check_output`.
    """
    job = _find_unfinished(db, row)
    if job is None:
        return
    commit = commits.get_by_row(db, job.commit_row)
    check_output(db, row)
    _apply_output(db, commit, row)
    commits.finish_commit(db, commit)
    _end(db, row, "success", "" if job.total > job.skipped else "there were no datums to process")


def _find_unfinished(db: Db, row: int) -> Job | None:
    found = db.row(_SELECT + "WHERE j.id = ? AND j.finished_ns IS NULL", (row,))
    return Job(*found) if found else None


def _end(db: Db, row: int, state: str, reason: str) -> None:
    sql = "UPDATE jobs SET state = ?, reason = ?, finished_ns = ? WHERE id = ?"
    db.execute(sql, (state, reason, time.time_ns(), row))
    db.changes.jobs = True


_OUTPUT = "datum_files f JOIN datums d ON d.output_of = f.datum_id WHERE d.job_id = ?"


def check_output(db: Db, row: int) -> None:
    """Raise PathConflict if two datums of a job wrote one path, or one a file where another has a directory."""
    sql = f"""
        SELECT f.path, lower(hex(min(d.datum_id))), lower(hex(max(d.datum_id))) FROM {_OUTPUT} AND f.kind = 1
        GROUP BY f.path HAVING count(*) > 1 LIMIT 1
    """
    if twice := db.row(sql, (row,)):
        path, one, other = twice
        raise PathConflict(f"duplicate path output by different datums ({path} from {one} and {path} from {other})")
    paths = (path for (path,) in db.execute(f"SELECT f.path FROM {_OUTPUT} ORDER BY f.path", (row,)))
    if collision := find_collision(paths):
        raise PathConflict(f"file / directory path collision ({collision})")


def find_collision(paths: Iterable[str]) -> str | None:
    """Return the first of some sorted paths that is a file although others lie below it."""
    above: list[str] = []
    for path in paths:
        # What can not be above any later path any more: `/a` stays while `/a-b` passes, because `/a/x` comes after it.
        above = [file for file in above if path.startswith(file)]
        for file in above:
            if path.startswith(file + "/"):
                return file
        if not path.endswith("/"):
            above.append(path)
    return None


def iter_output(db: Db, row: int, *, after: str = "") -> Iterator[files.Entry]:
    """Yield the output of a job behind a path, as far as its datums have ended well, in path order."""
    sql = f"""
        SELECT f.path, f.kind, f.size_bytes, f.modified_ns, f.etag, f.blob_id, f.list_id, f.metadata, 0, 0, 0
        FROM {_OUTPUT} AND f.path > ? GROUP BY f.path ORDER BY f.path
    """  # grouped, because several datums may make one directory
    return (files.entry_of(row) for row in db.execute(sql, (row, after)))


def _apply_output(db: Db, commit: commits.Commit, row: int) -> None:
    """Turn what the commit inherited into the job's output; paths whose content is the same are left as they were."""
    before = files.Scan(db, files.open_commit(db, commit), "/")
    files.rewrite(db, commit, _iter_changes(db, before, iter_output(db, row)))
    sql = f"SELECT coalesce(sum(size_bytes), 0), coalesce(sum(kind = 1), 0) FROM (SELECT f.size_bytes, f.kind FROM {_OUTPUT})"
    db.execute("UPDATE commits SET size_bytes = ?, file_count = ? WHERE id = ?", (*db.row(sql, (row,)), commit.row))


def _iter_changes(
    db: Db, before: Iterable[files.Entry], after: Iterable[files.Entry]
) -> Iterator[tuple[files.Entry | None, files.Entry | None]]:
    """Yield (what was there, what is to be there) for every path where the two differ."""
    tagged = heapq.merge(((e.path, 0, e) for e in before), ((e.path, 1, e) for e in after), key=lambda item: item[:2])
    for _, group in itertools.groupby(tagged, key=lambda item: item[0]):
        sides: list[files.Entry | None] = [None, None]
        for _, side, entry in group:
            sides[side] = entry
        old, new = sides
        if old is None or new is None or not _is_same(db, old, new):
            yield old, new


def _is_same(db: Db, one: files.Entry, other: files.Entry) -> bool:
    if (one.kind, one.metadata) != (other.kind, other.metadata):
        return False
    if one.content.list_id is None or other.content.list_id is None:
        return one.content == other.content
    if (one.content.size_bytes, one.content.etag) != (other.content.size_bytes, other.content.etag):
        return False
    return get_digest(db, one.content) == get_digest(db, other.content)


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
