"""The HTTP server, over real sockets, as clients good and bad use it."""

import functools
import resource
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from wire import GET, MIB, WIRE, Client, echo, error_reply, on_trio, put, serving

from appliance import httpd
from appliance.httpd import FileSlice, Reply, Request


@pytest.fixture(scope="module")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.fixture(autouse=True, params=["plain", "tls"])
def _wire(request: pytest.FixtureRequest, certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[None]:
    """Everything is the same over TLS."""
    if request.param == "tls":
        WIRE.server, WIRE.client = certificates
    yield
    WIRE.server = WIRE.client = None


async def deaf(request: Request) -> Reply:
    return Reply(200, [], b"did not listen")


@on_trio
async def test_connection_is_kept_alive() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        for number in range(3):
            await client.send(f"PUT /%20{number}?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n{number}".encode())
            status, fields, body = await client.reply()
            assert (status, body) == (200, b"%d" % number)
            assert fields["x-seen"] == f"PUT /%20{number}?a=b"
            assert "date" in fields
            assert "connection" not in fields


@on_trio
async def test_works_over_a_unix_socket(tmp_path: Path) -> None:
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(str(tmp_path / "s"))
    sock.listen()
    peers: list[str] = []

    async def handler(request: Request) -> Reply:
        peers.append(request.peer)
        return Reply(204)

    async with trio.open_nursery() as nursery:
        serve = functools.partial(httpd.serve, error_reply=error_reply)
        await nursery.start(serve, handler, [trio.SocketListener(sock)])
        client = Client(await trio.open_unix_socket(str(tmp_path / "s")))
        await client.send(GET)
        status, fields, _ = await client.reply()
        assert (status, "content-length" in fields, peers) == (204, False, ["unix"])
        await client.stream.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [GET, b"\x16\x03\x01\x00\x05hello"])
@on_trio
async def test_who_does_not_speak_tls_is_cut(certificates: tuple[ssl.SSLContext, ssl.SSLContext], first: bytes) -> None:
    WIRE.server, WIRE.client = certificates[0], None
    async with serving(echo) as server:
        stranger = await server.connect()
        await stranger.send(first)
        assert b"HTTP" not in await stranger.rest()
        WIRE.client = certificates[1]
        client = await server.connect()
        await client.send(GET)
        assert (await client.reply())[0] == 200


