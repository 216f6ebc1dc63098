"""A full disk here: nothing is committed, nothing is left, and what fits still goes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Shell, serve_command
from external.web_server import page, serving_pages

from appliance.pipelines.process import probe_namespaces

SIZE = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The data directory of an appliance on a disk of 24 MiB, which only it can see; reached through its /proc."""
    if problem := probe_namespaces():
        pytest.skip(problem)
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
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


def test_object_larger_than_the_disk_leaves_nothing(
    small_disk: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sh = Shell(capsysbinary, monkeypatch, small_disk)
    sh("create", "repo", "in")
    with serving_pages() as web:
        web.pages["/large"] = page(bytes(2 * SIZE))
        web.pages["/small"] = page(b"small")
        refused = sh.refused("put", "file", "in@master", "-f", f"{web.url}/small", "-f", f"{web.url}/large")
        assert refused == (1, f"{web.url}/large: the bytes can not be kept: No space left on device")
        assert sh("list", "commit", "in").rows == []
        assert list((small_disk / "staging").iterdir()) == []
        sh("put", "file", "in@master", "-f", f"{web.url}/small")
    assert sh("get", "file", "in@master:/small").out == "small"
