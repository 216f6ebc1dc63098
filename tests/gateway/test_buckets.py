"""Making, finding, configuring and removing buckets."""

from typing import Any

import pytest
from gateway.helpers import Served, body_of, refused
from store.helpers import create_repos, derive, fork, put, start, tree

from appliance.store import commits, history

NOBODY = "0" * 12 + "4" + "0" * 3 + "8" + "0" * 15


def names(s3: Any, **options: Any) -> list[str]:
    return [item["Name"] for item in s3.list_buckets(**options)["Buckets"]]


def test_buckets_are_listed_by_name(s3: Any) -> None:
    for name in ("z.a", "a.z", "m.m"):
        s3.create_bucket(Bucket=name)
    assert names(s3) == ["a.z", "m.m", "z.a"]


def test_buckets_are_listed_in_pages(s3: Any) -> None:
    for name in ("a.a", "b.b", "c.c"):
        s3.create_bucket(Bucket=name)
    first = s3.list_buckets(MaxBuckets=2)
    assert [item["Name"] for item in first["Buckets"]] == ["a.a", "b.b"]
    assert names(s3, MaxBuckets=2, ContinuationToken=first["ContinuationToken"]) == ["c.c"]


def test_last_page_of_buckets_has_no_token(s3: Any, bucket: str) -> None:
    assert "ContinuationToken" not in s3.list_buckets(MaxBuckets=1)


def test_buckets_are_listed_by_prefix(s3: Any) -> None:
    for name in ("a.a", "ab.a", "b.a"):
        s3.create_bucket(Bucket=name)
    assert names(s3, Prefix="a") == ["a.a", "ab.a"]


def test_owner_is_pachyderms(s3: Any) -> None:
    assert s3.list_buckets()["Owner"] == {"ID": "0" * 32, "DisplayName": "pachyderm"}


def test_commit_is_not_listed_as_bucket(gateway: Served, s3: Any, bucket: str) -> None:
    put(gateway.store, "data", "/a", b"")
    assert names(s3) == [bucket]


def test_name_without_dot_is_master(s3: Any) -> None:
    s3.create_bucket(Bucket="data")
    assert names(s3) == ["master.data"]


@pytest.mark.parametrize("name", ["a.b.c.d", "a..b", ".b", "a.", f"{NOBODY}.a.b.c", "a.b.c"])
def test_name_that_no_bucket_can_have_is_refused(s3: Any, name: str) -> None:
    with refused("InvalidBucketName", 400):
        s3.create_bucket(Bucket=name)


@pytest.mark.parametrize("name", ["a%20b", "a%2Eb%21", "%C3%BC"])
def test_name_with_other_characters_is_refused(gateway: Served, name: str) -> None:
    answer = gateway.request("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


def test_bucket_of_an_unknown_commit_is_not_there(s3: Any, bucket: str) -> None:
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket=f"{NOBODY}.data")


def test_commit_bucket_of_an_unknown_branch_is_not_there(gateway: Served, s3: Any, bucket: str) -> None:
    commit = put(gateway.store, "data", "/a", b"")
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket=f"{commit}.other.data")


def test_commit_bucket_of_a_failed_commit_is_empty(gateway: Served, s3: Any, bucket: str) -> None:
    put(gateway.store, "data", "/a", b"")
    commit = start(gateway.store, "data")

    def fail(db: Any) -> None:
        history.finish_commit(db, commits.get_commit(db, "data", commit), error="failed")

    gateway.store.write(fail)
    assert s3.list_objects_v2(Bucket=f"{commit}.data")["KeyCount"] == 0


def test_commit_that_a_pipeline_works_on_is_409(gateway: Served, s3: Any, bucket: str) -> None:
    create_repos(gateway.store, "out")
    derive(gateway.store, "out", "data")
    commit = put(gateway.store, "data", "/a", b"")
    with refused("OperationAborted", 409):
        s3.list_objects_v2(Bucket=f"{commit}.out")


def test_commit_bucket_is_read_only(gateway: Served, s3: Any, bucket: str) -> None:
    commit = put(gateway.store, "data", "/a", b"")
    with refused("AccessDenied", 403):
        s3.put_object(Bucket=f"{commit}.data", Key="b", Body=b"")
    with refused("AccessDenied", 403):
        s3.delete_object(Bucket=f"{commit}.data", Key="a")
    assert tree(gateway.store, "data") == {"/a": b""}


@pytest.mark.parametrize("operation", ["create_bucket", "delete_bucket"])
def test_commit_bucket_is_neither_made_nor_deleted(gateway: Served, s3: Any, bucket: str, operation: str) -> None:
    commit = put(gateway.store, "data", "/a", b"")
    with refused("AccessDenied", 403):
        getattr(s3, operation)(Bucket=f"{commit}.data")


