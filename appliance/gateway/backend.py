"""S3's verbs as store calls, behind the interface of moto's `S3Backend`.

A body comes in staged (`StagedObject`) and goes out unread (`BlobSlice`). Every public method of `S3Backend` is
implemented here, or answered in `refusals`: as a bucket on which the feature was never configured does, or with
NotImplemented. A test compares the lists, so that an upgrade of moto speaks up. Nothing is kept in memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from moto.s3.models import S3Backend

from appliance.errors import FileNotFound, NotWritable, Unsupported
from appliance.gateway import parts
from appliance.gateway.buckets import Bucket, BucketMap
from appliance.gateway.conditions import Header, check_conditions, evaluate
from appliance.gateway.errors import S3Error, not_implemented, precondition_failed
from appliance.gateway.listing import ListRequest
from appliance.gateway.parsing import Source
from appliance.gateway.refusals import Refusals
from appliance.gateway.request import StagedObject
from appliance.gateway.views import REGION, BlobSlice, BucketView, ObjectView, PartView
from appliance.names import CommitId, check_path
from appliance.store import Db, Store, blobs, listings, snapshots, uploads
from appliance.store.blobs import Content
from appliance.store.listings import Page
from appliance.store.snapshots import Kind, Metadata

T = TypeVar("T")

_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write: what was put, and the version that it made (None where there are no versions)."""

    content: Content
    version: CommitId | None
    modified_ns: int


def key_path(key: str, *, strict: bool) -> str:
    """Return the path of a key; one that ends in a slash is an explicit directory. Raises InvalidPath, S3Error KeyTooLong."""
    if len(key.encode()) > _KEY_BYTES:
        raise S3Error("KeyTooLongError", "Your key is too long")
    return check_path("/" + key, strict=strict)


