"""Status line and headers of a reply, as bytes.

Framing belongs to the server: a handler's Connection and Transfer-Encoding headers are dropped, and a Content-Length that
is not the body's is an error of the handler.
"""

import email.utils
import functools
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from appliance.httpd.messages import Reply, ReplyBody
from appliance.httpd.parser import Message

_FRAMING = frozenset(("connection", "keep-alive", "transfer-encoding"))
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def render_head(message: Message, reply: Reply) -> bytes:
    """Return status line and headers. Raises ValueError if the reply can not be sent as HTTP."""
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    declared: str | None = None
    dated = False
    for name, value in reply.headers:
        lower = name.lower()
        if lower == "content-length":
            declared = value
        elif lower not in _FRAMING:
            dated = dated or lower == "date"
            lines.append(f"{name}: {value}")
    if not dated:
        lines.append(f"Date: {_http_date(int(time.time()))}")
    lines += _framing_lines(message, reply, declared)
    text = "\r\n".join(lines)
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise ValueError("a header with a line break")
    return f"{text}\r\n\r\n".encode("latin-1")


def _framing_lines(message: Message, reply: Reply, declared: str | None) -> list[str]:
    lines: list[str] = []
    if not message.keep_alive:
        lines.append("Connection: close")
    elif message.is_http_10:
        lines.append("Connection: keep-alive")
    size = size_bytes(reply.body)
    if reply.status < 200:
        raise ValueError(f"{reply.status} is not a final status")
    if reply.status == 204:
        return lines
    if message.method == "HEAD" or reply.status == 304:
        length = declared or (str(size) if size else None)
        return [*lines, f"Content-Length: {length}"] if length else lines
    if size is None:
        if declared is not None:
            raise ValueError("a stream with a Content-Length")
        return lines if message.is_http_10 else [*lines, "Transfer-Encoding: chunked"]
    if declared is not None and int(declared) != size:
        raise ValueError(f"Content-Length {declared} for a body of {size} bytes")
    return [*lines, f"Content-Length: {size}"]


def size_bytes(body: ReplyBody) -> int | None:
    """Return the size of a body, None for a stream."""
    if isinstance(body, bytes):
        return len(body)
    return None if isinstance(body, AsyncIterator) else sum(piece.length for piece in body)


def body_to_send(message: Message, reply: Reply) -> ReplyBody:
    """Return what of the body goes out: nothing for HEAD and the statuses without one."""
    return b"" if message.method == "HEAD" or reply.status in (204, 304) else reply.body


def asks_to_close(reply: Reply) -> bool:
    """Tell whether the handler wants the connection closed."""
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in reply.headers)


@functools.lru_cache(maxsize=2)
def _http_date(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)
