"""Where namespaces are forbidden: it is said once, S3 runs, and with the opt-in everything else does too."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import asked, serve_command

from appliance.control.client import Client

# Only in a user namespace of its own, so nobody else feels it.
FORBID = 'for kind in mnt user pid; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done; exec "$@"'
SCRIPT = "cat $in $PFS/in/dir/a; echo new >> $in || true; ln -s $PFS/in/dir/a $PFS/out/link; cd $PFS/out; pwd > here"


@contextmanager
def forbidden(data: Path, *options: str) -> Iterator[Client]:
    """Serve where no namespace can be made."""
    command = ["unshare", "-Ur", "sh", "-ec", FORBID, "sh", *serve_command(data, *options)]
    tried = subprocess.run(["unshare", "-Ur", "sh", "-ec", FORBID, "sh", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("there are no user namespaces in which others could be forbidden")
    with asked(command, data) as client:
        yield client


def run(client: Client, **transform: Any) -> dict[str, Any]:
    """Put a file, run a pipeline over it, and return its job."""
    client.call("create_repo", repo="in")
    put = client.call("begin_put", repo="in", branch="master")
    client.send_file([b"content\n"], put=put, path="/dir/a", position=0)
    client.call("put_staged", put=put, repo="in", branch="master")
    spec = {"pipeline": {"name": "p"}, "input": {"pfs": {"repo": "in", "glob": "/dir/*"}}, "transform": transform}
    client.call("create_pipeline", text=json.dumps({**spec, "datum_tries": 1}))
    while True:
        job: dict[str, Any] = next(client.iterate("list_job", pipeline="p"))
        if job["finished_ns"] is not None:
            return job


def test_it_is_said_once_and_datums_are_refused(tmp_path: Path) -> None:
    with forbidden(tmp_path / "data") as client:
        (notice,) = client.call("inspect_appliance")["notices"]
        assert "`serve --pfs-variable`" in notice
        assert "below /pfs, which can not be had here" in run(client, cmd=["true"])["reason"]


def test_with_the_opt_in_user_code_finds_its_files_at_a_variable(tmp_path: Path) -> None:
    with forbidden(tmp_path / "data", "--pfs-variable") as client:
        assert run(client, cmd=["sh", "-ec", SCRIPT], working_dir="/pfs/out")["state"] == "success"
        assert b"".join(client.get_file("p", "master", "/link")) in (b"content\n", b"content\nnew\n")
        assert b"".join(client.get_file("in", "master", "/dir/a")) == b"content\n"
        assert b"".join(client.get_file("p", "master", "/here")).startswith(str(tmp_path).encode())
