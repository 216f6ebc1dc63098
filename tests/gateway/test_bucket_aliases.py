"""Names that S3 clients refuse to send, by names that they send."""

from typing import Any

import pytest
from gateway.door import ALICE, Door
from gateway.helpers import Served, body_of, client, refused, serving
from store.helpers import create_repos, fork, put, tree

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store


@pytest.mark.parametrize("name", ["my-data", "master.my-data", "master.My_Data", "My_Data"])
def test_capitals_and_underscores_need_not_be_sent(gateway: Served, s3: Any, name: str) -> None:
    create_repos(gateway.store, "My_Data")
    put(gateway.store, "My_Data", "/a", b"content")
    assert body_of(s3, name, "a") == b"content"
    s3.put_object(Bucket=name, Key="b", Body=b"more")
    assert tree(gateway.store, "My_Data") == {"/a": b"content", "/b": b"more"}


def test_branches_have_aliases_too(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/a", b"content", branch="Dev_2")
    assert body_of(s3, "dev-2.data", "a") == b"content"


def test_commits_of_a_repo_with_an_alias(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "my_data")
    commit = put(gateway.store, "my_data", "/a", b"old")
    put(gateway.store, "my_data", "/a", b"new")
    assert body_of(s3, f"{commit}.my-data", "a") == b"old"
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket=f"{commit[:-1]}{'0' if commit[-1] != '0' else '1'}.my-data", Key="a")


def test_name_of_a_repo_comes_before_an_alias(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "my_data", "my-data")
    put(gateway.store, "my_data", "/a", b"alias")
    put(gateway.store, "my-data", "/a", b"name")
    assert body_of(s3, "my-data", "a") == b"name"


def test_alias_of_two_is_none(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "my_data", "My-Data")
    for repo in ("my_data", "My-Data"):
        put(gateway.store, repo, "/a", b"content")
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="my-data", Key="a")


@pytest.mark.parametrize("name", ["My-Data", "my_data", "my-dat", "dev.my-data"])
def test_nothing_else_is_an_alias(gateway: Served, s3: Any, name: str) -> None:
    create_repos(gateway.store, "My_Data")
    put(gateway.store, "My_Data", "/a", b"content")
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket=name, Key="a")


def test_bucket_is_listed_by_its_name_and_deleted_by_its_alias(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "my_data")
    fork(gateway.store, "my_data", "master")
    assert [item["Name"] for item in s3.list_buckets()["Buckets"]] == ["master.my_data"]
    s3.delete_bucket(Bucket="my-data")
    assert s3.list_buckets()["Buckets"] == []


def test_alias_opens_nothing_that_the_name_does_not(door: Door) -> None:
    create_repos(door.store, "my_data")
    put(door.store, "my_data", "/a", b"secret")
    assert door.gateway.request("GET", "/my-data/a").code == "AccessDenied"
    with refused("AccessDenied", 403):
        door.client(ALICE).delete_bucket(Bucket="my-data")
    door.give(ALICE, "repoReader", repo="my_data")
    assert body_of(door.client(ALICE), "my-data", "a") == b"secret"


def test_strict_gateway_has_no_aliases(store: Store) -> None:
    create_repos(store, "my_data")
    put(store, "my_data", "/a", b"content")
    with serving(store, RepoBuckets(aliases=False), strict=True) as strict, client(strict.url) as s3:
        with refused("NoSuchBucket", 404):
            s3.get_object(Bucket="my-data", Key="a")
        assert body_of(s3, "master.my_data", "a") == b"content"
