"""Decoder of aws-chunked bodies: bytes in, bytes out (pure).

Each chunk is a line with its size in hexadecimal and perhaps a signature, its data, and a line end; the last has the
size 0 and is followed by trailers, one in a line, and an empty line:

    400;chunk-signature=<64 hex digits>
    <1024 bytes>
    0;chunk-signature=<64 hex digits>
    x-amz-checksum-crc32:<value>
    x-amz-trailer-signature:<64 hex digits>

This is the body of an HTTP request, and not to be confused with the chunked transfer it may arrive in besides.
"""

import hashlib
import re
from collections.abc import Callable, Collection

from appliance.errors import IncompleteBody, InvalidRequest
from appliance.gateway.signature import ChunkVerifier, SignatureDoesNotMatch

_LINE_BYTES = 1024
_TRAILER_BYTES = 16 * 1024
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?\r\n")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class ChunkedDecoder:
    """Feed it the body as it arrives, then `close` it; `trailers` has lower-case names and is complete after that.

    `verify` checks the signature of each chunk, and of the trailers if there are any; None takes signatures as noise.
    The data of a chunk is handed out before its signature is known, so an error means to throw all of it away.
    `trailer_names` are those announced in x-amz-trailer, and these have to come. `decoded_length` is the announced size of
    the payload, if any.
    """

    def __init__(
        self,
        *,
        verify: ChunkVerifier | None,
        trailer_names: Collection[str] = (),
        decoded_length: int | None = None,
    ) -> None:
        self.trailers: dict[str, str] = {}
        self._verify = verify
        self._trailer_names = frozenset(name.strip().lower() for name in trailer_names)
        self._announced = decoded_length
        self._decoded = 0
        self._line = b""
        self._end_of_line: Callable[[bytes], None] = self._take_size
        self._left = 0
        self._signature = ""
        self._digest = hashlib.sha256()
        self._trailer_text = b""
        self._done = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payload in these bytes.

        Raises InvalidRequest for what is not aws-chunked, SignatureDoesNotMatch, and IncompleteBody if there is more
        payload than announced.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._take_data(piece)
                pieces.append(piece)
                at += len(piece)
            else:
                at = self._feed_line(data, at)
        return pieces

    def close(self) -> None:
        """Say that nothing follows. Raises IncompleteBody if something is missing."""
        if not self._done:
            raise IncompleteBody("The request body terminated unexpectedly")
        if self._announced is not None and self._decoded != self._announced:
            raise IncompleteBody(f"{self._announced} bytes were announced and {self._decoded} arrived")

    def _feed_line(self, data: bytes, at: int) -> int:
        """Collect a line and act on it when it is whole. Returns where the data goes on."""
        end = data.find(b"\n", at, at + _LINE_BYTES) + 1
        self._line += data[at : end or at + _LINE_BYTES]
        if len(self._line) > _LINE_BYTES or (not end and len(data) - at >= _LINE_BYTES):
            raise InvalidRequest("a line of the chunked body is too long")
        if not end:
            return len(data)
        line, self._line = self._line, b""
        self._end_of_line(line)
        return end

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise InvalidRequest("a chunk of the body does not start with its size")
        self._left = int(match[1], 16)
        self._signature = (match[2] or b"").decode()
        if self._announced is not None and self._decoded + self._left > self._announced:
            raise IncompleteBody(f"{self._announced} bytes were announced and more arrive")
        if self._left:
            self._end_of_line = self._take_end_of_data
        else:
            self._check_chunk()
            self._end_of_line = self._take_trailer

    def _take_data(self, piece: bytes) -> None:
        if self._verify is not None:
            self._digest.update(piece)
        self._left -= len(piece)
        self._decoded += len(piece)
        if not self._left:
            self._check_chunk()

    def _check_chunk(self) -> None:
        if self._verify is not None:
            self._verify.check_chunk(self._digest.hexdigest(), self._signature)
            self._digest = hashlib.sha256()

    def _take_end_of_data(self, line: bytes) -> None:
        if line != b"\r\n":
            raise InvalidRequest("a chunk of the body is longer than its size")
        self._end_of_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self._finish()
            return
        name, colon, value = line.decode("latin-1").strip().partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or name in self.trailers or name not in {*self._trailer_names, _TRAILER_SIGNATURE}:
            raise InvalidRequest(f"trailer {name!r} was not announced, comes twice or is malformed")
        self.trailers[name] = value
        if name != _TRAILER_SIGNATURE:
            # What is signed has bare line feeds, whatever was sent.
            self._trailer_text += f"{name}:{value}\n".encode("latin-1")
        if len(self._trailer_text) > _TRAILER_BYTES:
            raise InvalidRequest("the trailers of the body are too large")

    def _finish(self) -> None:
        signature = self.trailers.pop(_TRAILER_SIGNATURE, "")
        missing = self._trailer_names - self.trailers.keys()
        if missing:
            raise InvalidRequest(f"trailers are missing: {', '.join(sorted(missing))}")
        if self._verify is not None and self._trailer_names:
            self._verify.check_trailer(hashlib.sha256(self._trailer_text).hexdigest(), signature)
        elif signature and self._verify is not None:
            raise SignatureDoesNotMatch
        self._done = True
        self._end_of_line = self._take_rest

    def _take_rest(self, line: bytes) -> None:
        raise InvalidRequest("bytes follow the end of the chunked body")