@on_trio
async def test_who_never_finishes_a_handshake_is_cut(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    WIRE.server, WIRE.client = certificates[0], None
    async with serving(echo, header_s=0.05) as server:
        assert await (await server.connect()).rest() == b""


@on_trio
async def test_clients_that_reset_their_connection_end_nothing_else() -> None:
    def reset(port: int, pause_s: float) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if WIRE.client is not None:
            sock = WIRE.client.wrap_socket(sock, server_hostname="127.0.0.1")
        with sock:
            sock.sendall(b"BAD REQUEST\r\n\r\n")
            select.select([], [], [], pause_s)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(echo) as server:
        for number in range(600):  # somewhere in there the reset comes between the reply and its end
            await trio.to_thread.run_sync(reset, server.port, number % 30 * 1e-4)
        client = await server.connect()
        await client.send(GET)
        assert (await client.reply())[0] == 200


@on_trio
async def test_the_handler_knows_whether_it_was_tls() -> None:
    async def tell(request: Request) -> Reply:
        return Reply(200, [], request.scheme.encode())

    async with serving(tell) as server:
        client = await server.connect()
        await client.send(GET)
        assert (await client.reply())[2] == (b"http" if WIRE.client is None else b"https")


@on_trio
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(b"".join(put(len(str(n))) + str(n).encode() for n in range(500)))
        for number in range(500):
            assert (await client.reply())[2] == str(number).encode()


@on_trio
async def test_request_may_arrive_byte_by_byte() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        for byte in put(5) + b"hello":
            await client.send(bytes([byte]))
        assert (await client.reply())[2] == b"hello"


@on_trio
async def test_headers_keep_order_spelling_and_repetition() -> None:
    seen: list[httpd.Headers] = []

    async def handler(request: Request) -> Reply:
        seen.append(request.headers)
        return Reply(200)

    async with serving(handler) as server:
        client = await server.connect()
        await client.send("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1 \r\nx-a: é\r\n\r\n".encode("latin-1"))
        await client.reply()
    (headers,) = seen
    assert headers.items() == [("Host", "h"), ("X-A", "1"), ("x-a", "é")]
    assert (headers.get("X-a"), headers.get_all("x-A"), "x-A" in headers) == ("1", ["1", "é"], True)
    assert (headers.get("x-b"), headers.get("x-b", "no"), "x-b" in headers) == (None, "no", False)


# Bodies


@on_trio
async def test_chunked_request_is_decoded() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(
            b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: v\r\n\r\n" + GET
        )
        assert (await client.reply())[2] == b"abcde"
        assert (await client.reply())[1]["x-seen"] == "GET /"


@on_trio
async def test_continue_is_sent_when_the_body_is_wanted() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(put(5, "Expect: 100-continue"))
            assert (await client.reply())[0] == 100
            await client.send(b"hello")
            assert (await client.reply())[2] == b"hello"


@on_trio
async def test_continue_is_not_sent_when_the_body_is_not_wanted() -> None:
    async with serving(deaf) as server:
        client = await server.connect()
        await client.send(put(5, "Expect: 100-continue"))
        status, fields, _ = await client.reply()
        assert (status, fields["connection"]) == (200, "close")
        assert await client.rest() == b""


@on_trio
async def test_continue_is_not_sent_when_the_body_is_here() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(put(5, "Expect: 100-continue") + b"hello")
        assert (await client.reply())[2] == b"hello"


@on_trio
async def test_continue_is_sent_before_an_empty_body_too() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(put(0, "Expect: 100-continue"))
            assert (await client.reply())[0] == 100
            assert (await client.reply())[0] == 200


@on_trio
async def test_connection_ends_with_an_answer_instead_of_continue() -> None:
    async with serving(deaf) as server:
        client = await server.connect()
        await client.send(put(0, "Expect: 100-continue"))
        status, fields, _ = await client.reply()
        assert (status, fields["connection"]) == (200, "close")


@on_trio
async def test_small_unread_body_is_dropped_and_the_connection_kept() -> None:
    async with serving(deaf) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(put(MIB) + bytes(MIB))
            assert (await client.reply())[2] == b"did not listen"


@on_trio
async def test_large_unread_body_closes_after_the_reply_was_read() -> None:
    async with serving(deaf) as server:
        client = await server.connect()
        await client.send(put(8 * MIB) + bytes(8 * MIB))
        status, fields, _ = await client.reply()
        assert (status, fields["connection"]) == (200, "close")
        assert await client.rest() == b""


@on_trio
async def test_body_above_the_limit_of_the_reader_is_413() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(put(9 * MIB, "Expect: 100-continue"))
        assert (await client.reply())[0] == 413


@on_trio
async def test_server_does_not_buffer_what_the_handler_does_not_read() -> None:
    release = trio.Event()
    arrived = 0

    async def handler(request: Request) -> Reply:
        nonlocal arrived
        await release.wait()
        async for piece in request.body:
            assert len(piece) <= 256 * 1024
            arrived += len(piece)
        return Reply(200)

    size = 64 * MIB
    sent = 0

    async def send(client: Client) -> None:
        nonlocal sent
        await client.send(put(size))
        for _ in range(size // MIB):
            await client.send(bytes(MIB))
            sent += MIB

    async with serving(handler) as server, trio.open_nursery() as nursery:
        client = await server.connect()
        nursery.start_soon(send, client)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert sent < size // 2  # the rest waits in the kernel's buffers and with the client
        release.set()
        assert (await client.reply())[0] == 200
        assert arrived == size


@on_trio
async def test_client_that_leaves_is_reported_to_the_handler() -> None:
    errors: list[Exception] = []
    told = trio.Event()

    async def handler(request: Request) -> Reply:
        try:
            return await echo(request)
        except Exception as error:
            errors.append(error)
            raise
        finally:
            told.set()

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(put(10) + b"short")
        await client.stream.aclose()
        await told.wait()
    assert [type(error) for error in errors] == [httpd.ClientGone]


@on_trio
async def test_handler_may_answer_a_short_body() -> None:
    if WIRE.client is not None:
        pytest.skip("TLS has no end of one direction alone")

    async def handler(request: Request) -> Reply:
        try:
            return await echo(request)
        except httpd.ClientGone:
            return Reply(400, [], b"incomplete")

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(put(10) + b"short")
        await client.stream.send_eof()
        status, fields, body = await client.reply()
        assert (status, fields["connection"], body) == (400, "close", b"incomplete")


@on_trio
async def test_stalled_body_is_408() -> None:
    async with serving(echo, stall_s=0.05) as server:
        client = await server.connect()
        await client.send(put(10) + b"short")
        status, fields, _ = await client.reply()
        assert (status, fields["connection"]) == (408, "close")


@on_trio
async def test_broken_chunk_is_400() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")
        assert (await client.reply())[0] == 400
        assert await client.rest() == b""


@on_trio
async def test_endless_trailer_is_refused() -> None:
    async with serving(echo, header_bytes=1024) as server:
        client = await server.connect()
        await client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + bytes([65]) * 300_000)
        assert (await client.reply())[0] == 400


@on_trio
async def test_offer_to_upgrade_is_passed_over() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        await client.send(put(5, *offer) + b"hello" + put(0, *offer) + put(2) + b"ok")
        assert [(await client.reply())[2] for _ in range(3)] == [b"hello", b"", b"ok"]
        await client.send(put(3, *offer))
        await client.send(b"end")
        assert (await client.reply())[2] == b"end"


# Replies


@on_trio
async def test_head_has_headers_and_no_body() -> None:
    async def handler(request: Request) -> Reply:
        return Reply(200, [("Content-Length", "1234")], b"")

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.reply(head=True))[1]["content-length"] == "1234"


