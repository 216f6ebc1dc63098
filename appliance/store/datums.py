"""The datums of a job: recorded, tried, ended; and what a try stages."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from appliance.errors import DatumNotFound, FileNotFound, JobNotFound, NotWritable
from appliance.store import blobs, files, snapshots
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.discarding import clear, discard
from appliance.store.jobs import Job


def drop_half_done(db: Db, row: int) -> None:
    """Put datums that were running back to waiting, with nothing staged; what still arrives for them is refused."""
    for datum in list_half_done(db, row):
        db.execute("UPDATE datums SET state = 'waiting' WHERE id = ?", (datum,))
        discard(db, datum)


def list_half_done(db: Db, row: int) -> list[int]:
    """Return the rows of a job's datums that are running."""
    sql = "SELECT id FROM datums WHERE job_id = ? AND state = 'running' AND position >= 0"
    return [datum for (datum,) in db.execute(sql, (row,))]


def remove_list(db: Db, row: int, limit: int) -> bool:
    """Remove up to so many datums of a job that was killed while they were listed; tell whether there may be more."""
    sql = """
        DELETE FROM datums WHERE id IN (
            SELECT d.id FROM datums d JOIN jobs j ON j.id = d.job_id WHERE j.id = ? AND j.state = 'starting' LIMIT ?)
    """
    return db.execute(sql, (row, limit)).rowcount == limit


@dataclass(frozen=True, slots=True)
class NewDatum:
    """A datum to be recorded: ids as bytes, inputs as JSON."""

    datum_id: bytes
    hash: bytes
    inputs: bytes


# Many rows in a statement: each gives the interpreter's lock away, and whoever plans the next datums is slow to give it back.
_ADDED = 100
_ADD = """
    WITH new (position, datum_id, hash, inputs) AS (VALUES {rows}),
    found AS MATERIALIZED (
        SELECT *, (SELECT output_of FROM datums d WHERE d.job_id = ? AND d.datum_id = new.datum_id AND d.hash = new.hash
                   AND d.state IN ('success', 'skipped') LIMIT 1) AS output
        FROM new)
    INSERT INTO datums (job_id, position, datum_id, hash, state, inputs, output_of)
    SELECT ?, position, datum_id, hash, CASE WHEN output IS NULL THEN 'waiting' ELSE 'skipped' END, inputs, output FROM found
"""


def add_datums(db: Db, job: Job, first: int, datums: Sequence[NewDatum], *, skip: bool) -> None:
    """Record datums, numbered from `first`; with `skip`, those that the base job has under the same hash are not to run."""
    base = _find_base(db, job) if skip else None
    numbered = enumerate(datums, first)
    while page := list(islice(numbered, _ADDED)):
        values = [value for position, new in page for value in (position, new.datum_id, new.hash, new.inputs)]
        db.execute(_ADD.format(rows=", ".join("(?, ?, ?, ?)" for _ in page)), (*values, base, job.row))


def _find_base(db: Db, job: Job) -> int | None:
    sql = """
        SELECT max(b.id) FROM jobs b JOIN jobs j ON b.pipeline_id = j.pipeline_id
        WHERE j.id = ? AND b.id < j.id AND b.state = 'success'
    """
    found: int | None = db.value(sql, (job.row,))
    return found


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
    row = db.row(_SELECT_DATUM + "WHERE job_id = ? AND datum_id = ? AND position >= 0", (job.row, wanted))
    if row is None:
        raise DatumNotFound(f"datum {datum_id} not found in job {job.pipeline}@{job.id}")
    return StoredDatum(*row)


# Whether the inputs of a datum have what is in the JSON array `:inputs`; Pachyderm's MatchDatum.
MATCHES = """
    NOT EXISTS (
        SELECT 1 FROM json_each(:inputs) f WHERE NOT EXISTS (
            SELECT 1 FROM json_each(CAST(inputs AS TEXT)) i
            WHERE f.value IN (json_extract(i.value, '$.path'), json_extract(i.value, '$.digest'))))
"""


def iter_matching(db: Db, job_row: int, filters: Sequence[str]) -> Iterator[StoredDatum]:
    """Yield a job's datums, in order, that have for each filter an input of this path or digest (hex)."""
    sql = _SELECT_DATUM + f"WHERE job_id = :job AND position >= 0 AND {MATCHES} ORDER BY position"
    return (StoredDatum(*row) for row in db.execute(sql, {"job": job_row, "inputs": json.dumps(filters)}))


