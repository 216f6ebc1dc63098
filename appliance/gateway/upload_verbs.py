"""The verbs on multipart uploads."""

from typing import Any

from appliance.gateway import checksums, listing, metadata, parsing
from appliance.gateway.errors import invalid_argument
from appliance.gateway.object_verbs import describe_checksum
from appliance.gateway.parsing import MAX_PARTS
from appliance.gateway.request import StagedObject
from appliance.gateway.upload_backend import plan_of
from appliance.gateway.verbs import Answer, Verbs, written_headers
from appliance.gateway.views import OWNER, iso_time
from appliance.store.uploads import Part


class UploadVerbs(Verbs):
    """Answers requests about uploads in progress."""

    def create_multipart_upload(self) -> Answer:
        plan = checksums.parse_plan(self._header(checksums.ALGORITHM_HEADER), self._header(checksums.TYPE_HEADER))
        kept, headers = metadata.parse_metadata(self.headers), {}
        if plan is not None:
            headers = {checksums.ALGORITHM_HEADER: plan.algorithm.name.upper(), checksums.TYPE_HEADER: plan.type}
        upload = self.backend.create_multipart_upload(self.bucket_name, self.parse_key_name(), {**kept, **headers})
        result = {"Bucket": self.bucket_name, "Key": self.parse_key_name(), "UploadId": upload.id}
        return self._serialize("CreateMultipartUpload", result, headers)

    def _part_number(self) -> int:
        number: int = self._get_int_param("partNumber", 0)
        if not 1 <= number <= MAX_PARTS:
            raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        return number

    def _upload_id(self) -> str:
        return self.request.address.parameter("uploadId") or ""

    def upload_part(self) -> Answer:
        staged, number = self.body, self._part_number()
        assert isinstance(staged, StagedObject)
        part = self.backend.upload_part(self.bucket_name, self.parse_key_name(), self._upload_id(), number, staged)
        return 200, {**written_headers(part.content.etag, None), **staged.checksums}, b""

    def upload_part_copy(self) -> Answer:
        source, number = parsing.parse_source(self._header), self._part_number()
        upload = self.backend.get_upload(self.bucket_name, self.parse_key_name(), self._upload_id())
        part, found = self.backend.upload_part_copy(
            source, self.bucket_name, self.parse_key_name(), self._upload_id(), number
        )
        plan = plan_of(upload)
        result = {"ETag": f'"{part.content.etag}"', "LastModified": iso_time(part.modified_ns)}
        if plan is not None:
            result[plan.algorithm.element] = part.checksums[plan.algorithm.header]
        headers = {"x-amz-copy-source-version-id": found.version}
        return self._serialize("UploadPartCopy", {"CopyPartResult": result}, headers)

    def complete_multipart_upload(self) -> Answer:
        chosen = parsing.parse_parts(self.body)
        written = self.backend.complete_multipart_upload(
            self.bucket_name, self.parse_key_name(), self._upload_id(), chosen, self._header
        )
        headers = {"x-amz-version-id": written.version}
        location = f"http://{self._header('host')}/{self.bucket_name}/{self.parse_key_name()}"
        result = {"Location": location, "Bucket": self.bucket_name, "Key": self.parse_key_name()}
        result |= {"ETag": f'"{written.content.etag}"'} | describe_checksum(written.metadata)
        return self._serialize("CompleteMultipartUpload", result, headers)

    def list_multipart_uploads(self) -> Answer:
        """Moto's dates every upload to 2010 and has one page."""
        request = listing.parse_uploads_request(self.request.address)
        result = listing.describe_uploads(request, self.backend.list_multipart_uploads(request))
        return self._serialize("ListMultipartUploads", result)

    def list_parts(self) -> Answer:
        """Moto's does not compare the key, and knows no checksums."""
        upload = self.backend.get_upload(self.bucket_name, self.parse_key_name(), self._upload_id())
        most = listing.parse_limit(self.request.address.parameter("max-parts"), "max-parts")
        after = listing.parse_limit(
            self.request.address.parameter("part-number-marker") or "0", "part-number-marker", MAX_PARTS
        )
        found = self.backend.list_parts(self.bucket_name, upload.id, after, most + 1) if most else []
        plan, page = plan_of(upload), found[:most]
        result = {
            "Bucket": self.bucket_name,
            "Key": self.parse_key_name(),
            "UploadId": upload.id,
            "PartNumberMarker": after,
            "NextPartNumberMarker": page[-1].number if page else 0,
            "MaxParts": most,
            "IsTruncated": len(found) > most,
            "Parts": [_describe_part(part) for part in page],
            "Initiator": OWNER,
            "Owner": OWNER,
            "StorageClass": metadata.storage_class(upload.metadata),
        }
        if plan is not None:
            result |= {"ChecksumAlgorithm": plan.algorithm.name.upper(), "ChecksumType": plan.type}
        return self._serialize("ListParts", result)

    def abort_multipart_upload(self) -> Answer:
        self.backend.abort_multipart_upload(self.bucket_name, self.parse_key_name(), self._upload_id())
        return 204, {}, b""


def _describe_part(part: Part) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": iso_time(part.modified_ns),
        "ETag": f'"{part.content.etag}"',
        "Size": part.content.size_bytes,
        **describe_checksum(part.checksums),
    }
