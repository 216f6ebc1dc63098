"""Forms as browsers send them: fields in memory, the file after them as a stream.

The parser of multipart/form-data is werkzeug's, which moto brings.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html, RFC 7578
"""

import re
from collections.abc import Iterator, Mapping

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from appliance.gateway.errors import S3Error, invalid_argument
from appliance.httpd import Body, Headers

MEDIA_TYPE = "multipart/form-data"
_FIELDS_BYTES = 20 * 1024
_MOST_PARTS = 200
_BUFFER_BYTES = 1024 * 1024
_BOUNDARY_LENGTH = 70

# What may be said of the object, and the header that says it elsewhere.
_HEADERS = {"acl": "x-amz-acl", "tagging": None} | {
    name: name
    for name in (
        *("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"),
        *("x-amz-sdk-checksum-algorithm", "x-amz-storage-class", "x-amz-website-redirect-location"),
    )
}
_TOKEN = re.compile(r"[a-z0-9-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PREFIXES = ("x-amz-meta-", "x-amz-checksum-", "x-amz-server-side-encryption", "x-amz-object-lock-")


class Form:
    """What came before the file, by names in lower case, and the file. Raises S3Error for what is no form."""

    def __init__(self, content_type: str, body: Body) -> None:
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._body = body
        self._size_bytes = 0
        self._complete = False
        self._decoder = MultipartDecoder(_parse_boundary(content_type), _BUFFER_BYTES, max_parts=_MOST_PARTS)

    async def read_fields(self) -> None:
        """Read up to the first byte of the file."""
        name, value = "", bytearray()
        while not isinstance(event := await self._next(), Epilogue):
            if isinstance(event, Field | File):
                if event.name == "file":
                    self.filename = event.filename if isinstance(event, File) else ""
                    return
                name = _check_name(event.name, self.fields)
                value.clear()
                self._count(len(name))
            elif isinstance(event, Data) and name:
                value += event.data
                self._count(len(event.data))
                if not event.more_data:
                    self.fields[name] = _decode(value)
        raise invalid_argument("POST requires exactly one file upload per request.")

    async def read_file(self) -> bytes:
        """Return the next piece of the file, empty at its end. What comes after the file is nobody's business."""
        while not self._complete:
            event = await self._next()
            if isinstance(event, Data):
                self._complete = not event.more_data
                if event.data:
                    return bytes(event.data)
        return b""

    async def _next(self) -> Event:
        while isinstance(event := self._next_event(), NeedData):
            piece = await anext(self._body, None)
            try:
                self._decoder.receive_data(piece)
            except RequestEntityTooLarge:
                raise _malformed() from None
        return event

    def _next_event(self) -> Event:
        try:
            event: Event = self._decoder.next_event()
        except RequestEntityTooLarge:
            raise S3Error("MaxPostPreDataLengthExceededError", "Your POST request has too many fields.") from None
        except (ValueError, AttributeError):
            raise _malformed() from None
        return event

    def _count(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._size_bytes > _FIELDS_BYTES:
            message = "Your POST request fields preceding the upload file were too large."
            raise S3Error("MaxPostPreDataLengthExceededError", message)


def _parse_boundary(content_type: str) -> bytes:
    _, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if not (0 < len(boundary) <= _BOUNDARY_LENGTH and boundary.isascii()):
        raise _malformed()
    return bytes(boundary.encode())


def _check_name(name: str | None, before: Mapping[str, str]) -> str:
    if not name:
        raise _malformed()
    if name.lower() in before:
        raise invalid_argument("POST requires exactly one of each field per request.")
    return name.lower()


def _decode(value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def find_key(form: Form) -> str:
    """Return the key of the object. Raises S3Error InvalidArgument."""
    key = form.fields.get("key")
    if not key:
        message = "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
        raise invalid_argument(message)
    name = form.filename.replace("\\", "/").rpartition("/")[2]  # some browsers send a whole path
    return key.replace("${filename}", name)


def iter_headers(fields: Mapping[str, str], tags: str | None) -> Iterator[tuple[str, str]]:
    """Yield what the fields say of the object, as headers of a put would. Raises S3Error InvalidArgument."""
    for name, value in fields.items():
        header = _HEADERS.get(name) or (name if name.startswith(_PREFIXES) else None)
        if header is None:
            continue
        if not _TOKEN.fullmatch(header) or _CONTROL.search(value):
            raise invalid_argument(f"The form field {name[:100]} can not be a header")
        yield header, value.encode().decode("latin-1")
    if tags is not None:
        yield "x-amz-tagging", tags


def make_headers(fields: Mapping[str, str], tags: str | None) -> Headers:
    """Return the headers of the put that a form stands for."""
    return Headers(iter_headers(fields, tags))


def _malformed() -> S3Error:
    message = "The body of your POST request is not well-formed multipart/form-data."
    return S3Error("MalformedPOSTRequest", message)
