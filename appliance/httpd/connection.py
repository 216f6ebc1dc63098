"""One client's connection: receive, parse, call the handler, send, one after the other in one task.

Bytes are received only when somebody wants them. What a client sends beyond that stays in the kernel, so memory is one
receive buffer for each body whatever its size.
"""

import functools
import logging
import math
import socket
from dataclasses import dataclass, field

import trio

from appliance.httpd.heads import asks_to_close, body_to_send, render_head, size_bytes
from appliance.httpd.messages import (
    Body,
    BodyError,
    BodyMalformed,
    BodyStalled,
    BodyTooLarge,
    ClientGone,
    ErrorReply,
    Handler,
    Headers,
    Limits,
    Reply,
    Request,
)
from appliance.httpd.parser import Message, Parser
from appliance.httpd.sender import Cut, Sender, Unopened

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 256 * 1024
# A head is received in smaller steps: a step may hold thousands of pipelined requests, and all of them are parsed.
_HEAD_RECEIVE_BYTES = 64 * 1024
# What is thrown away of a body that the handler did not want, to keep the connection; and to part in peace.
_DRAIN_BYTES = 1024 * 1024
_LINGER_BYTES = 16 * 1024 * 1024
_LINGER_S = 1.0


def _new_buffer() -> memoryview:
    return memoryview(bytearray(_RECEIVE_BYTES))


@dataclass(slots=True)
class Shared:
    """What the connections of one server share.

    There is one receive buffer for all: it is filled and parsed without an await between.
    """

    handler: Handler
    error_reply: ErrorReply
    limits: Limits
    stopping: bool = False
    connections: "set[Connection]" = field(default_factory=set)
    handshakes: int = 0
    buffer: memoryview = field(default_factory=_new_buffer)

    @property
    def count(self) -> int:
        """How many clients there are, those that have not come further than the handshake of TLS included."""
        return len(self.connections) + self.handshakes


