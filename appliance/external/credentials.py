"""Credentials for other people's object stores: named profiles in one private file.

A secret is in that file and in a Profile, and nowhere else: not in a repr, a message or a log. Which addresses a
profile serves is decided here; how it signs is the library's business.
"""

import binascii
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from appliance.errors import InvalidRequest, NotFound, StoreDamaged
from appliance.external.private import write_private
from appliance.external.urls import ObjectUrl, Provider, check_region, normal_endpoint

_FILE: Final = "credentials.json"
_KNOWN: Final = ("amazon", "google", "microsoft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider wants to know about us, for one endpoint or for the provider's own, there for one bucket or any.

    For `microsoft` the two keys are account name and account key; for `google` the secret is the text of the
    credentials file, of a service account. `ca_certificate` is PEM text, trusted beside what the system trusts. An empty
    `name` becomes `profile_name()`. Raises InvalidRequest for values no request could carry.
    """

    provider: Provider
    access_key_id: str
    secret_access_key: str = field(repr=False)
    name: str = ""
    region: str | None = None
    session_token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    bucket: str | None = None
    path_style: bool | None = None
    ca_certificate: str | None = None

    def __post_init__(self) -> None:
        if self.provider not in _KNOWN:
            raise InvalidRequest(f"no credentials for provider {self.provider!r}, only for {', '.join(_KNOWN)}")
        for value in (self.access_key_id, self.session_token or ""):
            # Both travel in request headers.
            if not all("!" <= letter <= "~" for letter in value):
                raise InvalidRequest("an access key id or session token has a character that none can have")
        if self.region is not None:
            check_region(self.region)
        if self.endpoint is not None:
            object.__setattr__(self, "endpoint", normal_endpoint(self.endpoint))
        if self.ca_certificate is not None and "-----BEGIN CERTIFICATE-----" not in self.ca_certificate:
            raise InvalidRequest("a CA certificate is a PEM file: -----BEGIN CERTIFICATE-----")
        _SECRETS[self.provider](self)
        object.__setattr__(self, "name", self.name or profile_name(self.provider, self.endpoint, self.bucket))

    def hidden(self) -> tuple[str, ...]:
        """What must never be shown, for the last filter in front of a message."""
        inside = json.loads(self.secret_access_key)["private_key"] if self.provider == "google" else None
        return tuple(value for value in (self.secret_access_key, self.session_token, inside) if value)


def _check_anything(_profile: Profile) -> None:
    """Amazon's secrets are any text."""


def _check_google(profile: Profile) -> None:
    try:
        given = json.loads(profile.secret_access_key)
    except ValueError:
        given = None
    if isinstance(given, dict) and given.get("type", "service_account") != "service_account":
        kind = str(given["type"])[:40]
        raise InvalidRequest(
            f"these are credentials of type {kind!r}, not of a service account: "
            "start the appliance with GOOGLE_APPLICATION_CREDENTIALS naming the file instead"
        )
    if not isinstance(given, dict) or not isinstance(given.get("private_key"), str) or "client_email" not in given:
        raise InvalidRequest("a Google credentials file is JSON with client_email and private_key")


def _check_microsoft(profile: Profile) -> None:
    try:
        binascii.a2b_base64(profile.secret_access_key, strict_mode=True)
    except ValueError:
        raise InvalidRequest("an Azure account key is base64") from None
    if not _ACCOUNT.fullmatch(profile.access_key_id):
        raise InvalidRequest(f"malformed Azure account name: {profile.access_key_id!r}")


_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_SECRETS: Final = {"amazon": _check_anything, "google": _check_google, "microsoft": _check_microsoft}


@dataclass(slots=True)
class _Saved:
    """The file: its profiles in the order they were put, the latest last."""

    version: int
    profiles: list[Profile]


class Profiles:
    """The profiles kept in one directory. Thread-safe; every look-up reads the file, so a change counts at once."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._writing = threading.Lock()

    def put(self, profile: Profile) -> None:
        """Keep a profile, in place of one with its name. On return it is durable."""
        with self._writing:
            self._save([*(kept for kept in self.list_profiles() if kept.name != profile.name), profile])

    def delete(self, name: str) -> None:
        """Forget a profile. Raises NotFound."""
        with self._writing:
            kept = self.list_profiles()
            rest = [profile for profile in kept if profile.name != name]
            if len(rest) == len(kept):
                raise NotFound(f"credential profile {name} not found")
            self._save(rest)

    def list_profiles(self) -> list[Profile]:
        """All profiles, the latest put last. Raises StoreDamaged if the file can not be understood."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, InvalidRequest, UnicodeDecodeError) as error:
            raise StoreDamaged(f"{self._path} is damaged: {error}") from None
        if saved.version != 1:
            raise StoreDamaged(f"{self._path} has version {saved.version}, this program knows 1")
        return saved.profiles

    def find(self, url: ObjectUrl) -> Profile | None:
        """The profile for an address: the one it names, else the latest put among the best fitting.

        A profile for another endpoint than the address names never fits: its session token would travel there. Raises
        NotFound if the address names a profile that is not kept, InvalidRequest if that one is for another provider.
        """
        profiles = self.list_profiles()
        if url.profile is not None:
            return _named(profiles, url)
        return next(_fitting(profiles, url), None)

    def _save(self, profiles: list[Profile]) -> None:
        saved = {"version": 1, "profiles": [asdict(profile) for profile in profiles]}
        write_private(self._path, msgspec.json.format(msgspec.json.encode(saved), indent=2))


def profile_name(provider: str, endpoint: str | None, bucket: str | None = None) -> str:
    """The name of a profile that was given none: the provider, then the endpoint's host and port, then the bucket."""
    host = urlsplit(endpoint).netloc.replace(":", "-") if endpoint else None
    return "-".join(part for part in (provider, host, bucket) if part)


def _named(profiles: list[Profile], url: ObjectUrl) -> Profile:
    for profile in profiles:
        if profile.name == url.profile:
            if profile.provider != url.provider:
                raise InvalidRequest(f"credential profile {profile.name} is for {profile.provider}, not {url.scheme}://")
            return profile
    raise NotFound(f"credential profile {url.profile} not found")


def _fitting(profiles: list[Profile], url: ObjectUrl) -> Iterator[Profile]:
    latest = [profile for profile in reversed(profiles) if profile.provider == url.provider and _may_serve(profile, url)]
    latest.sort(key=lambda profile: profile.bucket is None)  # stable: what is for this bucket alone comes first
    yield from (profile for profile in latest if profile.endpoint == url.endpoint)
    # An address without endpoint may mean the only store there is; a profile without one serves any of its provider.
    yield from (profile for profile in latest if url.endpoint is None or profile.endpoint is None)


def _may_serve(profile: Profile, url: ObjectUrl) -> bool:
    """Whether a profile is for the address's bucket, and for the account if that names one."""
    account = url.account is None or url.account == profile.access_key_id
    return account and profile.bucket in (None, url.bucket)
