"""CopyObject."""

from datetime import UTC, datetime
from typing import Any

import pytest
from gateway.helpers import Served, body_of, refused
from store.helpers import LARGE, commit_of, tree

LONG_AGO, FAR_AHEAD = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


@pytest.fixture
def source(s3: Any, bucket: str) -> dict[str, Any]:
    """What putting `source` answered."""
    answer: dict[str, Any] = s3.put_object(Bucket=bucket, Key="source", Body=LARGE, Metadata={"a": "1"}, ContentType="x/y")
    return answer


def test_copy_has_the_content(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source")
    assert body_of(s3, bucket, "copy") == LARGE


def test_copy_moves_no_bytes(gateway: Served, s3: Any, bucket: str, source: dict[str, Any]) -> None:
    before = list((gateway.store.directory / "blobs").glob("*/*"))
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source")
    assert list((gateway.store.directory / "blobs").glob("*/*")) == before


def test_copy_goes_to_other_buckets(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.create_bucket(Bucket="dev.other")
    s3.copy_object(Bucket="dev.other", Key="copy", CopySource=f"/{bucket}/source")
    assert body_of(s3, "dev.other", "copy") == LARGE


def test_answer_names_both_versions(gateway: Served, s3: Any, bucket: str, source: dict[str, Any]) -> None:
    answer = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source")
    assert answer["CopySourceVersionId"] == source["VersionId"]
    assert answer["VersionId"] == commit_of(gateway.store, "data").id != source["VersionId"]
    assert answer["CopyObjectResult"]["ETag"] == source["ETag"]


def test_copy_keeps_metadata(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source", Metadata={"b": "2"})
    found = s3.head_object(Bucket=bucket, Key="copy")
    assert (found["Metadata"], found["ContentType"]) == ({"a": "1"}, "x/y")


def test_copy_replaces_metadata_when_told(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source", Metadata={"b": "2"}, MetadataDirective="REPLACE")
    found = s3.head_object(Bucket=bucket, Key="copy")
    assert (found["Metadata"], found["ContentType"]) == ({"b": "2"}, "application/octet-stream")


def test_unknown_directive_is_refused(gateway: Served, bucket: str, source: dict[str, Any]) -> None:
    headers = {"x-amz-copy-source": f"{bucket}/source", "x-amz-metadata-directive": "MERGE"}
    assert gateway.request("PUT", f"/{bucket}/copy", headers).code == "InvalidArgument"


def test_copy_to_itself_changes_metadata_only_when_told(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="source", CopySource=f"{bucket}/source")
    s3.copy_object(
        Bucket=bucket, Key="source", CopySource=f"{bucket}/source", Metadata={"b": "2"}, MetadataDirective="REPLACE"
    )
    assert s3.head_object(Bucket=bucket, Key="source")["Metadata"] == {"b": "2"}


def test_old_version_is_copied_over_the_new(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"new")
    answer = s3.copy_object(
        Bucket=bucket, Key="source", CopySource={"Bucket": bucket, "Key": "source", "VersionId": source["VersionId"]}
    )
    assert body_of(s3, bucket, "source") == LARGE
    assert answer["CopySourceVersionId"] == source["VersionId"]


def test_commit_bucket_is_a_source(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.delete_object(Bucket=bucket, Key="source")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{source['VersionId']}.data/source")
    assert body_of(s3, bucket, "copy") == LARGE


@pytest.mark.parametrize("key", ["a b", "a+b", "100%", "übung", "a?versionId=x", "x=y&z"])
def test_name_of_the_source_is_percent_encoded(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"content")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert body_of(s3, bucket, "copy") == b"content"


def test_name_of_the_source_may_be_plain_utf_8(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="übung", Body=b"content")
    value = f"{bucket}/übung".encode().decode("latin-1")
    assert gateway.request("PUT", f"/{bucket}/copy", {"x-amz-copy-source": value}).status == 200


@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((text, "InvalidArgument") for text in ("", "/", "bucket", "bucket/", "//key", "master.data/%FF")),
        ("a.b.c.d/key", "InvalidBucketName"),
        ("master.other/key", "NoSuchBucket"),
        ("master.data/other", "NoSuchKey"),
        ("master.data/source?versionId=nonsense", "InvalidArgument"),
        (f"master.data/source?versionId={'0' * 12}4{'0' * 3}8{'0' * 15}", "NoSuchVersion"),
    ],
)
def test_source_that_is_not_there(gateway: Served, bucket: str, source: dict[str, Any], value: str, code: str) -> None:
    answer = gateway.request("PUT", f"/{bucket}/copy", {"x-amz-copy-source": value})
    assert answer.code == code
    assert answer.status == (404 if code.startswith("NoSuch") else 400)


def test_copy_to_no_bucket(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket="master.other", Key="copy", CopySource=f"{bucket}/source")


def test_directory_can_be_copied(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="one/", Body=b"")
    s3.copy_object(Bucket=bucket, Key="two/", CopySource=f"{bucket}/one/")
    assert tree(gateway.store, "data") == {"/one/": b"", "/two/": b""}


@pytest.mark.parametrize(("source_", "target"), [("dir/", "file"), ("file", "copy/")])
def test_directory_is_not_copied_to_a_file(s3: Any, bucket: str, source_: str, target: str) -> None:
    s3.put_object(Bucket=bucket, Key=source_, Body=b"")
    with refused("InvalidFilePath", 400):
        s3.copy_object(Bucket=bucket, Key=target, CopySource=f"{bucket}/{source_}")


@pytest.mark.parametrize(
    ("condition", "copied"),
    [
        ({"CopySourceIfMatch": "right"}, True),
        ({"CopySourceIfMatch": "wrong"}, False),
        ({"CopySourceIfNoneMatch": "wrong"}, True),
        ({"CopySourceIfNoneMatch": "right"}, False),
        ({"CopySourceIfModifiedSince": LONG_AGO}, True),
        ({"CopySourceIfModifiedSince": FAR_AHEAD}, False),
        ({"CopySourceIfUnmodifiedSince": FAR_AHEAD}, True),
        ({"CopySourceIfUnmodifiedSince": LONG_AGO}, False),
        ({"CopySourceIfMatch": "right", "CopySourceIfUnmodifiedSince": LONG_AGO}, True),
        ({"CopySourceIfNoneMatch": "right", "CopySourceIfModifiedSince": LONG_AGO}, False),
    ],
)
def test_condition_on_the_source(
    gateway: Served, s3: Any, bucket: str, source: dict[str, Any], condition: dict[str, Any], copied: bool
) -> None:
    sent = {
        name: value.replace("right", source["ETag"]) if isinstance(value, str) else value for name, value in condition.items()
    }
    options = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/source", **sent}
    if copied:
        s3.copy_object(**options)
    else:
        with refused("PreconditionFailed", 412):
            s3.copy_object(**options)
    assert ("/copy" in tree(gateway.store, "data")) is copied


def test_condition_on_the_target(s3: Any, bucket: str, source: dict[str, Any]) -> None:
    s3.put_object(Bucket=bucket, Key="copy", Body=b"old")
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/source", IfNoneMatch="*")
    assert body_of(s3, bucket, "copy") == b"old"
