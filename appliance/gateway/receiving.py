"""Receiving what is put: undoing the framing of a body, hashing it, staging it, checking it against everything announced."""

from collections.abc import Callable
from typing import Any

from appliance.gateway import signature
from appliance.gateway.checksums import Checksums
from appliance.gateway.chunked import ChunkedDecoder
from appliance.gateway.errors import S3Error
from appliance.gateway.request import Address, StagedObject
from appliance.httpd import BodyTooLarge, Request
from appliance.store.blobs import Receiver

_OBJECT_BYTES = 5 * 1024**3
_INLINE_HASH_BYTES = 64 * 1024
_STREAMING = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}
_MISMATCH = "The provided 'x-amz-content-sha256' header does not match what was computed."


class Incoming:
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


class Staging:
    """Receives the body of an upload; what was not published is dropped at the end."""

    def __init__(self, receiver: Receiver, incoming: Incoming, request: Request, run: Callable[..., Any]) -> None:
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
