"""Multipart uploads behind the interface of moto's `S3Backend`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.errors import Conflict, NotWritable, Unsupported
from appliance.gateway import checksums, parts
from appliance.gateway.buckets import Bucket, BucketMap
from appliance.gateway.checksums import ALGORITHM_HEADER, TYPE_HEADER, Plan
from appliance.gateway.conditions import Header, check_conditions
from appliance.gateway.errors import S3Error
from appliance.gateway.listing import UploadsRequest
from appliance.gateway.parsing import ChosenPart, Source
from appliance.gateway.request import StagedObject
from appliance.gateway.views import ObjectView
from appliance.gateway.writing import Written, key_path, put
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, uploads
from appliance.store.blobs import Content
from appliance.store.snapshots import Kind, Metadata
from appliance.store.uploads import Part, Upload, UploadPage

T = TypeVar("T")


def plan_of(upload: Upload) -> Plan | None:
    """Return what checksum an upload is to have."""
    return checksums.parse_plan(upload.metadata.get(ALGORITHM_HEADER), upload.metadata.get(TYPE_HEADER))


class UploadBackend:
    """The half of `RepoBackend` that is about uploads in progress."""

    store: Store
    bucket_map: BucketMap
    strict: bool

    if TYPE_CHECKING:

        def read(self, bucket_name: str, question: Callable[[Db, Bucket], T]) -> T: ...
        def open_source(self, db: Db, source: Source) -> ObjectView: ...

    def create_multipart_upload(self, bucket_name: str, key_name: str, metadata: Metadata) -> Upload:
        path = key_path(key_name, strict=self.strict)
        if path.endswith("/"):
            raise S3Error("InvalidFilePath", "Invalid file path: a key that ends in a slash is a directory")

        def create(db: Db) -> Upload:
            bucket = self.bucket_map.get(db, bucket_name)
            return uploads.create_upload(db, bucket.target(db), path, metadata)

        return self.store.write(create)

    def upload_part(self, bucket_name: str, key_name: str, upload_id: str, number: int, staged: StagedObject) -> Part:
        self.store.blobs.publish(staged.blob)

        def write(db: Db) -> Part:
            upload = self._upload(db, bucket_name, key_name, upload_id)
            _check_planned(plan_of(upload), staged)
            return uploads.put_part(db, upload, number, blobs.record(db, staged.blob), staged.checksums)

        return self.store.write(write)

    def upload_part_copy(
        self, source: Source, bucket_name: str, key_name: str, upload_id: str, number: int
    ) -> tuple[Part, ObjectView]:
        """Make a part of a range of an object. No bytes move, but they are read for the part's MD5 and checksum."""
        with self.store.snapshot() as db:
            plan = plan_of(self._upload(db, bucket_name, key_name, upload_id))
            read = self.open_source(db, source)
            extents = blobs.list_extents(db, self.store.blobs, read.entry.content)
        first, size_bytes = _parse_range(source, read.entry.content)
        pieces = blobs.read_extents(blobs.cut_extents(extents, first, size_bytes))
        etag, value = checksums.sum_up(pieces, plan.algorithm if plan else None)
        summed = {plan.algorithm.header: value} if plan is not None and value is not None else {}

        def write(db: Db) -> tuple[Part, ObjectView]:
            upload, found = self._upload(db, bucket_name, key_name, upload_id), self.open_source(db, source)
            if found.entry.content != read.entry.content:
                raise Conflict("the source of the copy changed while it was read")
            content = blobs.join(db, [(found.entry.content, first, size_bytes)], etag)
            return uploads.put_part(db, upload, number, content, summed), found

        return self.store.write(write)

    def complete_multipart_upload(
        self, bucket_name: str, key_name: str, upload_id: str, chosen: Sequence[ChosenPart], header: Header
    ) -> Written:
        """Join the chosen parts into the object, moving no bytes, and forget the upload.

        What was completed before is answered as it was then: the client may not have heard it.
        """

        def complete(db: Db) -> Written:
            bucket = self.bucket_map.get(db, bucket_name)
            if (done := self._find_done(db, bucket, key_name, upload_id)) is not None:
                return done
            upload = self._upload(db, bucket_name, key_name, upload_id)
            check_conditions(db, bucket, upload.path, header)
            there = uploads.list_parts(db, upload)
            plan = parts.choose_plan(plan_of(upload), there, header)
            joined = parts.choose(there, chosen, plan)
            summed = parts.sum_up(joined, plan, header)
            content = parts.join(db, joined, plan)
            parts.check_size(content, header("x-amz-mp-object-size"))
            kept = {name: value for name, value in upload.metadata.items() if name not in (ALGORITHM_HEADER, TYPE_HEADER)}
            written = put(db, bucket, upload.path, Kind.FILE, content, {**kept, **summed})
            uploads.finish_upload(db, upload, _remember(written))
            return written

        return self.store.write(complete)

    def _find_done(self, db: Db, bucket: Bucket, key_name: str, upload_id: str) -> Written | None:
        upload = uploads.find_upload(db, bucket.target(db), upload_id)
        if upload is None or upload.result is None or upload.path != "/" + key_name:
            return None
        result = upload.result
        version = CommitId(result["version"]) if result["version"] is not None else None
        return Written(Content(0, result["etag"]), version, result["modified_ns"], result["checksum"])

    def abort_multipart_upload(self, bucket_name: str, key_name: str, multipart_id: str) -> None:
        def abort(db: Db) -> None:
            uploads.delete_upload(db, self._upload(db, bucket_name, key_name, multipart_id))

        self.store.write(abort)

    def get_upload(self, bucket_name: str, key_name: str, upload_id: str) -> Upload:
        """Return an upload of a key that is in progress. Raises UploadNotFound."""
        return self.read(bucket_name, lambda db, _bucket: self._upload(db, bucket_name, key_name, upload_id))

    def list_parts(
        self, bucket_name: str, multipart_id: str, part_number_marker: int = 0, max_parts: int = 1000
    ) -> Sequence[Part]:
        def page(db: Db, bucket: Bucket) -> Sequence[Part]:
            upload = uploads.get_upload(db, bucket.target(db), multipart_id)
            return uploads.list_parts(db, upload, after=part_number_marker, limit=max_parts)

        return self.read(bucket_name, page)

    def list_multipart_uploads(self, request: UploadsRequest) -> UploadPage:
        """Return a page of uploads in progress; where nobody can write there are none."""

        def page(db: Db, bucket: Bucket) -> UploadPage:
            return uploads.list_uploads(
                db,
                bucket.target(db),
                prefix="/" + request.prefix,
                delimiter=request.delimiter,
                after="/" + request.key_marker if request.key_marker else "",
                after_id=request.id_marker,
                limit=request.max_uploads,
            )

        try:
            return self.read(request.bucket, page)
        except (NotWritable, Unsupported):
            return UploadPage((), truncated=False)

    def _upload(self, db: Db, bucket_name: str, key_name: str, upload_id: str) -> Upload:
        target = self.bucket_map.get(db, bucket_name).target(db)
        return uploads.get_upload(db, target, upload_id, "/" + key_name)


