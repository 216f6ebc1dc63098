"""Authentication on the command line, from `activate` to `deactivate`."""

import stat
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cli.helpers import Serving, Shell, serve_command, serving

from appliance.cli import run

OFF = (2, "the auth service is not activated")


@pytest.fixture
def root(sh: Shell) -> Iterator[str]:
    """Authentication is on; the root token."""
    token = sh("auth", "activate").out.removeprefix("Root token: ").strip()
    yield token
    sh("auth", "use-auth-token", stdin=f"{token}\n".encode())
    sh("auth", "deactivate")


def list_buckets(appliance: Serving, key: str) -> list[str]:
    config = Config(retries={"total_max_attempts": 1})
    endpoint = appliance.said["S3 endpoint"]
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=key,
        region_name="us-east-1",
        config=config,
    )
    try:
        return [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    finally:
        s3.close()


def test_everything_is_refused_while_it_is_off(sh: Shell, repo: str) -> None:
    for command in (
        ("whoami",),
        ("deactivate",),
        ("get-robot-token", "bob"),
        ("check", "repo", repo),
        ("get", "cluster"),
        ("set", "repo", repo, "repoReader", "user:a"),
        ("revoke", "--user", "user:a"),
    ):
        assert sh.refused("auth", *command) == OFF


def test_root_token_is_good_for_clients_and_known_afterwards(sh: Shell, root: str, appliance: Serving) -> None:
    assert sh("auth", "whoami").out == 'You are "pach:root"\n'
    assert list_buckets(appliance, root) == list_buckets(appliance, root)
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        list_buckets(appliance, "appliance")
    assert "Authentication: on" in sh("inspect", "appliance").out
    assert sh.refused("auth", "activate") == (1, "the auth service is already enabled")


def test_token_of_the_session_is_for_its_owner_only(root: str, appliance: Serving) -> None:
    assert stat.S_IMODE((appliance.data / "session-token").stat().st_mode) == 0o600


def test_env_has_the_token_of_the_session(sh: Shell, root: str) -> None:
    assert f"export AWS_ACCESS_KEY_ID={root}\nexport AWS_SECRET_ACCESS_KEY={root}\n" in sh("env").out
    sh("auth", "logout")
    assert sh.refused("env") == (2, "authentication is on: `auth use-auth-token` first")


def test_root_token_can_be_supplied(sh: Shell) -> None:
    assert (
        sh("auth", "activate", "--supply-root-token", stdin=b"my-own-root-token\n").out == "Root token: my-own-root-token\n"
    )
    assert sh("auth", "rotate-root-token", "--supply-token", stdin=b"my-next-root-token\n").out == (
        "Root token: my-next-root-token\n"
    )
    assert sh("auth", "whoami").out == 'You are "pach:root"\n'
    sh("auth", "deactivate")
    assert sh.refused("auth", "activate", "--supply-root-token", stdin=b"\n") == (2, "no root token on standard input")


def test_robot_has_the_roles_it_is_given(sh: Shell, root: str, repo: str, appliance: Serving) -> None:
    token = sh("auth", "get-robot-token", "bob", "-q").out.strip()
    assert list_buckets(appliance, token) == []
    sh("create", "branch", f"{repo}@master")
    sh("auth", "set", "repo", repo, "repoReader", "robot:bob")
    assert list_buckets(appliance, token) == [f"master.{repo}"]
    assert sh("auth", "get", "repo", repo).out == "robot:bob: [repoReader]\n"
    checked = sh("auth", "check", "repo", repo, "robot:bob").out
    assert checked.startswith("Roles: [repoReader]\nPermissions: [REPO_READ ")
    assert sh("auth", "revoke", "--token", token).out == "1 auth token revoked\n"
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        list_buckets(appliance, token)


def test_session_of_a_robot_gets_no_further_than_its_roles(sh: Shell, root: str, repo: str) -> None:
    token = sh("auth", "get-robot-token", "bob", "--ttl", "12h").out.removeprefix("Token: ")
    sh("auth", "use-auth-token", stdin=token.encode())
    said = sh("auth", "whoami").out.splitlines()
    assert said[0] == 'You are "robot:bob"'
    assert said[1].startswith("session expires: 20")
    for command in (
        ("get-robot-token", "x"),
        ("set", "cluster", "clusterAdmin", "robot:bob"),
        ("deactivate",),
        ("get", "cluster"),
    ):
        status, line = sh.refused("auth", *command)
        assert (status, line.split(" - ")[0]) == (1, "robot:bob is not authorized to perform this operation")
    assert sh("auth", "check", "repo", repo).out == "Roles: []\nPermissions: []\n"
    assert sh("auth", "check", "cluster").out == "Roles: []\nPermissions: []\n"


def test_admin_may_what_root_may(sh: Shell, root: str) -> None:
    sh("auth", "set", "cluster", "clusterAdmin", "user:alice")
    assert sh("auth", "get", "cluster").out == "pach:root: [clusterAdmin]\nuser:alice: [clusterAdmin]\n"
    sh("auth", "login", "-t", stdin=sh("auth", "get-auth-token", "alice", "-q").out.encode())
    assert sh("auth", "get-robot-token", "bob", "-q").out.strip()
    assert sh("auth", "revoke", "--user", "robot:bob").out == "1 auth tokens revoked\n"
    sh("auth", "set", "cluster", "none", "user:alice")
    assert sh.refused("auth", "get", "cluster")[0] == 1


def test_wrong_token_is_not_kept(sh: Shell, root: str) -> None:
    status, line = sh.refused("auth", "use-auth-token", stdin=b"nobodys-token-at-all\n")
    assert (status, line) == (1, "provided auth token is corrupted or has expired (try logging in again)")
    assert sh("auth", "whoami").out == 'You are "pach:root"\n'


def test_without_a_token_one_is_nobody(sh: Shell, root: str) -> None:
    sh("auth", "logout")
    assert sh.refused("auth", "whoami") == (2, "no authentication token (try logging in)")
    assert sh.refused("auth", "login")[1].startswith("no authentication providers are configured")


def test_roles_for_a_permission(sh: Shell) -> None:
    assert sh("auth", "roles-for-permission", "REPO_DELETE").out == "clusterAdmin\nrepoOwner\n"


def test_other_machines_are_not_let_in_without_authentication(
    tmp_path: Path, sh: Shell, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command = serve_command(tmp_path / "data", "--s3-address", "0.0.0.0:0")[3:]
    assert run(command) == 1
    assert capsysbinary.readouterr().err.startswith(b"refusing to listen on 0.0.0.0: ")


def test_other_machines_are_let_in_when_that_is_said_or_they_need_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with serving(tmp_path, "--s3-address", "0.0.0.0:0", "--anyone"):
        sh = Shell(capsysbinary, monkeypatch, tmp_path / "data")
        assert "anybody who reaches 0.0.0.0" in sh("inspect", "appliance").out
        sh("auth", "activate")
    with serving(tmp_path, "--s3-address", "0.0.0.0:0"):
        status, line = sh.refused("auth", "deactivate")
        assert (status, line.split(":")[0]) == (1, "other machines reach 0.0.0.0")
