"""Pipelines that really run: a whole appliance, real processes, nothing faked."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipelines.helpers import Gate, Lab, Serving

from appliance.pipelines.process import probe_namespaces


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where user code can not have a /pfs of its own."""
    if problem := probe_namespaces():
        pytest.skip(problem)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The test fails if something is logged that it did not clear."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


@pytest.fixture
def lab(namespaces: None, quiet: None, tmp_path: Path) -> Iterator[Lab]:
    """An open appliance with an empty repo `images`."""
    with Serving(tmp_path / "data") as app:
        yield Lab(app)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Where user code waits for the test."""
    made = Gate(tmp_path)
    yield made
    made.close()
