"""The output of a job: the union of what its datums wrote, made the content of its commit."""

import heapq
import itertools
from collections.abc import Iterable, Iterator

from appliance.errors import PathConflict
from appliance.store import commits, snapshots
from appliance.store.database import Db
from appliance.store.diffs import is_same
from appliance.store.files import Change
from appliance.store.snapshots import Entry

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


def iter_output(db: Db, row: int, *, after: str = "") -> Iterator[Entry]:
    """Yield the output of a job behind a path, as far as its datums have ended well, in path order."""
    sql = f"""
        SELECT f.path, f.kind, f.size_bytes, f.modified_ns, f.etag, f.blob_id, f.list_id, f.metadata, 0, 0, 0
        FROM {_OUTPUT} AND f.path > ? GROUP BY f.path ORDER BY f.path
    """  # grouped, because several datums may make one directory
    return (snapshots.entry_of(row) for row in db.execute(sql, (row, after)))


def count_output(db: Db, row: int) -> tuple[int, int]:
    """Return (bytes, number of files) of the output of a job."""
    sql = f"SELECT coalesce(sum(size_bytes), 0), coalesce(sum(kind = 1), 0) FROM (SELECT f.size_bytes, f.kind FROM {_OUTPUT})"
    size_bytes, file_count = db.row(sql, (row,))
    return size_bytes, file_count


def iter_changes(db: Db, commit: commits.Commit, row: int) -> Iterator[Change]:
    """Yield what turns an open commit into the output of a job; paths whose content is the same are left as they are."""
    before = snapshots.Scan(db, snapshots.open_commit(db, commit), "/")
    return _iter_differences(db, before, iter_output(db, row))


def _iter_differences(db: Db, before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[Change]:
    """Yield (what was there, what is to be there) for every path where the two differ."""
    tagged = heapq.merge(((e.path, 0, e) for e in before), ((e.path, 1, e) for e in after), key=lambda item: item[:2])
    for _, group in itertools.groupby(tagged, key=lambda item: item[0]):
        sides: list[Entry | None] = [None, None]
        for _, side, entry in group:
            sides[side] = entry
        old, new = sides
        if old is None or new is None or not is_same(db, old, new):
            yield old, new
