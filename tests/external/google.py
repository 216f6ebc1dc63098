"""gcp-storage-emulator as Google Cloud Storage: it speaks the JSON interface, the product's library the XML one.

What differs is bridged here: ETags, HEAD, the listing, and uploads in parts.
"""

import json
import threading
import uuid
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

_HEADERS = {
    "Cache-Control": "cacheControl",
    "Content-Disposition": "contentDisposition",
    "Content-Encoding": "contentEncoding",
}

# The emulator's own command can not take a free port and say which.
START_EMULATOR = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True)
server.start()
print(f"http://127.0.0.1:{server._api._httpd.server_address[1]}", file=sys.stderr, flush=True)
"""


def ask(url: str, data: bytes | None = None, method: str = "GET", **headers: str) -> bytes:
    """Make a request and return the body of its answer. Raises HTTPError."""
    with urlopen(Request(url, data, headers, method=method), timeout=30) as answer:
        body: bytes = answer.read()
        return body


def put_object(emulator: str, bucket: str, key: str, body: bytes, described: dict[str, Any]) -> dict[str, Any]:
    """Upload an object with what is said about it, as Google's own client does."""
    meta = json.dumps(described | {"name": key}).encode()
    parts = (
        b"Content-Type: application/json\r\n\r\n" + meta,
        b"Content-Type: x/y\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body,
    )
    whole = b"".join(b"--=part=\r\n" + part + b"\r\n" for part in parts) + b"--=part=--\r\n"
    url = f"{emulator}/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
    answer: dict[str, Any] = json.loads(ask(url, whole, "POST", **{"Content-Type": "multipart/related; boundary==part="}))
    return answer


def object_url(emulator: str, bucket: str, key: str) -> str:
    return f"{emulator}/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


class _Bridge(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, emulator: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = emulator
        self.one_at_a_time = threading.Lock()  # as the emulator is
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.described: dict[str, dict[str, Any]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: _Bridge
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._answered(self._list if not self._key() else self._read)

    def do_HEAD(self) -> None:
        self._answered(self._read)

    def do_PUT(self) -> None:
        self._body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answered(self._write_part if "uploadId" in self._query() else self._write)

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answered(self._complete if "uploadId" in self._query() else self._begin)

    def do_DELETE(self) -> None:
        self._answered(self._abort if "uploadId" in self._query() else self._delete)

    def _place(self) -> tuple[str, str]:
        bucket, _, key = urlsplit(self.path).path.lstrip("/").partition("/")
        return unquote(bucket), unquote(key)

    def _key(self) -> str:
        return self._place()[1]

    def _answered(self, answer: Any) -> None:
        try:
            with self.server.one_at_a_time:
                answer()
        except HTTPError as error:
            code = {404: "NoSuchKey" if self._key() and self.command != "PUT" else "NoSuchBucket"}.get(
                error.code, "InternalError"
            )
            body = f"<Error><Code>{code}</Code><Message>The specified thing does not exist.</Message></Error>".encode()
            self._send(error.code, {}, body)

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def _begin(self) -> None:
        upload = uuid.uuid4().hex
        self.server.uploads[upload] = {}
        self.server.described[upload] = self._described()
        answer = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        self._send(200, {}, answer.encode())

    def _write_part(self) -> None:
        query = self._query()
        self.server.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = self._body
        self._send(200, {"ETag": '"part"'}, b"")

    def _complete(self) -> None:
        upload = self._query()["uploadId"][0]
        parts = self.server.uploads.pop(upload)
        whole = b"".join(body for _, body in sorted(parts.items()))
        made = put_object(self.server.emulator, *self._place(), whole, self.server.described.pop(upload))
        answer = f"<CompleteMultipartUploadResult><ETag>{escape(etag(made))}</ETag></CompleteMultipartUploadResult>"
        self._send(200, {}, answer.encode())

    def _delete(self) -> None:
        ask(object_url(self.server.emulator, *self._place()), method="DELETE")
        self._send(204, {}, b"")

    def _abort(self) -> None:
        del self.server.uploads[self._query()["uploadId"][0]]
        self._send(204, {}, b"")

    def _write(self) -> None:
        made = put_object(self.server.emulator, *self._place(), self._body, self._described())
        self._send(200, {"ETag": etag(made)}, b"")

    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = {name: self.headers[header] for header, name in _HEADERS.items() if self.headers[header]}
        described["contentType"] = self.headers["Content-Type"]
        prefix = "x-goog-meta-"
        described["metadata"] = {name[len(prefix) :]: text for name, text in self.headers.items() if name.startswith(prefix)}
        return described

    def _read(self) -> None:
        url = object_url(self.server.emulator, *self._place())
        described = json.loads(ask(url))
        if self.headers["If-Match"] not in (None, etag(described)):
            self._send(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        body = ask(f"{url}?alt=media")
        headers = {"ETag": etag(described), "Last-Modified": _http_date(described["updated"])}
        headers |= {header: described[name] for header, name in _HEADERS.items() if described.get(name)}
        headers |= {f"x-goog-meta-{name}": text for name, text in (described.get("metadata") or {}).items()}
        headers["Content-Type"] = described["contentType"]
        if asked := self.headers["Range"]:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = body[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
            body = part
        self._send(206 if asked else 200, headers, body)

    def _list(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        wanted = "&".join(
            f"{theirs}={quote(query[ours][0], safe='')}"
            for ours, theirs in (("prefix", "prefix"), ("continuation-token", "pageToken"))
            if ours in query
        )
        page = json.loads(ask(f"{self.server.emulator}/storage/v1/b/{self._place()[0]}/o?maxResults=1000&{wanted}"))
        found = "".join(
            f"<Contents><Key>{escape(item['name'])}</Key><LastModified>{item['updated']}</LastModified>"
            f"<ETag>{escape(etag(item))}</ETag><Size>{item['size']}</Size></Contents>"
            for item in page.get("items", ())
        )
        token = page.get("nextPageToken")
        more = (
            f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        )
        self._send(200, {}, f"<ListBucketResult>{found}{more}</ListBucketResult>".encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def etag(described: dict[str, Any]) -> str:
    """As Google's XML interface gives it: the MD5 of what was uploaded in one go."""
    return f'"{b64decode(described["md5Hash"]).hex()}"'


def _http_date(text: str) -> str:
    return format_datetime(datetime.fromisoformat(text), usegmt=True)


@contextmanager
def bridged(emulator: str) -> Iterator[str]:
    """Run the bridge in a thread; gives its address."""
    with _Bridge(emulator) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
