"""Egress of pipelines in an appliance of its own process, to all three kinds of stores, also through kill -9."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli.helpers import Ran, Shell, serve_command
from external.relay import Relay, RelayHandler, relayed, through
from external.servers import Remote

from appliance.external.credentials import Profiles
from appliance.pipelines.process import probe_namespaces

COUNT = 60


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if problem := probe_namespaces():
        pytest.skip(problem)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def profiles(data: Path) -> Profiles:
    return Profiles(data)


@pytest.fixture
def sh(data: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsysbinary, monkeypatch, data)


@pytest.fixture(params=["moto", "azurite", "google"])
def behind(request: pytest.FixtureRequest, profiles: Profiles) -> Iterator[tuple[Remote, Relay]]:
    """A server of each kind, and a relay in front of it that the appliance has credentials for."""
    remote: Remote = request.getfixturevalue(request.param)
    with relayed(remote.endpoint) as relay:
        for profile in profiles.list_profiles():
            profiles.put(replace(profile, endpoint=through(relay, remote.endpoint), name="relay"))
        yield remote, relay


@contextmanager
def running(data: Path) -> Iterator[subprocess.Popen[str]]:
    """An appliance that is ready; killed if it still runs in the end."""
    process = subprocess.Popen(serve_command(data), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        while not process.stdout.readline().startswith("Durability"):
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def spec(remote: Remote, relay: Relay, **egress: object) -> bytes:
    url = f"{remote.scheme}://{remote.bucket}/results?endpoint={through(relay, remote.endpoint)}"
    return json.dumps(
        {
            "pipeline": {"name": "out"},
            "input": {"pfs": {"repo": "in", "glob": "/"}},
            "transform": {"cmd": ["sh", "-c", "cp -r /pfs/in/. /pfs/out"]},
            "egress": {"URL": url, **egress},
        }
    ).encode()


def put(sh: Shell, directory: Path, names: Iterator[str] | list[str]) -> None:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_text(f"content of {name}")
    sh("put", "file", "in@master:/", "-r", "-f", directory)


def wait(sh: Shell) -> Ran:
    job = sh("list", "job", "-p", "out", "--raw").objects[0]["id"]
    return sh.try_("wait", "job", f"out@{job}")


def content(remote: Remote) -> dict[str, bytes]:
    return {key: remote.get(key) for key in remote.list_keys()}


def expected(names: list[str]) -> dict[str, bytes]:
    return {f"results/{name}": f"content of {name}".encode() for name in names}


def test_killed_egress_goes_on_where_it_stopped(behind: tuple[Remote, Relay], data: Path, sh: Shell, tmp_path: Path) -> None:
    remote, relay = behind
    names = [f"{number:03} é%+.txt" for number in range(COUNT)]
    some_are_there, never = threading.Event(), threading.Event()

    def hold(handler: RelayHandler) -> bool | None:
        if len(relay.put) < COUNT // 3:
            return None
        some_are_there.set()
        never.wait(60)
        return handler.cut()

    relay.before = hold
    with running(data) as process:
        sh("create", "repo", "in")
        put(sh, tmp_path / "files", names)
        sh("create", "pipeline", "-f", "-", stdin=spec(remote, relay))
        assert some_are_there.wait(60)
        process.kill()
        process.wait(30)
    finished = list(relay.put)
    never.set()
    relay.before = lambda handler: None
    with running(data):
        ended = wait(sh)
        assert ended.status == 0, ended.out
    assert content(remote) == expected(names)
    assert len(finished) >= COUNT // 3
    assert set(finished) & set(relay.put[len(finished) :]) == set()
    assert len(relay.put) == COUNT


def test_only_what_differs_is_sent_and_a_mirror_deletes_the_rest(
    behind: tuple[Remote, Relay], data: Path, sh: Shell, tmp_path: Path
) -> None:
    remote, relay = behind
    remote.put("results/old")
    remote.put("results2/beside")
    with running(data):
        sh("create", "repo", "in")
        put(sh, tmp_path / "files", ["a", "b"])
        sh("create", "pipeline", "-f", "-", stdin=spec(remote, relay))
        assert wait(sh).status == 0
        assert content(remote) == expected(["a", "b"]) | {"results/old": b"x", "results2/beside": b"x"}
        sh("delete", "file", "in@master:/b")
        sh("update", "pipeline", "-f", "-", stdin=spec(remote, relay, mirror=True))
        assert wait(sh).status == 0
    assert content(remote) == expected(["a"]) | {"results2/beside": b"x"}
    assert len(relay.put) == 2


@pytest.mark.parametrize("behind", ["moto"], indirect=True)
def test_trouble_for_a_while_is_waited_for(behind: tuple[Remote, Relay], data: Path, sh: Shell, tmp_path: Path) -> None:
    remote, relay = behind
    troubles: list[str] = []

    def trouble(handler: RelayHandler) -> bool | None:
        if handler.command != "PUT" or len(troubles) >= 12:
            return None
        troubles.append(handler.path)
        return [lambda: handler.answer(500), lambda: handler.answer(503), handler.cut][len(troubles) % 3]()

    relay.before = trouble
    with running(data):
        sh("create", "repo", "in")
        put(sh, tmp_path / "files", [str(number) for number in range(6)])
        sh("create", "pipeline", "-f", "-", stdin=spec(remote, relay))
        ended = wait(sh)
        assert ended.status == 0, ended.out
    assert content(remote) == expected([str(number) for number in range(6)])
    assert len(troubles) == 12


@pytest.mark.parametrize("behind", ["azurite"], indirect=True)
def test_refusal_of_one_object_fails_the_job_and_names_it(
    behind: tuple[Remote, Relay], data: Path, sh: Shell, tmp_path: Path
) -> None:
    remote, relay = behind
    relay.before = lambda handler: (
        handler.answer(403) if "/results/b" in unquote(handler.path) and handler.command == "PUT" else None
    )
    with running(data):
        sh("create", "repo", "in")
        put(sh, tmp_path / "files", ["a", "b"])
        sh("create", "pipeline", "-f", "-", stdin=spec(remote, relay))
        ended = wait(sh)
    assert ended.status == 1
    assert f"Reason: egress error: {remote.scheme}://{remote.bucket}/results/b: 403 Forbidden" in ended.out
    assert content(remote).items() <= expected(["a"]).items()
