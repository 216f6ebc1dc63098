"""Moto's `S3Response`, used as a function from a request to (status, headers, body).

Routing and the XML of everything but object listings are moto's. The verbs on objects are ours: moto's put an object in
memory first and its metadata after (two commits here), look it up twice, and know no version of it but their own.
What moto would take for a plain listing or a plain GET although it is something else is refused before it gets there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from xml.parsers.expat import ExpatError

import xmltodict
from moto.core.responses import ActionResult
from moto.s3.exceptions import MalformedXML, S3ClientError
from moto.s3.responses import S3Response

from appliance.gateway import listing
from appliance.gateway.backend import MAX_PARTS, RepoBackend, Source, precondition_failed
from appliance.gateway.conditions import evaluate
from appliance.gateway.errors import S3Error, invalid_argument, not_implemented
from appliance.gateway.offered import check_offered
from appliance.gateway.request import GatewayRequest, StagedObject
from appliance.gateway.views import OWNER, REGION, ObjectView, iso_time, metadata_from
from appliance.store.uploads import Upload

Answer = tuple[int, dict[str, str], Any]

_RANGE = re.compile(r"bytes=(\d{1,19}-\d{0,19}|-\d{1,19})")
_OVERRIDES = {
    f"response-{name.lower()}": name
    for name in ("Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition", "Content-Encoding")
}


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
        if self.body and "CreateBucketConfiguration" not in self._parse_xml():
            raise MalformedXML

    def _parse_xml(self) -> dict[str, Any]:
        """Return the body as dictionaries. Entities are off in xmltodict."""
        try:
            parsed: dict[str, Any] = xmltodict.parse(self.body, strip_whitespace=False, force_list=("Object", "Part"))
        except ValueError:
            raise MalformedXML from None
        return parsed

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
        most = listing.parse_limit(self.request.address.parameter("max-buckets"), "max-buckets", 10_000)
        after = listing.decode_token(self.request.address.parameter("continuation-token") or "")
        prefix = self.request.address.parameter("prefix")
        found = [bucket for bucket in self.backend.list_buckets(prefix) if bucket.name > after]
        listed = [{"Name": bucket.name, "CreationDate": bucket.creation_date_ISO8601} for bucket in found[:most]]
        result: dict[str, Any] = {"Owner": OWNER, "Buckets": listed}
        if prefix:
            result["Prefix"] = prefix
        if listed and len(found) > most:
            result["ContinuationToken"] = listing.encode_token(listed[-1]["Name"])
        return self._serialize("ListBuckets", result)

    def put_bucket_versioning(self) -> Answer:
        wanted = self._parse_xml().get("VersioningConfiguration", "")
        if wanted == "":
            raise MalformedXML
        settings = wanted if isinstance(wanted, dict) else {}
        if settings.get("MfaDelete") not in (None, "Disabled"):
            raise not_implemented()
        self.backend.put_bucket_versioning(self.bucket_name, str(settings.get("Status") or ""))
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
        for parameter, name in _OVERRIDES.items():
            if (value := self.request.address.parameter(parameter)) is not None:
                headers[name] = _header_value(value)
        return self._narrow(headers, found.body) if self._range_holds(found) else (200, headers, found.body)

    def _check_part(self, found: ObjectView) -> None:
        """Part 1 of an object that was put in one piece is the object; where the parts of others began is not kept."""
        number = self._get_int_param("partNumber")
        if number is None:
            return
        if "-" in found.entry.content.etag:
            raise not_implemented()
        if number != 1:
            raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable")

    def _range_holds(self, found: ObjectView) -> bool:
        """Tell whether a Range counts: with If-Range only for the version it was meant for (RFC 9110 §13.1.5)."""
        wanted = self._header("if-range")
        return wanted is None or wanted.strip() in (found.quoted_etag, found.last_modified)

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
        source = self._parse_source()
        metadata = self._copied_metadata(source)
        written, found = self.backend.copy_object(source, self.bucket_name, self.parse_key_name(), metadata, self._header)
        headers = {"x-amz-version-id": written.version, "x-amz-copy-source-version-id": found.version}
        result = {"ETag": f'"{written.content.etag}"', "LastModified": iso_time(written.modified_ns)}
        return self._serialize("CopyObject", {"CopyObjectResult": result}, headers)

    def _copied_metadata(self, source: Source) -> dict[str, str] | None:
        directive = self._header("x-amz-metadata-directive") or "COPY"
        if directive not in ("COPY", "REPLACE"):
            raise invalid_argument("Unknown metadata directive.")
        itself = (source.bucket, source.key, source.version) == (self.bucket_name, self.parse_key_name(), None)
        if itself and directive == "COPY":
            message = (
                "This copy request is illegal because it is trying to copy an object to itself without changing the"
                " object's metadata, storage class, website redirect location or encryption attributes."
            )
            raise S3Error("InvalidRequest", message)
        return metadata_from(self.headers) if directive == "REPLACE" else None

    def _parse_source(self) -> Source:
        """Read x-amz-copy-source: `bucket/key`, percent-encoded, with or without a leading slash and `?versionId=`."""
        text = self._header("x-amz-copy-source") or ""
        path, _, query = text.partition("?versionId=")
        try:
            decoded = unquote_to_bytes(path.encode("latin-1")).decode()
        except UnicodeDecodeError:
            raise invalid_argument("Copy Source is not percent-encoded UTF-8") from None
        bucket, slash, key = decoded.removeprefix("/").partition("/")
        if not (bucket and slash and key):
            raise invalid_argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        first, last = self._parse_source_range()
        version = unquote(query)
        return Source(bucket, key, version if version not in ("", "null") else None, self._header, first, last)

    def _parse_source_range(self) -> tuple[int | None, int | None]:
        text = self._header("x-amz-copy-source-range")
        if text is None:
            return None, None
        found = re.fullmatch(r"bytes=(\d{1,19})-(\d{1,19})", text.strip())
        if not found:
            message = "The x-amz-copy-source-range value must be of the form bytes=first-last"
            raise invalid_argument(message)
        return int(found[1]), int(found[2])

    def delete_object(self) -> Answer:
        """Moto's compares If-Match before it deletes, not in one step."""
        if "versionId" in self.querystring:
            raise not_implemented()
        version = self.backend.delete_object(self.bucket_name, self.parse_key_name(), self._header)
        return 204, {} if version is None else {"x-amz-version-id": version, "x-amz-delete-marker": "true"}, b""

    def delete_objects(self) -> Answer:
        """DeleteObjects: moto's asks IAM for each key and deletes one by one; here the request is one commit."""
        wanted = self._parse_xml().get("Delete")
        if not isinstance(wanted, dict):
            raise MalformedXML
        objects = wanted.get("Object")
        if not objects or len(objects) > 1000 or not all(_is_object_identifier(item) for item in objects):
            raise MalformedXML
        plain = [item["Key"] for item in objects if len(item) == 1]
        version = self.backend.delete_objects(self.bucket_name, plain)
        quiet = str(wanted.get("Quiet")).strip().lower() == "true"
        marker = {"DeleteMarker": True, "DeleteMarkerVersionId": version} if version else {}
        deleted = [] if quiet else [{"Key": key, **marker} for key in plain]
        refused = not_implemented()
        errors = [
            {"Key": item["Key"], "VersionId": item.get("VersionId"), "Code": refused.code, "Message": refused.message}
            for item in objects
            if len(item) > 1
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
        source, number = self._parse_source(), self._part_number()
        part, found = self.backend.upload_part_copy(
            source, self.bucket_name, self.parse_key_name(), self._upload_id(), number
        )
        headers = {"x-amz-copy-source-version-id": found.version}
        result = {"ETag": f'"{part.content.etag}"', "LastModified": iso_time(part.modified_ns)}
        return self._serialize("UploadPartCopy", {"CopyPartResult": result}, headers)

    def complete_multipart_upload(self) -> Answer:
        chosen = self._parse_parts()
        written = self.backend.complete_multipart_upload(
            self.bucket_name, self.parse_key_name(), self._upload_id(), chosen, self._header
        )
        headers = {"x-amz-version-id": written.version}
        location = f"http://{self._header('host')}/{self.bucket_name}/{self.parse_key_name()}"
        result = {"Location": location, "Bucket": self.bucket_name, "Key": self.parse_key_name()}
        return self._serialize("CompleteMultipartUpload", {**result, "ETag": f'"{written.content.etag}"'}, headers)

    def _parse_parts(self) -> list[tuple[int, str]]:
        wanted = self._parse_xml().get("CompleteMultipartUpload")
        parts = wanted.get("Part") if isinstance(wanted, dict) else None
        if not parts or len(parts) > MAX_PARTS:
            raise MalformedXML
        try:
            return [(int(part["PartNumber"]), str(part["ETag"])) for part in parts]
        except (KeyError, TypeError, ValueError):
            raise MalformedXML from None

    def list_multipart_uploads(self) -> Answer:
        """Moto's dates every upload to 2010 and has one page."""
        parameter = self.request.address.parameter
        if parameter("delimiter"):
            raise not_implemented()
        prefix, key_marker, id_marker = (parameter(name) or "" for name in ("prefix", "key-marker", "upload-id-marker"))
        most = listing.parse_limit(parameter("max-uploads"), "max-uploads")
        found = [
            upload for upload in self.backend.list_multipart_uploads(self.bucket_name) if upload.path[1:].startswith(prefix)
        ]
        rest = found[_count_passed(found, key_marker, id_marker) :]
        page = rest[:most]
        result = {
            "Bucket": self.bucket_name,
            "Prefix": prefix,
            "KeyMarker": key_marker,
            "UploadIdMarker": id_marker,
            "MaxUploads": most,
            "IsTruncated": bool(page) and len(rest) > most,
            "Uploads": [_describe_upload(upload) for upload in page],
        }
        if result["IsTruncated"]:
            result |= {"NextKeyMarker": page[-1].path[1:], "NextUploadIdMarker": page[-1].id}
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


def _is_object_identifier(item: Any) -> bool:
    """Tell whether an element of DeleteObjects has a key, and nothing but text in it."""
    return isinstance(item, dict) and bool(item.get("Key")) and all(isinstance(value, str) for value in item.values())


def _count_passed(found: Sequence[Upload], key_marker: str, id_marker: str) -> int:
    """Return how many uploads, by key and age, lie at or before a marker; without an id all of its key do."""
    behind = "/" + key_marker
    count = sum(upload.path <= behind for upload in found) if key_marker else 0
    for index, upload in enumerate(found):
        if id_marker and (upload.path, upload.id) == (behind, id_marker):
            return index + 1
    return count


def _describe_upload(upload: Upload) -> dict[str, Any]:
    return {
        "Key": upload.path[1:],
        "UploadId": upload.id,
        "Initiated": iso_time(upload.created_ns),
        "StorageClass": "STANDARD",
        "Owner": OWNER,
        "Initiator": OWNER,
    }


def _header_value(text: str) -> str:
    """Return text from a query as a header value. Raises S3Error for what a header can not hold."""
    if not text.isprintable():
        raise invalid_argument("Header values can not have control characters")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise invalid_argument("Header value cannot be represented using ISO-8859-1.") from None
    return text
