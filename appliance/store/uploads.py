"""Multipart uploads in progress: parts by number, joined without moving bytes when they are completed."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.errors import UploadNotFound
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.listings import common_prefix
from appliance.store.snapshots import LAST, Metadata, metadata_of, pack


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. `target` is `branch/<number>` or `datum/<number>`; `result` is what completing it answered, if it did."""

    id: str
    target: str
    path: str
    created_ns: int
    metadata: Metadata
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A received part. `checksums` are verified, in base64, by the names of their headers."""

    number: int
    content: Content
    modified_ns: int
    checksums: Metadata


@dataclass(frozen=True, slots=True)
class UploadPage:
    """A page of uploads; a string is a common prefix."""

    items: tuple[Upload | str, ...]
    truncated: bool


_SELECT = "SELECT id, target, path, created_ns, metadata, result FROM uploads "


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, target, path, created_ns, metadata, result = row
    return Upload(upload_id, target, path, created_ns, metadata_of(metadata), json.loads(result) if result else None)


def create_upload(db: Db, target: str, path: str, metadata: Metadata | None) -> Upload:
    """Begin an upload. Its id begins with the time: by id is by age."""
    now_ns = time.time_ns()
    row = (f"{now_ns:016x}{secrets.token_hex(8)}", target, path, now_ns, pack(Content(0, ""), metadata)[4])
    db.execute("INSERT INTO uploads (id, target, path, created_ns, metadata) VALUES (?, ?, ?, ?, ?)", row)
    return _upload((*row, None))


def get_upload(db: Db, target: str, upload_id: str, path: str | None = None) -> Upload:
    """Return an upload of a target (and path) that is in progress. Raises UploadNotFound."""
    upload = find_upload(db, target, upload_id)
    if upload is None or upload.result is not None or (path is not None and upload.path != path):
        raise UploadNotFound(f"upload {upload_id} not found")
    return upload


def find_upload(db: Db, target: str, upload_id: str) -> Upload | None:
    """Return an upload of a target, completed or not."""
    row = db.row(_SELECT + "WHERE id = ? AND target = ?", (upload_id, target))
    return _upload(row) if row is not None else None


def list_uploads(
    db: Db, target: str, *, prefix: str = "/", delimiter: str = "", after: str = "", after_id: str = "", limit: int = 1000
) -> UploadPage:
    """Return up to `limit` uploads in progress below `prefix`, by path and age, behind an upload or a whole path.

    The upload may be gone. With a delimiter, as listings have it, paths are rolled up.
    """
    items: list[Upload | str] = []
    for item in _iter_items(db, target, prefix, delimiter, after, after_id) if limit else ():
        if len(items) == limit:
            return UploadPage(tuple(items), truncated=True)
        items.append(item)
    return UploadPage(tuple(items), truncated=False)


def _iter_items(db: Db, target: str, prefix: str, delimiter: str, after: str, after_id: str) -> Iterator[Upload | str]:
    passed = common_prefix(after, prefix, delimiter) if after.startswith(prefix) else None
    place = (passed + LAST, "") if passed else (after, after_id or LAST) if after else (prefix, "")
    while (upload := _find_next(db, target, max((prefix, ""), place))) and upload.path.startswith(prefix):
        group = common_prefix(upload.path, prefix, delimiter)
        yield upload if group is None else group
        place = (upload.path, upload.id) if group is None else (group + LAST, "")


def _find_next(db: Db, target: str, place: tuple[str, str]) -> Upload | None:
    sql = _SELECT + "WHERE target = ? AND (path, id) > (?, ?) AND result IS NULL ORDER BY path, id LIMIT 1"
    row = db.row(sql, (target, *place))
    return _upload(row) if row is not None else None


def put_part(db: Db, upload: Upload, number: int, content: Content, checksums: Metadata | None = None) -> Part:
    """Record a part, replacing one of the same number. Raises UploadNotFound if the upload ended meanwhile."""
    get_upload(db, upload.target, upload.id)
    size_bytes, etag, blob_id, list_id, summed = pack(content, checksums)
    now_ns = time.time_ns()
    sql = """
        INSERT OR REPLACE INTO parts (upload_id, number, size_bytes, modified_ns, etag, blob_id, list_id, checksums)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    """
    db.execute(sql, (upload.id, number, size_bytes, now_ns, etag, blob_id, list_id, summed))
    return Part(number, content, now_ns, checksums or {})


def list_parts(db: Db, upload: Upload, *, after: int = 0, limit: int = 10_000) -> Sequence[Part]:
    """Return the parts of an upload by number, behind `after`."""
    sql = """
        SELECT number, size_bytes, etag, blob_id, list_id, modified_ns, checksums FROM parts
        WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?
    """
    return [_part(row) for row in db.execute(sql, (upload.id, after, limit))]


def _part(row: tuple[Any, ...]) -> Part:
    number, size_bytes, etag, blob_id, list_id, modified_ns, checksums = row
    text = etag.hex() if isinstance(etag, bytes) else etag
    return Part(number, Content(size_bytes, text, blob_id, list_id), modified_ns, metadata_of(checksums))


def delete_upload(db: Db, upload: Upload) -> None:
    """Forget an upload and its parts."""
    db.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
    db.changes.garbage = True


def finish_upload(db: Db, upload: Upload, result: Mapping[str, Any]) -> None:
    """Forget the parts of an upload that was completed, and remember what was answered."""
    db.execute("DELETE FROM parts WHERE upload_id = ?", (upload.id,))
    db.execute("UPDATE uploads SET result = ? WHERE id = ?", (json.dumps(dict(result)), upload.id))
    db.changes.garbage = True


def is_any_older(db: Db, before_ns: int) -> bool:
    """Tell whether an upload began before a time."""
    return db.value("SELECT 1 FROM uploads WHERE created_ns < ? LIMIT 1", (before_ns,)) is not None


def expire_uploads(db: Db, before_ns: int, *, limit: int = 100) -> int:
    """Forget up to `limit` uploads that began before a time, completed or not, and return how many that were."""
    sql = "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads WHERE created_ns < ? ORDER BY created_ns LIMIT ?)"
    count = db.execute(sql, (before_ns, limit)).rowcount
    db.changes.garbage = db.changes.garbage or count > 0
    return count


# -- what is known of the parts of a content that was uploaded in parts


@dataclass(frozen=True, slots=True)
class ObjectPart:
    """A part of a file version, as it was uploaded: `offset` is where it begins."""

    number: int
    offset: int
    size_bytes: int
    checksum: str | None


def record_parts(db: Db, content: Content, parts: Sequence[Part], checksum: str | None) -> None:
    """Remember where the parts of a content begin, which must be a list of extents, and the checksum of this name."""
    sql = "INSERT INTO object_parts (list_id, number, size_bytes, checksum) VALUES (?, ?, ?, ?)"
    rows = ((content.list_id, p.number, p.content.size_bytes, p.checksums.get(checksum or "")) for p in parts)
    db.executemany(sql, rows)


def list_object_parts(db: Db, content: Content) -> Sequence[ObjectPart]:
    """Return the parts that a content was uploaded in, by number; none if it was not, or nobody recorded them."""
    sql = "SELECT number, size_bytes, checksum FROM object_parts WHERE list_id = ? ORDER BY number"
    parts: list[ObjectPart] = []
    offset = 0
    for number, size_bytes, checksum in db.execute(sql, (content.list_id,)):
        parts.append(ObjectPart(number, offset, size_bytes, checksum))
        offset += size_bytes
    return parts