class RepoBackend(Refusals, S3Backend):  # type: ignore[misc]
    """The store as moto's S3 backend, with the buckets of one bucket map. Thread-safe: it has no state of its own."""

    def __init__(self, store: Store, buckets: BucketMap, *, strict: bool = False) -> None:
        # Moto's own __init__ makes the dictionaries that hold buckets and keys; there are none here.
        self.store = store
        self.bucket_map = buckets
        self.strict = strict
        self.region_name, self.account_id, self.partition = REGION, "000000000000", "aws"

    # -- buckets, as moto's bucket operations call them

    def list_buckets(
        self, prefix: str | None = None, bucket_region: str | None = None, max_buckets: str | None = None
    ) -> Any:
        with self.store.snapshot() as db:
            listed = self.bucket_map.list(db)
        return [BucketView(name, created_ns) for name, created_ns in listed if name.startswith(prefix or "")]

    def get_bucket(self, bucket_name: str) -> BucketView:
        bucket = self.read(bucket_name, lambda _db, found: found)
        return BucketView(bucket_name, bucket.created_ns, is_versioned=bucket.versioned)

    head_bucket = get_bucket

    def create_bucket(self, bucket_name: str, region_name: str, bucket_namespace: str | None = None) -> BucketView:
        self.store.write(lambda db: self.bucket_map.create(db, bucket_name))
        return self.get_bucket(bucket_name)

    def delete_bucket(self, bucket_name: str) -> bool:
        return self.store.write(lambda db: self.bucket_map.delete(db, bucket_name))

    def get_bucket_location(self, bucket_name: str) -> str:
        return self.get_bucket(bucket_name).region_name

    def get_bucket_versioning(self, bucket_name: str) -> str | None:
        return "Enabled" if self.get_bucket(bucket_name).is_versioned else None

    def put_bucket_versioning(self, bucket_name: str, status: str) -> None:
        """Accept what the bucket does anyway. Raises S3Error for anything else."""
        versioned = self.get_bucket(bucket_name).is_versioned
        if status == ("Enabled" if versioned else ""):
            return
        if status in ("", "Enabled", "Suspended"):
            raise not_implemented()
        message = "The versioning configuration specified in the request is invalid."
        raise S3Error("IllegalVersioningConfigurationException", message)

    def log_incoming_request(self, request: Any, bucket_name: str) -> None:
        """Access logs are not kept."""

    # -- reading

    def read(self, bucket_name: str, question: Callable[[Db, Bucket], T]) -> T:
        """Ask something about a bucket, in one snapshot."""
        with self.store.snapshot() as db:
            return question(db, self.bucket_map.get(db, bucket_name))

    def check_writable(self, bucket_name: str) -> None:
        """Raise what a write to a bucket would raise, before its body is read."""
        self.read(bucket_name, lambda db, bucket: bucket.check_writable(db))

    def get_object(self, bucket_name: str, key_name: str, version_id: str | None = None, **_unused: Any) -> ObjectView:
        return self.read(bucket_name, lambda db, bucket: self._view(db, bucket, key_name, version_id))

    head_object = get_object

    def _view(self, db: Db, bucket: Bucket, key: str, version_id: str | None) -> ObjectView:
        snapshot = bucket.open(db, version_id)
        entry = snapshots.find(db, snapshot, "/" + key)
        if entry is None and version_id is not None and bucket.versioned:
            raise S3Error("NoSuchVersion", "The specified version does not exist.")
        if entry is None:
            raise FileNotFound(f"file /{key} not found in {bucket.name}")
        version = snapshots.get_version(db, entry) if bucket.versioned else None
        extents = [] if entry.kind == Kind.DIRECTORY else blobs.list_extents(db, self.store.blobs, entry.content)
        return ObjectView(entry, version, BlobSlice(extents, 0, entry.content.size_bytes))

    def list_objects(self, request: ListRequest) -> Page:
        def page(db: Db, bucket: Bucket) -> Page:
            prefix, after = request.path_prefix, request.path_after
            snapshot = bucket.open(db)
            return listings.list_page(
                db, snapshot, prefix=prefix, delimiter=request.delimiter, after=after, limit=request.max_keys
            )

        return self.read(request.bucket, page)

    list_objects_v2 = list_objects

    # -- writing

    def put_object(
        self, bucket_name: str, key_name: str, staged: StagedObject, metadata: Metadata, header: Header
    ) -> Written:
        """Publish a staged body and put it. `header` has the request's conditions."""
        path = key_path(key_name, strict=self.strict)
        kind = Kind.DIRECTORY if path.endswith("/") else Kind.FILE
        if kind == Kind.DIRECTORY and staged.blob.size_bytes:
            raise S3Error(
                "InvalidFilePath", "Invalid file path: a key that ends in a slash is a directory and has no content"
            )
        self.store.blobs.publish(staged.blob)

        def put(db: Db) -> Written:
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, path, header)
            return _put(db, bucket, path, kind, blobs.record(db, staged.blob), metadata)

        return self.store.write(put)

    def copy_object(
        self, source: Source, bucket_name: str, key_name: str, metadata: Metadata | None, header: Header
    ) -> tuple[Written, ObjectView]:
        """Copy an object without moving bytes; None keeps the source's metadata. Returns what was put, and the source."""
        path = key_path(key_name, strict=self.strict)

        def copy(db: Db) -> tuple[Written, ObjectView]:
            found = self._open_source(db, source)
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, path, header)
            kept = found.entry.metadata if metadata is None else metadata
            return _put(db, bucket, path, found.entry.kind, found.entry.content, kept), found

        return self.store.write(copy)

    def _open_source(self, db: Db, source: Source) -> ObjectView:
        found = self._view(db, self.bucket_map.get(db, source.bucket), source.key, source.version)
        entry = found.entry
        if evaluate(source.header, entry.content.etag, entry.modified_ns, prefix="x-amz-copy-source-") != "proceed":
            raise precondition_failed()
        return found

    def delete_object(self, bucket_name: str, key_name: str, header: Header) -> CommitId | None:
        """Delete one key, under the request's conditions; the answer is as for `delete_objects`."""
        path = "/" + key_name

        def delete(db: Db) -> CommitId | None:
            bucket = self.bucket_map.get(db, bucket_name)
            bucket.check_writable(db)
            check_conditions(db, bucket, path, header)
            return bucket.delete(db, [path])

        return self.store.write(delete)

    def delete_objects(self, bucket_name: str, keys: Iterable[str]) -> CommitId | None:
        """Delete keys in one commit and return its id; None if none of them was there (or there are no versions)."""
        paths = ["/" + key for key in keys]
        return self.store.write(lambda db: self.bucket_map.get(db, bucket_name).delete(db, paths))

    # -- multipart uploads

    def create_multipart_upload(self, bucket_name: str, key_name: str, metadata: Metadata) -> uploads.Upload:
        path = key_path(key_name, strict=self.strict)
        if path.endswith("/"):
            raise S3Error("InvalidFilePath", "Invalid file path: a key that ends in a slash is a directory")

        def create(db: Db) -> uploads.Upload:
            bucket = self.bucket_map.get(db, bucket_name)
            return uploads.create_upload(db, bucket.target(db), path, metadata)

        return self.store.write(create)

    def upload_part(self, bucket_name: str, key_name: str, upload_id: str, number: int, staged: StagedObject) -> uploads.Part:
        self.store.blobs.publish(staged.blob)

        def put(db: Db) -> uploads.Part:
            return uploads.put_part(
                db, self._upload(db, bucket_name, key_name, upload_id), number, blobs.record(db, staged.blob)
            )

        return self.store.write(put)

    def upload_part_copy(
        self, source: Source, bucket_name: str, key_name: str, upload_id: str, number: int
    ) -> tuple[uploads.Part, ObjectView]:
        def put(db: Db) -> tuple[uploads.Part, ObjectView]:
            upload = self._upload(db, bucket_name, key_name, upload_id)
            found = self._open_source(db, source)
            return uploads.put_part(db, upload, number, parts.cut(db, found.entry.content, source.first, source.last)), found

        return self.store.write(put)

    def complete_multipart_upload(
        self, bucket_name: str, key_name: str, upload_id: str, chosen: Sequence[tuple[int, str]], header: Header
    ) -> Written:
        """Join the chosen (number, ETag) parts into the object, moving no bytes, and forget the upload."""

        def complete(db: Db) -> Written:
            upload = self._upload(db, bucket_name, key_name, upload_id)
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, upload.path, header)
            content = parts.join(db, parts.choose(uploads.list_parts(db, upload), chosen))
            written = _put(db, bucket, upload.path, Kind.FILE, content, upload.metadata)
            uploads.delete_upload(db, upload)
            return written

        return self.store.write(complete)

    def abort_multipart_upload(self, bucket_name: str, key_name: str, multipart_id: str) -> None:
        def abort(db: Db) -> None:
            uploads.delete_upload(db, self._upload(db, bucket_name, key_name, multipart_id))

        self.store.write(abort)

    def check_upload(self, bucket_name: str, key_name: str, upload_id: str) -> None:
        """Raise UploadNotFound unless there is this upload of this key."""
        self.read(bucket_name, lambda db, _bucket: self._upload(db, bucket_name, key_name, upload_id))

    def list_parts(self, bucket_name: str, multipart_id: str, part_number_marker: int = 0, max_parts: int = 1000) -> Any:
        def page(db: Db, _bucket: Bucket) -> Any:
            upload = self._upload(db, bucket_name, None, multipart_id)
            return uploads.list_parts(db, upload, after=part_number_marker, limit=min(max_parts, 1000))

        return [
            PartView(part.number, f'"{part.content.etag}"', part.content.size_bytes, part.modified_ns)
            for part in self.read(bucket_name, page)
        ]

    def is_truncated(self, bucket_name: str, multipart_id: str, next_part_number_marker: int) -> bool:
        return bool(self.list_parts(bucket_name, multipart_id, next_part_number_marker, 1))

    def list_multipart_uploads(self, bucket_name: str) -> list[uploads.Upload]:
        """Return uploads in progress by key and age; where nobody can write there are none."""
        try:
            return self.read(bucket_name, lambda db, bucket: uploads.list_uploads(db, bucket.target(db)))
        except (NotWritable, Unsupported):
            return []

    def _upload(self, db: Db, bucket_name: str, key_name: str | None, upload_id: str) -> uploads.Upload:
        target = self.bucket_map.get(db, bucket_name).target(db)
        return uploads.get_upload(db, target, upload_id, None if key_name is None else "/" + key_name)


def _put(db: Db, bucket: Bucket, path: str, kind: Kind, content: Content, metadata: Metadata) -> Written:
    placed = bucket.put(db, path, kind, content, metadata)
    return Written(content, placed.version, placed.modified_ns)
