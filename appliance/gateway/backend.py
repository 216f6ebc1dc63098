"""S3's verbs as store calls, behind the interface of moto's `S3Backend`.

A body comes in staged (`StagedObject`) and goes out unread (`BlobSlice`). Every public method of `S3Backend` is
implemented here, or answered in `refusals`: as a bucket on which the feature was never configured does, or with
NotImplemented. A test compares the lists, so that an upgrade of moto speaks up. Nothing is kept in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from moto.s3.models import S3Backend

from appliance.errors import Conflict, Unsupported
from appliance.gateway import checksums, metadata, tags
from appliance.gateway.buckets import ENABLED, SUSPENDED, Bucket, BucketMap
from appliance.gateway.checksums import Algorithm
from appliance.gateway.conditions import Header, check_conditions, evaluate
from appliance.gateway.errors import S3Error, not_implemented, precondition_failed, translate
from appliance.gateway.history import find_entry, find_version, forget, list_versions
from appliance.gateway.listing import ListRequest
from appliance.gateway.parsing import Source
from appliance.gateway.refusals import Refusals
from appliance.gateway.request import StagedObject
from appliance.gateway.settings_backend import SettingsBackend
from appliance.gateway.upload_backend import UploadBackend
from appliance.gateway.views import REGION, BlobSlice, BucketView, ObjectView
from appliance.gateway.writing import Written, key_path, put
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, listings, snapshots, uploads
from appliance.store.blobs import Content
from appliance.store.listings import Page
from appliance.store.settings import Settings
from appliance.store.snapshots import Kind, Metadata
from appliance.store.uploads import ObjectPart

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one object of DeleteObjects; `marker` is the delete marker that was made, or forgotten."""

    key: str
    version: str | None
    marker: str | None = None
    error: S3Error | None = None


