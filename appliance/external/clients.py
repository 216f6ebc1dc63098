"""Opening a bucket at somebody else's, and saying in one line why something went wrong there.

Only this module, `ingress` and `egress` know obstore. Its errors are Rust structures in text form, with request, reply and
debug output; `explain` takes from them what a reader needs. None of them is ever chained to ours: a reply may echo a
token.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from appliance.errors import TransferFailed, Unsupported
from appliance.external.credentials import Profile, Profiles
from appliance.external.urls import ObjectUrl

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

# What moves in memory at a time, and the size of a part.
PIECE_BYTES: Final = 8 << 20

Direction = Literal["in", "out"]

# What obstore raises: its own tree, and two built-in classes for a missing object and for a key it can not express.
REMOTE_ERRORS: Final = (BaseError, FileNotFoundError, ValueError)

# A request may take long, so its whole time is hardly limited; what is limited is waiting for nothing. The clock for
# reading runs while a body is sent, too, hence the patience on the way out: 8 MiB parts, sixteen of them, a slow line.
_SILENCE: Final[dict[Direction, str]] = {"in": "20s", "out": "300s"}
_RETRY: Final[RetryConfig] = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}

_STATUS = re.compile(r"status code: (\d{3})\s*([A-Za-z' -]*)")
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*</Message>")
_SYSTEM_MESSAGE = re.compile(r'(?:message|error): "([^"\\]+)"')
_REQUEST = re.compile(r"^.*?Error performing [A-Z]+ (https?://[^/\s]+)\S* in .*? - ", re.DOTALL)
# Where the library asks last, when nothing else gives credentials: the machine it may run on in the cloud.
_INSTANCE_ROLE = re.compile(r"https?://[^/\s]+/latest/(api/token|meta-data)")
_TRY_AGAIN_STATUS: Final = {408, 409, 429}
_TRY_AGAIN_CODES: Final = {"RequestTimeout", "NoSuchUpload", "BadDigest", "IncompleteBody"}
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True)
class Bucket:
    """An open bucket, and what must not appear in a message about it."""

    store: S3Store
    hidden: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed: one line without secrets, the status if there was a reply, and if a new try may help.

    `changed` says that the object is not the one the request was for.
    """

    cause: str
    status: int | None
    retryable: bool
    changed: bool


def require_offered(url: ObjectUrl) -> None:
    """Raise Unsupported for an address whose provider has no transfers yet."""
    if url.provider != "amazon":
        raise Unsupported(f"{url.scheme}:// is not offered yet, only s3:// and what speaks it")


def open_bucket(url: ObjectUrl, profiles: Profiles, direction: Direction) -> Bucket:
    """The bucket of an address, with the profile that fits or else the provider's standard environment.

    Sends nothing. Raises Unsupported, and what `Profiles.find` raises.
    """
    require_offered(url)
    profile = profiles.find(url)
    endpoint = url.endpoint or (profile.endpoint if profile else None)
    region = url.region or (profile.region if profile else None)
    store = _open_store(url.bucket, endpoint, region, url.path_style is not False, profile, direction)
    return Bucket(store, profile.hidden() if profile else ())


def explain(error: Exception, hidden: Sequence[str]) -> Failure:
    """What one of REMOTE_ERRORS says."""
    text, _, debug = str(error).partition("\n\nDebug source:")
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    code = _first(_CODE, text)
    no_role = _INSTANCE_ROLE.search(text) is not None
    return Failure(
        cause=_one_line("no credentials: no profile fits, no variables are set" if no_role else _cause(text, debug), hidden),
        status=status,
        retryable=not no_role and _may_pass(text, status, code),
        changed=isinstance(error, PreconditionError),
    )


def failed(name: str, failure: Failure) -> TransferFailed:
    """The error that says so of one object or bucket."""
    return TransferFailed(f"{name}: {failure.cause}")


def bare_etag(meta: ObjectMeta) -> str | None:
    """The ETag without quotes, which some servers leave out in listings only."""
    return (meta["e_tag"] or "").strip('"') or None


def never() -> bool:
    """The `stop` of who never stops."""
    return False


# One client keeps its connections, and building one takes as long as a short request.
@lru_cache(maxsize=16)
def _open_store(
    bucket: str,
    endpoint: str | None,
    region: str | None,
    path_style: bool,
    profile: Profile | None,
    direction: Direction,
) -> S3Store:
    options: ClientConfig = {
        "allow_http": True,
        "connect_timeout": "5s",
        "read_timeout": _SILENCE[direction],
        "timeout": "1d",
    }
    return S3Store(
        bucket,
        config=_config(bucket, endpoint, region, path_style, profile),
        client_options=options,
        retry_config=_RETRY,
        credential_provider=_Signer(profile) if profile else None,
    )


def _config(bucket: str, endpoint: str | None, region: str | None, path_style: bool, profile: Profile | None) -> S3Config:
    config: S3Config = {"virtual_hosted_style_request": not path_style}
    if endpoint is not None:
        config["endpoint"] = endpoint if path_style else _hosted(endpoint, bucket)
    if region is not None:
        config["region"] = region
    if profile is not None:
        config["skip_signature"] = False
    return config


def _hosted(endpoint: str, bucket: str) -> str:
    """The endpoint with the bucket in its host name, as the library wants it."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()


@dataclass(frozen=True, slots=True)
class _Signer:
    """Gives the library a profile's keys.

    Keys in its configuration would be joined by a session token from the environment, and be shown with it.
    """

    profile: Profile

    def __call__(self) -> S3Credential:
        return {
            "access_key_id": self.profile.access_key_id,
            "secret_access_key": self.profile.secret_access_key,
            "token": self.profile.session_token,
            "expires_at": None,
        }


def _cause(text: str, debug: str) -> str:
    found = _STATUS.search(text)
    code, message = _first(_CODE, text), _first(_MESSAGE, text)
    if code or message:
        return f"{message} ({code})" if code and message else code or message
    if found:
        return f"{found[1]} {found[2].strip()}"
    if "HTTP error:" in text:
        return _transport_cause(text, debug)
    return _REQUEST.sub("", text) if _REQUEST.match(text) else text.partition(": ")[2] or text


def _transport_cause(text: str, debug: str) -> str:
    host = _first(_REQUEST, text)
    if "TimedOut" in debug or "kind: Timeout" in debug:
        return f"no answer from {host} in time"
    said = _SYSTEM_MESSAGE.findall(debug)
    return f"can not reach {host}: {said[-1] if said else text.rpartition('HTTP error: ')[2]}"


def _may_pass(text: str, status: int | None, code: str) -> bool:
    if status is None:
        return "HTTP error:" in text
    return status >= 500 or status in _TRY_AGAIN_STATUS or code in _TRY_AGAIN_CODES


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return html.unescape(found[1]) if found else ""


def _one_line(text: str, hidden: Sequence[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "***")
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
