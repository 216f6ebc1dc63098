"""An HTTP server of ours on a free port, and clients of it that send what they are told, well or badly."""

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from appliance import httpd
from appliance.httpd import Handler, Limits, Reply, Request

MIB = 1024 * 1024


def on_trio(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop of its own, for no longer than 20 seconds."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def limited() -> None:
            with trio.fail_after(20):
                await test(*args, **kwargs)

        trio.run(limited)

    return run


def with_time_passing(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop whose clock jumps on to the next deadline whenever nothing happens."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.02))

    return run


class Wire:
    """What clients and servers speak: plain HTTP, or TLS with the contexts of both sides."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None

    async def connect(self, port: int) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        if self.client is None:
            return stream
        secured = trio.SSLStream(stream, self.client, server_hostname="127.0.0.1", https_compatible=True)
        await secured.do_handshake()
        return secured


WIRE = Wire()


class Client:
    """A client that sends what it is told, and reads replies one at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, size: int) -> bytes:
        while len(self.buffer) < size:
            piece = await self.stream.receive_some()
            assert piece, f"the server closed after {self.buffer!r}"
            self.buffer += piece
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += await self.receive(1)
        return line[:-2]

    async def reply(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        status = int((await self.line()).split()[1])
        fields: dict[str, str] = {}
        while line := (await self.line()).decode():
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
        if head or status in (100, 204, 304):
            return status, fields, b""
        if "transfer-encoding" in fields:
            return status, fields, await self.chunks()
        return status, fields, await self.receive(int(fields["content-length"]))

    async def chunks(self) -> bytes:
        data = b""
        while size := int(await self.line(), 16):
            data += await self.receive(size)
            assert await self.line() == b""
        assert await self.line() == b""
        return data

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        data, self.buffer = self.buffer, b""
        try:
            async for piece in self.stream:
                data += piece
        except trio.BrokenResourceError:
            pass
        return data


class Running:
    """A server, and clients of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(await WIRE.connect(self.port))
        self.clients.append(client)
        return client


def error_reply(status: int, text: str) -> Reply:
    return Reply(status, [("Content-Type", "text/plain")], text.encode())


@asynccontextmanager
async def serving(handler: Handler, **limits: Any) -> AsyncIterator[Running]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    running = Running(listener.socket.getsockname()[1])

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with running.scope:
            run = functools.partial(httpd.serve, handler, [listener], error_reply=error_reply, tls=WIRE.server)
            await run(limits=Limits(**limits), task_status=task_status)
        running.done.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        try:
            yield running
        finally:  # or the sockets of a test that failed are collected in another one, which fails for that
            for client in running.clients:
                await trio.aclose_forcefully(client.stream)
            running.scope.cancel()


async def echo(request: Request) -> Reply:
    body = await request.body.read(8 * MIB)
    return Reply(200, [("X-Seen", f"{request.method} {request.target}")], body)


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def put(size: int, *fields: str) -> bytes:
    head = "\r\n".join(["PUT /b/k HTTP/1.1", "Host: h", f"Content-Length: {size}", *fields])
    return f"{head}\r\n\r\n".encode()
