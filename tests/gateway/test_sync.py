"""What the aws command line sees: a second sync has nothing to do, and what was written is seen by everybody at once."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway.helpers import Served, body_of, client, keys_of

AWS = Path(sys.executable).parent / "aws"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with files of several sizes and names."""
    made = tmp_path / "folder"
    for number in range(40):
        file = made / f"dir {number % 4}" / f"file-{number}+ü.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * number)
    (made / "large").write_bytes(os.urandom(9 * 1024 * 1024))
    return made


def aws(gateway: Served, *arguments: str | Path) -> str:
    """Run a command of the aws command line and return what it says."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": gateway.url,
        "AWS_CONFIG_FILE": "/dev/null",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run([AWS, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_second_sync_transfers_nothing(gateway: Served, s3: Any, bucket: str, folder: Path, tmp_path: Path) -> None:
    assert aws(gateway, "s3", "sync", folder, f"s3://{bucket}/copy").count("upload:") == 41
    s3.put_object(Bucket=bucket, Key="other", Body=b"a commit that touches nothing of it")
    assert aws(gateway, "s3", "sync", folder, f"s3://{bucket}/copy") == ""
    down = tmp_path / "down"
    assert aws(gateway, "s3", "sync", f"s3://{bucket}/copy", down).count("download:") == 41
    assert aws(gateway, "s3", "sync", f"s3://{bucket}/copy", down) == ""
    assert (down / "large").read_bytes() == (folder / "large").read_bytes()


def test_sync_between_buckets_moves_what_changed(gateway: Served, s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket="dev.data")
    for key in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert aws(gateway, "s3", "sync", f"s3://{bucket}", "s3://dev.data").count("copy:") == 2
    s3.put_object(Bucket=bucket, Key="b", Body=b"changed")
    assert aws(gateway, "s3", "sync", f"s3://{bucket}", "s3://dev.data").count("copy:") == 1
    assert aws(gateway, "s3", "sync", f"s3://{bucket}", "s3://dev.data") == ""


def test_others_see_at_once_what_was_written(gateway: Served, bucket: str) -> None:
    failures: list[str] = []

    def write_and_look(name: str) -> None:
        with client(gateway.url) as writer, client(gateway.url) as reader:
            for number in range(10):
                key, data = f"{name}/{number}", f"{name} {number}".encode()
                writer.put_object(Bucket=bucket, Key=key, Body=data)
                if body_of(reader, bucket, key) != data or key not in keys_of(reader.list_objects_v2(Bucket=bucket)):
                    failures.append(key)
                writer.delete_object(Bucket=bucket, Key=key)
                if key in keys_of(reader.list_objects_v2(Bucket=bucket)):
                    failures.append(f"deleted {key}")

    threads = [threading.Thread(target=write_and_look, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
