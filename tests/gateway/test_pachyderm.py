"""What Pachyderm's own tests of its gateway assert (`src/server/pfs/s3/master_test.go`), on buckets `branch.repo`."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from gateway.helpers import Served, body_of, client, keys_of, prefixes_of, refused, serving
from store.helpers import create_repos, fork, put, put_all, tree

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store, repos

LARGE = 68_157_450
RECURSIVE = {
    "": ["0", "rootdir/1", "rootdir/subdir/2"],
    "r": ["rootdir/1", "rootdir/subdir/2"],
    "rootdir": ["rootdir/1", "rootdir/subdir/2"],
    "rootdir/": ["rootdir/1", "rootdir/subdir/2"],
    "rootdir/s": ["rootdir/subdir/2"],
    "rootdir/subdir": ["rootdir/subdir/2"],
    "rootdir/subdir/": ["rootdir/subdir/2"],
    "rootdir/subdir/2": ["rootdir/subdir/2"],
}


def bucket_names(s3: Any) -> list[str]:
    return [item["Name"] for item in s3.list_buckets()["Buckets"]]


def branches(gateway: Served, repo: str) -> tuple[str, ...]:
    with gateway.store.snapshot() as db:
        return repos.get_repo(db, repo).branches


def exists(gateway: Served, bucket: str) -> bool:
    return {200: True, 404: False}[gateway.request("HEAD", f"/{bucket}").status]


def test_list_buckets_has_every_branch(gateway: Served, s3: Any) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "master")
    fork(gateway.store, "data", "branch")
    listed = s3.list_buckets()["Buckets"]
    assert [item["Name"] for item in listed] == ["branch.data", "master.data"]
    assert all(began <= item["CreationDate"] <= datetime.now(UTC) for item in listed)


def test_list_buckets_leaves_out_a_repo_without_branches(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    assert bucket_names(s3) == []


def test_list_buckets_leaves_out_system_repos(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "master")
    assert not [name for name in bucket_names(s3) if "meta" in name or "spec" in name]


def test_get_object(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/file", b"content")
    assert body_of(s3, "master.data", "file") == b"content"


def test_get_object_in_branch(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/file", b"content", branch="branch")
    assert body_of(s3, "branch.data", "file") == b"content"


def test_put_and_get_object_in_branch(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "master")
    fork(gateway.store, "data", "branch")
    s3.put_object(Bucket="branch.data", Key="file", Body=b"content")
    assert body_of(s3, "branch.data", "file") == b"content"
    assert (tree(gateway.store, "data", "branch"), tree(gateway.store, "data")) == ({"/file": b"content"}, {})


def test_stat_object(gateway: Served, s3: Any) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/file.txt", b"new-content")
    found = s3.head_object(Bucket="master.data", Key="file.txt")
    assert found["ETag"]
    assert found["ContentType"] == "text/plain; charset=utf-8"
    assert found["ContentLength"] == 11
    assert began <= found["LastModified"] <= datetime.now(UTC)


def test_put_object_replaces(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="file", Body=b"content1")
    s3.put_object(Bucket=bucket, Key="file", Body=b"content2")
    assert body_of(s3, bucket, "file") == b"content2"
    assert tree(gateway.store, "data") == {"/file": b"content2"}


def test_remove_object_twice(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="file", Body=b"content")
    s3.delete_object(Bucket=bucket, Key="file")
    s3.delete_object(Bucket=bucket, Key="file")
    with refused("NoSuchKey", 404, "^The specified key does not exist.$"):
        s3.get_object(Bucket=bucket, Key="file")


def test_large_object_comes_back_as_it_was(tmp_path: Any, s3: Any, bucket: str) -> None:
    data = random.Random(0).randbytes(LARGE)
    (tmp_path / "up").write_bytes(data)
    config = TransferConfig(multipart_threshold=8 * 1024 * 1024, max_concurrency=4)
    s3.upload_file(str(tmp_path / "up"), bucket, "file", Config=config)
    assert hashlib.md5(body_of(s3, bucket, "file")).digest() == hashlib.md5(data).digest()
    assert s3.head_object(Bucket=bucket, Key="file")["ETag"].endswith('-9"')


def test_large_object_to_an_unknown_bucket(s3: Any) -> None:
    with refused("NoSuchBucket", 404, "^The specified bucket does not exist.$"):
        s3.create_multipart_upload(Bucket="foobar", Key="file")


def test_get_object_of_an_empty_branch(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "branch")
    with refused("NoSuchKey", 404, "^The specified key does not exist.$"):
        s3.get_object(Bucket="branch.data", Key="file")


def test_get_object_without_branch(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    with refused("NoSuchBucket", 404, "^The specified bucket does not exist.$"):
        s3.get_object(Bucket="branch.data", Key="file")


def test_get_object_without_repo(s3: Any) -> None:
    with refused("NoSuchBucket", 404, "^The specified bucket does not exist.$"):
        s3.get_object(Bucket="master.nothing", Key="file")


def test_make_bucket_makes_the_repo(gateway: Served, s3: Any) -> None:
    s3.create_bucket(Bucket="master.data")
    assert branches(gateway, "data") == ("master",)


def test_make_bucket_with_branch(gateway: Served, s3: Any) -> None:
    s3.create_bucket(Bucket="branch.data")
    assert branches(gateway, "data") == ("branch",)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_make_bucket_with_region(gateway: Served, s3: Any, region: str) -> None:
    s3.create_bucket(Bucket="master.data", CreateBucketConfiguration={"LocationConstraint": region})
    assert branches(gateway, "data") == ("master",)


def test_make_bucket_again_is_refused_in_strict_mode(store: Store, bucket: str) -> None:
    text = "^The bucket you tried to create already exists, and you own it.$"
    with (
        serving(store, RepoBuckets(), strict=True) as strict,
        client(strict.url) as s3,
        refused("BucketAlreadyOwnedByYou", 409, text),
    ):
        s3.create_bucket(Bucket=bucket)


def test_make_bucket_again_changes_nothing_as_in_the_region_that_we_say_we_are(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"kept")
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    s3.create_bucket(Bucket=bucket)
    assert body_of(s3, bucket, "a") == b"kept"
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 2
    s3.create_bucket(Bucket=bucket, ACL="private")
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 1


def test_make_bucket_for_another_branch(gateway: Served, s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket="branch.data")
    assert branches(gateway, "data") == ("master", "branch")


def test_bucket_exists_from_its_branch_on(gateway: Served) -> None:
    assert not exists(gateway, "master.data")
    create_repos(gateway.store, "data")
    assert not exists(gateway, "master.data")
    fork(gateway.store, "data", "master")
    assert exists(gateway, "master.data")
    assert not exists(gateway, "branch.data")
    fork(gateway.store, "data", "branch")
    assert exists(gateway, "branch.data")


def test_remove_bucket(s3: Any) -> None:
    # Skipped in Pachyderm 2 as "broken in 2.0": there an empty bucket can not be removed.
    s3.create_bucket(Bucket="master.data")
    s3.create_bucket(Bucket="branch.data")
    s3.delete_bucket(Bucket="master.data")
    s3.delete_bucket(Bucket="branch.data")
    assert bucket_names(s3) == []


def test_remove_bucket_of_a_repo_without_branches(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket="master.data")


def test_list_objects_paginated_through_every_name_of_a_bucket(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    numbers = [str(number) for number in range(1001)]
    commit = put_all(gateway.store, "data", {f"/{n}": b"" for n in numbers} | {f"/dir/{n}": b"" for n in range(10)})
    paginator = s3.get_paginator("list_objects")
    for name in ("master.data", f"{commit}.data", f"{commit}.master.data"):
        pages = list(paginator.paginate(Bucket=name, Delimiter="/"))
        assert len(pages) == 2
        assert [key for page in pages for key in keys_of(page)] == sorted(numbers)
        assert [prefix for page in pages for prefix in prefixes_of(page)] == ["dir/"]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("1", [str(n) for n in range(120) if str(n).startswith("1")]), ("dir/", [f"dir/{n}" for n in range(10)])],
)
def test_list_objects_below_a_prefix(gateway: Served, s3: Any, prefix: str, expected: list[str]) -> None:
    create_repos(gateway.store, "data")
    files = {f"/{n}": b"" for n in range(120)} | {f"/dir/{n}": b"" for n in range(10)}
    commit = put_all(gateway.store, "data", files)
    for name in ("master.data", f"{commit}.data", f"{commit}.master.data"):
        page = s3.list_objects(Bucket=name, Prefix=prefix, Delimiter="/")
        assert keys_of(page) == sorted(expected)


def test_list_objects_of_an_empty_branch(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "branch")
    assert keys_of(s3.list_objects(Bucket="branch.data")) == []


def test_list_objects_recursive(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put_all(gateway.store, "data", {f"/{key}": key.encode() for key in RECURSIVE[""]})
    for prefix, expected in RECURSIVE.items():
        assert keys_of(s3.list_objects(Bucket="master.data", Prefix=prefix)) == expected


def test_listed_files_have_etag_and_size(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put_all(gateway.store, "data", {f"/{key}": key.encode() for key in RECURSIVE[""]})
    for item in s3.list_objects(Bucket="master.data")["Contents"]:
        assert item["Size"] == len(item["Key"])
        assert item["ETag"] == f'"{hashlib.md5(item["Key"].encode()).hexdigest()}"'


def test_directories_are_listed_without_etag_and_size(gateway: Served) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/dir/file", b"content")
    body = gateway.request("GET", "/master.data?delimiter=/").body
    assert b"<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>" in body
    assert b"<ETag>" not in body


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_any_pair_of_equal_keys_will_do(gateway: Served, signature: str) -> None:
    # `project_master_test.go` uses 1234 for both; AuthV2 is commented out there.
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/file", b"content")
    with client(gateway.url, "1234", "1234", signature_version=signature) as s3:
        assert body_of(s3, "master.data", "file") == b"content"


@pytest.mark.parametrize("name", ["data", "master.data", "{commit}.data", "{commit}.master.data"])
def test_bucket_names_that_mean_the_same(gateway: Served, s3: Any, name: str) -> None:
    # TestBucketNameToCommit, without the projects that only Pachyderm has.
    create_repos(gateway.store, "data")
    commit = put(gateway.store, "data", "/file", b"content")
    assert body_of(s3, name.format(commit=commit), "file") == b"content"


@pytest.mark.parametrize("name", ["a.b.c.d.e", "master.data.default.x", "branch..data", ".data", "data."])
def test_bucket_names_that_mean_nothing(gateway: Served, name: str) -> None:
    # TestBucketNameError; Pachyderm answers 500.
    answer = gateway.request("GET", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


def test_commit_that_is_unknown_is_no_bucket(gateway: Served, s3: Any, bucket: str) -> None:
    # Pachyderm answers 500.
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="0123456789ab4def8123456789abcdef.data", Key="file")


def test_finished_commit_takes_no_writes(gateway: Served, s3: Any) -> None:
    # Pachyderm answers 500.
    create_repos(gateway.store, "data")
    commit = put(gateway.store, "data", "/file", b"content")
    with refused("AccessDenied", 403, "has already finished"):
        s3.put_object(Bucket=f"{commit}.data", Key="file", Body=b"other")
