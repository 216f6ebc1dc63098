"""Where S3 clients come in: the addresses the gateway listens on, plain or with TLS, and whether anybody may."""

import gc
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from appliance import httpd
from appliance.config import Config, Tls
from appliance.errors import Conflict, InvalidRequest
from appliance.gateway.access import Admit
from appliance.gateway.buckets import BucketMap
from appliance.store import Store, auth


@dataclass(frozen=True, slots=True)
class Entrance:
    """Open listeners at one address; with `tls` that is what clients speak there."""

    listeners: list[trio.SocketListener]
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """What clients call it."""
        host, port = self.listeners[0].socket.getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def check_reach(store: Store, config: Config) -> tuple[str, ...]:
    """Return what is to be said about who can come in.

    Raises Conflict if other machines could while nobody has to say who they are, and nobody has allowed that.
    """
    hosts = " and ".join(config.open_hosts)
    if not hosts:
        return ()
    with store.snapshot() as db:
        active = auth.is_active(db)
    if not active and not config.anyone:
        raise Conflict(
            f"refusing to listen on {hosts}: other machines could read and change everything. Turn authentication on"
            " first (`appliance auth activate`), or allow it with --anyone"
        )
    return () if active else (f"anybody who reaches {hosts} can read and change everything",)


def load_certificate(tls: Tls) -> ssl.SSLContext:
    """Return how TLS is spoken with a certificate. Raises InvalidRequest."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"certificate {tls.certificate} with key {tls.key}: {error.strerror or error}") from None
    return context


async def listen(host: str, port: int, tls: ssl.SSLContext | None = None) -> Entrance:
    """Open an entrance; port 0 is a free one. Raises Conflict."""
    try:
        return Entrance(await trio.open_tcp_listeners(port, host=host), tls)
    except OSError as error:
        raise Conflict(f"can not listen on {host}:{port}: {error.strerror or error}") from None


@asynccontextmanager
async def serving(
    store: Store,
    buckets: BucketMap,
    entrances: Sequence[Entrance],
    *,
    strict: bool,
    admit: Admit | None = None,
    domains: Sequence[str] = (),
) -> AsyncIterator[None]:
    """Serve S3 for as long as the context is open. An error of the block leaves it as it is, in no group."""
    gateway = _LateGateway(store, buckets, strict=strict, admit=admit, domains=domains)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        for entrance in entrances:
            serve = partial(httpd.serve, gateway.handle, entrance.listeners, tls=entrance.tls, error_reply=_error_reply)
            await nursery.start(serve)
        nursery.start_soon(gateway.load)
        try:
            yield
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _LateGateway:
    """A gateway that is imported while the doors are already open: moto alone takes longer than everything else."""

    def __init__(self, store: Store, buckets: BucketMap, **settings: Any) -> None:
        self._store, self._buckets, self._settings = store, buckets, settings
        self._handler: httpd.Handler | None = None
        self._loading = trio.Lock()

    async def load(self) -> httpd.Handler:
        """Return the handler of requests, once it is there."""
        async with self._loading:
            if self._handler is None:
                self._handler = await trio.to_thread.run_sync(self._make)
        return self._handler

    async def handle(self, request: httpd.Request) -> httpd.Reply:
        """Answer a request."""
        handler = self._handler or await self.load()
        return await handler(request)

    def _make(self) -> httpd.Handler:
        from appliance.gateway.server import Gateway

        # What was imported stays. Looking for garbage in it stops every thread for a tenth of a second, again and again.
        gc.collect()
        gc.freeze()
        return Gateway(self._store, self._buckets, **self._settings).handle


def _error_reply(status: int, text: str) -> httpd.Reply:
    from appliance.gateway.server import error_reply

    return error_reply(status, text)
