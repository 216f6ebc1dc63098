"""Somebody else's object stores: real servers on free loopback ports, one process each for all tests."""

import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from external.google import START_EMULATOR, bridged
from external.installed import npm_program, python_with
from external.servers import (
    KEY_ID,
    SECRET,
    Remote,
    Scripted,
    a_profile,
    open_bucket_at,
    open_container_at,
    open_google_bucket_at,
    served,
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
    program = Path(sys.executable).with_name("moto_server")
    with served([str(program), "-H", "127.0.0.1", "-p", "0"]) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if program is None:
        pytest.skip("rclone is not installed")
    directory = tmp_path_factory.mktemp("rclone")
    command = [program, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY_ID},{SECRET}", str(directory)]
    with served(command) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def azurite_endpoint() -> Iterator[str]:
    program = npm_program("azurite", "3.37.0", "azurite-blob")
    command = [
        str(program),
        "--blobPort",
        "0",
        "--inMemoryPersistence",
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    with served(command) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def google_emulator() -> Iterator[str]:
    python = python_with("gcp-storage-emulator", "2026.7.19")
    with served([str(python), "-c", START_EMULATOR]) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def google_endpoint(google_emulator: str) -> Iterator[str]:
    with bridged(google_emulator) as endpoint:
        yield endpoint


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "home")


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
def google(google_endpoint: str, google_emulator: str, profiles: Profiles) -> Remote:
    return open_google_bucket_at(google_endpoint, google_emulator, profiles)


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
