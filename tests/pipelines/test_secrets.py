"""Secrets are given to user code as variables and files."""

import os
from pathlib import Path

import pytest
from pipelines.helpers import COPY, Lab

from appliance.errors import NotFound
from appliance.external.secrets import Secret

VALUE = "s3cr3t-ä"


@pytest.fixture
def kept(lab: Lab) -> Lab:
    """With a secret `login` that has a user and a password."""
    lab.secrets.put(Secret("login", {"user": "me", "password": VALUE}))
    return lab


def secrets(**mount: str) -> dict[str, object]:
    return {"secrets": [{"name": "login", **mount}]}


def test_value_is_in_a_variable(kept: Lab) -> None:
    job = kept.run("echo $PASSWORD", {"/a": b""}, transform=secrets(key="password", env_var="PASSWORD"))
    assert kept.logs(job) == [VALUE]


@pytest.mark.parametrize("place", ["/secrets", "/secrets/deep/down", "/etc/login", "/var/lib/a/b", "/mnt"])
def test_values_are_files_where_the_spec_says(kept: Lab, place: str) -> None:
    look = f"ls {place}; cat {place}/password; ! echo > {place}/user; test -d /etc; test -d /var/lib"
    job = kept.run(f"({look}) 2> /dev/null", {"/a": b""}, transform=secrets(mount_path=place))
    assert (job.state, kept.logs(job)) == ("success", ["password", "user", VALUE])
    assert place == "/mnt" or not Path(place).exists()
    assert list(kept.scratch.rglob("password")) == []


def test_user_of_the_spec_can_read_them(kept: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    transform = {**secrets(mount_path="/login"), "user": "65534"}
    assert kept.logs(kept.run("cat /login/user", {"/a": b""}, transform=transform)) == ["me"]


def test_missing_secret_is_refused_when_the_pipeline_is_created(kept: Lab) -> None:
    with pytest.raises(NotFound, match=r"^missing Kubernetes secret other$"):
        kept.pipeline(COPY, transform={"secrets": [{"name": "other", "mount_path": "/x"}]})
    with pytest.raises(NotFound, match=r"^Kubernetes secret login missing key token$"):
        kept.pipeline(COPY, transform=secrets(key="token", env_var="TOKEN"))


def test_secret_that_is_gone_fails_the_datum(kept: Lab) -> None:
    kept.pipeline(COPY, transform=secrets(mount_path="/login"))
    kept.succeeded()
    kept.secrets.delete("login")
    assert kept.ended(kept.put({"/a": b""})).reason.endswith("failed: missing Kubernetes secret login")


@pytest.mark.parametrize("place", ["/proc/x", "relative"])
def test_impossible_place_fails_the_datum(kept: Lab, place: str) -> None:
    assert kept.run(COPY, {"/a": b""}, transform=secrets(mount_path=place)).state == "failure"
