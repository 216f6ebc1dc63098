"""With authentication on: tokens as both keys of a client, and what roles let whom do, through every verb."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gateway.door import ALICE, BOB, ROOT, Door
from gateway.helpers import Signer, body_of, client, keys_of, refused
from store.helpers import create_repos, fork, put, tree

from appliance.store import auth, repos

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# -- who is let in


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_token_is_both_keys(door: Door, version: str) -> None:
    s3 = door.client(signature_version=version)
    assert body_of(s3, "master.data", "a") == b"content"
    s3.put_object(Bucket="master.data", Key="b", Body=b"more")
    assert keys_of(s3.list_objects_v2(Bucket="master.data")) == ["a", "b"]


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_key_that_is_no_token_is_refused(door: Door, version: str) -> None:
    with client(door.gateway.url, "nobody", "nobody", signature_version=version) as s3, refused("InvalidAccessKeyId", 403):
        s3.list_buckets()


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_other_secret_is_refused(door: Door, version: str) -> None:
    with client(door.gateway.url, ROOT, "other", signature_version=version) as s3, refused("SignatureDoesNotMatch", 403):
        s3.list_buckets()


def test_expired_token_is_called_that(door: Door) -> None:
    token = door.token(ALICE, ttl_s=1e-9)
    with client(door.gateway.url, token, token) as s3, refused("ExpiredToken", 400):
        s3.list_buckets()


def test_revoked_token_is_refused_at_once(door: Door) -> None:
    token = door.token(ALICE)
    with client(door.gateway.url, token, token) as s3:
        assert s3.list_buckets()["Buckets"] == []
        door.store.write(lambda db: auth.revoke_token(db, token))
        with refused("InvalidAccessKeyId", 403):
            s3.list_buckets()


def test_clock_counts_also_for_tokens(door: Door) -> None:
    headers = Signer(ROOT, ROOT, late=timedelta(minutes=16)).headers("GET", "/", f"127.0.0.1:{door.gateway.port}", EMPTY)
    assert door.gateway.request("GET", "/", headers).code == "RequestTimeTooSkewed"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/master.data"),
        ("HEAD", "/master.data"),
        ("GET", "/master.data/a"),
        ("GET", "/master.data/none"),
        ("PUT", "/master.data/b"),
        ("PUT", "/master.new"),
        ("DELETE", "/master.data/a"),
        ("DELETE", "/master.data"),
        ("POST", "/master.data/b?uploads"),
        ("GET", "/master.data?acl"),
        ("GET", "/master.data?cors"),
        ("GET", "/master.data?location"),
        ("GET", "/master.data?uploads"),
        ("GET", "/master.data?policy"),
        ("GET", "/master.data?versions"),
    ],
)
def test_nobody_may_do_anything(door: Door, method: str, target: str) -> None:
    answer = door.gateway.request(method, target, body=b"x" if method == "PUT" and "/b" in target else b"")
    assert answer.status == 403
    assert method == "HEAD" or answer.code == "AccessDenied"
    assert tree(door.store, "data") == {"/a": b"content"}


def test_body_of_a_refused_put_is_not_waited_for(door: Door) -> None:
    head = "PUT /master.data/b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
    assert door.gateway.send(head.encode()).startswith(b"HTTP/1.1 403 ")


def test_turned_off_anybody_may_do_everything_again(door: Door) -> None:
    door.store.write(auth.deactivate)
    assert door.gateway.request("GET", "/master.other/a").body == b"secret"


# -- roles


READS: list[Callable[[Any], Any]] = [
    lambda s3: s3.get_object(Bucket="master.data", Key="a"),
    lambda s3: s3.head_object(Bucket="master.data", Key="a"),
    lambda s3: s3.head_bucket(Bucket="master.data"),
    lambda s3: s3.list_objects(Bucket="master.data"),
    lambda s3: s3.list_objects_v2(Bucket="master.data"),
    lambda s3: s3.list_object_versions(Bucket="master.data"),
    lambda s3: s3.get_bucket_location(Bucket="master.data"),
    lambda s3: s3.get_bucket_versioning(Bucket="master.data"),
    lambda s3: s3.get_bucket_acl(Bucket="master.data"),
    lambda s3: s3.get_object_acl(Bucket="master.data", Key="a"),
    lambda s3: s3.get_object_tagging(Bucket="master.data", Key="a"),
    lambda s3: s3.get_object_attributes(Bucket="master.data", Key="a", ObjectAttributes=["ETag"]),
]
WRITES: list[Callable[[Any], Any]] = [
    lambda s3: s3.put_object(Bucket="master.data", Key="b", Body=b"x"),
    lambda s3: s3.copy_object(Bucket="master.data", Key="c", CopySource="master.data/a"),
    lambda s3: s3.put_object_tagging(Bucket="master.data", Key="a", Tagging={"TagSet": []}),
    lambda s3: s3.put_object_acl(Bucket="master.data", Key="a", ACL="private"),
    lambda s3: s3.create_multipart_upload(Bucket="master.data", Key="b"),
    lambda s3: s3.list_multipart_uploads(Bucket="master.data"),
    lambda s3: s3.delete_objects(Bucket="master.data", Delete={"Objects": [{"Key": "none"}]}),
    lambda s3: s3.delete_object(Bucket="master.data", Key="none"),
    lambda s3: s3.create_bucket(Bucket="new.data"),
]
OWNS: list[Callable[[Any], Any]] = [
    lambda s3: s3.put_bucket_acl(Bucket="master.data", ACL="private"),
    lambda s3: s3.put_bucket_tagging(Bucket="master.data", Tagging={"TagSet": []}),
    lambda s3: s3.delete_bucket_cors(Bucket="master.data"),
    lambda s3: (s3.delete_object(Bucket="master.data", Key="a"), s3.delete_bucket(Bucket="master.data")),
]


def denied(calls: list[Callable[[Any], Any]], s3: Any) -> None:
    for call in calls:
        with pytest.raises(s3.exceptions.ClientError) as caught:
            call(s3)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_token_without_role_may_do_nothing_with_a_repo(door: Door) -> None:
    denied(READS + WRITES + OWNS[:3], door.client(ALICE))


def test_reader_may_read(door: Door) -> None:
    door.give(ALICE, "repoReader")
    s3 = door.client(ALICE)
    for call in READS:
        call(s3)
    denied(WRITES + OWNS[:3], s3)


def test_writer_may_read_and_write(door: Door) -> None:
    door.give(ALICE, "repoWriter")
    s3 = door.client(ALICE)
    for call in READS + WRITES:
        call(s3)
    denied(OWNS[:3], s3)
    with refused("AccessDenied", 403):
        s3.delete_bucket(Bucket="master.data")


def test_owner_may_do_everything_with_the_repo_and_nothing_with_others(door: Door) -> None:
    door.give(ALICE, "repoOwner")
    s3 = door.client(ALICE)
    for call in READS + OWNS:
        call(s3)
    with refused("AccessDenied", 403):
        s3.get_object(Bucket="master.other", Key="a")


def test_role_on_the_cluster_is_one_on_every_repo(door: Door) -> None:
    door.give(ALICE, "repoReader", repo=None)
    assert body_of(door.client(ALICE), "master.other", "a") == b"secret"


def test_role_of_everybody_is_everybodys_with_a_token(door: Door) -> None:
    door.give("allClusterUsers", "repoReader")
    assert body_of(door.client(BOB), "master.data", "a") == b"content"
    assert door.gateway.request("GET", "/master.data/a").status == 403


def test_commit_is_read_with_the_role_on_its_repo(door: Door) -> None:
    bucket = f"{put(door.store, 'data', '/b', b'later')}.data"
    door.give(ALICE, "repoReader")
    assert body_of(door.client(ALICE), bucket, "b") == b"later"
    with refused("AccessDenied", 403):
        door.client(BOB).get_object(Bucket=bucket, Key="b")


def test_buckets_are_listed_that_may_be_read(door: Door) -> None:
    fork(door.store, "data", "dev")
    door.give(ALICE, "repoReader")
    assert [bucket["Name"] for bucket in door.client(ALICE).list_buckets()["Buckets"]] == ["dev.data", "master.data"]
    assert door.client(BOB).list_buckets()["Buckets"] == []
    assert len(door.client().list_buckets()["Buckets"]) == 3


def test_source_of_a_copy_has_to_be_readable(door: Door) -> None:
    door.give(ALICE, "repoWriter")
    s3 = door.client(ALICE)
    with refused("AccessDenied", 403):
        s3.copy_object(Bucket="master.data", Key="b", CopySource="master.other/a")
    upload = s3.create_multipart_upload(Bucket="master.data", Key="b")["UploadId"]
    with refused("AccessDenied", 403):
        s3.upload_part_copy(
            Bucket="master.data",
            Key="b",
            UploadId=upload,
            PartNumber=1,
            CopySource="master.other/a",
            CopySourceRange="bytes=0-1",
        )
    assert tree(door.store, "data") == {"/a": b"content"}


def test_upload_of_another_repo_is_out_of_reach(door: Door) -> None:
    door.give(ALICE, "repoWriter")
    upload = door.client().create_multipart_upload(Bucket="master.other", Key="b")["UploadId"]
    with refused("NoSuchUpload", 404):
        door.client(ALICE).upload_part(Bucket="master.data", Key="b", UploadId=upload, PartNumber=1, Body=b"x")


def test_whoever_makes_a_repo_owns_it(door: Door) -> None:
    s3 = door.client(ALICE)
    s3.create_bucket(Bucket="master.mine")
    s3.put_object(Bucket="master.mine", Key="a", Body=b"x")
    with refused("AccessDenied", 403):
        door.client(BOB).get_object(Bucket="master.mine", Key="a")
    s3.delete_object(Bucket="master.mine", Key="a")
    s3.delete_bucket(Bucket="master.mine")
    with door.store.snapshot() as db:
        assert not repos.exists(db, "mine")


def test_repo_that_comes_again_is_nobodys(door: Door) -> None:
    s3 = door.client(ALICE)
    s3.create_bucket(Bucket="master.mine")
    s3.delete_bucket(Bucket="master.mine")
    create_repos(door.store, "mine")
    fork(door.store, "mine", "master")
    with refused("403", 403):
        s3.head_bucket(Bucket="master.mine")


def test_bucket_of_somebody_else_can_not_be_made_again(door: Door) -> None:
    with refused("BucketAlreadyExists", 409):
        door.client(ALICE).create_bucket(Bucket="master.data")
    door.give(ALICE, "repoReader")
    with refused("BucketAlreadyExists", 409):
        door.client(ALICE).create_bucket(Bucket="master.data")
    door.client().create_bucket(Bucket="master.data")


def test_branch_of_somebody_elses_repo_can_not_be_made(door: Door) -> None:
    with refused("AccessDenied", 403):
        door.client(ALICE).create_bucket(Bucket="dev.data")
