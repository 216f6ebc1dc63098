"""Listings of Google's and Microsoft's stores where a profile gives the keys to sign with.

obstore's listings end at the first key that is not a clean path (`a//b`), and drop the slash behind a directory's marker; a
bucket may have both. So these are asked for here, as Amazon's are in `amazon`; everything else stays obstore's, and so do
listings with credentials that only obstore can find (variables, files, the machine's identity).
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree.ElementTree import Element, ParseError, fromstring

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError, TimeoutError
from urllib3.util import Retry, Timeout

from appliance.errors import TransferFailed
from appliance.external.credentials import Profile
from appliance.external.failures import explain_reply, one_line
from appliance.external.pages import EPOCH, Listed
from appliance.external.places import Place
from appliance.external.pools import open_pool

_LARGEST_PAGE_BYTES: Final = 64 << 20
_TRIES: Final = 4
_TIMEOUT: Final = Timeout(connect=5, read=20)
_RETRY: Final = Retry(
    total=7,
    connect=4,
    other=0,  # a certificate stays what it is
    backoff_factor=0.1,
    status_forcelist=(408, 429, 500, 502, 503, 504),
    retry_after_max=20,
    raise_on_status=False,
)
_AZURE_VERSION: Final = "2023-11-03"
_GOOGLE: Final = "https://storage.googleapis.com"
# https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_only"
_SYSTEM_MESSAGE = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")

Query = Mapping[str, str]
# Of the place's profile, a prefix and what the page before gave, the address of a page and the headers it is asked for with.
_AskPage = Callable[[Place, Profile, str, str], tuple[str, dict[str, str]]]
# What a page lists, and what gives the next one: None if there is none.
_ReadPage = Callable[[Element], tuple[list[Listed], str | None]]


def can_list(place: Place) -> bool:
    """Whether listings of a place are asked for here."""
    return place.profile is not None and place.profile.provider in _PAGES


def iter_listing(name: str, place: Place, hidden: tuple[str, ...], prefix: str) -> Iterator[Listed]:
    """All objects of a place that `can_list`, whose keys begin with a prefix. Raises TransferFailed, saying `name`."""
    assert place.profile is not None
    ask_page, read_page = _PAGES[place.profile.provider]
    token: str | None = ""
    while token is not None:
        try:
            url, headers = ask_page(place, place.profile, prefix, token)
        except ValueError:  # the library's words may quote the key
            raise TransferFailed(f"{name}: the key of profile {place.profile.name} can not be used to sign") from None
        listed, following = _ask(url, headers, read_page, name=name, place=place, hidden=hidden)
        yield from listed
        if following == token:
            raise TransferFailed(f"{name}: its listing has no end")
        token = following


# -- Google: the interface that speaks as Amazon does, which is obstore's, too


def _ask_google(place: Place, profile: Profile, prefix: str, token: str) -> tuple[str, dict[str, str]]:
    query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"} | ({"continuation-token": token} if token else {})
    account = json.loads(profile.secret_access_key)
    # A key of object_store's for emulators, which ask nobody who they are.
    headers = {} if account.get("disable_oauth") else {"Authorization": f"Bearer {_sign_google(profile.secret_access_key)}"}
    return f"{place.endpoint or _GOOGLE}/{place.bucket}?{urlencode(query, quote_via=quote)}", headers


def _read_google(page: Element) -> tuple[list[Listed], str | None]:
    more = page.findtext("{*}IsTruncated") == "true"
    token = page.findtext("{*}NextContinuationToken") if more else None
    return [_read_object(item) for item in page.iterfind("{*}Contents")], token


def _read_object(item: Element) -> Listed:
    told = datetime.fromisoformat(_text(item, "LastModified"))
    return Listed(_text(item, "Key"), int(_text(item, "Size")), _etag(item, "ETag"), _ns(told))


def _sign_google(credentials: str) -> str:
    """A token that a service account signs for itself: no other server has to be asked for one."""
    account = json.loads(credentials)
    now = int(time.time())
    head = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    who = account["client_email"]
    claims = {"iss": who, "sub": who, "scope": _GOOGLE_SCOPE, "iat": now, "exp": now + 3600}
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
    return b".".join((signed, _base64url(_google_key(account["private_key"])(signed)))).decode()


@lru_cache(maxsize=16)
def _google_key(pem: str) -> Callable[[bytes], bytes]:
    """What signs with a key. Raises ValueError for what is none."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key of a service account is one of RSA")  # noqa: TRY004 - as for a malformed one
    return lambda message: key.sign(message, PKCS1v15(), SHA256())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# -- Microsoft: https://learn.microsoft.com/rest/api/storageservices/list-blobs


