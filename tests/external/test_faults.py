"""What goes wrong on the way in, against a relay in front of real servers; and what is only asked for seldom."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from external.relay import Relay, RelayHandler, relayed, through
from external.servers import KEY_ID, SECRET, Remote, a_profile

from appliance.errors import TransferFailed
from appliance.external.clients import PIECE_BYTES
from appliance.external.credentials import Profiles
from appliance.external.transfers import Outgoing, download, iter_objects, upload_all
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


# -- Amazon's own


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context, pem.decode()


def test_own_authority_is_trusted_where_a_profile_says_so(moto: Remote, authority: tuple[ssl.SSLContext, str]) -> None:
    context, certificate = authority
    moto.put("dir/a", b"here")
    with relayed(moto.endpoint, context) as relay:
        endpoint = relay.url.replace("http:", "https:")
        address = parse_url(f"s3://{moto.bucket}/dir?endpoint={endpoint}")
        moto.profiles.put(a_profile(endpoint, name="tls"))
        with pytest.raises(TransferFailed, match=f"the certificate of {endpoint} is not trusted"):
            fetch(address, moto.profiles, recursive=True)
        with pytest.raises(TransferFailed, match=f"the certificate of {endpoint} is not trusted"):
            upload_all(address, moto.profiles, [Outgoing("b", 1, None, lambda: iter([b"b"]))])
        moto.profiles.put(a_profile(endpoint, name="tls", ca_certificate=certificate))
        upload_all(address, moto.profiles, [Outgoing("b", 1, None, lambda: iter([b"b"]))])
        assert fetch(address, moto.profiles, recursive=True) == {"a": b"here", "b": b"b"}


def test_credentials_come_from_amazons_files(rclone: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    rclone.put("a", b"here")
    assert fetch(rclone.url(), Profiles(tmp_path / "none"), recursive=True) == {"a": b"here"}


def test_bucket_in_the_host_name(dead_endpoint: str, profiles: Profiles) -> None:
    endpoint = dead_endpoint.replace("127.0.0.1", "localhost")
    profiles.put(a_profile(endpoint, path_style=False))
    hosted = endpoint.replace("//", "//bucket.")
    with pytest.raises(TransferFailed, match=f"can not reach {hosted}"):
        fetch(parse_url(f"s3://bucket/dir?endpoint={endpoint}"), profiles)
