"""The S3 gateway as a handler for `httpd`: who asks, what comes in, what goes out.

Bodies of objects are hashed and staged as they arrive and never in memory as a whole; those of everything else are XML of
bounded size. Reads are answered in the loop, where they take some 100 µs; whatever writes, lists or hashes much goes to a
worker thread. One instance serves one bucket map: the global gateway has one, and each job that asks.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple

import trio

from appliance.errors import ApplianceError
from appliance.gateway import cors, signature
from appliance.gateway.access import Admit
from appliance.gateway.backend import RepoBackend
from appliance.gateway.buckets import BucketMap
from appliance.gateway.errors import S3Error, not_implemented, render, translate
from appliance.gateway.form_upload import FormUpload
from appliance.gateway.receiving import Incoming, Staging
from appliance.gateway.request import Address, StagedObject, find_virtual_bucket, make_request, parse_address
from appliance.gateway.responses import GatewayResponse
from appliance.gateway.views import BlobSlice
from appliance.httpd import BodyTooLarge, Reply, Request
from appliance.store import Store

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_XML_BYTES = 4 * 1024 * 1024


class Gateway:
    """Answers S3 requests about the buckets of one map."""

    def __init__(
        self,
        store: Store,
        buckets: BucketMap,
        *,
        strict: bool = False,
        admit: Admit | None = None,
        domains: Sequence[str] = (),
    ) -> None:
        self._store, self._buckets, self._strict, self._domains = store, buckets, strict, domains
        self._admit: Admit = admit if admit is not None else lambda _access_key: buckets
        self._workers = trio.CapacityLimiter(64)

    async def handle(self, request: Request) -> Reply:
        """Answer one request; every error that is not a bug comes back as S3's XML."""
        request_id = secrets.token_hex(8).upper()
        try:
            reply = await self._answer(request)
        except S3Error as error:
            reply = _error_reply(error, request, request_id)
        except ApplianceError as error:
            reply = _error_reply(translate(error), request, request_id)
        except BodyTooLarge:
            refusal = S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            reply = _error_reply(refusal, request, request_id)
        reply.headers.extend(self._cors_headers(request))
        reply.headers.append(("x-amz-request-id", request_id))
        reply.headers.append(("Server", "appliance"))
        return reply

    async def _answer(self, request: Request) -> Reply:
        host = request.headers.get("host") or ""
        address = parse_address(request.target, host, self._domains)
        if request.method == "OPTIONS":
            return self._answer_preflight(request, address)
        if request.method == "POST" and address.bucket and address.key is None and "delete" not in address.query:
            return await self._answer_form(request, address)
        claim, verifier, backend = self._authenticate(request, find_virtual_bucket(host, self._domains))
        incoming = Incoming(request, address, claim, verifier)
        if _carries_object(request, address):
            if request.body.content_length is None and "transfer-encoding" not in request.headers:
                raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
            backend.check_writable(address.bucket)
            async with Staging(self._store.blobs.receive(), incoming, request, self._run) as staged:
                return await self._run(_respond, backend, request, address, staged)
        body = await _read_small(request, incoming)
        if request.method in ("GET", "HEAD") and address.key is not None:
            return _respond(backend, request, address, body)
        return await self._run(_respond, backend, request, address, body)

    def _authenticate(
        self, request: Request, bucket: str | None
    ) -> tuple[signature.Claim | None, signature.ChunkVerifier | None, RepoBackend]:
        """Check who asks, and return what that one may do. The secret of a key is the key itself; see `access`."""
        claim = signature.parse_claim(request.method, request.target, request.headers, bucket=bucket)
        return claim, *self._verify(claim)

    def _verify(self, claim: signature.Claim | None) -> tuple[signature.ChunkVerifier | None, RepoBackend]:
        buckets = self._admit(claim.access_key if claim is not None else None)
        verifier = signature.verify_claim(claim, claim.access_key, now=datetime.now(UTC)) if claim is not None else None
        return verifier, RepoBackend(self._store, buckets, strict=self._strict)

    async def _answer_form(self, request: Request, address: Address) -> Reply:
        """Receive an upload by a form; who sends it, and whether it may come, is decided before its file arrives."""
        if self._strict or address.query:
            raise not_implemented()
        form = await FormUpload.read(request, address.bucket)
        _, backend = self._verify(form.claim)
        form.check_policy()
        backend.check_writable(address.bucket)
        put = form.as_put()
        incoming = Incoming(put, form.address, None, None)
        async with Staging(self._store.blobs.receive(), incoming, put, self._run) as staged:
            return form.answer(await self._run(_respond, backend, put, form.address, staged))

    # -- what pages may read

    def _answer_preflight(self, request: Request, address: Address) -> Reply:
        """Say whether a page may send a request; browsers ask without signature."""
        allowed = self._find_cors(address, cors.parse_preflight(request.headers.get))
        if not allowed:
            message = "CORSResponse: This CORS request is not allowed."
            raise S3Error("AccessForbidden", message)
        return Reply(200, list(allowed.items()))

    def _cors_headers(self, request: Request) -> list[tuple[str, str]]:
        """Return what lets the page of whoever sent this read the answer; also an error, or it could not show it."""
        asked = cors.parse_actual(request.method, request.headers.get) if request.method != "OPTIONS" else None
        if asked is None:
            return []
        try:
            address = parse_address(request.target, request.headers.get("host") or "", self._domains)
        except S3Error:
            return []
        return list(self._find_cors(address, asked).items())

    def _find_cors(self, address: Address, asked: cors.Asked) -> dict[str, str]:
        try:
            with self._store.snapshot() as db:
                rules = self._buckets.get(db, address.bucket).get_settings(db).cors
        except (ApplianceError, S3Error):
            return {}
        return cors.answer(rules or (), asked)

    async def _run(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._workers)


def _respond(backend: RepoBackend, request: Request, address: Address, body: bytes | StagedObject) -> Reply:
    seen = make_request(request.method, request.target, request.headers, address, body)
    return _make_reply(*GatewayResponse(backend).respond(seen))


_CODES = {
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "EntityTooLarge",
    414: "KeyTooLongError",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


def error_reply(status: int, text: str) -> Reply:
    """Return the answer to what `httpd` refused by itself, in S3's dialect."""
    error = S3Error(_CODES.get(status, "InvalidRequest"), text, status)
    return Reply(status, [("Content-Type", "application/xml")], render(error, "", secrets.token_hex(8).upper()))


def _error_reply(error: S3Error, request: Request, request_id: str) -> Reply:
    headers = [("Content-Type", "application/xml"), *error.headers.items()]
    return Reply(error.status, headers, render(error, request.target.partition("?")[0], request_id))


def _make_reply(status: int, headers: dict[str, Any], body: Any) -> Reply:
    data = body.to_file_slices() if isinstance(body, BlobSlice) else body.encode() if isinstance(body, str) else body
    return Reply(status, [(name, str(value)) for name, value in headers.items() if value is not None], data)


def _carries_object(request: Request, address: Address) -> bool:
    """Tell whether the body is the content of an object or part."""
    if request.method != "PUT" or address.key is None or "x-amz-copy-source" in request.headers:
        return False
    return not address.query.keys() & _XML_BODIES


_XML_BODIES = {"acl", "legal-hold", "retention", "tagging", "restore", "select"}


async def _read_small(request: Request, incoming: Incoming) -> bytes:
    """Return the body of a request that is not an upload."""
    raw = await request.body.read(_XML_BYTES)
    if not raw and request.method in ("GET", "HEAD", "DELETE"):
        return b""
    data = b"".join(incoming.take(raw))
    incoming.finish(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).digest())
    return data
