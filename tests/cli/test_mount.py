"""Further mount points, and `status`, `commit` and `discard` of what was changed in the mount."""

import os
import subprocess
import sys
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


@pytest.fixture
def further(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root may make bind mounts")
    place = tmp_path / "further"
    place.mkdir()
    return place


def test_mount_shows_repos_at_a_further_place_until_unmount(sh: Shell, further: Path) -> None:
    for repo in ("data", "other"):
        sh("create", "repo", repo)
    sh("put", "file", "data@master:/foo", stdin=b"foo")
    sh("mount", str(further), "-r", "data@master:/foo+r", "-r", "other@staging+rw")
    assert (further / "data/foo").read_bytes() == b"foo"
    (further / "other/new").write_bytes(b"new")
    made = sh("unmount", str(further)).out.strip()
    branch, _, commit = made.partition("=")
    assert (branch, sh("get", "file", f"other@{commit}:/new").out) == ("other@staging", "new")
    assert list(further.iterdir()) == []


def test_unmount_all_names_what_it_takes_away(sh: Shell, further: Path) -> None:
    assert sh("unmount", "-a").out == "No mounts found.\n"
    sh("mount", str(further), "--write")
    said = sh("unmount", "--all", "--yes").out
    assert said == f"This will unmount the following filesystems:\n{further}\n"
    assert not mountpoint.find_mount(further)


def test_unmount_all_is_given_up_without_a_yes(sh: Shell, further: Path) -> None:
    sh("mount", str(further))
    ran = sh.try_("unmount", "-a", stdin=b"n\n")
    assert (ran.status, ran.out.splitlines()[-1]) == (1, "unmount aborted")
    assert mountpoint.find_mount(further)


def test_unmount_wants_to_know_what(sh: Shell, place: Path) -> None:
    assert sh.refused("unmount") == (2, "nothing to unmount specify a mounted filesystem or --all")
    assert sh.refused("unmount", str(place)) == (2, f"{place} is the mount of `serve` and ends with it")


def test_wrong_specs_are_refused(sh: Shell, further: Path) -> None:
    assert sh.refused("mount", str(further), "-r", "data+x") == (2, "invalid format \"data+x\": unrecognized mode: 'x'")
    assert sh.refused("mount", str(further), "-r", "none")[1] == "repo none not found"


@pytest.fixture
def examined(sh: Shell) -> dict[str, str | None]:
    return {found["what"]: found["problem"] for found in sh("doctor", "--raw").objects}


def test_doctor_says_what_the_machine_allows(examined: dict[str, str | None]) -> None:
    assert [*examined] == ["pyfuse3", "/dev/fuse", "mounting", "bind mounts", "namespaces", "podman", "docker", "open files"]
    assert (examined["pyfuse3"], examined["/dev/fuse"], examined["mounting"]) == (None, None, None)  # it is mounted here
    assert (examined["bind mounts"] is None) == (os.geteuid() == 0)


def test_doctor_says_what_is_missing_without_an_appliance(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "APPLIANCE_HOME": str(tmp_path / "none")}
    command = ["/bin/sh", "-c", 'ulimit -n 512; exec "$0" -m appliance doctor', sys.executable]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "podman is not installed" in done.stdout
    assert "at most 512 at a time" in done.stdout
