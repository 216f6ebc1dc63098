"""The bytes of a small file in one step of SQLite: programs that read many ask for nothing else all the time."""

import hashlib

from appliance.errors import StoreDamaged
from appliance.store.database import Db

_SMALL = """
    SELECT b.digest, b.data FROM entries e JOIN blobs b ON b.id = e.blob_id
    WHERE e.id = ? AND e.modified_ns = ? AND b.data IS NOT NULL
"""


def find_small(db: Db, row: int, modified_ns: int) -> bytes | None:
    """Return all bytes of a version of a file, None unless it is one small blob. Raises StoreDamaged."""
    found = db.row(_SMALL, (row, modified_ns))
    if found is None:
        return None
    digest, data = found
    if hashlib.sha256(data).digest() != digest:
        raise StoreDamaged(f"blob {digest.hex()} is damaged")
    return bytes(data)