def _ask_microsoft(place: Place, profile: Profile, prefix: str, token: str) -> tuple[str, dict[str, str]]:
    endpoint = place.endpoint or f"https://{place.account}.blob.core.windows.net"
    query = {"comp": "list", "prefix": prefix, "restype": "container", "maxresults": "1000"} | (
        {"marker": token} if token else {}
    )
    url = f"{endpoint}/{place.bucket}"
    headers = {"x-ms-date": format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": _AZURE_VERSION}
    headers["Authorization"] = f"SharedKey {place.account}:{_sign_microsoft(url, headers, query, place, profile)}"
    return f"{url}?{urlencode(query, quote_via=quote)}", headers


def _sign_microsoft(url: str, headers: Query, query: Query, place: Place, profile: Profile) -> str:
    """https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""
    said = [f"{name}:{text}" for name, text in sorted(headers.items())]
    resource = [f"/{place.account}{urlsplit(url).path}", *(f"{name}:{text}" for name, text in sorted(query.items()))]
    signed = "\n".join(["GET", *[""] * 11, *said, *resource])
    key = base64.b64decode(profile.secret_access_key)
    return base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()


def _read_microsoft(page: Element) -> tuple[list[Listed], str | None]:
    found = page.iterfind("Blobs/Blob")
    listed = [_read_blob(blob) for blob in found if blob.findtext("Properties/ResourceType") != "directory"]
    return listed, page.findtext("NextMarker") or None


def _read_blob(blob: Element) -> Listed:
    name = blob.find("Name")
    key = _text(blob, "Name")
    if name is not None and name.get("Encoded") == "true":  # with characters that XML has not
        key = unquote(key)
    size, told = _text(blob, "Properties/Content-Length"), _text(blob, "Properties/Last-Modified")
    return Listed(key, int(size), _etag(blob, "Properties/Etag"), _ns(parsedate_to_datetime(told)))


_PAGES: Final[dict[str, tuple[_AskPage, _ReadPage]]] = {
    "google": (_ask_google, _read_google),
    "microsoft": (_ask_microsoft, _read_microsoft),
}


# -- both


def _ask(
    url: str, headers: dict[str, str], read: _ReadPage, *, name: str, place: Place, hidden: tuple[str, ...]
) -> tuple[list[Listed], str | None]:
    pool = _pool(place.profile.ca_certificate if place.profile else None)
    try:
        status, reason, body = _fetch(pool, url, headers)
        if status == 200:
            return read(fromstring(body))
        cause = explain_reply(status, reason, body.decode(errors="replace"))
    except (ParseError, ValueError, TypeError) as error:
        cause = f"its listing can not be read: {error}"
    except HTTPError as error:
        cause = _transport_cause(error, url)
    raise TransferFailed(f"{name}: {one_line(cause, hidden)}")


def _fetch(pool: urllib3.PoolManager, url: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """A reply's status and words, and its body. Raises HTTPError."""
    for left in reversed(range(_TRIES)):
        response = pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
        try:
            return response.status, response.reason or "", response.read(_LARGEST_PAGE_BYTES)
        except HTTPError:  # in its body; until that begins, the library tries again by itself
            if not left:
                raise
        finally:
            response.close()
    raise AssertionError


@lru_cache(maxsize=16)
def _pool(certificate: str | None) -> urllib3.PoolManager:
    return open_pool(_RETRY, _TIMEOUT, certificate=certificate)


def _transport_cause(error: HTTPError, url: str) -> str:
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError):
        return f"the certificate of {host} is not trusted"
    said = _SYSTEM_MESSAGE.search(str(reason))
    if said is None and isinstance(reason, TimeoutError):
        return f"no answer from {host} in time"
    return f"can not reach {host}: {said[1] if said else type(reason).__name__}"


def _text(item: Element, path: str) -> str:
    """A part of a listed object. Raises ValueError if it has none."""
    found = item.findtext("/".join(f"{{*}}{step}" for step in path.split("/")))
    if found is None:
        raise ValueError(f"no {path}")
    return found


def _etag(item: Element, path: str) -> str | None:
    return _text(item, path).strip('"') or None


def _ns(told: datetime) -> int:
    return (told - EPOCH) // timedelta(microseconds=1) * 1000
