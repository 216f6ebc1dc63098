"""A full disk here: nothing is committed, nothing is left, and what fits still goes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Shell, serve_command
from external.servers import Remote
from external.web_server import page, serving_pages

from appliance.external.credentials import Profiles
from appliance.pipelines.process import probe_namespaces

SIZE = 24 << 20


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of an appliance on a disk of 24 MiB, which only it can see; reached through its /proc."""
    if problem := probe_namespaces():
        pytest.skip(problem)
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    tmp_path = tmp_path_factory.mktemp("small")
    (tmp_path / "disk").mkdir()
    serve = " ".join(serve_command(tmp_path / "disk" / "data"))
    script = f"mount -t tmpfs -o size={SIZE} none {tmp_path}/disk && exec {serve}"
    command = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not line.startswith("Durability"):
        pass
    try:
        assert line, "serve has ended"
        yield Path(f"/proc/{process.pid}/root{tmp_path}/disk/data")
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def profiles(small_disk: Path) -> Profiles:
    return Profiles(small_disk)


@pytest.fixture
def sh(small_disk: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsysbinary, monkeypatch, small_disk)


def check_refused_and_nothing_left(sh: Shell, small_disk: Path, repo: str, name: str, *sources: str) -> None:
    refused = sh.refused("put", "file", f"{repo}@master", *sources)
    assert refused == (1, f"{name}: the bytes can not be kept: No space left on device")
    assert sh("list", "commit", repo).rows == []
    assert list((small_disk / "staging").iterdir()) == []


@pytest.mark.parametrize("name", ["moto", "azurite", "google"])
def test_object_larger_than_the_disk_leaves_nothing(
    sh: Shell, repo: str, small_disk: Path, request: pytest.FixtureRequest, name: str
) -> None:
    remote: Remote = request.getfixturevalue(name)
    remote.put("dir/a-small", b"small")
    remote.put("dir/large", bytes(2 * SIZE))
    large = f"{remote.scheme}://{remote.bucket}/dir/large"
    check_refused_and_nothing_left(sh, small_disk, repo, large, "-r", "-f", remote.text("dir"))
    sh("put", "file", f"{repo}@master", "-f", remote.text("dir/a-small"))
    assert sh("get", "file", f"{repo}@master:/a-small").out == "small"


def test_page_larger_than_the_disk_leaves_nothing(sh: Shell, repo: str, small_disk: Path) -> None:
    with serving_pages() as web:
        web.pages["/large"] = page(bytes(2 * SIZE))
        web.pages["/small"] = page(b"small")
        sources = ("-f", f"{web.url}/small", "-f", f"{web.url}/large")
        check_refused_and_nothing_left(sh, small_disk, repo, f"{web.url}/large", *sources)
        sh("put", "file", f"{repo}@master", "-f", f"{web.url}/small")
    assert sh("get", "file", f"{repo}@master:/small").out == "small"
