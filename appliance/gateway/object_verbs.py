"""The verbs on objects: get, put, copy, delete, tags, attributes."""

import re
from collections.abc import Mapping
from typing import Any

from appliance.gateway import checksums, metadata, parsing, tags
from appliance.gateway.backend import Deleted
from appliance.gateway.conditions import evaluate, range_holds
from appliance.gateway.errors import S3Error, not_implemented, precondition_failed
from appliance.gateway.parsing import MAX_PARTS
from appliance.gateway.request import StagedObject
from appliance.gateway.verbs import Answer, Verbs, written_headers
from appliance.gateway.views import ObjectView, iso_time
from appliance.store.snapshots import Metadata
from appliance.store.uploads import ObjectPart

_RANGE = re.compile(r"bytes=(\d{1,19}-\d{0,19}|-\d{1,19})")
_CHECKSUM_TYPE = f"{checksums.PREFIX}type"


class ObjectVerbs(Verbs):
    """Answers requests about one object, and DeleteObjects."""

    def get_object(self) -> Answer:
        """GET and HEAD: one answer, of which HEAD sends only the head."""
        look_up = self.backend.head_object if self.request.method == "HEAD" else self.backend.get_object
        found = look_up(self.bucket_name, self.parse_key_name(), self._version_id())
        headers = found.headers()
        outcome = evaluate(self._header, found.entry.content.etag, found.entry.modified_ns)
        if outcome == "failed":
            raise precondition_failed()
        if outcome == "not-modified":
            kept = ("ETag", "Last-Modified", "x-amz-version-id", "Cache-Control", "Expires")
            return 304, {name: value for name, value in headers.items() if name in kept}, b""
        headers |= parsing.parse_overrides(self.request.address)
        if "partNumber" in self.querystring:
            return self._get_part(found, headers)
        status, headers, body = self._narrow_if_held(found, headers)
        return status, headers | (self._asked_checksum(found) if status == 200 else {}), body

    def _asked_checksum(self, found: ObjectView) -> dict[str, str]:
        """Return the checksum if it was asked for; with a range nobody could compare it."""
        return found.checksum_headers() if (self._header("x-amz-checksum-mode") or "").upper() == "ENABLED" else {}

    def _get_part(self, found: ObjectView, headers: dict[str, str]) -> Answer:
        """Answer with one part of what was uploaded in parts; what came in one piece is its own first part."""
        if self._header("range") is not None:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        number = self._get_int_param("partNumber")
        parts = self.backend.list_object_parts(self.bucket_name, found)
        if not parts and number == 1:
            return (
                206,
                headers | self._asked_checksum(found) | _content_range(0, len(found.body), len(found.body)),
                found.body,
            )
        part = next((part for part in parts if part.number == number), None)
        if part is None:
            # The code and status of ceph/s3-tests; Amazon's own are InvalidPartNumber and 416.
            raise S3Error("InvalidPart", "The requested partnumber is not satisfiable")
        headers |= {"x-amz-mp-parts-count": str(len(parts)), "Content-Length": str(part.size_bytes)}
        headers |= _content_range(part.offset, part.size_bytes, len(found.body)) | self._part_checksum(found, part)
        return 206, headers, found.body[part.offset : part.offset + part.size_bytes]

    def _part_checksum(self, found: ObjectView, part: ObjectPart) -> dict[str, str]:
        asked = self._asked_checksum(found)
        if not asked or part.checksum is None:
            return {}
        (name,) = asked.keys() - {_CHECKSUM_TYPE}
        return {name: part.checksum, _CHECKSUM_TYPE: asked[_CHECKSUM_TYPE]}

    def _narrow_if_held(self, found: ObjectView, headers: dict[str, str]) -> Answer:
        """Apply the Range header with moto's code, which slices the body; what it can not read is no range."""
        wanted = (self._header("range") or "").strip()
        holds = range_holds(self._header, found.quoted_etag, found.last_modified)
        if not holds or not _RANGE.fullmatch(wanted):
            return 200, headers, found.body
        lower = {name.lower(): value for name, value in headers.items()}
        status, narrowed, content = self._handle_range_header(self.request, lower, found.body)
        if status == 416:  # moto's answer to HEAD
            raise S3Error("InvalidRange", "The requested range is not satisfiable")
        return status, narrowed, content

    def _version_id(self) -> str | None:
        version = self.request.address.parameter("versionId")
        return version if version != "null" else None

    def get_object_attributes(self) -> Answer:
        """GetObjectAttributes. Moto's knows neither checksums nor parts."""
        wanted = parsing.parse_attributes(self._header)
        found = self.backend.head_object(self.bucket_name, self.parse_key_name(), self._version_id())
        content, kept = found.entry.content, checksums.find_kept(found.entry.metadata)
        result: dict[str, Any] = {
            "ETag": content.etag,
            "StorageClass": metadata.storage_class(found.entry.metadata),
            "ObjectSize": content.size_bytes,
        }
        if kept is not None:
            result["Checksum"] = {kept[0].element: kept[1], "ChecksumType": checksums.type_of(kept[1])}
        if "ObjectParts" in wanted and (parts := self.backend.list_object_parts(self.bucket_name, found)):
            result["ObjectParts"] = self._describe_parts(parts, kept[0].element if kept is not None else None)
        headers = {"Last-Modified": found.last_modified, "x-amz-version-id": found.version}
        return self._serialize("GetObjectAttributes", {name: result[name] for name in wanted & result.keys()}, headers)

    def _describe_parts(self, parts: Any, element: str | None) -> dict[str, Any]:
        most, after = self._limit("x-amz-max-parts", 1000), self._limit("x-amz-part-number-marker", 0)
        rest = [part for part in parts if part.number > after]
        page = rest[: min(most, 1000)]
        described = [
            {"PartNumber": part.number, "Size": part.size_bytes}
            | ({element: part.checksum} if element and part.checksum else {})
            for part in page
        ]
        result: dict[str, Any] = {"TotalPartsCount": len(parts), "PartNumberMarker": after, "MaxParts": most}
        result |= {"IsTruncated": len(page) < len(rest), "Parts": described}
        return result | ({"NextPartNumberMarker": page[-1].number} if page else {})

    def _limit(self, header: str, default: int) -> int:
        text = self._header(header)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 10):
            raise S3Error("InvalidArgument", f"Provided {header} not an integer or within integer range")
        return min(int(text), MAX_PARTS)

    # -- writing

    def put_object(self) -> Answer:
        staged, kept = self._staged(), metadata.parse_metadata(self.headers)
        written = self.backend.put_object(
            self.bucket_name, self.parse_key_name(), staged, {**kept, **staged.checksums}, self._header
        )
        kind = {_CHECKSUM_TYPE: "FULL_OBJECT"} if staged.checksums else {}
        return 200, {**written_headers(written.content.etag, written.version), **staged.checksums, **kind}, b""

    def _staged(self) -> StagedObject:
        assert isinstance(self.body, StagedObject)
        return self.body

    def copy_object(self) -> Answer:
        source = parsing.parse_source(self._header)
        replaces = metadata.parse_directive(self.headers, "metadata")
        said, retagged = metadata.parse_metadata(self.headers), metadata.parse_directive(self.headers, "tagging")
        if not replaces and self._is_same_place(source) and not said.keys() & {metadata.STORAGE_CLASS, metadata.REDIRECT}:
            message = (
                "This copy request is illegal because it is trying to copy an object to itself without changing the"
                " object's metadata, storage class, website redirect location or encryption attributes."
            )
            raise S3Error("InvalidRequest", message)

        def change(before: Metadata) -> Metadata:
            return metadata.copy(before, said, replaces=replaces, retagged=retagged)

        named = self._header(checksums.ALGORITHM_HEADER)
        algorithm = checksums.get_algorithm(named) if named is not None else None
        written, found = self.backend.copy_object(
            source, self.bucket_name, self.parse_key_name(), change, self._header, algorithm
        )
        headers = {"x-amz-version-id": written.version, "x-amz-copy-source-version-id": found.version}
        result = {"ETag": f'"{written.content.etag}"', "LastModified": iso_time(written.modified_ns)}
        return self._serialize("CopyObject", {"CopyObjectResult": result | describe_checksum(written.metadata)}, headers)

    def _is_same_place(self, source: parsing.Source) -> bool:
        return (source.bucket, source.key, source.version) == (self.bucket_name, self.parse_key_name(), None)

    def delete_object(self) -> Answer:
        """Moto's compares If-Match before it deletes, not in one step."""
        version = self.request.address.parameter("versionId")
        if version is not None:
            return 204, _deleted_headers(self.backend.delete_version(self.bucket_name, self.parse_key_name(), version)), b""
        marker = self.backend.delete_object(self.bucket_name, self.parse_key_name(), self._header)
        return 204, {} if marker is None else {"x-amz-version-id": marker, "x-amz-delete-marker": "true"}, b""

    def delete_objects(self) -> Answer:
        """DeleteObjects: moto's asks IAM for each key and deletes one by one; here the request is one commit."""
        wanted = parsing.parse_deletion(self.body)
        done = self.backend.delete_objects(self.bucket_name, wanted.objects)
        refused = not_implemented()
        errors = [_describe_error(item.key, item.version, item.error) for item in done if item.error is not None]
        errors += [_describe_error(item["Key"], item.get("VersionId"), refused) for item in wanted.refused]
        deleted = [] if wanted.quiet else [_describe_deleted(item) for item in done if item.error is None]
        return self._serialize("DeleteObjects", {"Deleted": deleted, "Errors": errors})

    # -- tags

    def get_object_tagging(self) -> Answer:
        found = self.backend.head_object(self.bucket_name, self.parse_key_name(), self._version_id())
        tagged = tags.describe(self.backend.get_object_tagging(found))
        return self._serialize("GetObjectTagging", tagged, {"x-amz-version-id": found.version})

    def put_object_tagging(self) -> Answer:
        return self._set_tags(200, tags.keep(tags.parse_body(self.body)))

    def delete_object_tagging(self) -> Answer:
        return self._set_tags(204, "")

    def _set_tags(self, status: int, tagged: str) -> Answer:
        version = self.backend.set_tags(self.bucket_name, self.parse_key_name(), self._version_id(), tagged)
        return status, {} if version is None else {"x-amz-version-id": version}, b""


def describe_checksum(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the checksum of what was written in botocore's names."""
    found = checksums.find_kept(kept)
    return {} if found is None else {found[0].element: found[1], "ChecksumType": checksums.type_of(found[1])}


def _content_range(offset: int, size_bytes: int, whole: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {offset}-{offset + size_bytes - 1}/{whole}"} if size_bytes else {}


def _deleted_headers(deleted: Deleted) -> dict[str, str]:
    headers = {"x-amz-version-id": deleted.version or ""}
    return headers | ({"x-amz-delete-marker": "true"} if deleted.marker else {})


def _describe_deleted(deleted: Deleted) -> dict[str, Any]:
    version = {} if deleted.version is None else {"VersionId": deleted.version}
    marker = {} if deleted.marker is None else {"DeleteMarker": True, "DeleteMarkerVersionId": deleted.marker}
    return {"Key": deleted.key, **version, **marker}


def _describe_error(key: str, version: str | None, error: S3Error) -> dict[str, Any]:
    return {"Key": key, "VersionId": version, "Code": error.code, "Message": error.message}
