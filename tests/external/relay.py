"""A relay in front of a real server: it sees which objects were put, and can hold, break or refuse what passes."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Relay(ThreadingHTTPServer):
    """`put` are the paths whose PUT has been answered, in order. `before` may do anything with a request first; if it
    returns True, the request is answered by it and goes no further. The first large body, in or out, is cut where wanted."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.target = urlsplit(target)
        self.put: list[str] = []
        self.got: list[str] = []
        self.before: Callable[[RelayHandler], bool | None] = lambda handler: None
        self.cut_first_body = False
        self.cut_first_upload = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class RelayHandler(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"
    body: bytes

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def do_GET(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        if self.server.cut_first_upload and length > 1_000_000:
            self.server.cut_first_upload = False
            self.rfile.read(length // 3)
            self.cut()
            return
        self.body = self.rfile.read(length)
        if not self.server.before(self):
            self._pass_on()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def answer(self, status: int, body: bytes = b"") -> bool:
        """Answer here."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)
        return True

    def cut(self) -> bool:
        """Close the connection without a word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def _pass_on(self) -> None:
        there = http.client.HTTPConnection(str(self.server.target.netloc), timeout=60)
        try:
            there.request(self.command, self.path, self.body, dict(self.headers))
            answer = there.getresponse()
            body = answer.read()
        finally:
            there.close()
        if answer.status < 300 and self.command == "PUT":
            self.server.put.append(unquote(urlsplit(self.path).path))
        if answer.status < 300 and self.command == "GET":
            self.server.got.append(unquote(urlsplit(self.path).path))
        self.send_response(answer.status)
        for name, text in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, text)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.server.cut_first_body and len(body) > 1_000_000:
            self.server.cut_first_body = False
            self.wfile.write(body[: len(body) // 3])
            self.cut()
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def through(relay: Relay, endpoint: str) -> str:
    """An endpoint with the relay's address in place of the server's."""
    return relay.url + "/".join(["", *endpoint.split("/")[3:]])


@contextmanager
def relayed(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """Run a relay in a thread."""
    with Relay(target) as relay:
        if tls is not None:
            relay.socket = tls.wrap_socket(relay.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
