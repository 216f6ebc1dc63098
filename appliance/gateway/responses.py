"""Moto's `S3Response`, used as a function from a request to (status, headers, body).

Routing and the XML of everything but object listings are moto's. The verbs on objects are ours: moto's put an object in
memory first and its metadata after (two commits here), look it up twice, and know no version of it but their own.
What moto would take for a plain listing or a plain GET although it is something else is refused before it gets there.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from moto.core.responses import ActionResult
from moto.s3.responses import S3Response

from appliance.gateway import parsing, unconfigured
from appliance.gateway.backend import RepoBackend
from appliance.gateway.errors import S3Error, invalid_argument, not_implemented, well_formed
from appliance.gateway.list_verbs import ListVerbs
from appliance.gateway.object_verbs import ObjectVerbs
from appliance.gateway.offered import check_offered
from appliance.gateway.request import GatewayRequest
from appliance.gateway.settings_verbs import SettingsVerbs
from appliance.gateway.sharing import parse_canned
from appliance.gateway.upload_verbs import UploadVerbs
from appliance.gateway.verbs import Answer
from appliance.gateway.views import REGION


class GatewayResponse(ObjectVerbs, UploadVerbs, ListVerbs, SettingsVerbs, S3Response):  # type: ignore[misc]
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
        for header in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
            unconfigured.check_owner(request.headers.get(header))
        self.setup_class(request)
        with parsing.translated():
            answer = self._route(request)
        status, headers, body = (200, {}, answer) if isinstance(answer, str) else answer
        return status, headers, well_formed(body) if isinstance(body, str) else body

    def _route(self, request: GatewayRequest) -> Any:
        if request.method not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
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

    def _location(self) -> str:
        """Return the region a bucket is to be in. Any is fine: there is one. Moto's wants request and constraint to agree."""
        return (parsing.parse_location(self.body) if self.body else None) or REGION

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
        }
        return routes[request.method]()

    def _route_get(self) -> Any:
        if unconfigured.OBJECT_READS & self.querystring.keys():
            self.backend.head_object(self.bucket_name, self.parse_key_name(), self._version_id())
            unconfigured.answer_object(self.querystring)
        routes: dict[str, Callable[[], Any]] = {
            "uploadId": self.list_parts,
            "acl": self.get_object_acl,
            "tagging": self.get_object_tagging,
            "attributes": self.get_object_attributes,
        }
        return next((answer for name, answer in routes.items() if name in self.querystring), self.get_object)()

    def _route_put(self) -> Any:
        copied = "x-amz-copy-source" in self.headers
        if "acl" in self.querystring:
            return self.put_object_acl()
        if "tagging" in self.querystring:
            return self.put_object_tagging()
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
        if "tagging" in self.querystring:
            return self.delete_object_tagging()
        return self.abort_multipart_upload() if "uploadId" in self.querystring else self.delete_object()

    def _bucket_response_get(self, bucket_name: str, querystring: dict[str, Any]) -> Any:
        """Moto's takes questions that it does not know for a listing."""
        if unconfigured.BUCKET_READS & querystring.keys():
            self.backend.head_bucket(bucket_name)
        described = unconfigured.answer_bucket(querystring)
        if described is not None:
            return self._serialize(described.action, dict(described.result))
        return super()._bucket_response_get(bucket_name, querystring)

    def _bucket_response_put(self, request: GatewayRequest, bucket_name: str, querystring: dict[str, Any]) -> Any:
        """Moto's goes on to configure what it has just created, and answers a versioning without status with no XML."""
        if "versioning" in querystring:
            return self.put_bucket_versioning()
        if (answer := self.put_bucket_settings()) is not None:
            return answer
        acl = self._header("x-amz-acl")
        canned = parse_canned(acl) if acl is not None else None
        bucket = self.backend.create_bucket(bucket_name, self._location(), acl=canned)
        return self._serialize("CreateBucket", {"Location": f"/{bucket.name}"})

    def _bucket_response_post(self, request: GatewayRequest, bucket_name: str) -> Any:
        if "delete" in self.querystring:
            return self.delete_objects()
        raise not_implemented()

    # -- buckets

    def put_bucket_versioning(self) -> Answer:
        self.backend.put_bucket_versioning(self.bucket_name, parsing.parse_versioning(self.body))
        return self._serialize("PutBucketVersioning", {})

    def _serialize(self, action: str, result: dict[str, Any], headers: Mapping[str, str | None] | None = None) -> Answer:
        """Return a result as the XML that botocore's model of the operation describes. Headers of None are left out."""
        self.data["Action"] = action
        status, described, body = self.serialized(ActionResult(result))
        return status, {**described, **{name: value for name, value in (headers or {}).items() if value}}, body
