"""HTTP/1.1 over trio sockets: requests in, replies out. Knows nothing of S3 or of what a handler does.

    socket → _Parser (llhttp) → _Message → handler(Request) → Reply → socket

Rules of this file:

- One task for each connection does everything in turn: receive, parse, call the handler, send. So replies leave in the
  order of their requests, and a slow handler or client holds up nobody else.
- Bytes are received only when somebody wants them. What a client sends beyond that stays in the kernel, so memory is
  one receive buffer for each body whatever its size.
- Framing belongs to the server: a handler's Connection and Transfer-Encoding headers are dropped, and a Content-Length
  that is not the body's is an error of the handler. A reply that can not be completed ends in a cut, never in padding.
- A request that two servers could read differently (both lengths, two hosts, other codings) is refused, not guessed at.
"""

import email.utils
import errno
import functools
import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httptools
import trio

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 256 * 1024
# A head is received in smaller steps: a step may hold thousands of pipelined requests, and all of them are parsed.
_HEAD_RECEIVE_BYTES = 64 * 1024
# Up to here bytes are copied together to save a system call; one send or sendfile is never larger than the second.
_GATHER_BYTES = 64 * 1024
_SEND_BYTES = 1024 * 1024
# What is thrown away of a body that the handler did not want, to keep the connection; and to part in peace.
_DRAIN_BYTES = 1024 * 1024
_LINGER_BYTES = 16 * 1024 * 1024
_LINGER_S = 1.0
_ACCEPT_PAUSE_S = 0.1
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_FRAMING = frozenset(("connection", "keep-alive", "transfer-encoding"))
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BodyError(Exception):
    """A request body that did not arrive. A handler that lets it pass needs no answer of its own to it."""


class ClientGone(BodyError):
    """The client closed the connection before the end of the body it announced."""


class BodyStalled(BodyError):
    """No byte of the body arrived for `Limits.stall_s`; answered with 408."""


class BodyMalformed(BodyError):
    """The chunked transfer coding is broken; answered with 400."""


class BodyTooLarge(BodyError):
    """More bytes than `Body.read` was allowed to take; answered with 413."""


class _Cut(Exception):
    """The connection is of no more use to anybody: close it without another byte."""


class Headers:
    """Header fields in the order, spelling and repetition they were sent in; looked up without regard to case."""

    __slots__ = ("_first", "_items")

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._items = list(items)
        self._first: dict[str, str] = {}
        for name, value in self._items:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header, decoded as Latin-1."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        name = name.lower()
        if len(self._first) == len(self._items):  # nothing is repeated
            return [self._first[name]] if name in self._first else []
        return [value for key, value in self._items if key.lower() == name]

    def items(self) -> list[tuple[str, str]]:
        """All fields as they were sent."""
        return list(self._items)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first


class Body:
    """The body of a request, read once. A client that asked for "100 Continue" gets it with the first read that waits.

    `receive` gives the next piece, empty at the end. Reading raises ClientGone, BodyStalled or BodyMalformed.
    `content_length` is None for chunked transfer and where there is no body.
    """

    __slots__ = ("_receive", "content_length")

    def __init__(self, content_length: int | None, receive: Callable[[], Awaitable[bytes]]) -> None:
        self.content_length = content_length
        self._receive = receive

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._receive()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge above `limit` bytes, before reading if the length was announced."""
        if self.content_length is not None and self.content_length > limit:
            raise BodyTooLarge(f"the body has {self.content_length} bytes, allowed are {limit}")
        pieces: list[bytes] = []
        async for piece in self:
            pieces.append(piece)
            limit -= len(piece)
            if limit < 0:
                raise BodyTooLarge("the body is larger than allowed")
        return b"".join(pieces)


@dataclass(slots=True)
class Request:
    """What a client asks. `target` is raw; `peer` is `address:port`, or `unix`."""

    method: str
    target: str
    headers: Headers
    body: Body
    scheme: str
    peer: str


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`length` bytes from `offset` of a file, or of bytes in memory: exactly one of `path` and `data` is set."""

    path: Path | None
    data: bytes | None
    offset: int
    length: int


ReplyBody = bytes | Sequence[FileSlice] | AsyncIterator[bytes]


