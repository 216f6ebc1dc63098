"""Bytes to messages, by llhttp; no sockets here.

A request that two servers could read differently (both lengths, two hosts, other codings) is refused, not guessed at, and
so is one larger than the limits. What was whole before it still counts.
"""

from collections import deque
from dataclasses import dataclass, field

import httptools

from appliance.httpd.messages import Headers, Limits


@dataclass(slots=True, eq=False)
class Message:
    """A request as far as it has arrived: its head, and the pieces of its body nobody has taken yet.

    `waited_s` is how long we have waited for its body, and `waited_bytes` how much came of that; see `is_too_slow`.
    """

    method: str
    target: str
    headers: Headers
    is_http_10: bool
    keep_alive: bool
    content_length: int | None
    awaits_continue: bool
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False
    waited_s: float = 0.0
    waited_bytes: int = 0

    def take(self) -> bytes:
        """The bytes of the body that are here."""
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def is_too_slow(self, limits: Limits, waited_s: float, size_bytes: int) -> bool:
        """Count what came after waiting for it, and tell whether its client only holds on to us."""
        self.waited_s += waited_s
        self.waited_bytes += size_bytes
        if self.waited_s < limits.stall_s:
            return False
        too_slow = self.waited_bytes < limits.least_bytes_s * self.waited_s
        self.waited_s, self.waited_bytes = 0.0, 0
        return too_slow


class Parser:
    """Bytes to messages. The `on_` methods are called by httptools.

    `refusal` is why nothing more can be understood, as status and text; the messages before it are whole and good.
    `in_head` is true between the first byte of a request and the end of its headers.
    """

    def __init__(self, limits: Limits) -> None:
        self.messages: deque[Message] = deque()
        self.refusal: tuple[int, str] | None = None
        self.in_head = False
        self._limits = limits
        self._http = httptools.HttpRequestParser(self)
        self._message: Message | None = None
        self._target = b""
        self._fields: list[tuple[str, str]] = []
        self._field_bytes = 0
        self._fruitless_bytes = 0
        self._progress = False
        self._upgrading = False
        self._resuming = False

    @property
    def started(self) -> bool:
        """Something of a next request is here, or reason to refuse it."""
        return bool(self.messages) or self.in_head or self.refusal is not None

    def feed(self, data: memoryview) -> None:
        """Parse what was received. Whatever is wrong with it becomes the refusal."""
        self._progress = False
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refusal = self.refusal or (400, f"malformed request: {error}")
        self._count_fruitless(len(data))

    def _count_fruitless(self, size: int) -> None:
        # llhttp hands out a field when it is whole, so an endless one (or chunk extension, or trailer) would pile up.
        self._fruitless_bytes = 0 if self._progress else self._fruitless_bytes + size
        if self._fruitless_bytes > self._limits.header_bytes:
            self.refusal = self.refusal or (431, "the headers are too large")

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """Go on in HTTP/1.1 after an offer of another protocol, as some Java clients make it with every request.

        llhttp has stopped behind the headers and would take a body for the next request, so another parser gets a head
        with the same framing and then the rest.
        """
        message = self._message
        if message is None:
            return
        chunked = "transfer-encoding" in message.headers
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {message.content_length or 0}"
        self._upgrading, self._resuming = False, True
        self._http = httptools.HttpRequestParser(self)
        self._http.feed_data(f"POST / HTTP/1.1\r\n{framing}\r\n\r\n".encode())
        if rest:
            self.feed(rest)

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        self.in_head = self._progress = True
        self._target = b""
        self._fields = []
        self._field_bytes = 0

    def on_url(self, piece: bytes) -> None:
        if self._resuming:
            return
        self._target += piece
        if len(self._target) > self._limits.target_bytes:
            self._refuse(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resuming:
            return
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > self._limits.header_bytes:
            self._refuse(431, "the headers are too large")
        if self.in_head:  # else a trailer, which nobody here asks for
            self._fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        self.in_head = False
        self._progress = True
        self._upgrading = self._http.should_upgrade()
        if len(self.messages) >= self._limits.pipelined:
            self._refuse(400, "too many requests ahead of their replies")
        self._message = self._parse_head()
        self.messages.append(self._message)

    def on_body(self, piece: bytes) -> None:
        self._progress = True
        if self._message is not None:
            self._message.pieces.append(piece)

    def on_message_complete(self) -> None:
        self._progress = True
        if self._message is not None and not self._upgrading:
            self._message.complete = True

    def _parse_head(self) -> Message:
        method = self._http.get_method().decode("ascii")
        version = self._http.get_http_version()
        headers = Headers(self._fields)
        length = headers.get("content-length")
        self._check_head(method, version, headers)
        return Message(
            method=method,
            target=self._target.decode("latin-1"),
            headers=headers,
            is_http_10=version == "1.0",
            keep_alive=self._http.should_keep_alive(),
            content_length=None if length is None else int(length),
            awaits_continue=version == "1.1" and (headers.get("expect") or "").lower() == "100-continue",
        )

    def _check_head(self, method: str, version: str, headers: Headers) -> None:
        coding = headers.get_all("transfer-encoding")
        if version not in ("1.0", "1.1"):
            self._refuse(505, f"HTTP/{version} is not spoken here")
        if method == "CONNECT":
            self._refuse(405, "this is not a proxy")
        if coding and ("content-length" in headers or version == "1.0"):
            self._refuse(400, "the length of the body is ambiguous")
        if coding and [value.lower() for value in coding] != ["chunked"]:
            self._refuse(501, "the only transfer coding is chunked")
        if len(headers.get_all("host")) != 1 and (version == "1.1" or "host" in headers):
            self._refuse(400, "exactly one Host header is needed")

    def _refuse(self, status: int, text: str) -> None:
        self.refusal = (status, text)
        raise ValueError(text)  # stops llhttp, which reports it as one of its errors
