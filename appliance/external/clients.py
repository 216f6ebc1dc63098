"""Opening a bucket at Amazon, Google, Microsoft, or at whoever speaks as they do.

Only this module, `failures`, `objects` and `egress` know obstore.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

from appliance.errors import InvalidRequest, Unsupported
from appliance.external.amazon import find_file_credentials
from appliance.external.credentials import Profile, Profiles
from appliance.external.failures import REMOTE_ERRORS, explain
from appliance.external.places import ACCOUNT_VARIABLE, Place, find_place
from appliance.external.urls import ObjectUrl, Provider

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore import ObjectMeta
    from obstore.store import AzureAccessKey, AzureConfig, ClientConfig, GCSConfig, RetryConfig, S3Config, S3Credential

# What moves in memory at a time, and the size of a part.
PIECE_BYTES: Final = 8 << 20

# What is said about an object under names of its own; everything else is metadata of whoever put it there.
CONTENT_HEADERS: Final = ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type")

# The metadata in which egress notes our ETag where the other side makes one of its own. Names at Azure are identifiers.
ETAG_NAMES: Final[dict[Provider, str]] = {
    "amazon": "appliance-etag",
    "google": "appliance-etag",
    "microsoft": "appliance_etag",
}

Direction = Literal["in", "out"]
AnyStore = S3Store | GCSStore | AzureStore

# A request may take long, so its whole time is hardly limited; what is limited is waiting for nothing. The clock for
# reading runs while a body is sent, too, hence the patience on the way out: 8 MiB parts, sixteen of them, a slow line.
_SILENCE: Final[dict[Direction, str]] = {"in": "20s", "out": "300s"}
# A server that restarts, or has too much to do, needs some seconds; the library's own pauses are over after one. Egress has
# tries of its own around these.
_RETRY: Final[dict[Direction, RetryConfig]] = {
    "in": {
        "max_retries": 8,
        "retry_timeout": timedelta(seconds=60),
        "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=4)},
    },
    "out": {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """An open bucket, where it is, and what must not appear in a message about it."""

    store: AnyStore
    place: Place
    hidden: tuple[str, ...]


def require_remote(url: ObjectUrl) -> None:
    """Raise Unsupported for an address that nothing can be written to."""
    if url.provider == "http":
        raise Unsupported(f"{url.name()}: {url.scheme}:// is for reading")
    if url.provider == "disk":
        raise Unsupported(
            f"{url.name()}: {url.scheme}:// is for reading; `get file -o` with a path writes files of this machine"
        )


def open_bucket(url: ObjectUrl, profiles: Profiles, direction: Direction) -> Bucket:
    """The bucket of an address, with the profile that fits or else the provider's standard environment.

    Sends nothing. Raises Unsupported for what is no bucket, InvalidRequest for credentials that can not be used, and what
    `Profiles.find` raises.
    """
    require_remote(url)
    place = find_place(url, profiles)
    hidden = place.profile.hidden() if place.profile else ()
    try:
        store = _OPENERS[url.provider](place, direction)
    except REMOTE_ERRORS as error:
        failure = explain(error, hidden)
    else:
        return Bucket(store, place, hidden)
    raise InvalidRequest(f"{url.name()}: can not be opened: {failure.cause}")


def bare_etag(meta: ObjectMeta) -> str | None:
    """The ETag without quotes, which some servers leave out in listings only."""
    return (meta["e_tag"] or "").strip('"') or None


# One client keeps its connections, and building one takes as long as a short request.
@lru_cache(maxsize=16)
def _open_amazon(place: Place, direction: Direction) -> S3Store:
    return S3Store(
        place.bucket,
        config=_amazon_config(place),
        client_options=_client_options(place, direction),
        retry_config=_RETRY[direction],
        credential_provider=_AmazonKey(place.profile) if place.profile else find_file_credentials(),
    )


@lru_cache(maxsize=16)
def _open_google(place: Place, direction: Direction) -> GCSStore:
    config: GCSConfig = {}
    if place.profile is not None:
        config["service_account_key"] = place.profile.secret_access_key
        config["skip_signature"] = False
    if place.endpoint is not None:
        config["base_url"] = place.endpoint
    return GCSStore(
        place.bucket, config=config, client_options=_client_options(place, direction), retry_config=_RETRY[direction]
    )  # fmt: skip


@lru_cache(maxsize=16)
def _open_microsoft(place: Place, direction: Direction) -> AzureStore:
    if place.account is None:
        raise InvalidRequest(
            f"no account for the container {place.bucket}: `deploy storage microsoft`, wasb://container@account/…, "
            f"or the variable {ACCOUNT_VARIABLE} names one"
        )
    config: AzureConfig = {"account_name": place.account}
    if place.endpoint is not None:
        config["endpoint"] = place.endpoint
    if place.profile is not None:
        config["skip_signature"] = False
    return AzureStore(
        place.bucket,
        config=config,
        client_options=_client_options(place, direction),
        retry_config=_RETRY[direction],
        credential_provider=_MicrosoftKey(place.profile) if place.profile else None,
    )


_OPENERS: Final[dict[Provider, Callable[[Place, Direction], AnyStore]]] = {
    "amazon": _open_amazon,
    "google": _open_google,
    "microsoft": _open_microsoft,
}


def _client_options(place: Place, direction: Direction) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": True,
        "connect_timeout": "5s",
        "read_timeout": _SILENCE[direction],
        "timeout": "1d",
    }
    if place.profile is not None and place.profile.ca_certificate is not None:
        options["root_certificate"] = place.profile.ca_certificate
    return options


def _amazon_config(place: Place) -> S3Config:
    config: S3Config = {"virtual_hosted_style_request": not place.path_style}
    if place.endpoint is not None:
        config["endpoint"] = place.endpoint if place.path_style else _hosted(place.endpoint, place.bucket)
    if place.region is not None:
        config["region"] = place.region
    if place.profile is not None:
        config["skip_signature"] = False
    return config


def _hosted(endpoint: str, bucket: str) -> str:
    """The endpoint with the bucket in its host name, as the library wants it."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()


@dataclass(frozen=True, slots=True)
class _AmazonKey:
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


@dataclass(frozen=True, slots=True)
class _MicrosoftKey:
    """Gives the library an account's key, and nothing of the environment with it."""

    profile: Profile

    def __call__(self) -> AzureAccessKey:
        return {"access_key": self.profile.secret_access_key, "expires_at": None}
