"""Clients that take their time, and too many of them. The clock jumps; the sockets are real."""

import socket
import ssl

import pytest
import trio
import trustme
from wire import GET, MIB, WIRE, Client, echo, on_trio, put, serving, with_time_passing

from appliance.httpd import Reply, Request


async def trickle(client: Client, data: bytes, *, step: int, pause_s: float) -> None:
    """Send a little at a time until the other side has enough."""
    try:
        for start in range(0, len(data), step):
            await client.send(data[start : start + step])
            await trio.sleep(pause_s)
    except trio.BrokenResourceError:
        pass


@with_time_passing
async def test_head_that_trickles_is_408() -> None:
    async with serving(echo, header_s=20) as server, trio.open_nursery() as nursery:
        client, began = await server.connect(), trio.current_time()
        nursery.start_soon(lambda: trickle(client, put(1, "X: " + "a" * 200), step=1, pause_s=1))
        assert (await client.reply())[0] == 408
        assert trio.current_time() - began < 25
        nursery.cancel_scope.cancel()


@with_time_passing
async def test_body_that_trickles_is_408() -> None:
    async with serving(echo, stall_s=60) as server, trio.open_nursery() as nursery:
        client, began = await server.connect(), trio.current_time()
        nursery.start_soon(lambda: trickle(client, put(1000) + bytes(1000), step=100, pause_s=25))
        status, fields, _ = await client.reply()
        assert (status, fields["connection"]) == (408, "close")
        assert trio.current_time() - began < 100
        nursery.cancel_scope.cancel()


@with_time_passing
async def test_body_may_take_its_time_as_long_as_it_comes() -> None:
    async with serving(echo, stall_s=60) as server:
        client, began = await server.connect(), trio.current_time()
        await trickle(client, put(MIB) + bytes(MIB), step=64 * 1024, pause_s=50)
        assert (await client.reply())[::2] == (200, bytes(MIB))
        assert trio.current_time() - began > 600


@with_time_passing
async def test_reply_may_be_taken_slowly() -> None:
    async def large(request: Request) -> Reply:
        return Reply(200, [], bytes(16 * MIB))

    async with serving(large, stall_s=60, idle_s=float("inf")) as server:
        client = await server.connect()
        assert isinstance(client.stream, trio.SocketStream)
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        await client.send(GET)
        for _ in range(90):  # often enough for the kernel to have told the server, however busy the machine is
            client.buffer += await client.stream.receive_some(128 * 1024)
            await trio.sleep(10)
        status, _, body = await client.reply()
        assert (status, len(body)) == (200, 16 * MIB)


@on_trio
async def test_longest_idle_gives_way_to_new_clients() -> None:
    async with serving(echo, connections=3) as server:
        clients = []
        for _ in range(3):
            clients.append(await server.connect())
            await clients[-1].send(GET)
            await clients[-1].reply()
        await clients[0].send(GET)
        await clients[0].reply()
        newest = await server.connect()
        await newest.send(GET)
        assert (await newest.reply())[0] == 200
        assert await clients[1].rest() == b""
        for client in (clients[0], clients[2], newest):
            await client.send(GET)
            assert (await client.reply())[0] == 200


@with_time_passing
async def test_where_all_are_busy_new_clients_wait() -> None:
    asked, answer = trio.Event(), trio.Event()

    async def handler(request: Request) -> Reply:
        asked.set()
        await answer.wait()
        return Reply(200)

    async with serving(handler, connections=1) as server:
        busy = await server.connect()
        await busy.send(GET)
        await asked.wait()
        waiting = await server.connect()
        await waiting.send(GET)
        with trio.move_on_after(3) as patience:
            await waiting.line()
        assert patience.cancelled_caught
        answer.set()
        assert [(await client.reply())[0] for client in (busy, waiting)] == [200, 200]


@with_time_passing
async def test_half_a_handshake_takes_the_room_of_a_client_for_a_while() -> None:
    authority = trustme.CA()
    WIRE.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(WIRE.server)
    try:
        async with serving(echo, connections=1, header_s=2) as server:
            stranger = await server.connect()
            WIRE.client = ssl.create_default_context()
            authority.configure_trust(WIRE.client)
            client = await server.connect()
            assert trio.current_time() >= 2
            await client.send(GET)
            assert (await client.reply())[0] == 200
            assert await stranger.rest() == b""
    finally:
        WIRE.server = WIRE.client = None


@pytest.mark.parametrize("tail", [b"", b"nonsense\r\n\r\n"])
@on_trio
async def test_requests_too_far_ahead_of_their_replies_are_refused(tail: bytes) -> None:
    async with serving(echo, pipelined=10) as server:
        client = await server.connect()
        await client.send(GET * 30 + tail)
        assert [(await client.reply())[0] for _ in range(11)] == [*[200] * 10, 400]
        assert await client.rest() == b""


@on_trio
async def test_many_who_never_say_anything_disturb_nobody() -> None:
    async with serving(echo, connections=50) as server:
        for _ in range(200):
            await server.connect()
        client = await server.connect()
        await client.send(put(5) + b"hello")
        assert (await client.reply())[2] == b"hello"
