"""The life of `serve`: what it says, what it leaves, and what keeps it from starting."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
import trustme
from botocore.exceptions import SSLError
from cli.helpers import Serving, Shell, job_of, serve_command, serving
from gateway.helpers import client


def fails(command: list[str]) -> tuple[int, str]:
    """Run an appliance that can not start; return its status and the one line it leaves."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr.rstrip("\n")


def test_ready_file_says_what_serve_says(appliance: Serving) -> None:
    assert json.loads(appliance.ready_file.read_text()) == {
        "pid": appliance.process.pid,
        "data": str(appliance.data),
        "s3_endpoint": appliance.said["S3 endpoint"],
        "tls_endpoint": None,
        "mount": None,
        "control": str(appliance.data / "control.sock"),
    }
    assert (appliance.said["Data"], appliance.said["Mount"]) == (str(appliance.data), "none")


def test_log_is_in_the_data_directory(appliance: Serving) -> None:
    assert appliance.data.stat().st_mode & 0o777 == 0o700
    assert f"ready: S3 at {appliance.said['S3 endpoint']}" in (appliance.data / "log").read_text()


def test_data_directory_in_use(appliance: Serving) -> None:
    line = f"data directory {appliance.data} is in use by another appliance"
    assert fails(serve_command(appliance.data)) == (1, line)


def test_port_in_use(appliance: Serving, tmp_path: Path) -> None:
    address = appliance.said["S3 endpoint"].removeprefix("http://")
    status, line = fails([*serve_command(tmp_path / "data"), "--s3-address", address])
    assert (status, line.startswith(f"can not listen on {address}: ")) == (1, True)


def test_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert fails(serve_command(tmp_path / "file")) == (1, f"{tmp_path / 'file'}: File exists")


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """Files of a certificate for 127.0.0.1, its key, and the authority behind it."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}


def test_the_same_buckets_over_tls_and_plain(tmp_path: Path, certificate: dict[str, str]) -> None:
    options = ("--tls-address", "127.0.0.1:0", "--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    content = bytes(range(256)) * 40_000
    with serving(tmp_path, *options) as running:
        assert running.said["S3 endpoint, TLS"].startswith("https://127.0.0.1:")
        with client(running.said["S3 endpoint, TLS"], verify=certificate["ca"]) as secured:
            secured.create_bucket(Bucket="master.data")
            secured.put_object(Bucket="master.data", Key="file", Body=content)
            assert secured.get_object(Bucket="master.data", Key="file")["Body"].read() == content
        with client(running.said["S3 endpoint"]) as plain:
            assert plain.get_object(Bucket="master.data", Key="file")["Body"].read() == content
        with client(running.said["S3 endpoint, TLS"]) as stranger, pytest.raises(SSLError):
            stranger.list_buckets()


def test_a_key_of_another_certificate(tmp_path: Path, certificate: dict[str, str]) -> None:
    options = ["--tls-cert", certificate["ca"], "--tls-key", certificate["key"], "--tls-address", "127.0.0.1:0"]
    status, line = fails([*serve_command(tmp_path / "data"), *options])
    assert (status, line.startswith(f"certificate {certificate['ca']} with key {certificate['key']}: ")) == (2, True)


def test_two_appliances_side_by_side(sh: Shell, appliance: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sh("create", "repo", "first")
    with serving(tmp_path) as second:
        assert second.said["S3 endpoint"] != appliance.said["S3 endpoint"]
        monkeypatch.setenv("APPLIANCE_HOME", str(second.data))
        assert sh("list", "repo").rows == []
    assert appliance.ready_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_leaves_data_and_no_doors(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as running:
        running.process.send_signal(number)
        assert running.process.wait(20) == 0
        assert not running.ready_file.exists()
        assert not (running.data / "control.sock").exists()
        assert (running.data / "appliance.db").exists()


def test_everything_goes_when_one_says_yes(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with serving(tmp_path) as running, pytest.MonkeyPatch.context() as patch:
        sh = Shell(capsysbinary, patch, running.data)
        sh("create", "repo", "data")
        spec = {"pipeline": {"name": "p"}, "input": {"pfs": {"repo": "data", "glob": "/"}}, "transform": {"cmd": ["true"]}}
        sh("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
        sh.try_("wait", "job", f"p@{job_of(sh, 'p')}")
        assert sh.refused("delete", "repo", "--all", "--yes")[0] == 1
        sh("delete", "pipeline", "--all", "-y")
        assert sh.try_("delete", "repo", "--all", stdin=b"Yes\n").status == 0
        assert (sh("list", "repo").rows, sh("list", "pipeline").rows) == ([], [])
