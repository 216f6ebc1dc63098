"""Where an address leads once the profile for it is known."""

import os
from dataclasses import dataclass
from typing import Final

from appliance.external.credentials import Profile, Profiles
from appliance.external.urls import ObjectUrl

ACCOUNT_VARIABLE: Final = "AZURE_STORAGE_ACCOUNT_NAME"


@dataclass(frozen=True, slots=True)
class Place:
    """All that makes one client differ from another. `endpoint` is None for the provider's own."""

    bucket: str
    endpoint: str | None
    region: str | None
    path_style: bool
    account: str | None
    profile: Profile | None


def find_place(url: ObjectUrl, profiles: Profiles) -> Place:
    """What an address says, then what its profile says, then the environment. Raises what `Profiles.find` raises."""
    profile = profiles.find(url)
    account = url.account
    if url.provider == "microsoft" and account is None:
        account = profile.access_key_id if profile else os.environ.get(ACCOUNT_VARIABLE)
    given = url.path_style if url.path_style is not None else profile.path_style if profile else None
    return Place(
        bucket=url.bucket,
        endpoint=url.endpoint or (profile.endpoint if profile else None),
        region=url.region or (profile.region if profile else None),
        path_style=given is not False,
        account=account,
        profile=profile,
    )
