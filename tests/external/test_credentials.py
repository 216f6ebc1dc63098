import os
import stat
from pathlib import Path

import pytest
from external.servers import SECRET, a_profile, azure_profile

from appliance.errors import InvalidRequest, NotFound, StoreDamaged
from appliance.external.credentials import Profile, Profiles
from appliance.external.urls import parse_url

TOKEN = "session-token-never-shown"


def test_a_profile_survives_and_comes_back_whole(tmp_path: Path) -> None:
    profile = a_profile("http://127.0.0.1:9000", session_token=TOKEN)
    Profiles(tmp_path).put(profile)
    assert Profiles(tmp_path).list_profiles() == [profile]


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Profiles(tmp_path).put(a_profile(None))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["credentials.json"]


def test_no_secret_in_a_repr() -> None:
    shown = repr(a_profile(None, session_token=TOKEN))
    assert "amazon" in shown
    assert SECRET not in shown
    assert TOKEN not in shown


def test_a_profile_without_a_name_is_called_after_its_endpoint() -> None:
    assert a_profile(None).name == "amazon"
    assert a_profile("https://store.example.org").name == "amazon-store.example.org"
    assert a_profile("http://127.0.0.1:9000").name == "amazon-127.0.0.1-9000"


def test_put_replaces_the_profile_of_that_name(profiles: Profiles) -> None:
    profiles.put(a_profile(None, region="eu-west-1"))
    profiles.put(a_profile(None, region="eu-west-2"))
    assert [profile.region for profile in profiles.list_profiles()] == ["eu-west-2"]


def test_a_deleted_profile_is_gone(profiles: Profiles) -> None:
    profiles.put(a_profile(None))
    profiles.delete("amazon")
    assert profiles.list_profiles() == []
    with pytest.raises(NotFound, match="profile amazon not found"):
        profiles.delete("amazon")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/key", "newer"),
        ("s3://bucket/key?profile=older", "older"),
        ("s3://bucket/key?endpoint=http://store:9000", "store"),
        ("s3://bucket/key?endpoint=http://elsewhere:9000", "newer"),
        ("gs://bucket/key", None),
    ],
)
def test_the_profile_named_else_for_the_endpoint_else_the_latest(profiles: Profiles, address: str, name: str | None) -> None:
    profiles.put(a_profile(None, name="older"))
    profiles.put(a_profile(None, name="newer"))
    profiles.put(a_profile("http://store:9000", name="store"))
    found = profiles.find(parse_url(address))
    assert (found.name if found else None) == name


def test_an_address_without_endpoint_means_the_only_store_there_is(profiles: Profiles) -> None:
    profiles.put(a_profile("http://store:9000", name="store"))
    found = profiles.find(parse_url("s3://bucket/key"))
    assert found is not None
    assert found.endpoint == "http://store:9000"


def test_a_profile_is_never_used_at_another_endpoint_than_its_own(profiles: Profiles) -> None:
    profiles.put(a_profile("http://store:9000"))
    assert profiles.find(parse_url("s3://bucket/key?endpoint=http://elsewhere:9000")) is None


def test_what_is_for_the_bucket_alone_comes_first(profiles: Profiles) -> None:
    profiles.put(a_profile(None, name="ours", bucket="ours"))
    profiles.put(a_profile(None, name="any"))
    found = [profiles.find(parse_url(f"s3://{bucket}/key")) for bucket in ("ours", "other")]
    assert [profile.name for profile in found if profile] == ["ours", "any"]


def test_an_account_in_the_address_needs_its_own_key(profiles: Profiles) -> None:
    profiles.put(azure_profile("http://azure:10000"))
    address = "wasb://container@{}/key?endpoint=http://azure:10000/devstoreaccount1"
    assert profiles.find(parse_url(address.format("devstoreaccount1"))) is not None
    assert profiles.find(parse_url(address.format("another"))) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"type": "authorized_user", "private_key": "secret"}'])
def test_a_google_profile_needs_a_service_account(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Profile(provider="google", access_key_id="", secret_access_key=text)
    assert "secret" not in str(caught.value)


def test_a_profile_that_is_named_must_exist_and_fit(profiles: Profiles) -> None:
    profiles.put(a_profile(None, name="lab"))
    with pytest.raises(NotFound, match="profile other not found"):
        profiles.find(parse_url("s3://bucket/key?profile=other"))
    with pytest.raises(InvalidRequest, match="profile lab is for amazon, not gs://"):
        profiles.find(parse_url("gs://bucket/key?profile=lab"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2, "profiles": []}', b"\xff"])
def test_a_damaged_file_is_reported_by_name(profiles: Profiles, tmp_path: Path, content: bytes) -> None:
    profiles.put(a_profile(None))
    (tmp_path / "home" / "credentials.json").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"credentials\.json"):
        profiles.list_profiles()


@pytest.mark.parametrize("changes", [{"access_key_id": "AK\n"}, {"session_token": "ü"}, {"region": "eu west"}])
def test_values_no_request_can_carry_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        a_profile(None, **changes)


def test_there_are_no_credentials_for_http() -> None:
    with pytest.raises(InvalidRequest, match="'http'"):
        Profile(provider="http", access_key_id="", secret_access_key="")
