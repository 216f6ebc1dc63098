"""`scripts/crash` in short: kills and power cuts under load, and a disk that is full while clients go on."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.harness import Serving, campaign, disk_fsynced, list_keys, prepare, serving
from crash.load import REPO
from disk.client import TAKING_INODES, TAKING_SPACE, WRITING, Disk, open_disk
from e2e.conftest import s3_client
from mount.conftest import place as place

SEED = 7
LARGE = bytes(range(256)) * 1000


def test_acknowledged_writes_survive_kills(tmp_path: Path) -> None:
    assert list(campaign(tmp_path, "kills", SEED, 4)) == [1, 2, 3, 4]


def test_acknowledged_writes_survive_power_cuts(tmp_path: Path, place: Path) -> None:
    assert list(campaign(tmp_path, "cuts", SEED, 10)) == list(range(1, 11))


@pytest.fixture
def disk(tmp_path: Path, place: Path) -> Iterator[Disk]:
    with open_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def served(disk: Disk, tmp_path: Path) -> Iterator[Serving]:
    """An appliance whose data is on a disk that fails on command."""
    with serving(disk.path / "data", tmp_path / "log") as served:
        prepare(served.data)
        disk_fsynced(disk.path)
        yield served


@pytest.mark.parametrize(
    ("kinds", "number", "status", "code"),
    [
        (TAKING_SPACE, errno.ENOSPC, 507, "InsufficientStorage"),
        (TAKING_INODES, errno.ENOSPC, 507, "InsufficientStorage"),
        (WRITING, errno.EIO, 503, "ServiceUnavailable"),
        (WRITING, errno.EROFS, 503, "ServiceUnavailable"),
    ],
)
def test_fault_of_the_disk_is_told_in_xml_and_ends_without_a_restart(
    served: Serving, disk: Disk, tmp_path: Path, kinds: tuple[str, ...], number: int, status: int, code: str
) -> None:
    s3, bucket = s3_client(served.endpoint), f"master.{REPO}"
    s3.put_object(Bucket=bucket, Key="kept", Body=LARGE)
    disk.fail(kinds, number)
    with pytest.raises(s3.exceptions.ClientError) as failed:
        s3.put_object(Bucket=bucket, Key="new", Body=LARGE + b"new")
    answer = failed.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (status, code)
    assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == LARGE
    assert disk.heal() > 0
    s3.put_object(Bucket=bucket, Key="new", Body=LARGE + b"new")
    assert list_keys(served.endpoint, REPO) == {"/kept", "/new"}
    assert "Traceback" not in (tmp_path / "log").read_text()
