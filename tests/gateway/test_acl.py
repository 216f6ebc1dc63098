"""Canned ACLs: kept, told as grants, and with authentication on what they let everybody do."""

from typing import Any

import pytest
from gateway.door import ALICE, Door
from gateway.helpers import Served, refused
from store.helpers import put, tree

EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
GRANTS = {
    "private": [],
    "public-read": [(EVERYBODY, "READ")],
    "public-read-write": [(EVERYBODY, "READ"), (EVERYBODY, "WRITE")],
    "authenticated-read": [(AUTHENTICATED, "READ")],
}


def grants_of(answer: Any) -> list[tuple[str, str]]:
    """The grants to groups; the one to the owner comes first."""
    owner, *rest = answer["Grants"]
    assert (owner["Grantee"]["Type"], owner["Grantee"]["ID"]) == ("CanonicalUser", answer["Owner"]["ID"])
    assert owner["Permission"] == "FULL_CONTROL"
    return [(grant["Grantee"]["URI"], grant["Permission"]) for grant in rest]


@pytest.mark.parametrize("acl", GRANTS)
def test_acl_of_a_bucket_comes_back_as_grants(s3: Any, bucket: str, acl: str) -> None:
    s3.put_bucket_acl(Bucket=bucket, ACL=acl)
    assert grants_of(s3.get_bucket_acl(Bucket=bucket)) == GRANTS[acl]


@pytest.mark.parametrize("acl", GRANTS)
def test_grants_that_are_a_canned_acl_are_that(s3: Any, bucket: str, acl: str) -> None:
    s3.create_bucket(Bucket="master.told", ACL=acl)
    told = s3.get_bucket_acl(Bucket="master.told")
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Grants": told["Grants"], "Owner": told["Owner"]})
    assert grants_of(s3.get_bucket_acl(Bucket=bucket)) == GRANTS[acl]


@pytest.mark.parametrize("acl", GRANTS)
def test_acl_of_an_object_is_that_of_its_version(s3: Any, bucket: str, acl: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL=acl)
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="a")) == GRANTS[acl]
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="a")) == []
    version = s3.put_object_acl(Bucket=bucket, Key="a", ACL=acl)["ResponseMetadata"]["HTTPHeaders"]["x-amz-version-id"]
    assert version == s3.head_object(Bucket=bucket, Key="a")["VersionId"]
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="a")) == GRANTS[acl]


def test_acl_is_no_header_and_no_metadata_of_an_object(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL="public-read")
    assert "x-amz-acl" not in gateway.request("GET", f"/{bucket}/a").headers


def test_acl_is_not_copied(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL="public-read")
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="b")) == []
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/b", ACL="public-read")
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="c")) == GRANTS["public-read"]


def test_acl_of_an_upload_is_that_of_the_object(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a", ACL="public-read")["UploadId"]
    etag = s3.upload_part(Bucket=bucket, Key="a", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=upload, MultipartUpload=parts)
    assert grants_of(s3.get_object_acl(Bucket=bucket, Key="a")) == GRANTS["public-read"]


@pytest.mark.parametrize("acl", ["log-delivery-write", "aws-exec-read"])
def test_acl_for_others_than_everybody_is_refused(s3: Any, bucket: str, acl: str) -> None:
    with refused("NotImplemented", 501):
        s3.put_bucket_acl(Bucket=bucket, ACL=acl)


def test_unknown_acl_is_refused(gateway: Served, s3: Any, bucket: str) -> None:
    with refused("InvalidArgument", 400):
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL="nonsense")
    assert tree(gateway.store, "data") == {}


def test_grant_to_somebody_by_name_is_refused(s3: Any, bucket: str) -> None:
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": "f" * 64}, "Permission": "READ"}
    with refused("NotImplemented", 501):
        s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Grants": [grant], "Owner": owner})


@pytest.mark.parametrize("body", [b"", b"<a/>", b"<AccessControlPolicy/>x", b"<AccessControlPolicy>"])
def test_acl_that_can_not_be_read_is_refused(gateway: Served, bucket: str, body: bytes) -> None:
    answer = gateway.request("PUT", f"/{bucket}?acl", body=body)
    assert (answer.status, answer.code) in [(400, "MalformedXML"), (400, "MissingSecurityHeader")]


def test_settings_go_with_the_bucket(s3: Any) -> None:
    s3.create_bucket(Bucket="master.gone", ACL="public-read")
    s3.delete_bucket(Bucket="master.gone")
    s3.create_bucket(Bucket="master.gone")
    assert grants_of(s3.get_bucket_acl(Bucket="master.gone")) == []


# -- what they decide


def test_public_bucket_is_listed_by_everybody_and_its_objects_are_not_read(door: Door) -> None:
    door.client().put_bucket_acl(Bucket="master.data", ACL="public-read")
    assert door.gateway.request("GET", "/master.data?list-type=2").status == 200
    assert door.gateway.request("GET", "/master.data?versions").status == 200
    assert door.gateway.request("HEAD", "/master.data").status == 200
    assert door.gateway.request("GET", "/master.data/none").status == 404
    for method, target in [("GET", "/master.data/a"), ("PUT", "/master.data/b"), ("GET", "/master.data?acl"), ("GET", "/")]:
        assert door.gateway.request(method, target).status == 403, target


def test_public_object_is_read_by_everybody_and_its_neighbours_are_not(door: Door) -> None:
    s3 = door.client()
    version = s3.put_object(Bucket="master.data", Key="open", Body=b"for all", ACL="public-read")["VersionId"]
    assert door.gateway.request("GET", "/master.data/open").body == b"for all"
    assert door.gateway.request("GET", f"/master.data/open?versionId={version}").body == b"for all"
    for target in (
        "/master.data/a",
        "/master.data/none",
        "/master.data",
        "/master.data/open?acl",
        "/master.data/open?uploadId=x",
    ):
        assert door.gateway.request("GET", target).status == 403, target
    assert door.gateway.request("DELETE", "/master.data/open").status == 403


def test_bucket_open_for_writing_takes_anybodys_objects(door: Door) -> None:
    door.client().put_bucket_acl(Bucket="master.data", ACL="public-read-write")
    assert door.gateway.request("PUT", "/master.data/b", body=b"x").status == 200
    assert door.gateway.request("DELETE", "/master.data/a").status == 204
    assert tree(door.store, "data") == {"/b": b"x"}
    assert door.gateway.request("PUT", "/master.data?acl", {"x-amz-acl": "private"}).status == 403
    assert door.gateway.request("DELETE", "/master.data").status == 403


def test_authenticated_read_needs_a_token_of_anybody(door: Door) -> None:
    door.client().put_bucket_acl(Bucket="master.data", ACL="authenticated-read")
    assert door.gateway.request("GET", "/master.data").status == 403
    assert door.client(ALICE).list_objects_v2(Bucket="master.data")["KeyCount"] == 1


def test_commit_does_not_take_part_in_the_acl_of_a_branch(door: Door) -> None:
    commit = put(door.store, "data", "/b", b"x")
    door.client().put_bucket_acl(Bucket="master.data", ACL="public-read-write")
    assert door.gateway.request("GET", f"/{commit}.master.data").status == 403
    assert grants_of(door.client().get_bucket_acl(Bucket=f"{commit}.data")) == []
    with refused("AccessDenied", 403):
        door.client().put_bucket_acl(Bucket=f"{commit}.data", ACL="public-read")