class Connection:
    """One client.

    `idle` while no request is being answered, and `idle_until` the time until which we wait for the first byte of one;
    `scope` is how the server ends it.
    """

    def __init__(self, shared: Shared, sock: socket.socket, *, scheme: str = "http", peer: str | None = None) -> None:
        self.scope = trio.CancelScope(shield=True)
        self.idle = True
        self.idle_until = math.inf
        self._shared = shared
        self._limits = shared.limits
        self._sock = sock
        self._fd = sock.fileno()
        self._sender = Sender(sock, shared.limits)
        self._parser = Parser(shared.limits)
        self._scheme = scheme
        self._peer = peer_name(sock) if peer is None else peer
        self._body_lost = False
        sock.setblocking(False)

    async def run(self) -> None:
        """Answer requests until one side has enough; never raises."""
        try:
            with self._sock, self.scope:
                await self._answer_all()
        except Cut as reason:
            log.debug("%s: %s", self._peer, reason)
        except Exception:
            log.exception("%s: the connection failed", self._peer)
        finally:
            self._shared.connections.discard(self)

    async def _answer_all(self) -> None:
        while (message := await self._next_message()) is not None:
            if not await self._exchange(message):
                break
        if message is None and self._parser.refusal is not None:
            message = Message(
                "", "", Headers(()), is_http_10=False, keep_alive=False, content_length=None, awaits_continue=False
            )
            await self._send_reply(message, self._shared.error_reply(*self._parser.refusal))
        if message is not None and not message.complete:
            await self._linger()

    async def _next_message(self) -> Message | None:
        """The next request's head; None if there is none: the client left, was too slow, or is not understood."""
        messages = self._parser.messages
        if self._shared.stopping:
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

    async def _exchange(self, message: Message) -> bool:
        """Answer one request. True if another can follow on this connection."""
        body = Body(message.content_length, functools.partial(self._receive_body, message))
        request = Request(message.method, message.target, message.headers, body, self._scheme, self._peer)
        try:
            reply = await self._shared.handler(request)
        except Exception as error:
            reply = self._explain(error, request)
        await self._send_reply(message, reply)
        return message.keep_alive and (message.complete or await self._drain(message))

    def _explain(self, error: Exception, request: Request) -> Reply:
        cause = _single_cause(error)
        if isinstance(cause, ClientGone):
            raise Cut(str(cause)) from error
        for kind, status in ((BodyStalled, 408), (BodyMalformed, 400), (BodyTooLarge, 413)):
            if isinstance(cause, kind):
                return self._shared.error_reply(status, str(cause))
        log.error("%s %s failed", request.method, request.target, exc_info=error)
        return self._shared.error_reply(500, "internal error")

    # Receiving

    async def _pull(self, size: int) -> int:
        """Receive once, when there is something, and parse it. Return how many bytes; 0 at the end of the stream."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            received = self._receive(size)
            if received is not None:
                return received

    def _receive(self, size: int) -> int | None:
        """As `_pull`, but None if there is nothing at the moment."""
        buffer = self._shared.buffer
        try:
            received = self._sock.recv_into(buffer, size)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if received:
            self._parser.feed(buffer[:received])
        return received

    async def _receive_body(self, message: Message) -> bytes:
        """The next piece of a body, empty at its end."""
        while not message.pieces and not message.complete:
            if self._parser.refusal is not None:
                raise BodyMalformed(self._parser.refusal[1])
            await self._continue(message)
            if not await self._pull_body(message):
                raise ClientGone(f"{self._peer} left before the end of the body")
        if message.content_length == 0:
            await self._continue(message)
        return message.take()

    async def _pull_body(self, message: Message) -> bool:
        since, stall_s = trio.current_time(), self._limits.stall_s
        with trio.move_on_after(stall_s):
            received = await self._pull(_RECEIVE_BYTES)
            self._body_lost = not received
            if not message.is_too_slow(self._limits, trio.current_time() - since, received):
                return received > 0
        self._body_lost = True
        raise BodyStalled(f"less of the body than {self._limits.least_bytes_s * stall_s:.0f} bytes in {stall_s} s")

    async def _continue(self, message: Message) -> None:
        if not message.awaits_continue:
            return
        message.awaits_continue = False
        try:
            await self._sender.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        except Cut as error:
            raise ClientGone(str(error)) from error

    async def _drain(self, message: Message) -> bool:
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
        if self._shared.stopping:
            return
        left = _LINGER_BYTES
        with trio.move_on_after(_LINGER_S):
            try:
                self._sock.shutdown(socket.SHUT_WR)
                while left > 0:
                    await trio.lowlevel.wait_readable(self._fd)
                    received = self._sock.recv_into(self._shared.buffer)
                    left = left - received if received else 0
            except OSError:
                return

    # Sending

    async def _send_reply(self, message: Message, reply: Reply) -> None:
        try:
            head = self._render_head(message, reply)
        except ValueError:
            log.exception("the reply to %s %s can not be sent", message.method, message.target)
            await _release(reply)
            reply = self._shared.error_reply(500, "internal error")
            head = self._render_head(message, reply)
        refusal: Reply | None = None
        try:
            await self._sender.send_body(head, body_to_send(message, reply), raw=message.is_http_10)
        except Unopened as error:
            status, text = (503, "too many files are open") if error.scarce else (500, "internal error")
            refusal = self._shared.error_reply(status, text)
        finally:
            await _release(reply)
        if refusal is not None:
            head = self._render_head(message, refusal)
            await self._sender.send_body(head, body_to_send(message, refusal), raw=message.is_http_10)

    def _render_head(self, message: Message, reply: Reply) -> bytes:
        message.keep_alive = self._can_keep(message, reply)
        return render_head(message, reply)

    def _can_keep(self, message: Message, reply: Reply) -> bool:
        if not message.keep_alive or self._shared.stopping or self._body_lost or asks_to_close(reply):
            return False
        if message.is_http_10 and size_bytes(reply.body) is None:
            return False
        if message.complete:
            # Botocore takes an answer to an empty body without "100 Continue" for the answer to its next request, too.
            return not (message.awaits_continue and message.content_length == 0)
        # Whether a client that was promised "100 Continue" sends its body after another answer, nobody can know.
        return not message.awaits_continue and self._parser.refusal is None and (message.content_length or 0) <= _DRAIN_BYTES


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


def _single_cause(error: BaseException) -> BaseException:
    """What is inside groups of one, as a handler's own nursery wraps its errors."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def peer_name(sock: "socket.socket | trio.socket.SocketType") -> str:
    """Return who is at the other end: `address:port`, or `unix`."""
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # it has left already
        return "unknown"
    return f"{host}:{port}"