def _check_planned(plan: Plan | None, staged: StagedObject) -> None:
    """Raise S3Error InvalidRequest unless a part has a checksum in the algorithm of its upload."""
    if plan is not None and plan.algorithm.header not in staged.checksums:
        sent = next(iter(staged.checksums), "null").removeprefix(checksums.PREFIX)
        message = (
            f"Checksum Type mismatch occurred, expected checksum Type: {plan.algorithm.name}, actual checksum Type: {sent}"
        )
        raise S3Error("InvalidRequest", message)


def _parse_range(source: Source, content: Content) -> tuple[int, int]:
    """Return offset and size of what a part copies. Raises S3Error InvalidRange."""
    if source.first is None or source.last is None:
        return 0, content.size_bytes
    if source.first > source.last or source.last >= content.size_bytes:
        raise S3Error("InvalidRange", f"Range specified is not valid for source object of size: {content.size_bytes}", 400)
    return source.first, source.last - source.first + 1


def _remember(written: Written) -> dict[str, Any]:
    """Return what to answer when the same upload is completed again."""
    kept = checksums.find_kept(written.metadata)
    return {
        "etag": written.content.etag,
        "version": written.version,
        "modified_ns": written.modified_ns,
        "checksum": {kept[0].header: kept[1]} if kept is not None else {},
    }
