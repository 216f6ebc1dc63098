"""S3's verbs as store calls, behind the interface of moto's `S3Backend`.

A body comes in staged (`StagedObject`) and goes out unread (`BlobSlice`). Every public method of `S3Backend` is
implemented here, answers as a bucket on which the feature was never configured, or is refused with NotImplemented; a test
compares the lists, so that an upgrade of moto speaks up. Nothing is kept in memory.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from moto.s3 import exceptions as moto_errors
from moto.s3.models import S3Backend

from appliance.errors import FileNotFound, NotWritable, Unsupported
from appliance.gateway.buckets import Bucket, BucketMap
from appliance.gateway.conditions import Header, evaluate
from appliance.gateway.errors import S3Error, not_implemented
from appliance.gateway.listing import ListRequest
from appliance.gateway.request import StagedObject
from appliance.gateway.views import REGION, BlobSlice, BucketView, ObjectView, PartView
from appliance.names import CommitId, check_path
from appliance.store import Db, Store, blobs, files, uploads
from appliance.store.blobs import Content
from appliance.store.files import Kind, Metadata, Page

T = TypeVar("T")

PART_BYTES = 5 * 1024 * 1024
MAX_PARTS = 10_000
_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write: what was put, and the version that it made (None where there are no versions)."""

    content: Content
    version: CommitId | None
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a copy comes from: the bytes `first` to `last` inclusive, or with None the whole. `header` has the conditions."""

    bucket: str
    key: str
    version: str | None
    header: Header
    first: int | None = None
    last: int | None = None


def key_path(key: str, *, strict: bool) -> str:
    """Return the path of a key; one that ends in a slash is an explicit directory. Raises InvalidPath, S3Error KeyTooLong."""
    if len(key.encode()) > _KEY_BYTES:
        raise S3Error("KeyTooLongError", "Your key is too long")
    return check_path("/" + key, strict=strict)


class RepoBackend(S3Backend):  # type: ignore[misc]
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
        entry = files.find(db, snapshot, "/" + key)
        if entry is None and version_id is not None and bucket.versioned:
            raise S3Error("NoSuchVersion", "The specified version does not exist.")
        if entry is None:
            raise FileNotFound(f"file /{key} not found in {bucket.name}")
        version = files.get_version(db, entry) if bucket.versioned else None
        extents = [] if entry.kind == Kind.DIRECTORY else blobs.list_extents(db, self.store.blobs, entry.content)
        return ObjectView(entry, version, BlobSlice(extents, 0, entry.content.size_bytes))

    def list_objects(self, request: ListRequest) -> Page:
        def page(db: Db, bucket: Bucket) -> Page:
            prefix, after = request.path_prefix, request.path_after
            snapshot = bucket.open(db)
            return files.list_page(
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
            return uploads.put_part(db, upload, number, _cut(db, found.entry.content, source)), found

        return self.store.write(put)

    def complete_multipart_upload(
        self, bucket_name: str, key_name: str, upload_id: str, chosen: Sequence[tuple[int, str]], header: Header
    ) -> Written:
        """Join the chosen (number, ETag) parts into the object, moving no bytes, and forget the upload."""

        def complete(db: Db) -> Written:
            upload = self._upload(db, bucket_name, key_name, upload_id)
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, upload.path, header)
            content = _join_parts(db, _choose_parts(uploads.list_parts(db, upload), chosen))
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
        def parts(db: Db, _bucket: Bucket) -> Any:
            upload = self._upload(db, bucket_name, None, multipart_id)
            return uploads.list_parts(db, upload, after=part_number_marker, limit=min(max_parts, 1000))

        return [
            PartView(part.number, f'"{part.content.etag}"', part.content.size_bytes, part.modified_ns)
            for part in self.read(bucket_name, parts)
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

    # -- what a bucket says on which nothing was ever configured

    NOT_CONFIGURED: ClassVar[dict[str, str]] = {
        "get_bucket_policy": "NoSuchBucketPolicy",
        "get_bucket_cors": "NoSuchCORSConfiguration",
        "get_bucket_lifecycle": "NoSuchLifecycleConfiguration",
        "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
        "get_bucket_tagging": "NoSuchTagSet",
        "get_bucket_website_configuration": "NoSuchWebsiteConfiguration",
        "get_bucket_encryption": "ServerSideEncryptionConfigurationNotFoundError",
        "get_bucket_replication": "ReplicationConfigurationNotFoundError",
        "get_bucket_ownership_controls": "OwnershipControlsNotFoundError",
        "get_public_access_block": "NoSuchPublicAccessBlockConfiguration",
        "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
    }

    # Refused: the writes of the above, and what is not offered at all. Most never get here, because `responses` refuses
    # the request; they are listed so that nothing of moto's in-memory state can be reached.
    REFUSED: ClassVar[tuple[str, ...]] = (
        "create_table_storage_bucket",
        "default_vpc_endpoint_service",
        "delete_bucket_cors",
        "delete_bucket_encryption",
        "delete_bucket_lifecycle",
        "delete_bucket_ownership_controls",
        "delete_bucket_policy",
        "delete_bucket_replication",
        "delete_bucket_tagging",
        "delete_bucket_website",
        "delete_object_tagging",
        "delete_public_access_block",
        "delete_table_storage_bucket",
        "get_bucket_accelerate_configuration",
        "get_bucket_acl",
        "get_bucket_inventory_configuration",
        "get_bucket_logging",
        "get_bucket_notification_configuration",
        "get_cloudwatch_metrics",
        "get_object_acl",
        "get_object_attributes",
        "get_object_legal_hold",
        "get_object_tagging",
        "iter_tagged_resources",
        "list_bucket_inventory_configurations",
        "list_object_versions",
        "put_bucket_accelerate_configuration",
        "put_bucket_acl",
        "put_bucket_cors",
        "put_bucket_encryption",
        "put_bucket_inventory_configuration",
        "put_bucket_lifecycle",
        "put_bucket_lifecycle_configuration",
        "put_bucket_logging",
        "put_bucket_notification_configuration",
        "put_bucket_ownership_controls",
        "put_bucket_policy",
        "put_bucket_replication",
        "put_bucket_tagging",
        "put_bucket_website",
        "put_object_acl",
        "put_object_legal_hold",
        "put_object_lock_configuration",
        "put_object_retention",
        "put_object_tagging",
        "put_public_access_block",
        "reset",
        "restore_object",
        "select_object_content",
        "tag_resource",
        "untag_resource",
        "upload_file",
        "upload_fileobj",
    )


def _refuse(self: RepoBackend, *_arguments: Any, **_options: Any) -> Any:
    raise not_implemented()


def _not_configured(code: str) -> Callable[..., Any]:
    def answer(self: RepoBackend, bucket_name: str, *_arguments: Any, **_options: Any) -> Any:
        self.get_bucket(bucket_name)
        raise S3Error(code, "The configuration does not exist.")

    return answer


for _name in RepoBackend.REFUSED:
    setattr(RepoBackend, _name, _refuse)
for _name, _code in RepoBackend.NOT_CONFIGURED.items():
    setattr(RepoBackend, _name, _not_configured(_code))


def _put(db: Db, bucket: Bucket, path: str, kind: Kind, content: Content, metadata: Metadata) -> Written:
    placed = bucket.put(db, path, kind, content, metadata)
    return Written(content, placed.version, placed.modified_ns)


def check_conditions(db: Db, bucket: Bucket, path: str, header: Header) -> None:
    """Raise what If-Match and If-None-Match say about a write to a path as it is now."""
    if_match, if_none_match = header("if-match"), header("if-none-match")
    if if_match is None and if_none_match is None:
        return
    entry = files.find(db, bucket.open(db), path)
    if if_match is not None and entry is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    if if_none_match not in (None, "*"):
        raise not_implemented()
    if entry is not None and (if_none_match == "*" or evaluate(header, entry.content.etag, entry.modified_ns) == "failed"):
        raise precondition_failed()


def precondition_failed() -> S3Error:
    """The answer to a condition that does not hold."""
    return S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _cut(db: Db, content: Content, source: Source) -> Content:
    """Return the range of a content that a part copies, with the ETag of its bytes' stand-in."""
    first, last = source.first, source.last
    if first is None or last is None:
        return content
    if first > last or last >= content.size_bytes:
        raise S3Error("InvalidRange", f"Range specified is not valid for source object of size: {content.size_bytes}", 400)
    # The MD5 of a range would mean reading it; an ETag need only name the bytes, so it is made of what names them here.
    name = f"{content.etag}:{first}-{last}".encode()
    etag = hashlib.md5(name, usedforsecurity=False).hexdigest()
    return blobs.join(db, [(content, first, last - first + 1)], etag)


def _choose_parts(there: Sequence[uploads.Part], chosen: Sequence[tuple[int, str]]) -> list[uploads.Part]:
    """Return the parts a client wants joined. Raises S3Error InvalidPart, InvalidPartOrder, EntityTooSmall, MalformedXML."""
    if not chosen:
        raise moto_errors.MalformedXML
    numbers = [number for number, _ in chosen]
    if any(left >= right for left, right in itertools.pairwise(numbers)):
        raise moto_errors.InvalidPartOrder
    by_number = {part.number: part for part in there}
    parts = [by_number.get(number) for number in numbers]
    for part, (_, etag) in zip(parts, chosen, strict=True):
        if part is None or part.content.etag != etag.strip().strip('"'):
            raise moto_errors.InvalidPart
    found = [part for part in parts if part is not None]
    if any(part.content.size_bytes < PART_BYTES for part in found[:-1]):
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    return found


def _join_parts(db: Db, parts: Sequence[uploads.Part]) -> Content:
    """Return the parts as one content, with S3's ETag for it."""
    ranges = [(part.content, 0, part.content.size_bytes) for part in parts]
    return blobs.join(db, ranges, blobs.joined_etag([part.content for part in parts]))
