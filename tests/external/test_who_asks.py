"""Who asks, and where: profiles by name, variables, files, the identity of a machine; authorities and hosts."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from external.relay import RelayHandler, relayed, through
from external.servers import AZURITE_ACCOUNT, AZURITE_KEY, KEY_ID, SECRET, Remote, a_profile, service_account

from appliance.errors import TransferFailed
from appliance.external.credentials import Profiles
from appliance.external.transfers import Outgoing, download, iter_objects, upload_all
from appliance.external.urls import ObjectUrl, parse_url

SERVERS = ["rclone", "azurite", "google"]
WRONG = "d3JvbmctYW5kLW5ldmVyLXNob3du"


@pytest.fixture(params=SERVERS)
def remote(request: pytest.FixtureRequest) -> Remote:
    found: Remote = request.getfixturevalue(request.param)
    return found


def fetch(address: ObjectUrl, profiles: Profiles) -> dict[str, bytes]:
    found = {}
    for obj in iter_objects(address, profiles, recursive=True):
        pieces: list[bytes] = []
        download(obj, profiles, pieces.append)
        found[obj.relative_path] = b"".join(pieces)
    return found


def check_both_ways(address: ObjectUrl, profiles: Profiles, remote: Remote) -> None:
    """A file goes to the address, and what is below it comes from there."""
    assert upload_all(address, profiles, [Outgoing("sent", 4, None, lambda: iter([b"sent"]))]).uploaded == 1
    assert fetch(address, profiles) == {"sent": b"sent"}
    assert remote.get(f"{address.key}/sent") == b"sent"


def test_profile_named_in_the_address_is_used(remote: Remote) -> None:
    [right] = remote.profiles.list_profiles()
    remote.profiles.put(replace(right, name="right"))
    if right.provider == "google":  # its emulator would take anything
        account = json.dumps({**json.loads(right.secret_access_key), "disable_oauth": False})
        remote.profiles.put(replace(right, name="wrong", secret_access_key=account))
    else:
        remote.profiles.put(replace(right, name="wrong", secret_access_key=WRONG))
    with pytest.raises(Exception, match=rf"{remote.scheme}://{remote.bucket}/") as caught:
        check_both_ways(remote.url("dir"), remote.profiles, remote)
    assert WRONG not in str(caught.value)
    check_both_ways(parse_url(f"{remote.text('dir')}&profile=right"), remote.profiles, remote)


def test_without_a_profile_the_variables_count(remote: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text(service_account(generate_private_key(65537, 2048)))
    variables = {
        "s3": {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET},
        "azblob": {"AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY},
        "gs": {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json")},
    }
    for name, value in variables[remote.scheme].items():
        monkeypatch.setenv(name, value)
    check_both_ways(remote.url("dir"), Profiles(tmp_path / "none"), remote)


def test_credentials_come_from_amazons_files(rclone: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    check_both_ways(rclone.url("dir"), Profiles(tmp_path / "none"), rclone)


class _Machine(BaseHTTPRequestHandler):
    """What Amazon's machines answer when they are asked for their role."""

    def do_PUT(self) -> None:
        self._answer(b"session")

    def do_GET(self) -> None:
        keys = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
        role = json.dumps({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", **keys})
        self._answer(role.encode() if self.path.endswith("/lab") else b"lab")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def machine() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Machine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_machine_in_the_cloud_says_who_it_is(rclone: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with machine() as address:
        for variable in ("AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            monkeypatch.setenv(variable, address)
        check_both_ways(rclone.url("dir"), Profiles(tmp_path / "none"), rclone)


# -- where


def test_own_authority_is_trusted_where_a_profile_says_so(remote: Remote) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    [plain] = remote.profiles.list_profiles()
    with relayed(remote.endpoint, context) as relay:
        endpoint = through(relay, remote.endpoint).replace("http:", "https:")
        address = parse_url(f"{remote.scheme}://{remote.bucket}/dir?endpoint={endpoint}")
        tls = replace(plain, endpoint=endpoint, name="tls")
        remote.profiles.put(tls)
        untrusted = f"the certificate of https://{urlsplit(endpoint).netloc}.* is not trusted"
        with pytest.raises(TransferFailed, match=untrusted):
            fetch(address, remote.profiles)
        with pytest.raises(TransferFailed, match=untrusted):
            upload_all(address, remote.profiles, [Outgoing("b", 1, None, lambda: iter([b"b"]))])
        remote.profiles.put(replace(tls, ca_certificate=authority.cert_pem.bytes().decode()))
        check_both_ways(address, remote.profiles, remote)


@pytest.mark.parametrize("way", ["profile", "address"])
def test_bucket_in_the_host_name(moto: Remote, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    hosts: set[str] = set()

    def note_host(handler: RelayHandler) -> None:
        """A proxy is asked with the whole address; moto's server takes the bucket from the Host header."""
        parts = urlsplit(handler.path)
        hosts.add(parts.netloc)
        handler.path = parts._replace(scheme="", netloc="").geturl()

    with relayed(moto.endpoint) as relay:
        relay.before = note_host
        monkeypatch.setenv("http_proxy", relay.url)
        moto.profiles.put(a_profile("http://store.example", path_style=False if way == "profile" else None))
        query = "" if way == "profile" else "&s3ForcePathStyle=false"
        address = parse_url(f"s3://{moto.bucket}/dir?endpoint=http://store.example{query}")
        check_both_ways(address, moto.profiles, moto)
    assert hosts == {f"{moto.bucket}.store.example"}
