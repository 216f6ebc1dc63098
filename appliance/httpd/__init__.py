"""HTTP/1.1 over trio sockets: requests in, replies out. Knows nothing of S3 or of what a handler does.

    socket → parser (llhttp) → handler(Request) → Reply → heads, sender → socket

messages    what a handler gets and gives; limits; errors of bodies
parser      bytes to requests, and which are refused
heads       status line and headers of replies
sender      replies onto the socket
connection  one client, from its first byte to the last
tls         the same behind TLS
server      accept, cut the idle, stop

One task for each connection does everything in turn: receive, parse, call the handler, send. So replies leave in the
order of their requests, and a slow handler or client holds up nobody else.
"""

from appliance.httpd.messages import (
    Body,
    BodyError,
    BodyMalformed,
    BodyStalled,
    BodyTooLarge,
    ClientGone,
    ErrorReply,
    FileSlice,
    Handler,
    Headers,
    Limits,
    Reply,
    ReplyBody,
    Request,
)
from appliance.httpd.server import serve

__all__ = [
    "Body",
    "BodyError",
    "BodyMalformed",
    "BodyStalled",
    "BodyTooLarge",
    "ClientGone",
    "ErrorReply",
    "FileSlice",
    "Handler",
    "Headers",
    "Limits",
    "Reply",
    "ReplyBody",
    "Request",
    "serve",
]
