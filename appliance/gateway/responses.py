"""Moto's `S3Response`, used as a function from a request to (status, headers, body).

Routing and the XML of everything but object listings are moto's. The verbs on objects are ours: moto's put an object in
memory first and its metadata after (two commits here), look it up twice, and know no version of it but their own.
What moto would take for a plain listing or a plain GET although it is something else is refused before it gets there.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from moto.core.responses import ActionResult
from moto.s3.exceptions import MalformedXML, S3ClientError
from moto.s3.responses import S3Response

from appliance.gateway import listing, parsing
from appliance.gateway.backend import RepoBackend
from appliance.gateway.conditions import evaluate, range_holds
from appliance.gateway.errors import S3Error, invalid_argument, not_implemented, precondition_failed
from appliance.gateway.offered import check_offered
from appliance.gateway.parts import MAX_PARTS
from appliance.gateway.request import GatewayRequest, StagedObject
from appliance.gateway.views import REGION, ObjectView, iso_time, metadata_from

Answer = tuple[int, dict[str, str], Any]

_RANGE = re.compile(r"bytes=(\d{1,19}-\d{0,19}|-\d{1,19})")


class GatewayResponse(S3Response):  # type: ignore[misc]
    """One request's answer. Raises S3Error for those that are errors; `ApplianceError`s pass through."""

    def __init__(self, backend: RepoBackend) -> None:
        super().__init__()
        self._backend = backend

    @property
    def backend(self) -> RepoBackend:
        return self._backend

    def respond(self, request: GatewayRequest) -> Answer:
        """Return (status, headers, body); the body is text, bytes or a BlobSlice."""
        check_offered(request)
        self.setup_class(request)
        try:
            answer = self._route(request)
        except S3ClientError as error:
            raise S3Error(error.code, error.message) from None
        except (ExpatError, UnicodeDecodeError):
            raise S3Error("MalformedXML", MalformedXML().message) from None
        return (200, {}, answer) if isinstance(answer, str) else answer

    def _route(self, request: GatewayRequest) -> Any:
        if request.method not in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"):
            raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
        if request.address.key is not None:
            return self._key_response(request, request.raw_url)
        if not request.address.bucket and request.method not in ("GET", "HEAD"):
            raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
        return self._bucket_response(request, request.raw_url)

    def setup_class(self, request: GatewayRequest, full_url: str | None = None, headers: Any = None) -> None:
        """Set what moto's handlers read. Moto's own unpacks the body and books the request on an account in memory."""
        self.request = self.normalized_request = request
        self.is_werkzeug_request = True
        self.body = self.raw_body = request.data
        self.uri, self.parsed_url = request.raw_url, urlsplit(request.raw_url)
        self.path = self.raw_path = request.raw_path
        self.headers, self.method = request.headers, request.method
        # Moto writes "Action" among the query parameters; a client must not.
        self.querystring: dict[str, Any] = {k: v for k, v in request.address.query.items() if k != "Action"}
        self.data = self.querystring
        self.region, self.partition, self.current_account = REGION, "aws", "000000000000"
        self.access_key = ""
        self.form_data = request.form
        self.uri_match: dict[str, Any] = {}
        self.response_headers: dict[str, str] = {}
        self.bucket_name = request.address.bucket

    # -- moto's hooks that have nothing to do here: addressing and authorization are done, there are no accounts

    def parse_bucket_name_from_url(self, request: GatewayRequest, url: str) -> str:
        return request.address.bucket

    def parse_key_name(self) -> str:
        key: str | None = self.request.address.key
        return key or ""

    def _get_querystring(self, request: GatewayRequest, full_url: str) -> dict[str, Any]:
        return request.address.query

    def _authenticate_and_authorize_s3_action(self, bucket_name: str | None = None, key_name: str | None = None) -> None:
        pass

    def _get_cors_headers_other(self) -> dict[str, Any]:
        return {}

    def _get_int_param(self, param_name: str, if_none: Any = None) -> Any:
        """Moto's lets `int` raise."""
        text = self.request.address.parameter(param_name)
        if text is not None and not (text.isascii() and text.isdecimal() and len(text) <= 10):
            raise invalid_argument(f"Provided {param_name} not an integer or within integer range")
        return if_none if text is None else int(text)

    def _check_bucket_configuration(self) -> None:
        """Any region is fine: there is one. Moto's wants the request and the constraint to agree."""
        if self.body and "CreateBucketConfiguration" not in parsing.parse_xml(self.body):
            raise MalformedXML

    def _header(self, name: str) -> str | None:
        value: str | None = self.headers.get(name)
        return value

    # -- routing of objects

    def _key_response(self, request: GatewayRequest, full_url: str) -> Any:
        """Moto's looks the object up first and applies bucket policies; there are none."""
        routes: dict[str, Callable[[], Any]] = {
            "GET": self._route_get,
            "HEAD": lambda: self.get_object(),
            "PUT": self._route_put,
            "POST": self._route_post,
            "DELETE": self._route_delete,
            "OPTIONS": lambda: self._response_options(self.headers, self.bucket_name),
        }
        return routes[request.method]()

    def _route_get(self) -> Any:
        return self.list_parts() if "uploadId" in self.querystring else self.get_object()

    def _route_put(self) -> Any:
        copied = "x-amz-copy-source" in self.headers
        if "uploadId" in self.querystring or "partNumber" in self.querystring:
            return self.upload_part_copy() if copied else self.upload_part()
        return self.copy_object() if copied else self.put_object()

    def _route_post(self) -> Any:
        if "uploads" in self.querystring:
            return self.create_multipart_upload()
        if "uploadId" in self.querystring:
            return self.complete_multipart_upload()
        raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")

    def _route_delete(self) -> Any:
        return self.abort_multipart_upload() if "uploadId" in self.querystring else self.delete_object()

    def _response_options(self, headers: Any, bucket_name: str) -> Any:
        """Nobody has configured CORS; moto's answers 200 without headers."""
        raise S3Error("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")

    def _bucket_response_put(self, request: GatewayRequest, bucket_name: str, querystring: dict[str, Any]) -> Any:
        """Moto's goes on to configure what it has just created, and answers a versioning without status with no XML."""
        if "versioning" in querystring:
            return self.put_bucket_versioning()
        self._check_bucket_configuration()
        bucket = self.backend.create_bucket(bucket_name, REGION)
        return self._serialize("CreateBucket", {"Location": f"/{bucket.name}"})

    def _bucket_response_post(self, request: GatewayRequest, bucket_name: str) -> Any:
        if "delete" in self.querystring:
            return self.delete_objects()
        raise not_implemented()  # a form upload

    # -- buckets

    def all_buckets(self) -> Answer:
        """ListBuckets. Moto's has one page and another owner."""
        request = listing.parse_buckets_request(self.request.address)
        result = listing.describe_buckets(request, self.backend.list_buckets(request.prefix))
        return self._serialize("ListBuckets", result)

    def put_bucket_versioning(self) -> Answer:
        self.backend.put_bucket_versioning(self.bucket_name, parsing.parse_versioning(self.body))
        return self._serialize("PutBucketVersioning", {})

    # -- objects

    def get_object(self) -> Answer:
        """GET and HEAD: one answer, of which HEAD sends only the head."""
        found = self.backend.get_object(self.bucket_name, self.parse_key_name(), self._version_id())
        self._check_part(found)
        headers = found.headers()
        outcome = evaluate(self._header, found.entry.content.etag, found.entry.modified_ns)
        if outcome == "failed":
            raise precondition_failed()
        if outcome == "not-modified":
            kept = ("ETag", "Last-Modified", "x-amz-version-id", "Cache-Control", "Expires")
            return 304, {name: value for name, value in headers.items() if name in kept}, b""
        headers |= parsing.parse_overrides(self.request.address)
        holds = range_holds(self._header, found.quoted_etag, found.last_modified)
        return self._narrow(headers, found.body) if holds else (200, headers, found.body)

    def _check_part(self, found: ObjectView) -> None:
        """Part 1 of an object that was put in one piece is the object; where the parts of others began is not kept."""
        number = self._get_int_param("partNumber")
        if number is None:
            return
        if "-" in found.entry.content.etag:
            raise not_implemented()
        if number != 1:
            raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")

    def _narrow(self, headers: dict[str, str], body: Any) -> Answer:
        """Apply the Range header with moto's code, which slices the body; what it can not read is no range."""
        wanted = (self._header("range") or "").strip()
        if not _RANGE.fullmatch(wanted):
            return 200, headers, body
        lower = {name.lower(): value for name, value in headers.items()}
        status, narrowed, content = self._handle_range_header(self.request, lower, body)
        if status == 416:  # moto's answer to HEAD
            raise S3Error("InvalidRange", "The requested range is not satisfiable")
        return status, narrowed, content

    def _version_id(self) -> str | None:
        version = self.request.address.parameter("versionId")
        return version if version != "null" else None

    def put_object(self) -> Answer:
        staged = self._staged()
        metadata = metadata_from(self.headers)
        written = self.backend.put_object(self.bucket_name, self.parse_key_name(), staged, metadata, self._header)
        return 200, {**_written_headers(written.content.etag, written.version), **staged.checksums}, b""

    def _staged(self) -> StagedObject:
        assert isinstance(self.body, StagedObject)
        return self.body

    def copy_object(self) -> Answer:
        source = parsing.parse_source(self._header)
        itself = (source.bucket, source.key, source.version) == (self.bucket_name, self.parse_key_name(), None)
        metadata = parsing.parse_copied_metadata(self.headers, itself=itself)
        written, found = self.backend.copy_object(source, self.bucket_name, self.parse_key_name(), metadata, self._header)
        headers = {"x-amz-version-id": written.version, "x-amz-copy-source-version-id": found.version}
        result = {"ETag": f'"{written.content.etag}"', "LastModified": iso_time(written.modified_ns)}
        return self._serialize("CopyObject", {"CopyObjectResult": result}, headers)

    def delete_object(self) -> Answer:
        """Moto's compares If-Match before it deletes, not in one step."""
        if "versionId" in self.querystring:
            raise not_implemented()
        version = self.backend.delete_object(self.bucket_name, self.parse_key_name(), self._header)
        return 204, {} if version is None else {"x-amz-version-id": version, "x-amz-delete-marker": "true"}, b""

    def delete_objects(self) -> Answer:
        """DeleteObjects: moto's asks IAM for each key and deletes one by one; here the request is one commit."""
        wanted = parsing.parse_deletion(self.body)
        version = self.backend.delete_objects(self.bucket_name, wanted.keys)
        marker = {"DeleteMarker": True, "DeleteMarkerVersionId": version} if version else {}
        deleted = [] if wanted.quiet else [{"Key": key, **marker} for key in wanted.keys]
        refused = not_implemented()
        errors = [
            {"Key": item["Key"], "VersionId": item.get("VersionId"), "Code": refused.code, "Message": refused.message}
            for item in wanted.refused
        ]
        return self._serialize("DeleteObjects", {"Deleted": deleted, "Errors": errors})

    def list_objects(self) -> Answer:
        request = listing.parse_list_request(self.request.address)
        return 200, {"Content-Type": "application/xml"}, listing.render(request, self.backend.list_objects(request))

    list_objects_v2 = list_objects

    # -- multipart uploads

    def create_multipart_upload(self) -> Answer:
        metadata = metadata_from(self.headers)
        upload = self.backend.create_multipart_upload(self.bucket_name, self.parse_key_name(), metadata)
        result = {"Bucket": self.bucket_name, "Key": self.parse_key_name(), "UploadId": upload.id}
        return self._serialize("CreateMultipartUpload", result)

    def _part_number(self) -> int:
        number: int = self._get_int_param("partNumber", 0)
        if not 1 <= number <= MAX_PARTS:
            raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        return number

    def _upload_id(self) -> str:
        return self.request.address.parameter("uploadId") or ""

    def upload_part(self) -> Answer:
        staged, number = self._staged(), self._part_number()
        part = self.backend.upload_part(self.bucket_name, self.parse_key_name(), self._upload_id(), number, staged)
        return 200, {**_written_headers(part.content.etag, None), **staged.checksums}, b""

    def upload_part_copy(self) -> Answer:
        source, number = parsing.parse_source(self._header), self._part_number()
        part, found = self.backend.upload_part_copy(
            source, self.bucket_name, self.parse_key_name(), self._upload_id(), number
        )
        headers = {"x-amz-copy-source-version-id": found.version}
        result = {"ETag": f'"{part.content.etag}"', "LastModified": iso_time(part.modified_ns)}
        return self._serialize("UploadPartCopy", {"CopyPartResult": result}, headers)

    def complete_multipart_upload(self) -> Answer:
        chosen = parsing.parse_parts(self.body)
        written = self.backend.complete_multipart_upload(
            self.bucket_name, self.parse_key_name(), self._upload_id(), chosen, self._header
        )
        headers = {"x-amz-version-id": written.version}
        location = f"http://{self._header('host')}/{self.bucket_name}/{self.parse_key_name()}"
        result = {"Location": location, "Bucket": self.bucket_name, "Key": self.parse_key_name()}
        return self._serialize("CompleteMultipartUpload", {**result, "ETag": f'"{written.content.etag}"'}, headers)

    def list_multipart_uploads(self) -> Answer:
        """Moto's dates every upload to 2010 and has one page."""
        request = listing.parse_uploads_request(self.request.address)
        result = listing.describe_uploads(request, self.backend.list_multipart_uploads(self.bucket_name))
        return self._serialize("ListMultipartUploads", result)

    def list_parts(self) -> Any:
        """Moto's does not compare the key."""
        self.backend.check_upload(self.bucket_name, self.parse_key_name(), self._upload_id())
        return super().list_parts()

    def abort_multipart_upload(self) -> Answer:
        self.backend.abort_multipart_upload(self.bucket_name, self.parse_key_name(), self._upload_id())
        return 204, {}, b""

    def _serialize(self, action: str, result: dict[str, Any], headers: Mapping[str, str | None] | None = None) -> Answer:
        """Return a result as the XML that botocore's model of the operation describes. Headers of None are left out."""
        self.data["Action"] = action
        status, described, body = self.serialized(ActionResult(result))
        return status, {**described, **{name: value for name, value in (headers or {}).items() if value}}, body


def _written_headers(etag: str, version: str | None) -> dict[str, str]:
    headers = {"ETag": f'"{etag}"'}
    if version is not None:
        headers["x-amz-version-id"] = version
    return headers
