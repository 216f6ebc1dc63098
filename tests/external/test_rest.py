"""Listings of Google's and Microsoft's stores that we ask for ourselves."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from external.relay import Relay, RelayHandler, relayed, through
from external.servers import AZURITE_ACCOUNT, AZURITE_KEY, Remote, google_profile, service_account

from appliance.errors import InvalidPath, TransferFailed
from appliance.external.credentials import Profile, Profiles
from appliance.external.transfers import download, iter_objects
from appliance.external.urls import parse_url

BLOB = (
    "<Blob><Name{encoded}>{name}</Name><Properties><Last-Modified>Sat, 01 Jan 2000 00:00:00 GMT</Last-Modified>"
    "<Etag>0x1</Etag><Content-Length>{size}</Content-Length>{more}</Properties></Blob>"
)


@pytest.fixture(params=["azurite", "google"])
def behind(request: pytest.FixtureRequest) -> Iterator[tuple[Remote, Relay]]:
    remote: Remote = request.getfixturevalue(request.param)
    with relayed(remote.endpoint) as relay:
        for profile in remote.profiles.list_profiles():
            remote.profiles.put(replace(profile, endpoint=through(relay, remote.endpoint), name="relay"))
        yield remote, relay


def keys(remote: Remote, relay: Relay, key: str = "") -> list[str]:
    url = f"{remote.scheme}://{remote.bucket}/{key}?endpoint={through(relay, remote.endpoint)}"
    return [obj.key for obj in iter_objects(parse_url(url), remote.profiles, recursive=True)]


def signing(key: RSAPrivateKey, endpoint: str) -> Profile:
    return replace(google_profile(endpoint), secret_access_key=service_account(key), name="signing")


def verify(key: RSAPrivateKey, header: str) -> dict[str, object]:
    """What a token claims. Raises InvalidSignature."""
    head, claims, signature = header.removeprefix("Bearer ").split(".")

    def decode(part: str) -> bytes:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))

    key.public_key().verify(decode(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
    found: dict[str, object] = json.loads(decode(claims))
    return found


def test_listing_is_signed_as_everything_else_is_at_google(google: Remote) -> None:
    google.put("dir/a", b"here")
    key = generate_private_key(65537, 2048)
    asked: list[tuple[str, dict[str, object]]] = []
    with relayed(google.endpoint) as relay:
        relay.before = lambda handler: asked.append((handler.path, verify(key, handler.headers["Authorization"])))
        google.profiles.put(signing(key, relay.url))
        url = parse_url(f"gs://{google.bucket}/dir?endpoint={relay.url}&profile=signing")
        [obj] = iter_objects(url, google.profiles, recursive=True)
        pieces: list[bytes] = []
        download(obj, google.profiles, pieces.append)
    assert (obj.key, pieces) == ("dir/a", [b"here"])
    (listing, ours), (_, theirs) = asked
    assert "list-type=2" in listing
    assert str(ours["scope"]).endswith("/devstorage.read_only")
    assert {name: ours[name] for name in ("iss", "sub")} == {name: theirs[name] for name in ("iss", "sub")}


@pytest.mark.parametrize("pem", ["", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"])
def test_key_that_is_none_is_refused_without_showing_it(google: Remote, pem: str) -> None:
    account = {"type": "service_account", "client_email": "me@example", "private_key": pem, "private_key_id": "1"}
    google.profiles.put(replace(google_profile(google.endpoint), secret_access_key=json.dumps(account), name="none"))
    with pytest.raises(Exception, match=r"can not be (opened|used to sign)") as caught:
        list(iter_objects(parse_url(f"{google.text()}&profile=none"), google.profiles, recursive=True))
    assert "secret" not in str(caught.value)


def test_marker_of_a_directory_is_left_out_and_a_file_called_like_one_is_not(behind: tuple[Remote, Relay]) -> None:
    remote, relay = behind
    for key, body in (("dir/", b""), ("dir/empty", b""), ("dir/sub/", b"full")):
        remote.put(key, body)
    assert keys(remote, relay, "dir") == ["dir/empty", "dir/sub/"]


def test_key_that_the_library_can_not_list_is_named_where_only_it_finds_credentials(
    azurite: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", AZURITE_ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY)
    nothing = Profiles(tmp_path / "empty")
    azurite.put("a/b")
    assert [obj.key for obj in iter_objects(azurite.url(), nothing, recursive=True)] == ["a/b"]
    azurite.put("a//b")
    with pytest.raises(InvalidPath, match='Path "a//b" contained empty path segment'):
        list(iter_objects(azurite.url(), nothing, recursive=True))


def test_listing_that_breaks_off_is_asked_for_again(behind: tuple[Remote, Relay]) -> None:
    remote, relay = behind
    remote.put("a")
    broken: list[str] = []

    def break_off(handler: RelayHandler) -> bool | None:
        if broken:
            return None
        broken.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"<?xml")
        return handler.cut()

    relay.before = break_off
    assert keys(remote, relay) == ["a"]
    assert len(broken) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;", b"\xff" * 100])
def test_what_is_no_listing_is_refused(behind: tuple[Remote, Relay], body: bytes) -> None:
    remote, relay = behind
    relay.before = lambda handler: handler.answer(200, body)
    with pytest.raises(TransferFailed, match=f"{remote.scheme}://{remote.bucket}/: its listing can not be read"):
        keys(remote, relay)


def test_listing_without_end_is_refused(azurite: Remote) -> None:
    with relayed(azurite.endpoint) as relay:
        azurite.profiles.put(replace(azurite.profiles.list_profiles()[0], endpoint=through(relay, azurite.endpoint)))
        relay.before = lambda handler: handler.answer(200, b"<a><Blobs/><NextMarker>again</NextMarker></a>")
        with pytest.raises(TransferFailed, match="its listing has no end"):
            keys(azurite, relay)


def listing(*blobs: dict[str, object]) -> Callable[[RelayHandler], bool]:
    whole = "".join(BLOB.format(**({"encoded": "", "more": "", "size": 1} | blob)) for blob in blobs)
    body = f"<EnumerationResults><Blobs>{whole}</Blobs><NextMarker/></EnumerationResults>".encode()
    return lambda handler: handler.answer(200, body)


def test_directories_of_a_hierarchical_container_are_none_of_its_blobs(azurite: Remote) -> None:
    with relayed(azurite.endpoint) as relay:
        azurite.profiles.put(replace(azurite.profiles.list_profiles()[0], endpoint=through(relay, azurite.endpoint)))
        directory = {"name": "dir", "size": 0, "more": "<ResourceType>directory</ResourceType>"}
        relay.before = listing(directory, {"name": "dir/a"}, {"name": "dir/%00%25b", "encoded": ' Encoded="true"'})
        assert keys(azurite, relay) == ["dir/a", "dir/\0%b"]
