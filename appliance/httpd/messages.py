"""What a handler is given and what it answers with: requests, bodies, replies, their errors, and the limits of both."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class BodyError(Exception):
    """A request body that did not arrive. A handler that lets it pass needs no answer of its own to it."""


class ClientGone(BodyError):
    """The client closed the connection before the end of the body it announced."""


class BodyStalled(BodyError):
    """No byte of the body arrived for `Limits.stall_s`; answered with 408."""


class BodyMalformed(BodyError):
    """The chunked transfer coding is broken; answered with 400."""


class BodyTooLarge(BodyError):
    """More bytes than `Body.read` was allowed to take; answered with 413."""


class Headers:
    """Header fields in the order, spelling and repetition they were sent in; looked up without regard to case."""

    __slots__ = ("_first", "_items")

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._items = list(items)
        self._first: dict[str, str] = {}
        for name, value in self._items:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header, decoded as Latin-1."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        name = name.lower()
        if len(self._first) == len(self._items):  # nothing is repeated
            return [self._first[name]] if name in self._first else []
        return [value for key, value in self._items if key.lower() == name]

    def items(self) -> list[tuple[str, str]]:
        """All fields as they were sent."""
        return list(self._items)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first


class Body:
    """The body of a request, read once. A client that asked for "100 Continue" gets it with the first read that waits.

    `receive` gives the next piece, empty at the end. Reading raises ClientGone, BodyStalled or BodyMalformed.
    `content_length` is None for chunked transfer and where there is no body.
    """

    __slots__ = ("_receive", "content_length")

    def __init__(self, content_length: int | None, receive: Callable[[], Awaitable[bytes]]) -> None:
        self.content_length = content_length
        self._receive = receive

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._receive()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge above `limit` bytes, before reading if the length was announced."""
        if self.content_length is not None and self.content_length > limit:
            raise BodyTooLarge(f"the body has {self.content_length} bytes, allowed are {limit}")
        pieces: list[bytes] = []
        async for piece in self:
            pieces.append(piece)
            limit -= len(piece)
            if limit < 0:
                raise BodyTooLarge("the body is larger than allowed")
        return b"".join(pieces)


@dataclass(slots=True)
class Request:
    """What a client asks. `target` is raw; `peer` is `address:port`, or `unix`."""

    method: str
    target: str
    headers: Headers
    body: Body
    scheme: str
    peer: str


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`length` bytes from `offset` of a file, or of bytes in memory: exactly one of `path` and `data` is set."""

    path: Path | None
    data: bytes | None
    offset: int
    length: int


ReplyBody = bytes | Sequence[FileSlice] | AsyncIterator[bytes]


@dataclass(slots=True)
class Reply:
    """What is answered. An iterator is sent piece by piece as chunked transfer and dropped when the client leaves.

    `on_sent` is called exactly once: the reply was sent, or never will be.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: ReplyBody = b""
    on_sent: Callable[[], None] | None = None


Handler = Callable[[Request], Awaitable[Reply]]
ErrorReply = Callable[[int, str], Reply]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take of us.

    `idle_s` is the wait for a request, `header_s` for the rest of its head, `stall_s` for the next byte of a body
    received or of a reply accepted, and `grace_s` what replies in flight get when the server stops. Who has kept us waiting
    for `stall_s` must have sent or taken `least_bytes_s` meanwhile: a byte now and then is a stall too.
    Beyond `connections` those that idle are closed for new ones, the longest idle first, and new ones wait where none
    does. None: an eighth of the files that the process may open, for a client needs up to four (TLS) and others need some.
    At most `pipelined` requests may be sent ahead of their replies.
    """

    header_bytes: int = 64 * 1024
    target_bytes: int = 16 * 1024
    connections: int | None = None
    pipelined: int = 1000
    least_bytes_s: float = 512
    idle_s: float = 75
    header_s: float = 20
    stall_s: float = 60
    grace_s: float = 0.5
