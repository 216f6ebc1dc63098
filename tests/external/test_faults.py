"""What goes wrong on the way in, against a relay in front of real servers; and what is only asked for seldom."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from external.relay import Relay, RelayHandler, relayed, through
from external.servers import Remote

from appliance.errors import TransferFailed
from appliance.external.clients import PIECE_BYTES
from appliance.external.credentials import Profiles
from appliance.external.transfers import download, iter_objects
from appliance.external.urls import ObjectUrl, parse_url

BODY = bytes(range(256)) * 80_000
LARGE = b"".join(number.to_bytes(8, "big") for number in range(36 * 1024 * 1024 // 8))


@pytest.fixture
def relay(remote: Remote) -> Iterator[Relay]:
    """A relay in front of each server, and credentials for it."""
    with relayed(remote.endpoint) as opened:
        add_relay(remote, opened)
        yield opened


def add_relay(remote: Remote, relay: Relay) -> None:
    for profile in remote.profiles.list_profiles():
        remote.profiles.put(replace(profile, endpoint=through(relay, remote.endpoint), name="relay"))


def url(remote: Remote, relay: Relay, key: str) -> ObjectUrl:
    return parse_url(f"{remote.scheme}://{remote.bucket}/{key}?endpoint={through(relay, remote.endpoint)}")


def fetch(address: ObjectUrl, profiles: Profiles, *, recursive: bool = False) -> dict[str, bytes]:
    found = {}
    for obj in iter_objects(address, profiles, recursive=recursive):
        body = bytearray()
        download(obj, profiles, body.extend)
        found[obj.relative_path] = bytes(body)
    return found


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["whole", "in ranges"])
def test_connection_cut_in_the_middle_is_taken_up(remote: Remote, relay: Relay, body: bytes) -> None:
    remote.put("large", body)
    relay.cut_first_body = True
    assert fetch(url(remote, relay, "large"), remote.profiles) == {"large": body}
    assert not relay.cut_first_body


@pytest.mark.parametrize("name", ["moto", "rclone", "azurite", "google"])
def test_large_object_comes_in_ranges_side_by_side(request: pytest.FixtureRequest, name: str) -> None:
    remote: Remote = request.getfixturevalue(name)
    several = threading.Barrier(2, timeout=30)

    def wait_for_another(handler: RelayHandler) -> None:
        if handler.command == "GET" and handler.headers["Range"] not in (None, f"bytes=0-{PIECE_BYTES - 1}"):
            ranges.append(handler.headers["Range"])
            if len(ranges) <= 2:
                several.wait()

    ranges: list[str] = []
    remote.put("large", LARGE)
    with relayed(remote.endpoint) as relay:
        add_relay(remote, relay)
        relay.before = wait_for_another
        assert fetch(url(remote, relay, "large"), remote.profiles) == {"large": LARGE}
    assert len(set(ranges)) == -(-len(LARGE) // PIECE_BYTES) - 1


def test_object_replaced_while_its_ranges_are_read_is_refused(moto: Remote) -> None:
    other = bytes(len(LARGE))
    moto.put("large", LARGE)

    def replace_it(handler: RelayHandler) -> None:
        if handler.headers["Range"] == f"bytes=0-{PIECE_BYTES - 1}":
            return
        if handler.command == "GET" and handler.headers["Range"]:
            moto.put("large", other)

    with relayed(moto.endpoint) as relay:
        add_relay(moto, relay)
        relay.before = replace_it
        with pytest.raises(TransferFailed, match="large changed while it was read"):
            fetch(url(moto, relay, "large"), moto.profiles)


def test_object_replaced_where_its_connection_was_cut_is_refused(remote: Remote, relay: Relay) -> None:
    """Else the rest of the new one would follow on the beginning of the old."""
    remote.put("large", BODY)

    def replace_it(handler: RelayHandler) -> None:
        if handler.command == "GET":
            asked.append(handler.path)
            if len(asked) == 2:
                remote.put("large", bytes(len(BODY)))

    asked: list[str] = []
    relay.before, relay.cut_first_body = replace_it, True
    # rclone's server does not refuse to go on, so the library does.
    said = "large changed while it was read|large: the connection broke off: request or response body error"
    with pytest.raises(TransferFailed, match=said):
        fetch(url(remote, relay, "large"), remote.profiles)
    assert not relay.cut_first_body


@pytest.mark.parametrize(
    "lacks", ["<Key>dir/a</Key>", "<Size>1</Size>", "<LastModified>2026-01-02T03:04:05.000Z</LastModified>"]
)
def test_listing_whose_objects_lack_something_is_refused(moto: Remote, lacks: str) -> None:
    whole = "<Key>dir/a</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    body = f"<ListBucketResult><Contents>{whole.replace(lacks, '')}</Contents></ListBucketResult>"
    with relayed(moto.endpoint) as relay:
        add_relay(moto, relay)
        relay.before = lambda handler: handler.answer(200, body.encode())
        with pytest.raises(TransferFailed, match="its listing can not be read"):
            fetch(url(moto, relay, "dir"), moto.profiles, recursive=True)
