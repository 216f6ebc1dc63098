"""What the parts of `GatewayResponse` stand on; moto's `S3Response` and `responses` provide it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from appliance.gateway.request import GatewayRequest

if TYPE_CHECKING:
    from appliance.gateway.backend import RepoBackend

Answer = tuple[int, dict[str, str], Any]


class Verbs:
    """The request that is being answered, and what answers it."""

    request: GatewayRequest
    body: Any
    headers: Any
    querystring: Mapping[str, Any]
    bucket_name: str

    if TYPE_CHECKING:

        @property
        def backend(self) -> RepoBackend: ...
        def parse_key_name(self) -> str: ...
        def _version_id(self) -> str | None: ...
        def _header(self, name: str) -> str | None: ...
        def _handle_range_header(self, request: Any, headers: Any, content: Any) -> Any: ...
        def _get_int_param(self, param_name: str, if_none: Any = None) -> Any: ...
        def _serialize(
            self, action: str, result: dict[str, Any], headers: Mapping[str, str | None] | None = None
        ) -> Answer: ...


def written_headers(etag: str, version: str | None) -> dict[str, str]:
    """Return the headers that tell what was written."""
    headers = {"ETag": f'"{etag}"'}
    if version is not None:
        headers["x-amz-version-id"] = version
    return headers
