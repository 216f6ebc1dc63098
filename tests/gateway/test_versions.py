"""Versions of objects through S3: listed, read by id, deleted for good."""

from collections.abc import Iterator
from typing import Any

import pytest
from gateway.helpers import Served, body_of, client, keys_of, prefixes_of, refused, serving
from store.helpers import create_pipeline, create_repos, delete, derive, fork, put, run_pipeline

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store


def put_object(s3: Any, bucket: str, key: str, data: bytes) -> str:
    version: str = s3.put_object(Bucket=bucket, Key=key, Body=data)["VersionId"]
    return version


def listed(s3: Any, bucket: str, **options: Any) -> list[tuple[str, str, bool]]:
    """Return (key, version, is it a delete marker) of a page, in the order of the XML."""
    page = s3.list_object_versions(Bucket=bucket, **options)
    versions = [(item["Key"], item["VersionId"], False, item) for item in page.get("Versions", [])]
    markers = [(item["Key"], item["VersionId"], True, item) for item in page.get("DeleteMarkers", [])]
    by_age = sorted([*versions, *markers], key=lambda item: (item[3]["LastModified"], item[3]["IsLatest"]), reverse=True)
    return [item[:3] for item in sorted(by_age, key=lambda item: item[0])]


def empty(s3: Any, bucket: str, page_size: int = 1000) -> None:
    """Delete every version of a bucket, as test suites and `mc rb --force` do."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": page_size}):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        objects = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})


def test_versions_and_delete_markers_are_listed(s3: Any, bucket: str) -> None:
    one, two = put_object(s3, bucket, "a", b"1"), put_object(s3, bucket, "a", b"22")
    gone = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    page = s3.list_object_versions(Bucket=bucket)
    assert [(item["VersionId"], item["IsLatest"], item["Size"]) for item in page["Versions"]] == [
        (two, False, 2),
        (one, False, 1),
    ]
    assert [(item["VersionId"], item["IsLatest"]) for item in page["DeleteMarkers"]] == [(gone, True)]
    assert page["Versions"][0]["ETag"] == s3.head_object(Bucket=bucket, Key="a", VersionId=two)["ETag"]
    assert not page["IsTruncated"]


def test_versions_made_without_s3_are_listed(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    one = put(gateway.store, "data", "/a", b"1")
    two = delete(gateway.store, "data", "/a")
    assert listed(s3, "master.data") == [("a", two, True), ("a", one, False)]


def test_versions_of_a_commit_are_those_up_to_it(gateway: Served, s3: Any, bucket: str) -> None:
    one = put_object(s3, bucket, "a", b"1")
    put_object(s3, bucket, "a", b"2")
    assert listed(s3, f"{one}.data") == [("a", one, False)]


def test_pages_of_versions_meet(s3: Any, bucket: str) -> None:
    for number in range(9):
        put_object(s3, bucket, f"k{number % 2}", b"x")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    walked = [(item["Key"], item["VersionId"]) for page in pages for item in page["Versions"]]
    assert walked == [item[:2] for item in listed(s3, bucket)]
    assert len(walked) == 9


def test_keys_of_versions_are_encoded_if_asked(gateway: Served, s3: Any, bucket: str) -> None:
    put_object(s3, bucket, "a b/\x01", b"x")
    put_object(s3, bucket, "z", b"x")
    body = gateway.request("GET", f"/{bucket}?versions&encoding-type=url&max-keys=1").body
    assert b"<Key>a%20b/%01</Key>" in body
    assert b"<NextKeyMarker>a%20b/%01</NextKeyMarker>" in body


def test_versions_below_a_delimiter_are_one_prefix(s3: Any, bucket: str) -> None:
    for key in ("d/a", "d/b", "e"):
        put_object(s3, bucket, key, b"x")
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert prefixes_of(page) == ["d/"]
    assert [item["Key"] for item in page["Versions"]] == ["e"]
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/", MaxKeys=1)
    rest = s3.list_object_versions(Bucket=bucket, Delimiter="/", KeyMarker=page["NextKeyMarker"])
    assert (prefixes_of(rest), [item["Key"] for item in rest["Versions"]]) == ([], ["e"])


@pytest.mark.parametrize("query", ["version-id-marker=x", "max-keys=-1", "encoding-type=x"])
def test_list_of_versions_that_makes_no_sense_is_refused(gateway: Served, bucket: str, query: str) -> None:
    answer = gateway.request("GET", f"/{bucket}?versions&{query}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_delete_of_the_newest_version_shows_the_one_before(s3: Any, bucket: str) -> None:
    one, two = put_object(s3, bucket, "a", b"1"), put_object(s3, bucket, "a", b"2")
    answer = s3.delete_object(Bucket=bucket, Key="a", VersionId=two)
    assert (answer["VersionId"], answer.get("DeleteMarker")) == (two, None)
    assert body_of(s3, bucket, "a") == b"1"
    assert s3.head_object(Bucket=bucket, Key="a")["VersionId"] == one
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="a", VersionId=two)


def test_delete_of_a_marker_brings_the_object_back(s3: Any, bucket: str) -> None:
    put_object(s3, bucket, "a", b"1")
    gone = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    answer = s3.delete_object(Bucket=bucket, Key="a", VersionId=gone)
    assert (answer["VersionId"], answer["DeleteMarker"]) == (gone, True)
    assert body_of(s3, bucket, "a") == b"1"


def test_delete_of_a_version_that_is_not_there_is_no_error(s3: Any, bucket: str) -> None:
    one = put_object(s3, bucket, "a", b"1")
    for version in ("0" * 12 + "4" + "0" * 3 + "8" + "0" * 15, "null", put_object(s3, bucket, "b", b"")):
        s3.delete_object(Bucket=bucket, Key="a", VersionId=version)
    assert [item[1] for item in listed(s3, bucket, Prefix="a")] == [one]


def test_version_may_be_named_by_ancestry(s3: Any, bucket: str) -> None:
    put_object(s3, bucket, "a", b"1")
    put_object(s3, bucket, "a", b"2")
    s3.delete_object(Bucket=bucket, Key="a", VersionId="master^")
    assert len(listed(s3, bucket)) == 1
    assert body_of(s3, bucket, "a") == b"2"


@pytest.mark.parametrize("version", ["no such", "a/b", "^"])
def test_what_is_no_version_id_is_refused(gateway: Served, s3: Any, bucket: str, version: str) -> None:
    put_object(s3, bucket, "a", b"1")
    with refused("InvalidArgument", 400):
        s3.delete_object(Bucket=bucket, Key="a", VersionId=version)


def test_delete_marker_is_said_to_be_one(s3: Any, gateway: Served, bucket: str) -> None:
    put_object(s3, bucket, "a", b"1")
    gone = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    plain = gateway.request("GET", f"/{bucket}/a")
    assert (plain.status, plain.code) == (404, "NoSuchKey")
    assert (plain.headers["x-amz-delete-marker"], plain.headers["x-amz-version-id"]) == ("true", gone)
    named = gateway.request("GET", f"/{bucket}/a?versionId={gone}")
    assert (named.status, named.code, named.headers["x-amz-delete-marker"]) == (405, "MethodNotAllowed", "true")


def test_key_that_never_was_has_no_marker(gateway: Served, bucket: str) -> None:
    assert "x-amz-delete-marker" not in gateway.request("HEAD", f"/{bucket}/a").headers


def test_every_delete_is_listed_but_only_that_of_something_is_a_commit(gateway: Served, s3: Any, bucket: str) -> None:
    put_object(s3, bucket, "a", b"1")
    markers = [s3.delete_object(Bucket=bucket, Key="a")["VersionId"] for _ in range(3)]
    page = s3.list_object_versions(Bucket=bucket)
    assert [item["VersionId"] for item in page["DeleteMarkers"]] == markers[::-1]
    with gateway.store.snapshot() as db:
        assert db.value("SELECT count(*) FROM commits WHERE origin = 'USER'") == 2


def test_bucket_is_emptied_page_by_page_and_deleted(gateway: Served, s3: Any, bucket: str) -> None:
    for number in range(30):
        put_object(s3, bucket, f"k{number % 7}", b"x")
    for number in range(7):
        s3.delete_object(Bucket=bucket, Key=f"k{number}")
    put_object(s3, bucket, "k0", b"back")
    empty(s3, bucket, page_size=4)
    assert listed(s3, bucket) == []
    s3.delete_bucket(Bucket=bucket)
    assert gateway.request("HEAD", f"/{bucket}").status == 404


def test_many_versions_are_deleted_with_one_request(s3: Any, bucket: str) -> None:
    versions = [put_object(s3, bucket, "a", bytes([number])) for number in range(5)]
    kept = put_object(s3, bucket, "b", b"kept")
    objects = [{"Key": "a", "VersionId": version} for version in versions]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [*objects, {"Key": "c"}]})
    assert [item.get("VersionId") for item in answer["Deleted"]] == [*versions, None]
    assert answer["Deleted"][-1]["DeleteMarker"]
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["b"]
    assert s3.head_object(Bucket=bucket, Key="b")["VersionId"] == kept


@pytest.fixture
def processed(gateway: Served, s3: Any, bucket: str) -> Iterator[str]:
    """A bucket with one version of `a` that a pipeline has worked on."""
    version = put_object(s3, bucket, "a", b"1")
    create_pipeline(gateway.store, "count", "data")
    run_pipeline(gateway.store, "count", {"all": {"/n": b"1"}})
    return version


def test_version_that_a_pipeline_rests_on_stays(s3: Any, bucket: str, processed: str) -> None:
    with refused("OperationAborted", 409, "was made from"):
        s3.delete_object(Bucket=bucket, Key="a", VersionId=processed)
    assert body_of(s3, bucket, "a") == b"1"


def test_in_a_list_only_the_version_that_must_stay_is_refused(s3: Any, bucket: str, processed: str) -> None:
    later = put_object(s3, bucket, "b", b"2")
    objects = [{"Key": "a", "VersionId": processed}, {"Key": "c", "VersionId": later}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [(item["Key"], item["VersionId"], item["Code"]) for item in answer["Errors"]] == [
        ("a", processed, "OperationAborted")
    ]
    assert [item["Key"] for item in answer["Deleted"]] == ["c"]


def test_versions_of_an_output_branch_stay(gateway: Served, s3: Any, bucket: str, processed: str) -> None:
    version = s3.head_object(Bucket="master.count", Key="n")["VersionId"]
    with refused("WriteToOutputBranch", 400):
        s3.delete_object(Bucket="master.count", Key="n", VersionId=version)


def test_versions_of_a_commit_bucket_stay(s3: Any, bucket: str) -> None:
    version = put_object(s3, bucket, "a", b"1")
    with refused("AccessDenied", 403):
        s3.delete_object(Bucket=f"{version}.data", Key="a", VersionId=version)


def test_version_is_forgotten_on_every_branch_that_shares_it(gateway: Served, s3: Any, bucket: str) -> None:
    version = put_object(s3, bucket, "a", b"1")
    fork(gateway.store, "data", "dev", head="master")
    s3.delete_object(Bucket="dev.data", Key="a", VersionId=version)
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []


def test_nothing_is_forgotten_in_strict_mode(store: Store) -> None:
    create_repos(store, "data", "down")
    version = put(store, "data", "/a", b"1")
    derive(store, "down", "data")
    with serving(store, RepoBuckets(), strict=True) as served, client(served.url) as s3:
        with refused("NotImplemented", 501):
            s3.delete_object(Bucket="master.data", Key="a", VersionId=version)
        answer = s3.delete_objects(Bucket="master.data", Delete={"Objects": [{"Key": "a", "VersionId": version}]})
        assert answer["Errors"][0]["Code"] == "NotImplemented"
        assert body_of(s3, "master.data", "a") == b"1"


def test_commit_still_names_what_it_shows_after_a_delete_of_nothing_is_forgotten(s3: Any, bucket: str) -> None:
    put_object(s3, bucket, "a", b"1")
    gone = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    other = put_object(s3, bucket, "b", b"2")
    marker = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    for version in (marker, gone):
        s3.delete_object(Bucket=bucket, Key="a", VersionId=version)
    assert body_of(s3, bucket, "a", VersionId=other) == b"1"
    for version in (marker, gone):
        with refused("NoSuchVersion", 404):
            s3.get_object(Bucket=bucket, Key="a", VersionId=version)
