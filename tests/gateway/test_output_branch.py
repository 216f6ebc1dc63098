"""A branch that only a pipeline writes to."""

from collections.abc import Callable
from typing import Any

import pytest
from gateway.helpers import Served, body_of, keys_of, refused
from store.helpers import create_pipeline, create_repos, derive, put, run_pipeline, tree

TEXT = "^You cannot write to an output branch$"
WRITES: dict[str, Callable[[Any, str], Any]] = {
    "put": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="a", Body=b"x"),
    "large put": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 100_000),
    "multipart": lambda s3, bucket: s3.create_multipart_upload(Bucket=bucket, Key="a"),
    "copy": lambda s3, bucket: s3.copy_object(Bucket=bucket, Key="a", CopySource="master.data/source"),
    "delete": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="a"),
    "delete of nothing": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="nothing"),
    "delete many": lambda s3, bucket: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}]}),
    "conditional put": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="a", Body=b"x", IfNoneMatch="*"),
    "conditional delete": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="nothing", IfMatch="*"),
}


@pytest.fixture
def output(gateway: Served, bucket: str) -> str:
    """The output branch of a pipeline that has run once and written `a`."""
    create_pipeline(gateway.store, "pipe", "data")
    put(gateway.store, "data", "/source", b"")
    run_pipeline(gateway.store, "pipe", {})
    run_pipeline(gateway.store, "pipe", {"datum": {"/a": b"output"}})
    return "master.pipe"


@pytest.mark.parametrize("write", WRITES)
def test_write_to_a_pipelines_output_is_refused(gateway: Served, s3: Any, output: str, write: str) -> None:
    with refused("WriteToOutputBranch", 400, TEXT):
        WRITES[write](s3, output)
    assert tree(gateway.store, "pipe") == {"/a": b"output"}


@pytest.mark.parametrize("write", WRITES)
def test_write_to_a_branch_with_provenance_is_refused(gateway: Served, s3: Any, bucket: str, write: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"")
    create_repos(gateway.store, "derived")
    derive(gateway.store, "derived", "data")
    with refused("WriteToOutputBranch", 400, TEXT):
        WRITES[write](s3, "master.derived")


def test_output_can_be_read(s3: Any, output: str) -> None:
    assert keys_of(s3.list_objects_v2(Bucket=output)) == ["a"]
    assert body_of(s3, output, "a") == b"output"


def test_output_has_no_uploads(s3: Any, output: str) -> None:
    assert s3.list_multipart_uploads(Bucket=output).get("Uploads", []) == []


def test_refused_put_is_answered_before_its_body(gateway: Served, output: str) -> None:
    head = f"PUT /{output}/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n\r\n"
    assert gateway.send(head.encode()).startswith(b"HTTP/1.1 400 ")


def test_output_is_not_deleted_as_a_bucket(s3: Any, bucket: str, gateway: Served) -> None:
    create_pipeline(gateway.store, "pipe", "data")
    with refused("OperationAborted", 409):
        s3.delete_bucket(Bucket="master.pipe")


def test_readers_see_the_last_output_while_the_next_is_made(gateway: Served, s3: Any, output: str) -> None:
    put(gateway.store, "data", "/source", b"changed")
    assert body_of(s3, output, "a") == b"output"
