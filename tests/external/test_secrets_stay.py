"""Secrets are where they are kept, and nowhere else, whatever was done with them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from cli.helpers import Serving, Shell
from external.relay import Relay, RelayHandler, relayed

from appliance.pipelines.process import probe_namespaces

SECRETS = {
    "amazon": "amazons-secret-never-shown",
    "token": "amazons-token-never-shown",
    "google": "googles-secret-never-shown",
    "microsoft": "bWljcm9zb2Z0cy1uZXZlci1zaG93bg==",
    "value": "a-value-never-shown",
    "password": "a-password-never-shown",
    "signature": "a-signature-never-shown",
}
ACCOUNT = {"type": "service_account", "client_email": "me", "private_key_id": "1", "disable_oauth": True}


@pytest.fixture
def web() -> Iterator[Relay]:
    """Stands for everybody's store, refuses everything, and repeats how it was asked."""

    def refuse(handler: RelayHandler) -> bool:
        said = escape(f"{handler.path} {handler.headers}")
        return handler.answer(403, f"<Error><Code>No</Code><Message>{said}</Message></Error>".encode())

    with relayed("http://nowhere.example") as server:
        server.before = refuse
        yield server


@pytest.fixture
def everything_kept(sh: Shell, web: Relay, tmp_path: Path) -> None:
    (tmp_path / "google.json").write_text(json.dumps({**ACCOUNT, "private_key": SECRETS["google"]}))
    where = ("--endpoint", web.url)
    sh("deploy", "storage", "amazon", "us-east-1", "id", SECRETS["amazon"], SECRETS["token"], *where)
    sh("deploy", "storage", "google", tmp_path / "google.json", *where)
    sh("deploy", "storage", "microsoft", "account", SECRETS["microsoft"], "--endpoint", f"{web.url}/account")
    sh("create", "secret", "database", f"password={SECRETS['value']}")


def spec(name: str, url: str) -> bytes:
    """A pipeline whose egress fails."""
    secret = {"name": "database", "key": "password", "env_var": "PASSWORD"}
    pipeline = {
        "pipeline": {"name": name},
        "input": {"pfs": {"repo": "in", "glob": "/"}},
        "transform": {"cmd": ["sh", "-c", "touch /pfs/out/a"], "secrets": [secret]},
        "egress": {"URL": url},
    }
    return json.dumps(pipeline).encode()


def test_no_secret_is_anywhere_else(sh: Shell, appliance: Serving, web: Relay, everything_kept: None, tmp_path: Path) -> None:
    if problem := probe_namespaces():
        pytest.skip(problem)
    sh("create", "repo", "in")
    sh("put", "file", "in@master:/a", stdin=b"1")
    stores = [f"{url}?endpoint={web.url}" for url in ("s3://bucket/dir", "gs://bucket/dir")]
    stores += [f"azblob://bucket/dir?endpoint={web.url}/account"]
    page = f"{web.url.replace('//', '//me:' + SECRETS['password'] + '@')}/page?sig={SECRETS['signature']}"
    said = [sh.try_("put", "file", "in@master", "-r", "-f", url) for url in stores]
    said += [sh.try_("get", "file", "in@master:/a", "-o", url) for url in stores]
    said += [sh.try_("put", "file", "in@master", "-f", page)]
    said += [sh.try_("create", "pipeline", "-f", "-", stdin=spec("sent", stores[0]))]
    job = f"sent@{sh('list', 'job', '-p', 'sent', '--raw').objects[0]['id']}"
    said += [sh.try_("wait", "job", job), sh.try_("inspect", "job", job, "--raw"), sh.try_("logs", "-p", "sent")]
    said += [sh.try_("inspect", "pipeline", "sent", *style) for style in ([], ["--raw"])]
    for noun in (("deploy", "storage", "list"), ("list", "secret"), ("inspect", "secret", "database")):
        said += [sh.try_(*noun, *style) for style in ([], ["--raw"])]
    said += [sh.try_("export", "-o", tmp_path / "export")]
    assert [ran.status for ran in said].count(1) == 2 * len(stores) + 2
    shown = "".join(ran.out + ran.err for ran in said).encode() + (tmp_path / "export").read_bytes()
    shown += b"".join(Path(f"/proc/{appliance.process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    shown += (appliance.data.parent / "stderr").read_bytes()
    kept = {"credentials.json", "secrets.json"}
    shown += b"".join(path.read_bytes() for path in appliance.data.rglob("*") if path.is_file() and path.name not in kept)
    assert [name for name, secret in SECRETS.items() if secret.encode() in shown] == []
    assert all((appliance.data / name).stat().st_mode & 0o777 == 0o600 for name in kept)


@pytest.mark.parametrize(
    "command",
    [
        ("deploy", "storage", "amazon", "us-east-1", "id", SECRETS["amazon"]),
        ("create", "secret", "name", f"key={SECRETS['value']}"),
        ("put", "file", "in@master", "-f", f"https://me:{SECRETS['password']}@host/page"),
    ],
    ids=lambda command: command[0],
)
def test_command_that_waits_shows_no_secret_to_who_lists_processes(appliance: Serving, command: tuple[str, ...]) -> None:
    appliance.process.send_signal(signal.SIGSTOP)
    try:
        words = [sys.executable, "-m", "appliance", *command]
        environment = {**os.environ, "APPLIANCE_HOME": str(appliance.data)}
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
            deadline, shown = time.monotonic() + 30, b""
            while shown.rstrip(b"\0") != " ".join(["appliance", *command[:2]]).encode():
                assert time.monotonic() < deadline, shown
                shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert process.poll() is None
            process.kill()
    finally:
        appliance.process.send_signal(signal.SIGCONT)
