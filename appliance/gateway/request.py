"""What moto sees of a request: its head, and a body that was received already.

Moto's own request is werkzeug's, built from a WSGI environment and a stream. Ours has just what `S3Response` reads, and
its body is XML of bounded size or a `StagedObject` that nobody unpacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from werkzeug.datastructures import Headers as WerkzeugHeaders

from appliance.gateway.errors import S3Error
from appliance.httpd import Headers
from appliance.store.blobs import StagedBlob


@dataclass(frozen=True, slots=True)
class Address:
    """What a request is about: the service, a bucket (`key` is None) or an object. `query` is decoded."""

    bucket: str
    key: str | None
    query: dict[str, list[str]]

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else None


def parse_address(target: str, host: str, domains: Sequence[str] = ()) -> Address:
    """Read bucket and key from a raw target: `/bucket/key`, or `/key` below the host name `bucket.…`.

    Raises S3Error InvalidURI for what is not percent-encoded UTF-8.
    """
    path, _, raw_query = target.partition("?")
    if not path.startswith("/"):  # the absolute form: http://host/path
        path = "/" + path.partition("://")[2].partition("/")[2]
    try:
        text = unquote_to_bytes(path).decode()
        # A plus is a space, as it is for the signature: read otherwise, a signed query could be given another meaning.
        query = parse_qs(raw_query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI.") from None
    virtual = find_virtual_bucket(host, domains)
    bucket, slash, key = (virtual, "/", text[1:]) if virtual else text[1:].partition("/")
    return Address(bucket, key if slash and key else None, query)


def find_virtual_bucket(host: str, domains: Sequence[str] = ()) -> str | None:
    """Return the bucket that a Host header names: what stands before `.localhost`, `.127.0.0.1` or a domain of ours.

    `master.data.127.0.0.1:30600` is what the JavaScript SDK makes of a bucket unless told to use paths.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    for domain in ("127.0.0.1", "localhost", *domains):
        if name.lower().endswith(f".{domain}"):
            bucket = name[: -len(domain) - 1]
            return None if bucket == "s3" else bucket.removesuffix(".s3") or None
    return None


@dataclass(frozen=True, slots=True)
class StagedObject:
    """The body of an upload: staged, and checked against what the client announced (`checksums` are verified headers)."""

    blob: StagedBlob
    checksums: dict[str, str]


# Consumed before moto sees the request, or about the connection only.
_DROPPED = {"x-amz-content-sha256", "transfer-encoding", "content-length", "x-amz-decoded-content-length", "x-amz-trailer"}


@dataclass(slots=True)
class GatewayRequest:
    """The request as `moto.s3.responses.S3Response` reads it."""

    method: str
    raw_path: str
    raw_url: str
    headers: WerkzeugHeaders
    address: Address
    data: bytes | StagedObject
    from_wsgi_server: bool = True
    content_encoding: str | None = None
    form: dict[str, str] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Moto's name for the same thing."""
        return self.raw_url


def make_request(method: str, target: str, headers: Headers, address: Address, body: bytes | StagedObject) -> GatewayRequest:
    """Return what moto is given for a request."""
    kept = [(name, value) for name, value in headers.items() if name.lower() not in _DROPPED]
    size = len(body) if isinstance(body, bytes) else body.blob.size_bytes
    heads = WerkzeugHeaders([*kept, ("Content-Length", str(size))])
    return GatewayRequest(method, target.partition("?")[0], f"http://{headers.get('host')}{target}", heads, address, body)
