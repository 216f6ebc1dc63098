"""`export` and `import`, from one appliance to another."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, paths, serving

from appliance.cli import run

DATA = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Another appliance."""
    with serving(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running


def test_export_goes_to_another_appliance(
    sh: Shell, repo: str, here: Path, elsewhere: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("put", "file", f"{repo}@master:/large", stdin=DATA)
    sh("put", "file", f"{repo}@master:/small", stdin=b"small")
    assert sh("export", "-o", "backup.tar", repo).out.endswith(" written to backup.tar\n")
    assert ((here / "backup.tar").stat().st_mode & 0o777, [file.name for file in here.iterdir()]) == (0o600, ["backup.tar"])
    monkeypatch.setenv("APPLIANCE_HOME", str(elsewhere.data))
    assert sh("import", "backup.tar").out == f"repos: {repo}; 2 commits, 2.861MiB in 1 large blobs\n"
    assert paths(sh("list", "file", f"{repo}@master")) == ["/large", "/small"]
    sh("get", "file", f"{repo}@master^:/large", "-o", "large")
    assert (here / "large").read_bytes() == DATA
    assert sh.refused("import", "backup.tar") == (1, f"repo {repo} already exists")
    sh("import", "backup.tar", "--rename", f"{repo}=copy")
    assert sh("get", "file", "copy@master:/small").out == "small"
    assert sh("fsck", "--deep").out == "No errors found.\n"


def test_whole_appliance_goes_through_a_pipe(
    sh: Shell, repo: str, elsewhere: Serving, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=DATA)
    capsysbinary.readouterr()
    assert run(["export", "-o", "-"]) == 0
    exported = capsysbinary.readouterr().out
    monkeypatch.setenv("APPLIANCE_HOME", str(elsewhere.data))
    assert repo in sh("import", "-", stdin=exported).out
    assert paths(sh("list", "file", f"{repo}@master")) == ["/a"]


def test_export_of_bytes_that_are_missing_is_refused(sh: Shell, repo: str, here: Path, appliance: Serving) -> None:
    data = random.Random(repo).randbytes(100_000)
    sh("put", "file", f"{repo}@master:/a", stdin=data)
    file = _blob_file(appliance, data)
    file.unlink()
    assert sh.refused("export", "-o", "backup.tar", repo) == (3, f"blob file {hashlib.sha256(data).hexdigest()} is missing")
    sh("put", "file", f"{repo}@master:/b", stdin=data)
    sh("export", "-o", "backup.tar", repo)


def test_export_of_wrong_bytes_breaks_off_and_the_log_names_them(
    sh: Shell, tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = r"ERROR appliance.httpd.sender: a reply broke off[^\x00]* is damaged, part of images@\w+:/a"
    with pytest.raises(AssertionError, match=said):  # `serving` minds what is on stderr
        _export_wrong_bytes(sh, tmp_path, monkeypatch)
    assert list(here.iterdir()) == []


def _export_wrong_bytes(sh: Shell, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(directory) as running:
        monkeypatch.setenv("APPLIANCE_HOME", str(running.data))
        sh("create", "repo", "images")
        sh("put", "file", "images@master:/a", stdin=DATA)
        file = _blob_file(running, DATA)
        file.chmod(0o644)
        file.write_bytes(bytes(len(DATA)))
        status, said = sh.refused("export", "-o", "backup.tar")
        assert (status, said.startswith("the export broke off")) == (3, True)


def _blob_file(appliance: Serving, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    return appliance.data / "blobs" / name[:2] / name[2:]


def test_wrong_arguments_are_refused(sh: Shell, here: Path) -> None:
    assert sh.refused("export", "-o", "x", "nowhere") == (1, "repo nowhere not found")
    assert sh.refused("import", "nothing") == (1, "nothing: No such file or directory")
    (here / "file").write_bytes(b"text" * 1000)
    assert sh.refused("import", "file")[1].startswith("this is no export of an appliance")
    assert sh.refused("import", "file", "--rename", "x") == (2, "invalid rename x: expected OLD=NEW")
