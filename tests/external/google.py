"""gcp-storage-emulator as Google Cloud Storage: it speaks the JSON interface, the product's library the XML one.

What differs is bridged here: ETags, HEAD, the listing and its pages, and uploads in parts.
"""

import json
import threading
import uuid
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import SEEK_END
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

_PAGE = 1000
_HEADERS = {
    "Cache-Control": "cacheControl",
    "Content-Disposition": "contentDisposition",
    "Content-Encoding": "contentEncoding",
    "Content-Language": "contentLanguage",
}

# The emulator's own command can not take a free port and say which. What it would write down of all objects at each upload
# is for its next start, which never comes.
START_EMULATOR = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True)
server._storage._write_config_to_file = lambda: None
server.start()
print(f"http://127.0.0.1:{server._api._httpd.server_address[1]}", file=sys.stderr, flush=True)
"""


def ask(
    url: str, data: bytes | Iterator[bytes] | None = None, method: str = "GET", *, timeout: int = 30, **headers: str
) -> bytes:
    """Make a request and return the body of its answer. Raises HTTPError."""
    with urlopen(Request(url, data, headers, method=method), timeout=timeout) as answer:
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


def put_large_object(emulator: str, bucket: str, key: str, parts: Sequence[IO[bytes]], described: dict[str, Any]) -> str:
    """Upload an object as a stream and return its ETag; the parts are read and closed."""
    begin = Request(
        f"{emulator}/upload/storage/v1/b/{bucket}/o?uploadType=resumable",
        json.dumps(described | {"name": key}).encode(),
        {"Content-Type": "application/json", "X-Upload-Content-Type": described["contentType"]},
    )
    with urlopen(begin, timeout=30) as answer:
        upload = answer.headers["Location"]
    size = sum(part.seek(0, SEEK_END) for part in parts)
    made = json.loads(ask(upload, _pieces(parts), "PUT", **{"Content-Length": str(size), "Content-Type": "x/y"}, timeout=300))
    return etag(made)


def _pieces(parts: Sequence[IO[bytes]]) -> Iterator[bytes]:
    for part in parts:
        with part:
            part.seek(0)
            while piece := part.read(1 << 20):
                yield piece


def object_url(emulator: str, bucket: str, key: str) -> str:
    return f"{emulator}/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


class _Bridge(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, emulator: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = emulator
        self.one_at_a_time = threading.Lock()  # as the emulator is
        self.uploading = threading.Lock()
        self.uploads: dict[str, dict[int, IO[bytes]]] = {}
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
        except KeyError:  # of an upload that was given up
            self._send(404, {}, b"<Error><Code>NoSuchUpload</Code></Error>")
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
        with self.server.uploading:
            parts = self.server.uploads.get(query["uploadId"][0])
            if parts is not None:
                part = parts[int(query["partNumber"][0])] = TemporaryFile()  # noqa: SIM115 - the end of the upload closes it
                part.write(self._body)
        if parts is None:  # it was aborted meanwhile
            self._send(404, {}, b"<Error><Code>NoSuchUpload</Code></Error>")
        else:
            self._send(200, {"ETag": '"part"'}, b"")

    def _complete(self) -> None:
        upload = self._query()["uploadId"][0]
        parts = self.server.uploads.pop(upload)
        whole = [part for _, part in sorted(parts.items())]
        made = put_large_object(self.server.emulator, *self._place(), whole, self.server.described.pop(upload))
        answer = f"<CompleteMultipartUploadResult><ETag>{escape(made)}</ETag></CompleteMultipartUploadResult>"
        self._send(200, {}, answer.encode())

    def _delete(self) -> None:
        ask(object_url(self.server.emulator, *self._place()), method="DELETE")
        self._send(204, {}, b"")

    def _abort(self) -> None:
        with self.server.uploading:
            for part in self.server.uploads.pop(self._query()["uploadId"][0]).values():
                part.close()
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
        asked = {"Range": self.headers["Range"]} if self.headers["Range"] else {}
        body = b"" if self.command == "HEAD" else ask(f"{url}?alt=media", **asked)
        headers = {"ETag": etag(described), "Last-Modified": _http_date(described["updated"])}
        headers |= {header: described[name] for header, name in _HEADERS.items() if described.get(name)}
        headers |= {f"x-goog-meta-{name}": text for name, text in (described.get("metadata") or {}).items()}
        headers["Content-Type"] = described["contentType"]
        headers["Content-Length"] = described["size"] if self.command == "HEAD" else str(len(body))
        if asked:
            first = int(asked["Range"].removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{described['size']}"
        self._send(206 if asked else 200, headers, body)

    def _list(self) -> None:
        """The emulator has no pages: here they are cut."""
        query = parse_qs(urlsplit(self.path).query)
        prefix = quote(query.get("prefix", [""])[0], safe="")
        all_of_it = json.loads(ask(f"{self.server.emulator}/storage/v1/b/{self._place()[0]}/o?prefix={prefix}")).get(
            "items", ()
        )
        first = int(query.get("continuation-token", ["0"])[0])
        found = "".join(
            f"<Contents><Key>{escape(item['name'])}</Key><LastModified>{item['updated']}</LastModified>"
            f"<ETag>{escape(etag(item))}</ETag><Size>{item['size']}</Size></Contents>"
            for item in all_of_it[first : first + _PAGE]
        )
        token = f"<NextContinuationToken>{first + _PAGE}</NextContinuationToken>"
        more = f"<IsTruncated>true</IsTruncated>{token}" if len(all_of_it) > first + _PAGE else ""
        self._send(200, {}, f"<ListBucketResult>{found}{more}</ListBucketResult>".encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if status != 204 and "Content-Length" not in headers:
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
