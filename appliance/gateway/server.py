"""The S3 gateway as a handler for `httpd`: who asks, what comes in, what goes out.

Bodies of objects are hashed and staged as they arrive and never in memory as a whole; those of everything else are XML of
bounded size. Reads are answered in the loop, where they take some 100 µs; whatever writes, lists or hashes much goes to a
worker thread. One instance serves one bucket map: the global gateway has one, and each job that asks.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple

import trio

from appliance.errors import ApplianceError
from appliance.gateway import cors, signature
from appliance.gateway.access import Admit
from appliance.gateway.backend import RepoBackend
from appliance.gateway.buckets import BucketMap
from appliance.gateway.checksums import Checksums
from appliance.gateway.chunked import ChunkedDecoder
from appliance.gateway.errors import S3Error, render, translate
from appliance.gateway.request import Address, StagedObject, find_virtual_bucket, make_request, parse_address
from appliance.gateway.responses import GatewayResponse
from appliance.gateway.views import BlobSlice
from appliance.httpd import BodyTooLarge, Reply, Request
from appliance.store import Store
from appliance.store.blobs import Receiver

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_XML_BYTES = 4 * 1024 * 1024
_OBJECT_BYTES = 5 * 1024**3
_INLINE_HASH_BYTES = 64 * 1024
_STREAMING = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}
_MISMATCH = "The provided 'x-amz-content-sha256' header does not match what was computed."


class Gateway:
    """Answers S3 requests about the buckets of one map."""

    def __init__(self, store: Store, buckets: BucketMap, *, strict: bool = False, admit: Admit | None = None) -> None:
        self._store, self._buckets, self._strict = store, buckets, strict
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
        address = parse_address(request.target, host)
        if request.method == "OPTIONS":
            return self._answer_preflight(request, address)
        claim, verifier, backend = self._authenticate(request, find_virtual_bucket(host))
        incoming = _Incoming(request, address, claim, verifier)
        if _carries_object(request, address):
            if request.body.content_length is None and "transfer-encoding" not in request.headers:
                raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
            backend.check_writable(address.bucket)
            async with _Staging(self._store.blobs.receive(), incoming, request, self._run) as staged:
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
        buckets = self._admit(claim.access_key if claim is not None else None)
        verifier = signature.verify_claim(claim, claim.access_key, now=datetime.now(UTC)) if claim is not None else None
        return claim, verifier, RepoBackend(self._store, buckets, strict=self._strict)

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
            address = parse_address(request.target, request.headers.get("host") or "")
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


class _Incoming:
    """A body on its way: undoes its framing and checks it against everything announced."""

    def __init__(
        self,
        request: Request,
        address: Address,
        claim: signature.Claim | None,
        verifier: signature.ChunkVerifier | None,
    ) -> None:
        header = request.headers.get
        signed = claim.payload_hash if claim is not None else None
        # A signature that leaves the body open says nothing of its framing, which a header may.
        says_nothing = signed is None or signed == signature.UNSIGNED_PAYLOAD
        self._announced = header("x-amz-content-sha256") if says_nothing else signed
        names = {name.lower() for name, _ in request.headers.items()}
        if request.method == "POST" and "uploadId" in address.query:
            # Completing an upload: its checksum headers are about the object, not about this body.
            names = set()
        trailers = {name.strip().lower() for name in (header("x-amz-trailer") or "").split(",") if name.strip()}
        self._decoder = self._make_decoder(header("x-amz-decoded-content-length"), verifier, trailers)
        self._checksums = Checksums(header, names, trailers)

    def _make_decoder(
        self, length: str | None, verifier: signature.ChunkVerifier | None, trailers: set[str]
    ) -> ChunkedDecoder | None:
        if self._announced not in _STREAMING:
            return None
        if length is None:
            raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
        if not (length.isascii() and length.isdecimal()) or len(length) > 19:
            raise S3Error("InvalidArgument", "x-amz-decoded-content-length is not a number")
        signed = self._announced != "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        return ChunkedDecoder(verify=verifier if signed else None, trailer_names=trailers, decoded_length=int(length))

    def take(self, piece: bytes) -> list[bytes]:
        """Return the payload in the next bytes from the wire."""
        payload = [piece] if self._decoder is None else self._decoder.feed(piece)
        for data in payload:
            self._checksums.update(data)
        return payload

    def finish(self, sha256: str, md5: bytes) -> dict[str, str]:
        """Check everything announced against the whole; return the verified checksums as headers."""
        if self._decoder is not None:
            self._decoder.close()
        elif self._announced and self._announced != signature.UNSIGNED_PAYLOAD and self._announced != sha256:
            raise S3Error("XAmzContentSHA256Mismatch", _MISMATCH)
        return self._checksums.check(md5, self._decoder.trailers if self._decoder is not None else {})


class _Staging:
    """Receives the body of an upload; what was not published is dropped at the end."""

    def __init__(self, receiver: Receiver, incoming: _Incoming, request: Request, run: Callable[..., Any]) -> None:
        self._receiver, self._incoming = receiver, incoming
        self._request, self._run = request, run
        self._staged: StagedObject | None = None

    async def __aenter__(self) -> StagedObject:
        length = self._request.body.content_length
        if length is not None and length > _OBJECT_BYTES + 16 * 1024 * 1024:
            raise BodyTooLarge
        with self._receiver as receiver:
            async for piece in self._request.body:
                await self._take(receiver, piece)
            blob = receiver.finish()
        try:
            checksums = self._incoming.finish(blob.digest.hex(), blob.md5)
        except BaseException:
            blob.discard()
            raise
        self._staged = StagedObject(blob, checksums)
        return self._staged

    async def __aexit__(self, *_exception: object) -> None:
        if self._staged is not None:
            self._staged.blob.discard()

    async def _take(self, receiver: Receiver, piece: bytes) -> None:
        if receiver.size_bytes + len(piece) > _OBJECT_BYTES + 16 * 1024 * 1024:
            raise BodyTooLarge
        if len(piece) < _INLINE_HASH_BYTES and receiver.size_bytes < _INLINE_HASH_BYTES:
            self._write(receiver, piece)
        else:
            await self._run(self._write, receiver, piece)

    def _write(self, receiver: Receiver, piece: bytes) -> None:
        for data in self._incoming.take(piece):
            receiver.write(data)


async def _read_small(request: Request, incoming: _Incoming) -> bytes:
    """Return the body of a request that is not an upload."""
    raw = await request.body.read(_XML_BYTES)
    if not raw and request.method in ("GET", "HEAD", "DELETE"):
        return b""
    data = b"".join(incoming.take(raw))
    incoming.finish(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).digest())
    return data