def test_bucket_with_files_is_not_deleted(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    assert names(s3) == [bucket]


def test_bucket_is_deleted_once_its_files_are(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    assert names(s3) == []


def test_bucket_with_an_upload_in_progress_is_deleted(s3: Any, bucket: str) -> None:
    s3.create_multipart_upload(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    assert names(s3) == []


def test_bucket_that_others_are_made_from_is_not_deleted(gateway: Served, s3: Any, bucket: str) -> None:
    create_repos(gateway.store, "out")
    derive(gateway.store, "out", "data")
    with refused("OperationAborted", 409):
        s3.delete_bucket(Bucket=bucket)


def test_deleting_one_bucket_leaves_the_other_branches(s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket="dev.data")
    s3.put_object(Bucket=bucket, Key="a", Body=b"kept")
    s3.delete_bucket(Bucket="dev.data")
    assert body_of(s3, bucket, "a") == b"kept"


def test_location_is_the_default_region(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


def test_location_of_no_bucket(s3: Any) -> None:
    with refused("NoSuchBucket", 404):
        s3.get_bucket_location(Bucket="master.data")


def test_head_bucket_names_the_region(s3: Any, bucket: str) -> None:
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"


def test_every_bucket_is_versioned(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_enabling_versions_changes_nothing(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_suspending_versions_is_not_offered(s3: Any, bucket: str) -> None:
    with refused("NotImplemented", 501):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


@pytest.mark.parametrize("status", ["enabled", "Off"])
def test_versioning_of_another_kind_is_refused(s3: Any, bucket: str, status: str) -> None:
    with refused("IllegalVersioningConfigurationException", 400):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_versioning_of_no_bucket(s3: Any, status: str) -> None:
    with refused("NoSuchBucket", 404):
        s3.put_bucket_versioning(Bucket="master.data", VersioningConfiguration={"Status": status})


@pytest.mark.parametrize("body", [b"", b"<a", b"<Other/>", b"\xff\xfe", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_versioning_that_is_no_configuration_is_malformed(gateway: Served, bucket: str, body: bytes) -> None:
    answer = gateway.request("PUT", f"/{bucket}?versioning", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


@pytest.mark.parametrize("body", [b"<a", b"<Other/>", b"no xml at all"])
def test_bucket_is_not_made_from_malformed_xml(gateway: Served, s3: Any, body: bytes) -> None:
    answer = gateway.request("PUT", "/master.data", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert names(s3) == []


@pytest.mark.parametrize(
    "options", [{"ACL": "private"}, {"ObjectOwnership": "BucketOwnerEnforced"}, {"ObjectLockEnabledForBucket": False}]
)
def test_what_a_bucket_is_anyway_may_be_asked_for(s3: Any, options: dict[str, Any]) -> None:
    s3.create_bucket(Bucket="master.data", **options)
    assert names(s3) == ["master.data"]


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_ownership_controls", "OwnershipControlsNotFoundError"),
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
    ],
)
def test_nothing_is_configured(s3: Any, bucket: str, operation: str, code: str) -> None:
    with refused(code, 404):
        getattr(s3, operation)(Bucket=bucket)
    with refused("NoSuchBucket", 404):
        getattr(s3, operation)(Bucket="master.other")


def test_slash_behind_a_bucket_changes_nothing(gateway: Served, bucket: str) -> None:
    assert gateway.request("HEAD", f"/{bucket}/").status == 200


def test_bucket_in_the_host_name(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"content")
    for host in ("master.data.localhost", f"master.data.s3.localhost:{gateway.port}", "master.data.127.0.0.1"):
        assert gateway.request("GET", "/a/b", {"Host": host}).body == b"content"


@pytest.mark.parametrize("host", ["localhost", "s3.localhost", "127.0.0.1"])
def test_host_name_without_bucket(gateway: Served, bucket: str, host: str) -> None:
    assert b"<Name>master.data</Name>" in gateway.request("GET", "/", {"Host": f"{host}:{gateway.port}"}).body


def test_bucket_of_a_branch_that_shares_its_head(gateway: Served, s3: Any, bucket: str) -> None:
    put(gateway.store, "data", "/a", b"1")
    fork(gateway.store, "data", "dev", head="master")
    s3.put_object(Bucket="dev.data", Key="a", Body=b"2")
    assert (body_of(s3, bucket, "a"), body_of(s3, "dev.data", "a")) == (b"1", b"2")
