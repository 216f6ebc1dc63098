"""Accepting connections as far as there is room, ending idle ones, and stopping."""

import errno
import logging
import resource
import socket
import ssl

import trio

from appliance.httpd.connection import Connection, Shared
from appliance.httpd.messages import ErrorReply, Handler, Limits
from appliance.httpd.tls import answer as answer_tls

log = logging.getLogger(__name__)

_ACCEPT_PAUSE_S = 0.1
_LIMITS = Limits()
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


async def serve(
    handler: Handler,
    listeners: list[trio.SocketListener],
    *,
    error_reply: ErrorReply,
    limits: Limits = _LIMITS,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; then close the listeners, cut idle connections and give replies in flight `grace_s`.

    The handler is called in the task of its connection, and cancelled there at the end of the grace. An exception of it
    is logged and answered with `error_reply(500, text)`, as is every refusal of ours with its own status. With `tls` that
    is what clients have to speak.
    """
    shared = Shared(handler, error_reply, limits)
    async with trio.open_nursery() as nursery:
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(_accept, shared, listener, nursery, tls)
                accepting.start_soon(_cut_idle, shared)
                task_status.started()
        finally:
            for listener in listeners:
                listener.socket.close()
            _stop(shared)


async def _accept(
    shared: Shared, listener: trio.SocketListener, nursery: trio.Nursery, context: ssl.SSLContext | None
) -> None:
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            log.warning("can not accept a connection: %s", error)
            await trio.sleep(_ACCEPT_PAUSE_S)
            continue
        try:
            await _make_room(shared)
        except trio.Cancelled:
            stream.socket.close()
            raise
        if context is not None:
            nursery.start_soon(answer_tls, shared, stream, context)
            continue
        # trio has set TCP_NODELAY. From here on it is a plain socket: sendfile and one shared buffer need that.
        connection = Connection(shared, socket.socket(fileno=stream.socket.detach()))
        shared.connections.add(connection)
        nursery.start_soon(connection.run)


async def _make_room(shared: Shared) -> None:
    """Return when there is room for one more client. Meanwhile those who come later wait with the kernel."""
    while shared.count >= (shared.limits.connections or _most_connections()):
        if not _cut_idlest(shared):
            await trio.sleep(_ACCEPT_PAUSE_S)


def _most_connections() -> int:
    return max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)


def _cut_idlest(shared: Shared) -> bool:
    """End the connection that has been idle for the longest time. False if none is."""
    idle = (connection for connection in shared.connections if connection.idle)
    idlest = min(idle, key=lambda connection: connection.idle_until, default=None)
    if idlest is None:
        return False
    idlest.scope.cancel()
    shared.connections.discard(idlest)
    return True


async def _cut_idle(shared: Shared) -> None:
    """End what was idle for `Limits.idle_s`, or an eighth longer.

    A cancel scope around each wait would be exact, and costs a third of what a small request costs altogether.
    """
    while True:
        await trio.sleep(shared.limits.idle_s / 8)
        now = trio.current_time()
        for connection in shared.connections:
            if connection.idle_until < now:
                connection.scope.cancel()


def _stop(shared: Shared) -> None:
    shared.stopping = True
    deadline = trio.current_time() + shared.limits.grace_s
    for connection in shared.connections:
        if connection.idle:
            connection.scope.cancel()
        else:
            connection.scope.deadline = deadline
