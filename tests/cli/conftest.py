"""One appliance for each module, and a shell to command it; each test has a repo of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, serving


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A running appliance."""
    with serving(tmp_path_factory.mktemp("appliance")) as running:
        yield running


@pytest.fixture
def sh(appliance: Serving, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command line, talking to that appliance."""
    return Shell(capsysbinary, monkeypatch, appliance.data)


@pytest.fixture
def repo(sh: Shell, request: pytest.FixtureRequest) -> str:
    """An empty repo with a name that no other test has."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    sh("create", "repo", name)
    return name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place