@pytest.mark.parametrize("status", [204, 304])
@on_trio
async def test_status_without_body_has_none(status: int) -> None:
    async def handler(request: Request) -> Reply:
        return Reply(status, [], b"dropped")

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[0] == status


@on_trio
async def test_file_ranges_and_bytes_are_sent_in_order(tmp_path: Path) -> None:
    content = bytes(range(256)) * (16 * 1024)
    path = tmp_path / "file"
    path.write_bytes(content)
    slices = [
        FileSlice(path, None, 1, 10),
        FileSlice(None, b"-between-", 1, 7),
        FileSlice(path, None, 3, 4 * MIB - 5),
        FileSlice(path, None, 0, 0),
        FileSlice(None, content, 7, 3 * MIB),
        FileSlice(path, None, 4 * MIB - 2, 2),
    ]
    expected = content[1:11] + b"between" + content[3 : 4 * MIB - 2] + content[7 : 7 + 3 * MIB] + content[-2:]

    async def handler(request: Request) -> Reply:
        return Reply(200, [], slices)

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[2] == expected


@pytest.mark.parametrize("length", [1000, 2 * MIB])
@on_trio
async def test_short_file_cuts_the_connection(tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(length - 1))
    released: list[bool] = []

    async def handler(request: Request) -> Reply:
        return Reply(200, [], [FileSlice(path, None, 0, length)], lambda: released.append(True))

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(GET)
        data = await client.rest()
        assert len(data.partition(b"\r\n\r\n")[2]) < length
    assert released == [True]
    assert "promised" in caplog.text


@pytest.mark.parametrize("length", [1000, 2 * MIB])
@on_trio
async def test_file_that_can_not_be_opened_is_an_answer_and_no_cut(
    tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    slices = [FileSlice(None, bytes(length), 0, 1000), FileSlice(tmp_path / "missing", None, 0, length)]

    async def handler(request: Request) -> Reply:
        return Reply(200, [], slices)

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[0] == 500
    assert "can not be opened" in caplog.text


@pytest.mark.parametrize("length", [1000, 2 * MIB])
@on_trio
async def test_too_many_open_files_are_503(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(length))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def handler(request: Request) -> Reply:
        if request.method == "PUT":
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        return Reply(200, [], [FileSlice(path, None, 0, length)], lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(put(0))
        assert (await client.reply())[::2] == (503, b"too many files are open")
        await client.send(GET)
        assert (await client.reply())[::2] == (200, bytes(length))


@on_trio
async def test_stream_is_sent_as_it_comes_and_dropped_when_the_client_leaves() -> None:
    more, closed = trio.Event(), trio.Event()

    async def lines() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            yield b""
            await more.wait()
            yield b"two\n"
            await trio.sleep_forever()
        finally:
            closed.set()

    async def handler(request: Request) -> Reply:
        return Reply(200, [], lines())

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(GET)
        while await client.line():
            pass
        assert await client.receive(9) == b"4\r\none\n\r\n"
        more.set()
        assert await client.line() == b"4"
        await client.stream.aclose()
        await closed.wait()


@on_trio
async def test_finished_stream_keeps_the_connection() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def handler(request: Request) -> Reply:
        return Reply(200, [], lines())

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[2] == b"onetwo"
        await client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n")
        await client.reply(head=True)
        status, fields, body = await client.reply(head=True)
        assert (status, "transfer-encoding" in fields, body) == (200, False, b"")
        assert await client.rest() == b"onetwo"


@on_trio
async def test_http_1_0_closes_unless_asked_to_keep() -> None:
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.reply())[1]["connection"] == "keep-alive"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.reply())[1]["connection"] == "close"
        assert await client.rest() == b""


