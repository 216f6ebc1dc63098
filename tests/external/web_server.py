"""A web server that behaves as a test wants it to: redirects, ranges, wrong lengths, broken connections, slow answers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class WebServer(ThreadingHTTPServer):
    """Answers each path as `pages` says; `asked` are the methods, paths and some headers it was asked with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def gets(self) -> list[str]:
        return [path for method, path, _ in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, {name.title(): text for name, text in self.headers.items()}))
        with suppress(ConnectionError):  # of who has heard enough
            self.server.pages.get(self.path, status(404))(self)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def reply(handler: Handler, code: int, headers: dict[str, str], body: bytes = b"") -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def status(code: int, **headers: str) -> Answer:
    return lambda handler: reply(handler, code, {"Content-Length": "0", **headers})


def page(body: bytes, **headers: str) -> Answer:
    return lambda handler: reply(handler, 200, {"Content-Length": str(len(body)), **headers}, body)


def page_without_length(body: bytes) -> Answer:
    return lambda handler: reply(handler, 200, {}, body)


def one_after_another(*answers: Answer) -> Answer:
    """The next answer at each GET, the last for ever; HEAD is not allowed."""
    left = list(answers)

    def answer(handler: Handler) -> None:
        if handler.command == "HEAD":
            status(405)(handler)
        else:
            (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def broken_off(body: bytes, sent: int, **headers: str) -> Answer:
    """Announce all of a body and send some of it."""
    return lambda handler: reply(handler, 200, {"Content-Length": str(len(body)), **headers}, body[:sent])


def rest(body: bytes, **headers: str) -> Answer:
    """What a Range asks for."""

    def answer(handler: Handler) -> None:
        first = int(handler.headers["Range"].removeprefix("bytes=").partition("-")[0])
        said = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}", "Content-Length": str(len(body) - first)}
        reply(handler, 206, {**said, **headers}, body[first:])

    return answer


def in_drops(body: bytes, drops: int, **headers: str) -> Answer:
    """Send a body in so many writes, a few bytes of the headers each on their own, too."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
            handler.flush_headers()
        handler.end_headers()
        step = -(-len(body) // drops)
        for start in range(0, len(body) if handler.command == "GET" else 0, step):
            handler.wfile.write(body[start : start + step])
            handler.wfile.flush()

    return answer


def endless(begun: threading.Event, ended: threading.Event) -> Answer:
    """Send bytes until nobody wants them any more."""

    def answer(handler: Handler) -> None:
        reply(handler, 200, {})
        try:
            while handler.command == "GET":
                handler.wfile.write(bytes(64 * 1024))
                begun.set()
        except ConnectionError:
            ended.set()

    return answer


@contextmanager
def serving_pages() -> Iterator[WebServer]:
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
