"""Blobs whose bytes are wrong: what they are part of, and remembering them so that no door gives them out."""

import time
from collections.abc import Iterator

from appliance.store.consistency import name_entry
from appliance.store.database import Db
from appliance.store.holds import Digest

_SHOWN = 10

# Whatever holds the blob with the id ?1, itself or through a list of extents.
_HOLDING = "(blob_id = ?1 OR list_id IN (SELECT list_id FROM extents WHERE blob_id = ?1))"
_USERS = (
    f"SELECT {name_entry('e')} FROM entries e WHERE {_HOLDING} AND e.line_id NOT IN"
    " (SELECT l.id FROM lines l JOIN repos r ON r.id = l.repo_id WHERE r.kind = 'deleted')",
    f"SELECT 'part ' || number || ' of upload ' || upload_id FROM parts WHERE {_HOLDING}",
    f"SELECT path || ' staged for put ' || put_id FROM staged_files WHERE {_HOLDING}",
    "SELECT f.path || ' of datum ' || lower(hex(d.datum_id)) FROM datum_files f JOIN datums d ON d.id = f.datum_id"
    f" WHERE {_HOLDING}",
)


def record_damage(db: Db, digest: Digest) -> None:
    """Remember for good that the file of a blob has wrong bytes."""
    sql = "INSERT INTO damaged_blobs (digest, found_ns) VALUES (?, ?) ON CONFLICT DO NOTHING"
    db.execute(sql, (digest, time.time_ns()))


def describe_users(db: Db, blob_id: int) -> str:
    """Name the files and commits that a blob is part of, the first of them if they are many."""
    users = _iter_users(db, blob_id)
    named = [name for _, name in zip(range(_SHOWN), users, strict=False)]
    more = " and others" if next(users, None) is not None else ""
    return f"part of {', '.join(named)}{more}" if named else "part of nothing"


def _iter_users(db: Db, blob_id: int) -> Iterator[str]:
    for sql in _USERS:
        yield from (name for (name,) in db.execute(sql, (blob_id,)))
