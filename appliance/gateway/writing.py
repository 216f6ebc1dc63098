"""What every write to a bucket begins and ends with: the key as a path, and what was put."""

from dataclasses import dataclass

from appliance.gateway.buckets import Bucket
from appliance.gateway.errors import S3Error
from appliance.names import CommitId, check_path
from appliance.store import Db
from appliance.store.blobs import Content
from appliance.store.files import EMPTY_CONTENT
from appliance.store.snapshots import Kind, Metadata

_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write: what was put, and the version that it made (None where there are no versions)."""

    content: Content
    version: CommitId | None
    modified_ns: int
    metadata: Metadata


def key_path(key: str, *, strict: bool) -> str:
    """Return the path of a key; one that ends in a slash is an explicit directory. Raises InvalidPath, S3Error KeyTooLong."""
    if len(key.encode()) > _KEY_BYTES:
        raise S3Error("KeyTooLongError", "Your key is too long")
    return check_path("/" + key, strict=strict)


def put(db: Db, bucket: Bucket, path: str, kind: Kind, content: Content, metadata: Metadata) -> Written:
    """Put one entry into a bucket, inside a write."""
    if kind == Kind.DIRECTORY and not content.size_bytes:
        content = EMPTY_CONTENT
    placed = bucket.put(db, path, kind, content, metadata)
    return Written(content, placed.version, placed.modified_ns, metadata)
