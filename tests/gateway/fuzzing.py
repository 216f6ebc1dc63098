"""Hostile input: requests that are nearly right, made from a seed, and what an answer to any of them must be.

`make_input` gives the bytes of one connection. `exchange` sends them, closes its side and returns what is wrong with what
comes back: an answer of 5xx other than 501 and 505, XML that is none, a connection that stays open.
"""

import base64
import hashlib
import hmac
import random
import re
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree import ElementTree

LONGEST_S = 20.0
_RECEIVE_BYTES = 1024 * 1024
# What is not offered, and a version of HTTP that is not spoken.
_HONEST = (501, 505)
_MOST_BYTES = 64 * 1024 * 1024

BUCKETS = ("master.data", "data", "dev.data", "master.none", "0123456789abcdef0123456789abcdef.data", "out", "Master.Data")
KEYS = ("a", "dir/b", "dir/", "ü/é", "a b+c", "", "dir/deep/er/x", "a/below", "no\x01\x1f\r\uffffxml")
_QUERIES = (
    *(
        "uploads",
        "uploadId=1",
        "versions",
        "versioning",
        "acl",
        "cors",
        "tagging",
        "location",
        "delete",
        "policy",
        "attributes",
    ),
    *(
        "list-type=2",
        "max-keys=3",
        "max-keys=-1",
        "max-keys=99999999999999999999",
        "delimiter=/",
        "delimiter=%00",
        "prefix=d",
    ),
    *("marker=a", "continuation-token=x", "start-after=a", "encoding-type=url", "encoding-type=x", "fetch-owner=true"),
    *("partNumber=1", "partNumber=x", "partNumber=0", "versionId=null", "versionId=x", "versionId=master^", "key-marker=a"),
    *(
        "response-content-type=x%0d%0ay",
        "response-expires=x",
        "x-id=GetObject",
        "select",
        "restore",
        "torrent",
        "max-uploads=1",
    ),
    *(
        "Action=x",
        "x=%",
        "%ff=%fe",
        "=",
        "&",
        "a=" + "b" * 3000,
        "version-id-marker=x",
        "upload-id-marker=x",
        "part-number-marker=1",
    ),
)
_HEADERS = (
    *(
        "Content-Type: text/plain",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: multipart/form-data; boundary=",
    ),
    *("Range: bytes=0-1", "Range: bytes=-1", "Range: bytes=5-2", "Range: bytes=0-99999999999999999999", "Range: lines=1"),
    *("If-Match: *", 'If-Match: "x"', "If-None-Match: *", "If-Modified-Since: never", "If-Range: x"),
    *("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "Expect: 100-continue", "Expect: 200-ok", "Connection: close"),
    *(
        "x-amz-copy-source: /master.data/a",
        "x-amz-copy-source: master.data/a?versionId=x",
        "x-amz-copy-source: %ff",
        "x-amz-copy-source: /",
    ),
    *("x-amz-copy-source-range: bytes=0-1", "x-amz-metadata-directive: REPLACE", "x-amz-metadata-directive: x"),
    *(
        "x-amz-meta-a: b",
        "x-amz-meta-ü: \xff",
        "x-amz-tagging: a=b&c",
        "x-amz-tagging: %ff=1",
        "x-amz-acl: public-read",
        "x-amz-acl: x",
    ),
    *("x-amz-storage-class: GLACIER", "x-amz-storage-class: x", "x-amz-checksum-crc32: AAAAAA==", "x-amz-checksum-sha256: x"),
    *(
        "x-amz-sdk-checksum-algorithm: CRC32",
        "x-amz-trailer: x-amz-checksum-crc32",
        "x-amz-trailer: x",
        "x-amz-content-sha256: x",
    ),
    *("x-amz-content-sha256: UNSIGNED-PAYLOAD", "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-MD5: x"),
    *(
        "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-decoded-content-length: 5",
        "Content-Encoding: aws-chunked",
    ),
    *(
        "Origin: http://x",
        "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: x,y",
        "Date: x",
        "x-amz-date: x",
    ),
    *(
        "x-amz-server-side-encryption: AES256",
        "x-amz-object-attributes: ETag,Checksum,x",
        "x-amz-max-parts: x",
        "x-amz-mfa: 1",
    ),
    *("Authorization: AWS a:b", "Authorization: AWS :", "Authorization: Basic eDp4", "Authorization: AWS4-HMAC-SHA256 x"),
    "Authorization: AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Host: a",
        "Host: x.127.0.0.1",
    ),
    *("X: " + "y" * 9000, "Cookie: a=b", "\x00: x", " folded: x", "no colon", ": empty", "Content-Length: 5", "Upgrade: h2c"),
)
_XML = (
    "<Delete><Object><Key>a</Key></Object><Object><Key>zz</Key><VersionId>x</VersionId></Object></Delete>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
    "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>",
    "<AccessControlPolicy><AccessControlList><Grant><Grantee><ID>x</ID></Grantee><Permission>READ</Permission></Grant>"
    "</AccessControlList></AccessControlPolicy>",
    '<!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<Delete><Object><Key>&d;</Key></Object></Delete>",
    '<!DOCTYPE a SYSTEM "file:///etc/passwd"><Delete/>',
    "<a>" * 2000,
    "<Delete>" + "<Object/>" * 1500 + "</Delete>",
    "<Delete a='" + "b" * 5000 + "'/>",
    "<Tagging><TagSet>" + "<Tag><Key>k</Key><Value>v</Value></Tag>" * 60 + "</TagSet></Tagging>",
    "<Delete><Object><Key>\x01\ufffe</Key></Object></Delete>",
    "",
)
_FIELD = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
_FILE = '--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ncontent\r\n--x--\r\n'
_POLICY = base64.b64encode(
    b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["starts-with", "$key", ""], {"acl": "x"}]}'
).decode()
_FIELDS = (
    *(
        ("acl", "private"),
        ("acl", "x"),
        ("Content-Type", "text/plain"),
        ("x-amz-meta-a", "b"),
        ("x-amz-meta-\u00fc", "\u00fc"),
    ),
    *(("success_action_status", "201"), ("success_action_redirect", "http://a/?b"), ("success_action_redirect", "http://[")),
    *(("tagging", _XML[2]), ("tagging", "<"), ("policy", _POLICY), ("policy", "e30="), ("policy", "x"), ("signature", "x")),
    *(
        ("AWSAccessKeyId", "k"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-signature", "0"),
        ("x-amz-date", "20200101T000000Z"),
    ),
    *(("x-amz-credential", f"k/20200101/{region}/s3/aws4_request") for region in ("us-east-1", "\u65e5\u672c")),
    *(("x-amz-checksum-sha256", "x"), ("x-amz-storage-class", "GLACIER"), ("x-amz-website-redirect-location", "x")),
)


def make_input(source: random.Random) -> bytes:
    """Return the bytes of one connection: a request, often broken somewhere."""
    request = source.choice(_SHAPES)(source)
    return _mutate(source, request) if source.random() < 0.5 else request


def _target(source: random.Random) -> str:
    bucket, key = source.choice(BUCKETS), quote(source.choice(KEYS))
    path = source.choice(
        ("/", f"/{bucket}", f"/{bucket}/", f"/{bucket}/{key}", f"/{bucket}/{key}", f"/{bucket}/%2e%2e/{key}")
    )
    query = "&".join(source.sample(_QUERIES, source.choice((0, 0, 1, 1, 2, 4))))
    return f"{path}?{query}" if query else path


def _request(source: random.Random, method: str, target: str, headers: Sequence[str], body: bytes) -> bytes:
    extra = source.sample(_HEADERS, source.choice((0, 0, 1, 1, 2, 5)))
    version = source.choice(("1.1",) * 8 + ("1.0", "2.0", "0.9"))
    head = "\r\n".join([f"{method} {target} HTTP/{version}", "Host: 127.0.0.1", *headers, *extra])
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def _plain(source: random.Random) -> bytes:
    method = source.choice(("GET", "HEAD", "DELETE", "OPTIONS", "GET", "PUT", "POST", "PATCH", "TRACE", "get", "\x7f"))
    return _request(source, method, _target(source), (), b"")


def _put(source: random.Random) -> bytes:
    body = source.randbytes(source.choice((0, 1, 5, 300, 40_000)))
    length = source.choice((len(body),) * 5 + (len(body) + 1, max(0, len(body) - 1), -1, 2**70))
    return _request(source, "PUT", _target(source), [f"Content-Length: {length}"], body)


def _chunked(source: random.Random) -> bytes:
    body = source.randbytes(source.choice((0, 5, 300)))
    size = source.choice((f"{len(body):x}",) * 4 + ("ffffffffffffffff", "-1", "g", f"{len(body):x};ext=1"))
    framed = size.encode() + b"\r\n" + body + b"\r\n0\r\n" + source.choice((b"\r\n", b"x: y\r\n\r\n", b""))
    return _request(source, "PUT", _target(source), ["Transfer-Encoding: chunked"], framed)


def _aws_chunked(source: random.Random) -> bytes:
    body = source.randbytes(source.choice((0, 5, 300)))
    trailer = b"x-amz-checksum-crc32:AAAAAA==\r\n" if source.random() < 0.5 else b""
    signature = b";chunk-signature=" + b"0" * 64 if source.random() < 0.5 else b""
    framed = b"%x%b\r\n%b\r\n0%b\r\n%b\r\n" % (len(body), signature, body, signature, trailer)
    kind = source.choice(("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
    headers = [
        f"x-amz-content-sha256: {kind}",
        f"x-amz-decoded-content-length: {len(body)}",
        f"Content-Length: {len(framed)}",
    ]
    if trailer:
        headers.append("x-amz-trailer: x-amz-checksum-crc32")
    return _request(source, "PUT", _target(source), headers, framed)


def _xml(source: random.Random) -> bytes:
    body = source.choice(_XML).encode()
    if source.random() < 0.5:
        body = _mutate(source, body)
    query = source.choice(("delete", "uploadId=1", "tagging", "versioning", "cors", "acl", "uploads", "x"))
    path = f"/{source.choice(BUCKETS)}" + source.choice(("", "/a"))
    method = source.choice(("PUT", "POST"))
    return _request(source, method, f"{path}?{query}", [f"Content-Length: {len(body)}"], body)


def _form(source: random.Random) -> bytes:
    fields = [("key", source.choice(KEYS) or "form"), *source.sample(_FIELDS, source.choice((0, 1, 2, 5, 8)))]
    body = ("".join(_FIELD.format(*field) for field in fields) + _FILE).encode()
    if source.random() < 0.6:
        body = _mutate(source, body)
    headers = ["Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}"]
    return _request(source, "POST", f"/{source.choice(BUCKETS)}", headers, body)


def _presigned(source: random.Random) -> bytes:
    fields = [
        *("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Date=20200101T000000Z", "X-Amz-Expires=60", "X-Amz-SignedHeaders=host"),
        *("X-Amz-Credential=a%2F20200101%2Fus-east-1%2Fs3%2Faws4_request", "X-Amz-Signature=00", "AWSAccessKeyId=a"),
        *("Signature=x", "Expires=1", "X-Amz-Expires=99999999999", "X-Amz-Security-Token=x"),
    ]
    query = "&".join(source.sample(fields, source.randrange(1, len(fields))))
    return _request(source, "GET", f"/{source.choice(BUCKETS)}/a?{query}", (), b"")


def _signed(source: random.Random) -> bytes:
    """A right signature of version 4 over the least, so that what comes behind the signature is reached too."""
    path, now = f"/{source.choice(BUCKETS)}/{quote(source.choice(KEYS))}", datetime.now(UTC)
    day, stamp, body = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ"), source.randbytes(20)
    names, digest = "host;x-amz-content-sha256;x-amz-date", hashlib.sha256(body).hexdigest()
    headers = f"host:127.0.0.1\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n"
    canonical = f"PUT\n{path}\n\n{headers}\n{names}\n{digest}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    key = b"AWS4k"
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential=k/{scope}, SignedHeaders={names}, Signature={signature}"
    fields = [
        f"x-amz-content-sha256: {digest}",
        f"x-amz-date: {stamp}",
        f"Authorization: {authorization}",
        "Content-Length: 20",
    ]
    head = "\r\n".join([f"PUT {path} HTTP/1.1", "Host: 127.0.0.1", *fields])
    return head.encode() + b"\r\n\r\n" + body


def _noise(source: random.Random) -> bytes:
    return source.randbytes(source.randrange(1, 200))


_SHAPES: tuple[Callable[[random.Random], bytes], ...] = (
    *(_plain, _plain, _plain, _put, _put, _chunked, _aws_chunked, _xml, _xml, _form, _presigned, _signed, _noise),
)
_SPLINTERS = (
    b"\r\n",
    b"\n",
    b"\0",
    b"%",
    b"%00",
    b"\xff",
    b"<",
    b"&",
    b";",
    b":",
    b" ",
    b"\t",
    b"9" * 30,
    b"../",
    base64.b64encode(b"x"),
)


def _mutate(source: random.Random, data: bytes) -> bytes:
    """Break something: flip, insert, take out, repeat, cut off."""
    broken = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4))):
        at = source.randrange(len(broken) + 1)
        until = min(len(broken), at + source.choice((1, 1, 2, 10, 50)))
        match source.randrange(5):
            case 0 if at < len(broken):
                broken[at] ^= 1 << source.randrange(8)
            case 1:
                broken[at:at] = source.choice(_SPLINTERS)
            case 2:
                del broken[at:until]
            case 3:
                broken[at:at] = broken[at:until] * source.choice((1, 2, 20))
            case 4:
                del broken[source.randrange(len(broken) // 2, len(broken) + 1) :]
    return bytes(broken)


# -- asking


_HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]*\r\n")


def exchange(port: int, data: bytes) -> str | None:
    """Send the bytes of one connection and return what is wrong with the answer, None if nothing is."""
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # it was refused before its end
            pass
        try:
            answer = _receive(sock)
        except TimeoutError:
            return "the connection stays open"
        except ConnectionError:
            return None
    return judge(answer)


def _receive(sock: socket.socket) -> bytes:
    answer = bytearray()
    while piece := sock.recv(_RECEIVE_BYTES):
        answer += piece
        if len(answer) > _MOST_BYTES:
            break
    return bytes(answer)


def judge(answer: bytes) -> str | None:
    """Return what is wrong with everything that came back on a connection."""
    if answer and not _HEAD.match(answer):
        return f"no HTTP: {answer[:60]!r}"
    for found in _HEAD.finditer(answer):
        status = int(found[1])
        if status >= 500 and status not in _HONEST:
            return f"status {status}: {answer[found.start() : found.start() + 800]!r}"
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"application/xml" in head and f"Content-Length: {len(body)}".encode() in head and body:
        try:
            ElementTree.fromstring(body)
        except ElementTree.ParseError as error:
            return f"broken XML, {error}: {body[:300]!r}"
    return None
