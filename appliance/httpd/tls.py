"""TLS in front of a connection: a client's encrypted bytes on one side, a plain pair of sockets on the other.

So the connection behind it keeps everything it does with sockets (one shared receive buffer, sendfile, peeking), at the
price of one more copy for those who ask for TLS. One piece for each direction is held here.
"""

import logging
import socket
import ssl
from contextlib import suppress

import trio

from appliance.httpd.connection import Connection, Shared, peer_name

log = logging.getLogger(__name__)

_PIECE_BYTES = 64 * 1024
_GOODBYE_S = 1.0
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


async def answer(shared: Shared, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
    """Answer one client; never raises: others are served from the same nursery.

    One that does not speak TLS, or not in time, is cut; the end of the server leaves it its grace.
    """
    peer = peer_name(stream.socket)
    secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    try:
        await _shake_hands(shared, secured)
        with trio.CancelScope(shield=True):  # the connection behind has the deadlines
            await _carry(shared, secured, peer)
    except (trio.TooSlowError, *_GONE) as error:
        log.debug("%s: TLS: %r", peer, error.__cause__ or error)
    except Exception:
        log.exception("%s: the connection failed", peer)
    finally:
        with trio.move_on_after(_GOODBYE_S, shield=True), suppress(*_GONE):
            await secured.aclose()
        await trio.aclose_forcefully(secured)


async def _shake_hands(shared: Shared, secured: "trio.SSLStream[trio.SocketStream]") -> None:
    shared.handshakes += 1
    try:
        with trio.fail_after(shared.limits.header_s):
            await secured.do_handshake()
    finally:
        shared.handshakes -= 1


async def _carry(shared: Shared, secured: "trio.SSLStream[trio.SocketStream]", peer: str) -> None:
    """Carry bytes between a client and a connection of its own until both have ended."""
    near, far = socket.socketpair()
    connection = Connection(shared, far, scheme="https", peer=peer)
    shared.connections.add(connection)
    async with trio.SocketStream(trio.socket.from_stdlib_socket(near)) as plain, trio.open_nursery() as nursery:
        answered = trio.Event()

        async def run() -> None:
            await connection.run()
            answered.set()

        nursery.start_soon(run)
        nursery.start_soon(_receive, secured, plain)
        if await _send(plain, secured, shared.limits.stall_s):
            await trio.lowlevel.checkpoint()
            if not answered.is_set():  # it lets the client read its last reply; that one has to see that it is the last
                with suppress(*_GONE):
                    await secured.transport_stream.send_eof()
            await answered.wait()
        nursery.cancel_scope.cancel()
        await plain.aclose()


async def _receive(secured: "trio.SSLStream[trio.SocketStream]", plain: trio.SocketStream) -> None:
    """Carry what the client sends; its end, or its loss, is the end for the connection too."""
    with suppress(*_GONE):
        while piece := await secured.receive_some(_PIECE_BYTES):
            await plain.send_all(piece)
    with suppress(*_GONE):
        await plain.send_eof()


async def _send(plain: trio.SocketStream, secured: "trio.SSLStream[trio.SocketStream]", stall_s: float) -> bool:
    """Carry what is answered. False if the client is gone or takes nothing."""
    with suppress(*_GONE):
        while piece := await plain.receive_some(_PIECE_BYTES):
            with trio.move_on_after(stall_s) as patience:
                await secured.send_all(piece)
            if patience.cancelled_caught:
                return False
        return True
    return False