@dataclass(slots=True)
class Reply:
    """What is answered. An iterator is sent piece by piece as chunked transfer and dropped when the client leaves.

    `on_sent` is called exactly once: the reply was sent, or never will be.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: ReplyBody = b""
    on_sent: Callable[[], None] | None = None


Handler = Callable[[Request], Awaitable[Reply]]
ErrorReply = Callable[[int, str], Reply]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take of us.

    `idle_s` is the wait for a request, `header_s` for the rest of its head, `stall_s` for the next byte of a body
    received or of a reply accepted, and `grace_s` what replies in flight get when the server stops.
    """

    header_bytes: int = 64 * 1024
    target_bytes: int = 16 * 1024
    idle_s: float = 75
    header_s: float = 20
    stall_s: float = 60
    grace_s: float = 0.5


async def serve(
    handler: Handler,
    listeners: list[trio.SocketListener],
    *,
    error_reply: ErrorReply,
    limits: Limits = Limits(),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; then close the listeners, cut idle connections and give replies in flight `grace_s`.

    The handler is called in the task of its connection, and cancelled there at the end of the grace. An exception of it
    is logged and answered with `error_reply(500, text)`, as is every refusal of ours with its own status.
    """
    server = _Server(handler, error_reply, limits)
    async with trio.open_nursery() as nursery:
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(server.accept, listener, nursery)
                accepting.start_soon(server.cut_idle)
                task_status.started()
        finally:
            for listener in listeners:
                listener.socket.close()
            server.stop()


class _Server:
    """What the connections of one `serve` share."""

    def __init__(self, handler: Handler, error_reply: ErrorReply, limits: Limits) -> None:
        self.handler = handler
        self.error_reply = error_reply
        self.limits = limits
        self.stopping = False
        self.connections: set[_Connection] = set()
        # One for all: it is filled and parsed without an await between.
        self.buffer = memoryview(bytearray(_RECEIVE_BYTES))

    async def accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                log.warning("can not accept a connection: %s", error)
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            # trio has set TCP_NODELAY. From here on it is a plain socket: sendfile and one shared buffer need that.
            connection = _Connection(self, socket.socket(fileno=stream.socket.detach()))
            self.connections.add(connection)
            nursery.start_soon(connection.run)

    async def cut_idle(self) -> None:
        """End what was idle for `Limits.idle_s`, or an eighth longer.

        A cancel scope around each wait would be exact, and costs a third of what a small request costs altogether.
        """
        while True:
            await trio.sleep(self.limits.idle_s / 8)
            now = trio.current_time()
            for connection in self.connections:
                if connection.idle_until < now:
                    connection.scope.cancel()

    def stop(self) -> None:
        self.stopping = True
        deadline = trio.current_time() + self.limits.grace_s
        for connection in self.connections:
            if connection.idle:
                connection.scope.cancel()
            else:
                connection.scope.deadline = deadline


@dataclass(slots=True, eq=False)
class _Message:
    """A request as far as it has arrived: its head, and the pieces of its body nobody has taken yet."""

    method: str
    target: str
    headers: Headers
    is_http_10: bool
    keep_alive: bool
    content_length: int | None
    awaits_continue: bool
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    def take(self) -> bytes:
        """The bytes of the body that are here."""
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Parser:
    """Bytes to messages. The `on_` methods are called by httptools.

    `refusal` is why nothing more can be understood, as status and text; the messages before it are whole and good.
    `in_head` is true between the first byte of a request and the end of its headers.
    """

    def __init__(self, limits: Limits) -> None:
        self.messages: deque[_Message] = deque()
        self.refusal: tuple[int, str] | None = None
        self.in_head = False
        self._limits = limits
        self._http = httptools.HttpRequestParser(self)
        self._message: _Message | None = None
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

    def _parse_head(self) -> _Message:
        method = self._http.get_method().decode("ascii")
        version = self._http.get_http_version()
        headers = Headers(self._fields)
        length = headers.get("content-length")
        self._check_head(method, version, headers)
        return _Message(
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


class _Connection:
    """One client.

    `idle` while no request is being answered, and `idle_until` the time until which we wait for the first byte of one;
    `scope` is how the server ends it.
    """

    def __init__(self, server: _Server, sock: socket.socket) -> None:
        self.scope = trio.CancelScope(shield=True)
        self.idle = True
        self.idle_until = math.inf
        self._server = server
        self._limits = server.limits
        self._sock = sock
        self._fd = sock.fileno()
        self._parser = _Parser(server.limits)
        self._peer = _peer_name(sock)
        self._body_lost = False
        sock.setblocking(False)

    async def run(self) -> None:
        try:
            with self._sock, self.scope:
                await self._answer_all()
        except _Cut as reason:
            log.debug("%s: %s", self._peer, reason)
        except Exception:
            log.exception("%s: the connection failed", self._peer)
        finally:
            self._server.connections.discard(self)

    async def _answer_all(self) -> None:
        while (message := await self._next_message()) is not None:
            if not await self._exchange(message):
                break
        if message is None and self._parser.refusal is not None:
            message = _Message(
                "", "", Headers(()), is_http_10=False, keep_alive=False, content_length=None, awaits_continue=False
            )
            await self._send_reply(message, self._server.error_reply(*self._parser.refusal))
        if message is not None and not message.complete:
            await self._linger()

    async def _next_message(self) -> _Message | None:
        """The next request's head; None if there is none: the client left, was too slow, or is not understood."""
        messages = self._parser.messages
        if self._server.stopping:
            return None
        if messages:
            await trio.lowlevel.checkpoint()
        else:
            self.idle = True
            self.idle_until = trio.current_time() + self._limits.idle_s
            await self._await_head()
        self.idle = False
        return messages.popleft() if messages else None

    async def _await_head(self) -> None:
        parser = self._parser
        while not parser.started:
            if not await self._pull(_HEAD_RECEIVE_BYTES):
                return
        self.idle_until = math.inf
        if not parser.in_head:
            return
        with trio.move_on_after(self._limits.header_s) as patience:
            while parser.in_head and parser.refusal is None and await self._pull(_HEAD_RECEIVE_BYTES):
                pass
        if patience.cancelled_caught:
            parser.refusal = (408, "the request did not arrive in time")

    async def _exchange(self, message: _Message) -> bool:
        """Answer one request. True if another can follow on this connection."""
        body = Body(message.content_length, functools.partial(self._receive_body, message))
        request = Request(message.method, message.target, message.headers, body, "http", self._peer)
        try:
            reply = await self._server.handler(request)
        except Exception as error:
            reply = self._explain(error, request)
        await self._send_reply(message, reply)
        return message.keep_alive and (message.complete or await self._drain(message))

    def _explain(self, error: Exception, request: Request) -> Reply:
        cause = _single_cause(error)
        if isinstance(cause, ClientGone):
            raise _Cut(str(cause)) from error
        for kind, status in ((BodyStalled, 408), (BodyMalformed, 400), (BodyTooLarge, 413)):
            if isinstance(cause, kind):
                return self._server.error_reply(status, str(cause))
        log.error("%s %s failed", request.method, request.target, exc_info=error)
        return self._server.error_reply(500, "internal error")

    # Receiving

    async def _pull(self, size: int) -> bool:
        """Receive once, when there is something, and parse it. False at the end of the stream."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            received = self._receive(size)
            if received is not None:
                return received

    def _receive(self, size: int) -> bool | None:
        """As `_pull`, but None if there is nothing at the moment."""
        buffer = self._server.buffer
        try:
            received = self._sock.recv_into(buffer, size)
        except BlockingIOError:
            return None
        except OSError:
            return False
        if received:
            self._parser.feed(buffer[:received])
        return received > 0

    async def _receive_body(self, message: _Message) -> bytes:
        """The next piece of a body, empty at its end."""
        while not message.pieces and not message.complete:
            if self._parser.refusal is not None:
                raise BodyMalformed(self._parser.refusal[1])
            await self._continue(message)
            if not await self._pull_body():
                raise ClientGone(f"{self._peer} left before the end of the body")
        return message.take()

    async def _pull_body(self) -> bool:
        with trio.move_on_after(self._limits.stall_s):
            arrived = await self._pull(_RECEIVE_BYTES)
            self._body_lost = not arrived
            return arrived
        self._body_lost = True
        raise BodyStalled(f"no byte of the body in {self._limits.stall_s} s")

    async def _continue(self, message: _Message) -> None:
        if not message.awaits_continue:
            return
        message.awaits_continue = False
        try:
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        except _Cut as error:
            raise ClientGone(str(error)) from error

    async def _drain(self, message: _Message) -> bool:
        """Throw away a body that nobody wanted. False if that is too much, or fails."""
        left = _DRAIN_BYTES
        try:
            while left > 0 and (piece := await self._receive_body(message)):
                left -= len(piece)
        except BodyError:
            return False
        return message.complete

    async def _linger(self) -> None:
        """Let the client read our last reply: closing on bytes not received resets the connection and destroys it."""
        self.idle = True
        if self._server.stopping:
            return
        left = _LINGER_BYTES
        with trio.move_on_after(_LINGER_S):
            try:
                self._sock.shutdown(socket.SHUT_WR)
                while left > 0:
                    await trio.lowlevel.wait_readable(self._fd)
                    received = self._sock.recv_into(self._server.buffer)
                    left = left - received if received else 0
            except OSError:
                return

    # Sending

    async def _send_reply(self, message: _Message, reply: Reply) -> None:
        try:
            head = self._render_head(message, reply)
        except ValueError:
            log.exception("the reply to %s %s can not be sent", message.method, message.target)
            await _release(reply)
            reply = self._server.error_reply(500, "internal error")
            head = self._render_head(message, reply)
        try:
            await self._send_body(head, _body_to_send(message, reply), raw=message.is_http_10)
        finally:
            await _release(reply)

    def _render_head(self, message: _Message, reply: Reply) -> bytes:
        message.keep_alive = self._can_keep(message, reply)
        return _render_head(message, reply)

    def _can_keep(self, message: _Message, reply: Reply) -> bool:
        if not message.keep_alive or self._server.stopping or self._body_lost or _asks_to_close(reply):
            return False
        if message.is_http_10 and _size_bytes(reply.body) is None:
            return False
        if message.complete:
            return True
        # Whether a client that was promised "100 Continue" sends its body after another answer, nobody can know.
        return not message.awaits_continue and self._parser.refusal is None and (message.content_length or 0) <= _DRAIN_BYTES

    async def _send_body(self, head: bytes, body: ReplyBody, *, raw: bool) -> None:
        if isinstance(body, AsyncIterator):
            await self._send(head)
            await self._send_stream(body, raw=raw)
        elif not isinstance(body, bytes):
            await self._send_slices(head, body)
        elif len(body) <= _GATHER_BYTES:
            await self._send(head + body)
        else:
            await self._send(head, more=True)
            await self._send(body)

    async def _send_slices(self, head: bytes, slices: Sequence[FileSlice]) -> None:
        """Small neighbours are gathered into one send; of a large file no byte comes by here."""
        gathered = bytearray(head)
        for piece in slices:
            if len(gathered) + piece.length <= _GATHER_BYTES:
                gathered += _read_slice(piece)
                continue
            await self._send(gathered, more=True)
            gathered = bytearray()
            if piece.data is not None:
                await self._send(_cut_slice(piece, memoryview(piece.data)))
            else:
                await self._send_file(piece)
        if gathered:
            await self._send(gathered)

    async def _send_file(self, piece: FileSlice) -> None:
        offset, end = piece.offset, piece.offset + piece.length
        fd = _open_slice(piece)
        try:
            while offset < end:
                try:
                    sent = os.sendfile(self._fd, fd, offset, min(end - offset, _SEND_BYTES))
                except BlockingIOError:
                    await self._await_writable()
                    continue
                except OSError as error:
                    raise _Cut(f"sendfile: {error}") from error
                if not sent:
                    raise _too_short(piece)
                offset += sent
                await trio.lowlevel.checkpoint()
        finally:
            os.close(fd)

    async def _send_stream(self, body: AsyncIterator[bytes], *, raw: bool) -> None:
        """Send pieces as they come. A client that leaves is noticed even while there is nothing to send."""
        finished = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            finished = await self._send_pieces(body, raw=raw)
            nursery.cancel_scope.cancel()
        if not finished:
            raise _Cut("a stream ended early")

    async def _send_pieces(self, body: AsyncIterator[bytes], *, raw: bool) -> bool:
        try:
            async for piece in body:
                if piece:
                    await self._send(piece if raw else b"%x\r\n%b\r\n" % (len(piece), piece))
            if not raw:
                await self._send(b"0\r\n\r\n")
        except _Cut:
            return False
        except Exception:
            log.exception("a reply broke off")
            return False
        return True

    async def _watch_client(self, sending: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(self._fd)
        try:
            gone = not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            sending.cancel()

    async def _send(self, data: bytes | bytearray | memoryview, *, more: bool = False) -> None:
        """Send all of it. `more` tells the kernel to wait for the next send before it closes a packet."""
        flags = socket.MSG_MORE if more else 0
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view[:_SEND_BYTES], flags)
            except BlockingIOError:
                await self._await_writable()
                continue
            except OSError as error:
                raise _Cut(f"send: {error}") from error
            view = view[sent:]
            if view:
                await trio.lowlevel.checkpoint()

    async def _await_writable(self) -> None:
        with trio.move_on_after(self._limits.stall_s):
            await trio.lowlevel.wait_writable(self._fd)
            return
        raise _Cut("the client takes no byte of its reply")


def _render_head(message: _Message, reply: Reply) -> bytes:
    """Status line and headers. Raises ValueError if the reply can not be sent as HTTP."""
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    declared: str | None = None
    dated = False
    for name, value in reply.headers:
        lower = name.lower()
        if lower == "content-length":
            declared = value
        elif lower not in _FRAMING:
            dated = dated or lower == "date"
            lines.append(f"{name}: {value}")
    if not dated:
        lines.append(f"Date: {_http_date(int(time.time()))}")
    lines += _framing_lines(message, reply, declared)
    text = "\r\n".join(lines)
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise ValueError("a header with a line break")
    return f"{text}\r\n\r\n".encode("latin-1")


def _framing_lines(message: _Message, reply: Reply, declared: str | None) -> list[str]:
    lines: list[str] = []
    if not message.keep_alive:
        lines.append("Connection: close")
    elif message.is_http_10:
        lines.append("Connection: keep-alive")
    size = _size_bytes(reply.body)
    if reply.status < 200:
        raise ValueError(f"{reply.status} is not a final status")
    if reply.status == 204:
        return lines
    if message.method == "HEAD" or reply.status == 304:
        length = declared or (str(size) if size else None)
        return [*lines, f"Content-Length: {length}"] if length else lines
    if size is None:
        if declared is not None:
            raise ValueError("a stream with a Content-Length")
        return lines if message.is_http_10 else [*lines, "Transfer-Encoding: chunked"]
    if declared is not None and int(declared) != size:
        raise ValueError(f"Content-Length {declared} for a body of {size} bytes")
    return [*lines, f"Content-Length: {size}"]


def _size_bytes(body: ReplyBody) -> int | None:
    """None for a stream."""
    if isinstance(body, bytes):
        return len(body)
    return None if isinstance(body, AsyncIterator) else sum(piece.length for piece in body)


def _body_to_send(message: _Message, reply: Reply) -> ReplyBody:
    return b"" if message.method == "HEAD" or reply.status in (204, 304) else reply.body


def _asks_to_close(reply: Reply) -> bool:
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in reply.headers)


async def _release(reply: Reply) -> None:
    """Tell the owner of a reply that it is done with. Runs to its end when cancelled."""
    try:
        if reply.on_sent is not None:
            reply.on_sent()
    finally:
        # A generator left to the garbage collector would be an error of its own.
        close = getattr(reply.body, "aclose", None)
        if close is not None:
            await close()


def _read_slice(piece: FileSlice) -> memoryview:
    if piece.data is not None:
        return _cut_slice(piece, memoryview(piece.data))
    fd = _open_slice(piece)
    try:
        return _cut_slice(piece, memoryview(os.pread(fd, piece.length, piece.offset)), 0)
    finally:
        os.close(fd)


def _open_slice(piece: FileSlice) -> int:
    if piece.path is None:
        raise ValueError("a slice of nothing")
    try:
        return os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        log.exception("a file is gone that a reply was made of")
        raise _Cut(str(error)) from error


def _cut_slice(piece: FileSlice, data: memoryview, offset: int | None = None) -> memoryview:
    offset = piece.offset if offset is None else offset
    data = data[offset : offset + piece.length]
    if len(data) != piece.length:
        raise _too_short(piece)
    return data


def _too_short(piece: FileSlice) -> _Cut:
    log.error("%s has less than the %d bytes from %d that were promised", piece.path, piece.length, piece.offset)
    return _Cut("a file is shorter than promised")


def _single_cause(error: BaseException) -> BaseException:
    """What is inside groups of one, as a handler's own nursery wraps its errors."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@functools.lru_cache(maxsize=2)
def _http_date(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


def _peer_name(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # it has left already
        return "unknown"
    return f"{host}:{port}"
