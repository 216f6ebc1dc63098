"""`fsck` and `garbage-collect`, against an appliance that is in use."""

import hashlib
import random
import signal
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cli.helpers import Serving, Shell, serving

from appliance.control.client import Client, NotRunning

DATA = random.Random(0).randbytes(200_000)


def blob_of(appliance: Serving, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    return appliance.data / "blobs" / name[:2] / name[2:]


@pytest.fixture
def damaged(sh: Shell, appliance: Serving, repo: str) -> str:
    """A repo with one file, of whose bytes one bit is wrong."""
    data = random.Random(repo).randbytes(200_000)
    sh("put", "file", f"{repo}@master:/a", stdin=data)
    file = blob_of(appliance, data)
    file.chmod(0o644)
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return repo


def test_sound_appliance_has_no_errors(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"1")
    assert sh("fsck").out == sh("fsck", "--deep").out == "No errors found.\n"


def test_damage_is_named_refused_at_every_door_and_repaired_by_a_put(sh: Shell, appliance: Serving, damaged: str) -> None:
    found = sh.try_("fsck", "--deep")
    assert (found.status, found.err) == (3, "1 error found\n")
    assert found.out.startswith("consistency error: blob ")
    assert f"is damaged, part of {damaged}@" in found.out
    status, said = sh.refused("get", "file", f"{damaged}@master:/a")
    assert (status, said.endswith("is damaged")) == (3, True)
    s3 = boto3.client(
        "s3",
        endpoint_url=appliance.said["S3 endpoint"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="key",
        config=Config(retries={"max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=f"master.{damaged}", Key="a")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    data = random.Random(damaged).randbytes(200_000)
    sh("put", "file", f"{damaged}@master:/again", stdin=data)
    assert s3.get_object(Bucket=f"master.{damaged}", Key="a")["Body"].read() == data
    assert sh("fsck", "--deep").out == "No errors found.\n"


def test_garbage_is_collected_on_request(sh: Shell, appliance: Serving, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=DATA)
    sh("delete", "repo", repo)
    assert blob_of(appliance, DATA).exists()
    assert sh("garbage-collect").out.startswith("1 blob of 195.3KiB removed, ")
    assert not blob_of(appliance, DATA).exists()
    assert sh("garbage-collect").out.startswith("0 blobs of 0B removed, ")


def test_a_check_that_breaks_off_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An appliance that dies in the middle of an answer must not look like the end of it."""
    with serving(tmp_path) as running:
        results = Client(running.data).iterate("fsck")
        next(results)
        running.process.send_signal(signal.SIGSTOP)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        with pytest.raises(NotRunning):
            for _ in results:
                pass
        running.process.returncode = 0