@on_trio
async def test_slow_reader_is_cut() -> None:
    released = trio.Event()

    async def handler(request: Request) -> Reply:
        return Reply(200, [], bytes(64 * MIB), released.set)

    async with serving(handler, stall_s=0.05) as server:
        client = await server.connect()
        await client.send(GET)
        await released.wait()
        assert len(await client.rest()) < 64 * MIB


# Errors


@on_trio
async def test_exception_of_the_handler_is_500_and_the_connection_stays(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Reply:
        raise ZeroDivisionError

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(put(5) + b"hello")
            assert (await client.reply())[0] == 500
    assert "ZeroDivisionError" in caplog.text
    assert "PUT /b/k failed" in caplog.text


@pytest.mark.parametrize(
    "reply",
    [
        ([("X-A", "a\r\nX-B: b")], b""),
        ([("X-A", "a\nb")], b""),
        ([("X-A", "日本")], b""),
        ([("Content-Length", "3")], b"four"),
        ([("Content-Length", "x")], b""),
    ],
)
@on_trio
async def test_reply_that_can_not_be_sent_is_500(
    reply: tuple[list[tuple[str, str]], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    released: list[bool] = []

    async def handler(request: Request) -> Reply:
        return Reply(200, *reply, lambda: released.append(True))

    async with serving(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.reply())[0] == 500
    assert released == [True, True]
    assert "can not be sent" in caplog.text


HOST = b"Host: h\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n" + HOST + b"\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"CONNECT h:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 300_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 20_000, 431),
    ],
)
@on_trio
async def test_bad_request_is_refused_and_what_follows_not_read(request_bytes: bytes, status: int) -> None:
    seen: list[str] = []

    async def handler(request: Request) -> Reply:
        seen.append(request.target)
        return await echo(request)

    async with serving(handler) as server:
        client = await server.connect()
        await client.send(b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n" + request_bytes + GET)
        assert (await client.reply())[0] == 200
        got, fields, _ = await client.reply()
        assert (got, fields["connection"]) == (status, "close")
        assert await client.rest() == b""
    assert seen == ["/good"]


# Patience, and the end


@on_trio
async def test_idle_connection_is_closed() -> None:
    async with serving(echo, idle_s=0.05) as server:
        client = await server.connect()
        assert await client.rest() == b""
        client = await server.connect()
        await client.send(GET)
        await client.reply()
        assert await client.rest() == b""


@on_trio
async def test_only_idle_connections_count_as_idle() -> None:
    answer = trio.Event()

    async def handler(request: Request) -> Reply:
        await answer.wait()
        return await echo(request)

    async with serving(handler, idle_s=0.5) as server:
        busy, sending = await server.connect(), await server.connect()
        await busy.send(GET)
        await sending.send(GET[:20])
        assert await (await server.connect()).rest() == b""  # so the time of the two others is up as well
        answer.set()
        await sending.send(GET[20:])
        assert [(await client.reply())[0] for client in (busy, sending)] == [200, 200]


@on_trio
async def test_slow_head_is_408() -> None:
    async with serving(echo, header_s=0.05) as server:
        client = await server.connect()
        await client.send(GET[:20])
        assert (await client.reply())[0] == 408
        assert await client.rest() == b""


@on_trio
async def test_stop_cuts_idle_connections_and_finishes_replies() -> None:
    asked, answer = trio.Event(), trio.Event()

    async def handler(request: Request) -> Reply:
        asked.set()
        await answer.wait()
        return Reply(200, [], b"in time")

    async with serving(handler, grace_s=10) as server:
        idle, busy = await server.connect(), await server.connect()
        await busy.send(GET)
        await asked.wait()
        server.scope.cancel()
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await server.connect()
        answer.set()
        status, fields, body = await busy.reply()
        assert (status, fields["connection"], body) == (200, "close", b"in time")
        await server.done.wait()


@on_trio
async def test_stop_waits_no_longer_than_its_grace() -> None:
    asked, cancelled = trio.Event(), trio.Event()

    async def handler(request: Request) -> Reply:
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(handler, grace_s=0.05) as server:
        client = await server.connect()
        await client.send(GET)
        await asked.wait()
        server.scope.cancel()
        await server.done.wait()
        assert cancelled.is_set()
        assert await client.rest() == b""
