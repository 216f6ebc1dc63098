"""Pages of web servers as sources: one address, one file.

What a server announces (size, ETag) is held against what it sends; a connection that breaks off is taken up where it
stopped, if the server knows ranges and says that it is still the same page.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.util import Retry, Timeout, make_headers

from appliance.errors import InvalidRequest, TransferFailed
from appliance.external.failures import one_line
from appliance.external.pools import open_pool
from appliance.external.remote import Received, RemoteObject
from appliance.external.urls import ObjectUrl, printable

_PIECE_BYTES: Final = 1 << 20
_TRIES: Final = 4
_TIMEOUT: Final = Timeout(connect=5, read=20)
# Redirects are counted by themselves; what may pass is asked again after growing pauses, a few seconds altogether.
_RETRY: Final = Retry(
    total=None,
    connect=2,
    read=_TRIES,
    redirect=10,
    status=_TRIES,
    other=0,
    backoff_factor=0.2,
    status_forcelist=(408, 429, 500, 502, 503, 504),
    retry_after_max=5,
    raise_on_status=False,
)


def find_page(url: ObjectUrl, *, recursive: bool) -> Iterator[RemoteObject]:
    """The page at an address, as far as its server describes it. Raises InvalidRequest if asked for more than one."""
    if recursive:
        raise InvalidRequest(f"{url.name()}: a web server has no listing, -r is for object stores")
    return _find_page(url)


def read_page(obj: RemoteObject, received: Received) -> Iterator[bytes]:
    """Yield a page's bytes. Raises TransferFailed, also if it breaks off for good or changes meanwhile."""
    name = obj.url.name()
    for attempt in range(_TRIES):
        response = _request("GET", obj.url, _resume_headers(received) if attempt else {})
        try:
            if attempt and not _is_rest(response, received):
                raise TransferFailed(f"{name} changed while it was read")
            _check_status(response, name)
            if not attempt:
                _note(response, received)
            for piece in response.stream(_PIECE_BYTES, decode_content=False):
                received.size_bytes += len(piece)
                yield piece
        except HTTPError as error:
            cause = _cause(error)
        else:
            return
        finally:
            response.close()
        if received.etag is None:
            break
    raise TransferFailed(f"{name}: broke off after {received.size_bytes} bytes: {cause}")


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    return open_pool(_RETRY, _TIMEOUT)


def _find_page(url: ObjectUrl) -> Iterator[RemoteObject]:
    response = _request("HEAD", url, {})
    response.close()
    # Not every server answers HEAD; the GET will tell what is the matter.
    said = response.headers if response.status < 400 else {}
    etag = _etag(said)
    yield RemoteObject(
        url=url,
        key=url.key,
        relative_path=url.key.rpartition("/")[2],
        size_bytes=_size(said),
        etag=etag,
        modified_ns=_modified_ns(said),
        # A query may be a secret, and makes another page.
        address="" if urlsplit(url.private).query else url.address(url.key),
    )


def _request(method: str, url: ObjectUrl, headers: dict[str, str]) -> Any:
    parts = urlsplit(url.private, allow_fragments=True)
    user = parts.netloc.rpartition("@")[0]
    # As they are on the disk there: what is compressed on the way would have another size and digest.
    sent = {"Accept-Encoding": "identity", "User-Agent": "appliance", **headers}
    if user:
        sent.update(make_headers(basic_auth=unquote(user)))
    target = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    try:
        return _pool().request(method, target, headers=sent, preload_content=False)
    except HTTPError as error:
        cause = _cause(error)
    except UnicodeError as error:
        cause = str(error)
    raise TransferFailed(f'error retrieving content from "{url.name()}": {cause}')


def _check_status(response: Any, name: str) -> None:
    if response.status >= 400:
        raise TransferFailed(
            f'error retrieving content from "{name}": {response.status} {printable(response.reason or "")}'.rstrip()
        )
    if response.status not in (200, 203, 206):
        raise TransferFailed(f'error retrieving content from "{name}": {response.status} has no content')


def _note(response: Any, received: Received) -> None:
    received.etag = _etag(response.headers)
    received.modified_ns = _modified_ns(response.headers)
    for header in ("content-type", "content-encoding", "content-language", "content-disposition"):
        text = response.headers.get(header)
        if text and text.isascii() and text.isprintable():
            received.metadata[header] = text


def _resume_headers(received: Received) -> dict[str, str]:
    return {"Range": f"bytes={received.size_bytes}-", "If-Range": f'"{received.etag}"'}


def _is_rest(response: Any, received: Received) -> bool:
    begins = f"bytes {received.size_bytes}-"
    whole = response.status == 206 and response.headers.get("Content-Range", "").startswith(begins)
    return whole and _etag(response.headers) == received.etag


def _etag(headers: Any) -> str | None:
    """The ETag without quotes, if it stands for these very bytes: a weak one does not."""
    etag = headers.get("ETag") or ""
    return (etag.strip('"') or None) if etag.isascii() and etag.isprintable() and not etag.startswith("W/") else None


def _size(headers: Any) -> int | None:
    text = headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdecimal() else None


def _modified_ns(headers: Any) -> int | None:
    try:
        told = parsedate_to_datetime(headers.get("Last-Modified") or "")
    except ValueError:
        return None
    return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()) * 10**9


def _cause(error: HTTPError) -> str:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError):
        return one_line(f"certificate: {reason}", ())
    # "<connection object at 0x…>: words": the words are for people.
    return one_line(str(reason).rpartition(">: ")[2] or type(reason).__name__, ())
