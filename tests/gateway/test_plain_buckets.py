"""`--plain-buckets`: buckets as people know them from elsewhere, over a history that is kept all the same."""

from collections.abc import Iterator
from typing import Any

import pytest
from gateway.helpers import Served, body_of, client, refused, serving
from store.helpers import commit_of, create_repos, fork, put

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store


@pytest.fixture
def plain(store: Store) -> Iterator[Served]:
    with serving(store, RepoBuckets(plain=True)) as served:
        yield served


@pytest.fixture
def s3(plain: Served) -> Iterator[Any]:
    with client(plain.url) as made:
        yield made


def status_of(s3: Any, bucket: str) -> str | None:
    status: str | None = s3.get_bucket_versioning(Bucket=bucket).get("Status")
    return status


def test_master_is_listed_by_the_name_of_its_repo(store: Store, s3: Any) -> None:
    create_repos(store, "zebra", "ant")
    for repo, branch in (("zebra", "master"), ("ant", "master"), ("ant", "dev")):
        fork(store, repo, branch)
    assert [item["Name"] for item in s3.list_buckets()["Buckets"]] == ["ant", "dev.ant", "zebra"]


def test_answers_say_no_versions_until_somebody_asked_for_them(store: Store, s3: Any) -> None:
    s3.create_bucket(Bucket="data")
    assert status_of(s3, "data") is None
    written = s3.put_object(Bucket="data", Key="a", Body=b"1")
    upload = s3.create_multipart_upload(Bucket="data", Key="b")["UploadId"]
    part = s3.upload_part(Bucket="data", Key="b", UploadId=upload, PartNumber=1, Body=b"2")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    answers = [
        written,
        s3.complete_multipart_upload(Bucket="data", Key="b", UploadId=upload, MultipartUpload=parts),
        s3.copy_object(Bucket="data", Key="c", CopySource="data/a"),
        s3.head_object(Bucket="data", Key="a"),
        s3.get_object_attributes(Bucket="data", Key="a", ObjectAttributes=["ETag"]),
        s3.put_object_tagging(Bucket="data", Key="a", Tagging={"TagSet": []}),
        s3.delete_object(Bucket="data", Key="c"),
    ]
    assert [answer for answer in answers if "VersionId" in answer or "DeleteMarker" in answer] == []
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    assert status_of(s3, "data") == "Enabled"
    assert s3.put_object(Bucket="data", Key="a", Body=b"3")["VersionId"] == commit_of(store, "data").id


def test_suspended_again_the_history_still_answers(s3: Any) -> None:
    s3.create_bucket(Bucket="data")
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="data", Key="a", Body=b"1")["VersionId"]
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Suspended"})
    assert status_of(s3, "data") == "Suspended"
    assert "VersionId" not in s3.put_object(Bucket="data", Key="a", Body=b"2")
    assert s3.get_object(Bucket="data", Key="a", VersionId=first)["Body"].read() == b"1"
    assert body_of(s3, "data", "a") == b"2"


def test_null_is_the_object_itself_where_there_are_no_versions(s3: Any) -> None:
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="a", Body=b"1")
    assert s3.get_object(Bucket="data", Key="a", VersionId="null")["Body"].read() == b"1"
    s3.delete_object(Bucket="data", Key="a", VersionId="null")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="data", Key="a")


def test_repos_made_elsewhere_are_buckets_without_versions_too(store: Store, s3: Any) -> None:
    create_repos(store, "data")
    commit = put(store, "data", "/a", b"1")
    assert "VersionId" not in s3.head_object(Bucket="data", Key="a")
    assert s3.head_object(Bucket=f"{commit}.data", Key="a")["VersionId"] == commit


def test_bucket_in_the_host_name_of_ones_own_domain(store: Store, bucket: str) -> None:
    put(store, "data", "/a", b"1")
    with serving(store, RepoBuckets(), domains=("s3.example",)) as served:
        for host in (f"{bucket}.s3.example", f"{bucket}.S3.Example:443", f"{bucket}.localhost", f"{bucket}.127.0.0.1:80"):
            assert served.request("GET", "/a", {"Host": host}).body == b"1"
        for host in ("s3.example", f"{bucket}.other.example", "s3.example.evil"):
            assert served.request("GET", f"/{bucket}/a", {"Host": host}).body == b"1"