def start_try(db: Db, datum_row: int) -> int:
    """Begin a try of a datum with nothing written yet, and return its number from 1, crashes included.

    Raises JobNotFound, NotWritable once its job has ended.
    """
    found = db.row("SELECT j.finished_ns FROM datums d JOIN jobs j ON j.id = d.job_id WHERE d.id = ?", (datum_row,))
    if found is None:
        raise JobNotFound("the job was deleted")
    if found[0] is not None:
        raise NotWritable("the job has ended")
    clear(db, datum_row)
    sql = """
        UPDATE datums SET state = 'running', tries = tries + 1, started_ns = coalesce(started_ns, ?) WHERE id = ?
        RETURNING tries
    """
    number: int = db.value(sql, (time.time_ns(), datum_row))
    return number


def put_datum_file(
    db: Db, datum_row: int, path: str, kind: snapshots.Kind, content: Content, metadata: snapshots.Metadata | None = None
) -> int:
    """Stage an output file of a datum that is running, replacing one of the same path, and return when, in ns.

    Raises NotWritable once it has ended, InvalidPath, PathConflict if a part of the path is a file or the path is a
    directory, FileNotFound for content that was somebody else's and that the collector has removed since it was read.
    """
    check_writable(db, datum_row)
    if not blobs.is_recorded(db, content):
        raise FileNotFound(f"cannot write {path}: what it is made from was deleted meanwhile")
    files.check_kind(path, kind)
    _check_staged_path(db, datum_row, path)
    sql = """
        INSERT OR REPLACE INTO datum_files
            (datum_id, path, kind, modified_ns, size_bytes, etag, blob_id, list_id, metadata)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    """
    now_ns = time.time_ns()
    db.execute(sql, (datum_row, path, int(kind), now_ns, *snapshots.pack(blobs.settle(db, content), metadata)))
    return now_ns


def set_metadata(db: Db, datum_row: int, path: str, metadata: snapshots.Metadata) -> None:
    """Change what is said of a staged output file. Raises NotWritable once the datum has ended."""
    check_writable(db, datum_row)
    text = snapshots.pack(Content(0, ""), metadata)[4]
    db.execute("UPDATE datum_files SET metadata = ? WHERE datum_id = ? AND path = ?", (text, datum_row, path))


def check_writable(db: Db, datum_row: int) -> None:
    """Raise NotWritable unless a datum is running: only then has it an output that takes changes."""
    if db.value("SELECT 1 FROM datums WHERE id = ? AND state = 'running'", (datum_row,)) is None:
        raise NotWritable("the output cannot be written: its datum is not running")


def _check_staged_path(db: Db, datum_row: int, path: str) -> None:
    snapshot = snapshots.Snapshot((snapshots.Staging(datum_row),))
    files.check_free(db, snapshot, path)


def delete_datum_file(db: Db, datum_row: int, path: str) -> bool:
    """Remove a staged output file; tell whether there was one. Raises NotWritable once the datum has ended."""
    check_writable(db, datum_row)
    return db.execute("DELETE FROM datum_files WHERE datum_id = ? AND path = ?", (datum_row, path)).rowcount > 0


def count_staged(db: Db, datum_row: int) -> int:
    """Return the bytes of what a datum has staged; costs a look at each file, so no write should ask."""
    size_bytes: int = db.value("SELECT coalesce(sum(size_bytes), 0) FROM datum_files WHERE datum_id = ?", (datum_row,))
    return size_bytes


def finish_datum(
    db: Db, datum: StoredDatum, state: str, reason: str = "", *, given_bytes: int = 0, written_bytes: int = 0
) -> None:
    """End a running datum: as `success` what it staged is its output, as `failed` or `recovered` that is dropped.

    What it was given and wrote is for the job's counters. Raises NotWritable if it is not running: its job has ended
    meanwhile, or is no more.
    """
    check_writable(db, datum.row)
    if state != "success":
        discard(db, datum.row)
    sql = "UPDATE datums SET state = ?, reason = ?, finished_ns = ?, output_of = ? WHERE id = ?"
    output = datum.row if state == "success" else None
    db.execute(sql, (state, reason, time.time_ns(), output, datum.row))
    db.execute("DELETE FROM uploads WHERE target = ?", (f"datum/{datum.row}",))
    counter = "processed" if state == "success" else state
    sql = f"""
        UPDATE jobs SET {counter} = {counter} + 1, downloaded_bytes = downloaded_bytes + ?2,
            uploaded_bytes = uploaded_bytes + ?3,
            process_ns = process_ns + (SELECT finished_ns - started_ns FROM datums WHERE id = ?1)
        WHERE id = ?4
    """
    db.execute(sql, (datum.row, given_bytes, written_bytes, datum.job_row))
    db.changes.jobs = True
