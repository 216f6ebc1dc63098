"""Tags of objects, storage class, redirection: what is said of an object beside its metadata."""

from typing import Any

import pytest
from gateway.helpers import Served, body_of, refused
from store.helpers import create_pipeline, create_repos, put, run_pipeline

TAGS = [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": ""}]


def tags_of(s3: Any, bucket: str, key: str = "a", **options: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = s3.get_object_tagging(Bucket=bucket, Key=key, **options)["TagSet"]
    return found


def set_tags(s3: Any, bucket: str, tags: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = s3.put_object_tagging(Bucket=bucket, Key="a", Tagging={"TagSet": tags}, **options)
    return answer


def test_tags_of_a_put_come_back(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="b+c=&a=1")
    assert tags_of(s3, bucket) == TAGS
    assert gateway.request("HEAD", f"/{bucket}/a").headers["x-amz-tagging-count"] == "2"


def test_object_without_tags_has_none(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert tags_of(s3, bucket) == []
    assert "x-amz-tagging-count" not in gateway.request("HEAD", f"/{bucket}/a").headers


def test_setting_tags_makes_no_version(s3: Any, bucket: str) -> None:
    before = s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert set_tags(s3, bucket, TAGS)["VersionId"] == before["VersionId"]
    assert tags_of(s3, bucket) == TAGS
    after = s3.head_object(Bucket=bucket, Key="a")
    assert (after["VersionId"], after["ETag"]) == (before["VersionId"], before["ETag"])


def test_tags_are_those_of_a_version(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"2")
    set_tags(s3, bucket, TAGS, VersionId=old)
    assert (tags_of(s3, bucket, VersionId=old), tags_of(s3, bucket)) == (TAGS, [])


def test_tags_are_removed(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="a=1", Metadata={"kept": "yes"})
    s3.delete_object_tagging(Bucket=bucket, Key="a")
    assert tags_of(s3, bucket) == []
    assert s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {"kept": "yes"}


@pytest.mark.parametrize(
    "tags",
    [
        [{"Key": str(number), "Value": ""} for number in range(11)],
        [{"Key": "k" * 129, "Value": ""}],
        [{"Key": "k", "Value": "v" * 257}],
        [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}],
        [{"Key": "aws:x", "Value": "1"}],
    ],
)
def test_tags_that_can_not_be_are_refused(s3: Any, bucket: str, tags: list[dict[str, str]]) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="a=1")
    with refused("InvalidTag", 400):
        set_tags(s3, bucket, tags)
    assert tags_of(s3, bucket) == TAGS[:1]


@pytest.mark.parametrize("text", ["a=1&a=2", "=x", "%ff=1"])
def test_tags_of_a_header_that_can_not_be_are_refused(s3: Any, gateway: Served, bucket: str, text: str) -> None:
    answer = gateway.request("PUT", f"/{bucket}/a", {"x-amz-tagging": text}, b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    "body", [b"", b"<a/>", b"<Tagging/>", b"<Tagging>x</Tagging>", b"<Tagging><TagSet><Tag/></TagSet></Tagging>"]
)
def test_tags_that_are_no_document_are_malformed(gateway: Served, s3: Any, bucket: str, body: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    answer = gateway.request("PUT", f"/{bucket}/a?tagging", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


@pytest.mark.parametrize("method", ["get_object_tagging", "delete_object_tagging"])
def test_missing_objects_have_no_tags(s3: Any, bucket: str, method: str) -> None:
    with refused("NoSuchKey", 404):
        getattr(s3, method)(Bucket=bucket, Key="a")


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, TAGS[:1]), ({"TaggingDirective": "REPLACE", "Tagging": "b+c="}, TAGS[1:]), ({"TaggingDirective": "REPLACE"}, [])],
)
def test_copy_keeps_tags_unless_told_otherwise(s3: Any, bucket: str, options: dict[str, Any], expected: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="a=1")
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", **options)
    assert tags_of(s3, bucket, "b") == expected


def test_tags_of_an_upload_are_those_of_the_object(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a", Tagging="a=1")["UploadId"]
    etag = s3.upload_part(Bucket=bucket, Key="a", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=upload, MultipartUpload=parts)
    assert tags_of(s3, bucket) == TAGS[:1]


def test_tags_of_an_output_branch_are_its_pipelines(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/a", b"1")
    create_pipeline(gateway.store, "count", "data")
    run_pipeline(gateway.store, "count", {"all": {"/a": b"1"}})
    with refused("WriteToOutputBranch", 400):
        set_tags(s3, "master.count", TAGS)


def test_storage_class_comes_back(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", StorageClass="STANDARD_IA")
    assert s3.head_object(Bucket=bucket, Key="a")["StorageClass"] == "STANDARD_IA"
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["StorageClass"] == "STANDARD_IA"
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="b")


@pytest.mark.parametrize(
    ("name", "status", "code"), [("COLD", 400, "InvalidStorageClass"), ("GLACIER", 501, "NotImplemented")]
)
def test_storage_class_that_is_not_so_is_refused(gateway: Served, bucket: str, name: str, status: int, code: str) -> None:
    answer = gateway.request("PUT", f"/{bucket}/a", {"x-amz-storage-class": name}, b"x")
    assert (answer.status, answer.code) == (status, code)


def test_redirection_comes_back(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", WebsiteRedirectLocation="/b")
    assert s3.head_object(Bucket=bucket, Key="a")["WebsiteRedirectLocation"] == "/b"
    with refused("InvalidRedirectLocation", 400):
        s3.put_object(Bucket=bucket, Key="a", Body=b"y", WebsiteRedirectLocation="elsewhere")
    assert body_of(s3, bucket, "a") == b"x"
