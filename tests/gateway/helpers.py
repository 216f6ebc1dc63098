"""A gateway on a free port, clients of it, and requests signed and framed by hand."""

import base64
import hashlib
import hmac
import http.client
import queue
import re
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import boto3
import pytest
import trio
from botocore.config import Config
from botocore.exceptions import ClientError

from appliance import httpd
from appliance.gateway.access import TokenHolders
from appliance.gateway.buckets import BucketMap
from appliance.gateway.server import Gateway, error_reply
from appliance.store import Store

KEY = "token"
MIB = 1024 * 1024
_SESSION = boto3.Session()
_LIMITS = httpd.Limits()


@dataclass(frozen=True)
class Answer:
    """A reply as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code in the XML of an error."""
        return ElementTree.fromstring(self.body).findtext("Code")


@dataclass(frozen=True)
class Served:
    """A gateway that answers on this port of the loopback interface."""

    store: Store
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | Sequence[bytes] = b""
    ) -> Answer:
        """Send one request and read its reply. A sequence goes out as chunked transfer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        chunked = not isinstance(body, bytes)
        sent = dict(headers or {})
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
        try:
            connection.request(method, target, body or None, sent, encode_chunked=chunked)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Send bytes, say that no more will come, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


@contextmanager
def serving(store: Store, buckets: BucketMap, *, limits: httpd.Limits = _LIMITS, **settings: Any) -> Iterator[Served]:
    """Serve the buckets of a map from a thread of its own."""
    started: queue.Queue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gateway = Gateway(store, buckets, **settings, admit=TokenHolders(store, buckets).admit)
        with trio.CancelScope() as scope:
            started.put((listener.socket.getsockname()[1], trio.lowlevel.current_trio_token(), scope))
            await httpd.serve(gateway.handle, [listener], error_reply=error_reply, limits=limits)

    thread = threading.Thread(target=trio.run, args=(main,), name="gateway")
    thread.start()
    port, token, scope = started.get(timeout=10)
    try:
        yield Served(store, port)
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


@contextmanager
def client(url: str, access_key: str = KEY, secret: str = KEY, **settings: Any) -> Iterator[Any]:
    """A boto3 client that tries once."""
    s3, verify = settings.pop("s3", {"addressing_style": "path"}), settings.pop("verify", None)
    config = Config(retries={"total_max_attempts": 1}, s3=s3, read_timeout=20, **settings)
    made = _SESSION.client(
        "s3",
        endpoint_url=url,
        verify=verify,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=config,
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def refused(code: str, status: int | None = None, message: str | None = None) -> Iterator[None]:
    """Expect an S3 error with this code; HEAD has only the status as code."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response
    assert error["Error"]["Code"] == code
    if status is not None:
        assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    if message is not None:
        assert re.search(message, error["Error"]["Message"])


def keys_of(page: Mapping[str, Any]) -> list[str]:
    """Keys of a listing as they came."""
    return [item["Key"] for item in page.get("Contents", [])]


def prefixes_of(page: Mapping[str, Any]) -> list[str]:
    """Common prefixes of a listing as they came."""
    return [item["Prefix"] for item in page.get("CommonPrefixes", [])]


def body_of(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    """Everything an object has."""
    data: bytes = s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()
    return data


def staged(store: Store) -> list[str]:
    """What lies in staging."""
    return [path.name for path in (store.directory / "staging").iterdir()]


def crc32(data: bytes) -> str:
    """A CRC32 as x-amz-checksum-crc32 has it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


# Signature version 4, written from its documentation and independent of what is under test


class Signer:
    """Signs one request, and then the chunks of its body."""

    def __init__(self, access_key: str = KEY, secret: str = KEY, *, late: timedelta = timedelta(0)) -> None:
        now = datetime.now(UTC) - late
        self.stamp = f"{now:%Y%m%dT%H%M%SZ}"
        self.scope = f"{now:%Y%m%d}/us-east-1/s3/aws4_request"
        self._access_key = access_key
        self._key = f"AWS4{secret}".encode()
        for part in self.scope.split("/"):
            self._key = hmac.digest(self._key, part.encode(), "sha256")
        self.previous = ""

    def headers(self, method: str, target: str, host: str, payload_hash: str, **more: str) -> dict[str, str]:
        """Return the headers of a signed request; underscores in the names of `more` are hyphens."""
        fields = {"host": host, "x-amz-content-sha256": payload_hash, "x-amz-date": self.stamp}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        names = ";".join(sorted(fields))
        path, _, query = target.partition("?")
        lines = "".join(f"{name}:{fields[name]}\n" for name in sorted(fields))
        canonical = "\n".join((method, path, "&".join(sorted(query.split("&"))), lines, names, payload_hash))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        self.previous = self._sign(f"AWS4-HMAC-SHA256\n{self.stamp}\n{self.scope}\n{digest}")
        credential = f"{self._access_key}/{self.scope}"
        fields["Authorization"] = f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={self.previous}"
        return fields

    def chunk(self, data: bytes) -> bytes:
        """Return one signed chunk; an empty one is the last, without the line end after it."""
        empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.stamp}\n{self.scope}\n{self.previous}\n{empty}\n{digest}"
        self.previous = self._sign(text)
        head = b"%x;chunk-signature=%b\r\n" % (len(data), self.previous.encode())
        return head + data + b"\r\n" if data else head

    def trailer(self, text: str) -> bytes:
        """Return trailers (`name:value` and a line feed each) with their signature."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.previous = self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self.stamp}\n{self.scope}\n{self.previous}\n{digest}")
        return text.replace("\n", "\r\n").encode() + f"x-amz-trailer-signature:{self.previous}\r\n\r\n".encode()

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()


def key_target(bucket: str, key: str) -> str:
    """The target of a key, path style."""
    return f"/{bucket}/{quote(key, safe='/~')}"
