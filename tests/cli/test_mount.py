"""`status`, `commit` and `discard` of what was changed in the mount."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, serving

from appliance.mount import mountpoint


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "pfs"
    place.mkdir()
    if problem := mountpoint.find_problem(place):
        if os.environ.get("APPLIANCE_REQUIRE_FUSE") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    return place


@pytest.fixture
def appliance(tmp_path: Path, place: Path) -> Iterator[Serving]:
    with serving(tmp_path, "--mount", str(place), "--write") as appliance:
        yield appliance


def test_what_was_written_is_shown_and_committed(sh: Shell, place: Path) -> None:
    sh("create", "repo", "data")
    (place / "data/new").write_bytes(b"new")
    assert sh("status").out.splitlines()[1].split() == ["data@master", "added", "/new"]
    branch, _, commit = sh("commit").out.strip().partition("=")
    assert (branch, sh("get", "file", f"data@{commit}:/new").out) == ("data@master", "new")
    assert (len(sh("status").out.splitlines()), sh("commit").out) == (1, "")


def test_a_conflict_is_reported_and_can_be_overwritten(sh: Shell, place: Path) -> None:
    sh("create", "repo", "data")
    (place / "data/foo").write_bytes(b"mine")
    sh("put", "file", "data@master:/foo", stdin=b"theirs")
    status, said = sh.refused("commit", "data")
    assert (status, said) == (1, "data@master has changed meanwhile where changes are staged: /foo")
    sh("commit", "data", "--overwrite")
    assert sh("get", "file", "data@master:/foo").out == "mine"


def test_discarded_changes_are_gone(sh: Shell, place: Path) -> None:
    sh("create", "repo", "data")
    (place / "data/foo").write_bytes(b"mine")
    sh("discard", "data@master")
    assert list((place / "data").iterdir()) == []
