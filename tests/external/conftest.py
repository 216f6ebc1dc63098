"""Somebody else's object stores: real servers on free loopback ports, one process each for all tests."""

import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, serving
from external import emulators
from external.servers import (
    Remote,
    Scripted,
    a_profile,
    open_bucket_at,
    open_container_at,
    open_google_bucket_at,
)

from appliance.external.credentials import Profiles


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials but a test's own, and none from the machine it may run on."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    with emulators.moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulators.rclone(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def azurite_endpoint() -> Iterator[str]:
    with emulators.azurite() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def google_servers() -> Iterator[tuple[str, str]]:
    with emulators.google() as servers:
        yield servers


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "home")


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("appliance")
    (directory / "allowed").mkdir()
    with serving(directory, "--allow-files", str(directory / "allowed")) as running:
        yield running


@pytest.fixture
def sh(appliance: Serving, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsysbinary, monkeypatch, appliance.data)


@pytest.fixture
def repo(sh: Shell, request: pytest.FixtureRequest) -> str:
    name = f"{request.node.originalname[:50]}-{uuid.uuid4().hex[:8]}"
    sh("create", "repo", name)
    return name


@pytest.fixture
def moto(moto_endpoint: str, profiles: Profiles) -> Iterator[Remote]:
    with open_bucket_at(moto_endpoint, profiles) as remote:
        yield remote


@pytest.fixture
def rclone(rclone_endpoint: str, profiles: Profiles) -> Iterator[Remote]:
    with open_bucket_at(rclone_endpoint, profiles) as remote:
        yield remote


@pytest.fixture
def azurite(azurite_endpoint: str, profiles: Profiles) -> Iterator[Remote]:
    with open_container_at(azurite_endpoint, profiles) as remote:
        yield remote


@pytest.fixture
def google(google_servers: tuple[str, str], profiles: Profiles) -> Remote:
    return open_google_bucket_at(*google_servers, profiles)


@pytest.fixture(params=["moto", "rclone", "azurite", "google"])
def remote(request: pytest.FixtureRequest) -> Remote:
    """Each test that asks for it runs against all four: moto is close to S3, rclone checks signatures."""
    found: Remote = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """An address that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def scripted(profiles: Profiles) -> Iterator[Scripted]:
    with Scripted() as server:
        profiles.put(a_profile(server.endpoint))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
