"""Multipart uploads in progress: parts by number, joined without moving bytes when they are completed."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.errors import UploadNotFound
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.snapshots import Metadata, metadata_of, pack


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in progress. `target` is `branch/<number>` or `datum/<number>`."""

    id: str
    target: str
    path: str
    created_ns: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Part:
    """A received part."""

    number: int
    content: Content
    modified_ns: int


_SELECT = "SELECT id, target, path, created_ns, metadata FROM uploads "


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, target, path, created_ns, metadata = row
    return Upload(upload_id, target, path, created_ns, metadata_of(metadata))


def create_upload(db: Db, target: str, path: str, metadata: Metadata | None) -> Upload:
    """Begin an upload."""
    upload_id = secrets.token_hex(16)
    row = (upload_id, target, path, time.time_ns(), pack(Content(0, ""), metadata)[4])
    db.execute("INSERT INTO uploads (id, target, path, created_ns, metadata) VALUES (?, ?, ?, ?, ?)", row)
    return _upload(row)


def get_upload(db: Db, target: str, upload_id: str, path: str | None = None) -> Upload:
    """Return an upload of a target (and path). Raises UploadNotFound."""
    row = db.row(_SELECT + "WHERE id = ? AND target = ?", (upload_id, target))
    if row is None or (path is not None and row[2] != path):
        raise UploadNotFound(f"upload {upload_id} not found")
    return _upload(row)


def list_uploads(db: Db, target: str) -> list[Upload]:
    """Return the uploads of a target by path and age."""
    rows = db.execute(_SELECT + "WHERE target = ? ORDER BY path, created_ns, id", (target,))
    return [_upload(row) for row in rows]


def put_part(db: Db, upload: Upload, number: int, content: Content) -> Part:
    """Record a part, replacing one of the same number. Raises UploadNotFound if the upload ended meanwhile."""
    get_upload(db, upload.target, upload.id)
    size_bytes, etag, blob_id, list_id, _ = pack(content, None)
    now_ns = time.time_ns()
    sql = """
        INSERT OR REPLACE INTO parts (upload_id, number, size_bytes, modified_ns, etag, blob_id, list_id)
        VALUES (?, ?, ?, ?, ?, ?, ?)
    """
    db.execute(sql, (upload.id, number, size_bytes, now_ns, etag, blob_id, list_id))
    return Part(number, content, now_ns)


def list_parts(db: Db, upload: Upload, *, after: int = 0, limit: int = 10_000) -> Sequence[Part]:
    """Return the parts of an upload by number, behind `after`."""
    sql = """
        SELECT number, size_bytes, etag, blob_id, list_id, modified_ns FROM parts
        WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?
    """
    return [_part(row) for row in db.execute(sql, (upload.id, after, limit))]


def _part(row: tuple[Any, ...]) -> Part:
    number, size_bytes, etag, blob_id, list_id, modified_ns = row
    text = etag.hex() if isinstance(etag, bytes) else etag
    return Part(number, Content(size_bytes, text, blob_id, list_id), modified_ns)


def delete_upload(db: Db, upload: Upload) -> None:
    """Forget an upload and its parts."""
    db.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
    db.changes.garbage = True
