"""Putting what was staged into a directory that is not there yet: one statement for all of it.

Nothing can be in its way then but itself; that, too, is asked of all at once.
"""

import time
from collections.abc import Sequence

from appliance.names import parents
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.snapshots import Kind, Snapshot, find, open_commit


def fill(db: Db, put_id: str, commit: Commit) -> bool:
    """Put all staged files into an open commit, if nothing is or was where they go; tell whether it was so.

    Else nothing has changed. A tenth of the cost of as many puts.
    """
    sql = "SELECT min(path), max(path), sum(path LIKE '%/'), count(*), sum(size_bytes) FROM staged_files WHERE put_id = ?"
    first, last, directories, count, size_bytes = db.row(sql, (put_id,))
    if not count or directories:
        return False
    above = [one for one, other in zip(parents(first), parents(last), strict=False) if one == other]
    directory = above[-1] if above else ""
    below = (f"{directory}/", f"{directory}0")  # the character behind the slash
    if not _is_untouched(db, open_commit(db, commit), above, below):
        return False
    db.execute("SAVEPOINT filling")
    done = _insert(db, put_id, commit) == count and not _is_in_its_own_way(db, commit, below)
    if done:
        db.execute("UPDATE lines SET changed_seq = max(changed_seq, ?) WHERE id = ?", (commit.seq, commit.line))
        sql = "UPDATE commits SET size_bytes = size_bytes + ?, file_count = file_count + ? WHERE id = ?"
        db.execute(sql, (size_bytes, count, commit.row))
    else:
        db.execute("ROLLBACK TO filling")
    db.execute("RELEASE filling")
    return done


def _is_untouched(db: Db, snapshot: Snapshot, above: Sequence[str], below: tuple[str, str]) -> bool:
    """Tell whether none of some directories is a file and no row below could matter; on lines this came from, any might."""
    (own, _), *bases = snapshot.history
    sql = "SELECT 1 FROM entries WHERE line_id = ? AND path >= ? AND path < ?"
    return (
        db.value(f"{sql} AND until_seq IS NULL LIMIT 1", (own, *below)) is None
        and all(db.value(f"{sql} LIMIT 1", (line, *below)) is None for line, _ in bases)
        and all(find(db, snapshot, path) is None for path in above)
    )


def _insert(db: Db, put_id: str, commit: Commit) -> int:
    """Make the entries, and return how many: fewer than there are files if two have one path."""
    sql = """
        INSERT OR IGNORE INTO entries
            (line_id, path, from_seq, kind, modified_ns, size_bytes, etag, blob_id, list_id, metadata)
        SELECT ?, path, ?, ?, ?, size_bytes, etag, blob_id, list_id, metadata
        FROM staged_files WHERE put_id = ? ORDER BY path
    """
    return db.execute(sql, (commit.line, commit.seq, int(Kind.FILE), time.time_ns(), put_id)).rowcount


def _is_in_its_own_way(db: Db, commit: Commit, below: tuple[str, str]) -> bool:
    """Tell whether one of the new files is where another needs a directory."""
    sql = """
        SELECT 1 FROM entries e WHERE line_id = ?1 AND until_seq IS NULL AND path >= ?2 AND path < ?3 AND EXISTS (
            SELECT 1 FROM entries WHERE line_id = ?1 AND until_seq IS NULL AND path >= e.path || '/' AND path < e.path || '0')
        LIMIT 1
    """
    return db.value(sql, (commit.line, *below)) is not None