class RepoBackend(UploadBackend, SettingsBackend, Refusals, S3Backend):  # type: ignore[misc]
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
        def view(db: Db, bucket: Bucket) -> BucketView:
            bucket.check_readable(db)
            location = bucket.find_location(db) or REGION
            return BucketView(bucket_name, bucket.created_ns, versioning=bucket.versioning, region_name=location)

        return self.read(bucket_name, view)

    head_bucket = get_bucket

    def create_bucket(
        self, bucket_name: str, region_name: str, bucket_namespace: str | None = None, *, acl: str | None = None
    ) -> BucketView:
        """Make a bucket. One that is there already is left as it is, but for the ACL: so does us-east-1."""

        def create(db: Db) -> None:
            try:
                self.bucket_map.create(db, bucket_name)
                before, location = Settings(), None if region_name == REGION else region_name
            except S3Error as error:
                if self.strict or error.code != "BucketAlreadyOwnedByYou":
                    raise
                before = self.bucket_map.get(db, bucket_name).get_settings(db)
                location = before.location
            wanted = replace(before, acl=acl or before.acl, location=location)
            if wanted != before:
                self.bucket_map.get(db, bucket_name).set_settings(db, wanted)

        self.store.write(create)
        return self.get_bucket(bucket_name)

    def delete_bucket(self, bucket_name: str) -> bool:
        return self.store.write(lambda db: self.bucket_map.delete(db, bucket_name))

    def get_bucket_location(self, bucket_name: str) -> str:
        return self.get_bucket(bucket_name).region_name

    def get_bucket_versioning(self, bucket_name: str) -> str | None:
        return self.get_bucket(bucket_name).versioning

    def put_bucket_versioning(self, bucket_name: str, status: str) -> None:
        """Turn versioning on or off where that can be. Raises S3Error for anything else."""
        if status == "" and self.get_bucket(bucket_name).versioning is None:
            return
        if status not in (ENABLED, SUSPENDED):
            if status == "":
                raise not_implemented()
            message = "The versioning configuration specified in the request is invalid."
            raise S3Error("IllegalVersioningConfigurationException", message)
        self.store.write(lambda db: self.bucket_map.set_versioning(db, self.bucket_map.get(db, bucket_name), status))

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
        return self.read(bucket_name, lambda db, bucket: self._open(db, bucket, key_name, version_id))

    def head_object(self, bucket_name: str, key_name: str, version_id: str | None = None, **_unused: Any) -> ObjectView:
        return self.read(bucket_name, lambda db, bucket: self._view(db, bucket, key_name, version_id))

    def _open(self, db: Db, bucket: Bucket, key: str, version_id: str | None) -> ObjectView:
        """Return an object of which the content is wanted."""
        found = self._view(db, bucket, key, version_id)
        bucket.note_read(found.entry)
        return found

    def _view(self, db: Db, bucket: Bucket, key: str, version_id: str | None) -> ObjectView:
        entry = find_entry(db, bucket, "/" + key, version_id)
        version = snapshots.get_version(db, entry) if bucket.versioning == ENABLED else None
        extents = blobs.list_extents(db, self.store.blobs, entry.content) if _has_bytes(entry.content) else []
        return ObjectView(entry, version, BlobSlice(extents, 0, entry.content.size_bytes))

    def list_object_parts(self, bucket_name: str, found: ObjectView) -> Sequence[ObjectPart]:
        """Return the parts that an object was uploaded in; none if it came in one piece."""
        return self.read(bucket_name, lambda db, _bucket: uploads.list_object_parts(db, found.entry.content))

    def list_objects(self, request: ListRequest) -> Page:
        def page(db: Db, bucket: Bucket) -> Page:
            # In a job one leading slash is forgiven, as Pachyderm does; in S3 no key begins with one that we can have.
            prefix = "/" + (request.prefix if bucket.versioned else request.prefix.removeprefix("/"))
            after = request.path_after
            snapshot = bucket.open(db)
            return listings.list_page(
                db, snapshot, prefix=prefix, delimiter=request.delimiter, after=after, limit=request.max_keys
            )

        return self.read(request.bucket, page)

    list_objects_v2 = list_objects

    def list_object_versions(self, request: Any) -> Any:
        return self.read(request.bucket, lambda db, bucket: list_versions(db, bucket, request))

    # -- writing

    def put_object(
        self, bucket_name: str, key_name: str, staged: StagedObject, metadata: Metadata, header: Header
    ) -> Written:
        """Publish a staged body and put it. `header` has the request's conditions."""
        path = key_path(key_name, strict=self.strict)
        kind = Kind.DIRECTORY if path.endswith("/") else Kind.FILE
        self.store.blobs.publish(staged.blob)

        def write(db: Db) -> Written:
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, path, header)
            return put(db, bucket, path, kind, blobs.record(db, staged.blob), metadata)

        return self.store.write(write)

    def copy_object(
        self,
        source: Source,
        bucket_name: str,
        key_name: str,
        change: Callable[[Metadata], Metadata],
        header: Header,
        algorithm: Algorithm | None = None,
    ) -> tuple[Written, ObjectView]:
        """Copy an object without moving bytes. Returns what was put, and the source.

        `change` makes its metadata from the source's. With an algorithm it gets a checksum, for which it is read.
        """
        path = key_path(key_name, strict=self.strict)
        summed = self._sum_up(source, algorithm) if algorithm is not None else None

        def copy(db: Db) -> tuple[Written, ObjectView]:
            found = self.open_source(db, source)
            if summed is not None and found.entry.content != summed[0]:
                raise Conflict("the source of the copy changed while it was read")
            bucket = self.bucket_map.get(db, bucket_name)
            check_conditions(db, bucket, path, header)
            kept = change(found.entry.metadata)
            if summed is not None:
                kept = {**checksums.without_kept(kept), **summed[1]}
            return put(db, bucket, path, found.entry.kind, found.entry.content, kept), found

        return self.store.write(copy)

    def _sum_up(self, source: Source, algorithm: Algorithm) -> tuple[Content, Metadata]:
        """Read a source for its checksum, unless it has this one."""
        with self.store.snapshot() as db:
            found = self.open_source(db, source)
            kept = checksums.find_kept(found.entry.metadata)
            extents = blobs.list_extents(db, self.store.blobs, found.entry.content)
        if kept is not None and kept[0] == algorithm:
            return found.entry.content, {algorithm.header: kept[1]}
        _, value = checksums.sum_up(blobs.read_extents(extents), algorithm)
        return found.entry.content, {algorithm.header: value or ""}

    def open_source(self, db: Db, source: Source) -> ObjectView:
        """Return the source of a copy, whose conditions hold. Raises S3Error PreconditionFailed."""
        found = self._open(db, self.bucket_map.get(db, source.bucket), source.key, source.version)
        entry = found.entry
        if evaluate(source.header, entry.content.etag, entry.modified_ns, prefix="x-amz-copy-source-") != "proceed":
            raise precondition_failed()
        return found

    def delete_object(self, bucket_name: str, key_name: str, header: Header) -> CommitId | None:
        """Delete one key, under the request's conditions; returns the id of the delete marker."""
        path = "/" + key_name

        def delete(db: Db) -> CommitId | None:
            bucket = self.bucket_map.get(db, bucket_name)
            bucket.check_writable(db)
            check_conditions(db, bucket, path, header)
            return bucket.delete(db, [path]).get(path)

        return self.store.write(delete)

    def delete_version(self, bucket_name: str, key_name: str, version_id: str) -> Deleted:
        """Forget one version of a key for good. Raises Conflict while the provenance of a commit rests on it."""
        (deleted,) = self.delete_objects(bucket_name, [(key_name, version_id)])
        if deleted.error is not None:
            raise deleted.error
        return deleted

    def delete_objects(self, bucket_name: str, objects: Sequence[tuple[str, str | None]]) -> list[Deleted]:
        """Delete keys, all in one commit, and forget versions."""

        def delete(db: Db) -> list[Deleted]:
            bucket = self.bucket_map.get(db, bucket_name)
            try:
                bucket.check_writable(db)
            except Unsupported:  # an input of a job: said of each key, as S3 does of what it does not allow
                return [Deleted(key, version, error=not_implemented()) for key, version in objects]
            wanted = [(key, find_version(bucket, version)) for key, version in objects]
            forgotten = self._forget_all(db, bucket, [(key, version) for key, version in wanted if version is not None])
            plain = ["/" + key for key, version in wanted if version is None]
            markers = bucket.delete(db, plain) if plain else {}
            return [
                forgotten[key, version] if version is not None else Deleted(key, None, markers.get("/" + key))
                for key, version in wanted
            ]

        return self.store.write(delete)

    def _forget_all(self, db: Db, bucket: Bucket, versions: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Deleted]:
        if not versions:
            return {}
        if self.strict:
            return {(key, version): Deleted(key, version, error=not_implemented()) for key, version in versions}
        forgetting, done = bucket.forgetting(db), {}
        for key, version in versions:
            try:
                marker = forget(db, bucket, forgetting, "/" + key, version)
                done[key, version] = Deleted(key, version, marker)
            except Conflict as error:
                done[key, version] = Deleted(key, version, error=translate(error))
            except S3Error as error:
                done[key, version] = Deleted(key, version, error=error)
        forgetting.settle()
        return done

    def set_tags(self, bucket_name: str, key_name: str, version_id: str | None, tagged: str) -> CommitId | None:
        """Change the tags of a version in place, as S3 does, and return the version."""
        return self.set_metadata(bucket_name, key_name, version_id, lambda kept: metadata.keep_tags(kept, tagged))

    def get_object_tagging(self, key: ObjectView) -> list[tuple[str, str]]:
        return tags.read(key.entry.metadata.get(tags.HEADER, ""))


def _has_bytes(content: Content) -> bool:
    return content.blob_id is not None or content.list_id is not None or content.data is not None
