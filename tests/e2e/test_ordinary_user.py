"""As an ordinary user, without any capability: user code is isolated by a user namespace, and can be debugged there.

The user is one in a user namespace, whose number has no rights outside and, being no 0, none inside either.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.helpers import asked, serve_command
from e2e.test_no_namespaces import run

from appliance.control.client import Client

USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
SCRIPT = "cp $in /pfs/out/a; id -u > /pfs/out/user; setsid sleep 1000 & touch $in || echo refused > /pfs/out/write"


@contextmanager
def serving(data: Path) -> Iterator[Client]:
    if subprocess.run([*USER, "unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("an ordinary user can not have namespaces here")
    with asked([*USER, *serve_command(data)], data) as client:
        yield client


def read(client: Client, path: str) -> bytes:
    return b"".join(client.get_file("p", "master", path))


def debug(data: Path, job: str, datum: str, script: str) -> str:
    """Return what a debugged command printed, and what its output changed."""
    command = [*USER, sys.executable, "-m", "appliance", "debug", "datum", f"p@{job}", datum, "--diff", "--"]
    environment = {"APPLIANCE_HOME": str(data), "PATH": "/usr/bin:/bin"}
    return subprocess.run([*command, "sh", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout


def test_datums_have_a_pfs_of_their_own_and_can_be_debugged(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as client:
        job = run(client, cmd=["sh", "-c", SCRIPT])
        assert job["state"] == "success"
        assert [read(client, path) for path in ("/a", "/user", "/write")] == [b"content\n", b"1000\n", b"refused\n"]
        datum = next(client.iterate("list_datum", pipeline="p", job=job["id"]))["id"]
        said = debug(tmp_path / "data", job["id"], datum, "id -u; ls /pfs; echo other > /pfs/out/a")
        assert said.startswith("1000\nin\nout\n")
        assert "-content\n+other\n" in said
