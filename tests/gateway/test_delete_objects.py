"""DeleteObjects: one request, one commit."""

from typing import Any

import pytest
from gateway.helpers import Served, keys_of, refused
from store.helpers import commit_of, put_all


def delete(s3: Any, bucket: str, keys: list[str], **options: Any) -> dict[str, Any]:
    objects = [{"Key": key} for key in keys]
    answer: dict[str, Any] = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, **options})
    return answer


@pytest.fixture
def filled(gateway: Served, bucket: str) -> str:
    """A bucket with a, b, c/d."""
    put_all(gateway.store, "data", {"/a": b"", "/b": b"", "/c/d": b""})
    return bucket


def test_named_keys_are_deleted(s3: Any, filled: str) -> None:
    answer = delete(s3, filled, ["a", "c/d"])
    assert [item["Key"] for item in answer["Deleted"]] == ["a", "c/d"]
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["b"]


def test_request_is_one_commit(gateway: Served, s3: Any, filled: str) -> None:
    before = commit_of(gateway.store, "data")
    answer = delete(s3, filled, ["a", "b", "c/d"])
    after = commit_of(gateway.store, "data")
    assert after.parent == before.row
    assert {item["DeleteMarkerVersionId"] for item in answer["Deleted"]} == {after.id}


def test_missing_keys_count_as_deleted(gateway: Served, s3: Any, filled: str) -> None:
    before = commit_of(gateway.store, "data").id
    answer = delete(s3, filled, ["x", "c", "c/"])
    assert [item["Key"] for item in answer["Deleted"]] == ["x", "c", "c/"]
    assert commit_of(gateway.store, "data").id == before


def test_key_named_twice_is_deleted_once(s3: Any, filled: str) -> None:
    delete(s3, filled, ["a", "a"])
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["b", "c/d"]


def test_quiet_answer_has_no_successes(s3: Any, filled: str) -> None:
    assert "Deleted" not in delete(s3, filled, ["a"], Quiet=True)
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["b", "c/d"]


@pytest.mark.parametrize("field", [{"ETag": '"x"'}, {"Size": 1}])
def test_condition_on_a_key_is_refused_for_that_key(s3: Any, filled: str, field: dict[str, Any]) -> None:
    objects = [{"Key": "a", **field}, {"Key": "b"}]
    answer = s3.delete_objects(Bucket=filled, Delete={"Objects": objects})
    assert [(item["Key"], item["Code"]) for item in answer["Errors"]] == [("a", "NotImplemented")]
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["a", "c/d"]


def test_a_thousand_keys_are_deleted_at_once(gateway: Served, s3: Any, bucket: str) -> None:
    put_all(gateway.store, "data", {f"/{n}": b"" for n in range(1000)})
    assert len(delete(s3, bucket, [str(n) for n in range(1000)])["Deleted"]) == 1000
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_more_than_a_thousand_keys_are_refused(s3: Any, filled: str) -> None:
    with refused("MalformedXML", 400):
        delete(s3, filled, ["a", *map(str, range(1000))])
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["a", "b", "c/d"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "<", "<Other/>", "<Delete/>", "<Delete>text</Delete>", "<Delete><Object/></Delete>", "\x00"),
        "<Delete><Object>a</Object></Delete>",
        "<Delete><Object><Key/></Object></Delete>",
        "<Delete><Object><Key><a/></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object><Object/></Delete>",
        "<Delete><Object><Key>a</Key><VersionId><b/></VersionId></Object></Delete>",
    ],
)
def test_malformed_request_deletes_nothing(gateway: Served, s3: Any, filled: str, text: str) -> None:
    answer = gateway.request("POST", f"/{filled}?delete", body=text.encode())
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert keys_of(s3.list_objects_v2(Bucket=filled)) == ["a", "b", "c/d"]


def test_body_that_is_too_large_is_refused(gateway: Served, filled: str) -> None:
    answer = gateway.request("POST", f"/{filled}?delete", body=b" " * (5 * 1024 * 1024))
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


def test_body_with_a_wrong_md5_is_refused(gateway: Served, s3: Any, filled: str) -> None:
    body = b"<Delete><Object><Key>a</Key></Object></Delete>"
    answer = gateway.request("POST", f"/{filled}?delete", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, body)
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert "a" in keys_of(s3.list_objects_v2(Bucket=filled))


def test_keys_in_no_bucket(s3: Any) -> None:
    with refused("NoSuchBucket", 404):
        delete(s3, "master.data", ["a"])


@pytest.mark.parametrize("space", ["", "\n    ", "\r\n\t"])
def test_white_space_between_elements_says_nothing(gateway: Served, s3: Any, bucket: str, space: str) -> None:
    for key in ("a", " b "):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    objects = "".join(f"{space}<Object xmlns=''>{space}<Key>{key}</Key>{space}</Object>" for key in ("a", " b "))
    body = f"<Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{objects}{space}<Quiet>true</Quiet>{space}</Delete>"
    answer = gateway.request("POST", f"/{bucket}?delete", {}, body.encode())
    assert (answer.status, b"Error" in answer.body) == (200, False)
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []
