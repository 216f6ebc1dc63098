"""Uploads in parts."""

import hashlib
import itertools
from typing import Any

import pytest
from gateway.helpers import MIB, Served, body_of, keys_of, refused, staged
from store.helpers import commit_of, tree

from appliance.store import commits

PART = b"p" * (5 * MIB)
Parts = list[dict[str, Any]]


def begin(s3: Any, bucket: str, key: str = "a", **options: Any) -> str:
    upload_id: str = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    return upload_id


def upload(s3: Any, bucket: str, upload_id: str, number: int, data: bytes, key: str = "a") -> dict[str, Any]:
    answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3: Any, bucket: str, upload_id: str, parts: Parts, key: str = "a", **options: Any) -> dict[str, Any]:
    wanted = {"Parts": parts}
    answer: dict[str, Any] = s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload=wanted, **options
    )
    return answer


def commit_count(gateway: Served) -> int:
    with gateway.store.snapshot() as db:
        return len(list(commits.iter_commits(db)))


def test_parts_become_the_object(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, PART), upload(s3, bucket, upload_id, 2, b"end")]
    complete(s3, bucket, upload_id, parts)
    assert body_of(s3, bucket, "a") == PART + b"end"


def test_etag_is_that_of_the_parts(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, PART), upload(s3, bucket, upload_id, 2, b"end")]
    digests = hashlib.md5(PART).digest() + hashlib.md5(b"end").digest()
    expected = f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert complete(s3, bucket, upload_id, parts)["ETag"] == expected
    assert s3.head_object(Bucket=bucket, Key="a")["ETag"] == expected


def test_parts_may_come_in_any_order_and_with_gaps(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    last = upload(s3, bucket, upload_id, 10_000, b"end")
    first = upload(s3, bucket, upload_id, 7, PART)
    complete(s3, bucket, upload_id, [first, last])
    assert body_of(s3, bucket, "a") == PART + b"end"


def test_parts_that_are_not_chosen_are_left_out(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"not this")
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 2, b"this")])
    assert body_of(s3, bucket, "a") == b"this"


def test_part_that_is_sent_again_replaces_the_first(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"old")
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"new")])
    assert body_of(s3, bucket, "a") == b"new"


def test_empty_part_makes_an_empty_object(s3: Any, bucket: str) -> None:
    for _ in range(2):
        upload_id = begin(s3, bucket)
        complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"")])
    assert body_of(s3, bucket, "a") == b""


def test_same_parts_can_be_joined_twice(s3: Any, bucket: str) -> None:
    for key in ("a", "b"):
        upload_id = begin(s3, bucket, key)
        parts = [upload(s3, bucket, upload_id, number, PART, key) for number in (1, 2)]
        complete(s3, bucket, upload_id, parts, key)
    assert body_of(s3, bucket, "a") == body_of(s3, bucket, "b") == PART + PART


def test_completing_is_one_commit(gateway: Served, s3: Any, bucket: str) -> None:
    before = commit_count(gateway)
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, PART), upload(s3, bucket, upload_id, 2, b"end")]
    assert commit_count(gateway) == before
    version = complete(s3, bucket, upload_id, parts)["VersionId"]
    assert commit_count(gateway) == before + 1
    assert version == commit_of(gateway.store, "data").id


def test_metadata_is_that_of_the_beginning(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket, Metadata={"a": "1"}, ContentType="x/y")
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"x")])
    found = s3.head_object(Bucket=bucket, Key="a")
    assert (found["Metadata"], found["ContentType"]) == ({"a": "1"}, "x/y")


def test_nothing_is_seen_before_the_end(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []
    assert [item["Name"] for item in s3.list_buckets()["Buckets"]] == [bucket]


def test_upload_ends_with_its_completion(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, b"x")]
    complete(s3, bucket, upload_id, parts)
    with refused("NoSuchUpload", 404):
        upload(s3, bucket, upload_id, 2, b"x")
    with refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=upload_id)
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_part_below_five_mib_is_too_small_unless_the_last(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, PART[1:]), upload(s3, bucket, upload_id, 2, b"x")]
    with refused("EntityTooSmall", 400):
        complete(s3, bucket, upload_id, parts)


@pytest.mark.parametrize(
    ("numbers", "code"), [((2, 1), "InvalidPartOrder"), ((1, 2, 1), "InvalidPartOrder"), ((1, 3), "InvalidPart")]
)
def test_parts_have_to_be_there_and_in_order(s3: Any, bucket: str, numbers: tuple[int, ...], code: str) -> None:
    upload_id = begin(s3, bucket)
    parts = {number: upload(s3, bucket, upload_id, number, b"x") for number in (1, 2)}
    wanted = [{**parts[1], "PartNumber": number} for number in numbers]
    with refused(code, 400):
        complete(s3, bucket, upload_id, wanted)


def test_part_with_another_etag_is_refused(gateway: Served, s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    with refused("InvalidPart", 400):
        complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": '"0"'}])
    assert tree(gateway.store, "data") == {}


XML = [
    *(b"", b"<", b"<Other/>", b"<CompleteMultipartUpload/>", b"<CompleteMultipartUpload>text</CompleteMultipartUpload>"),
    *(
        f"<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>".encode()
        for part in (
            "",
            "text",
            "<PartNumber>1</PartNumber>",
            "<ETag>a</ETag>",
            "<PartNumber>one</PartNumber><ETag>a</ETag>",
            "<PartNumber><a/></PartNumber><ETag>a</ETag>",
        )
    ),
]


@pytest.mark.parametrize("body", XML)
def test_completion_that_lists_no_parts_is_malformed(gateway: Served, s3: Any, bucket: str, body: bytes) -> None:
    answer = gateway.request("POST", f"/{bucket}/a?uploadId={begin(s3, bucket)}", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


def test_checksum_of_the_object_is_not_taken_for_that_of_the_xml(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, b"x")]
    complete(s3, bucket, upload_id, parts, ChecksumCRC32="jNwWgw==", ChecksumType="FULL_OBJECT")
    assert body_of(s3, bucket, "a") == b"x"


@pytest.mark.parametrize("number", ["0", "10001", "-1", "a", "", "%D9%A1", "99999999999999999999"])
def test_part_number_has_to_be_one(gateway: Served, s3: Any, bucket: str, number: str) -> None:
    upload_id = begin(s3, bucket)
    answer = gateway.request("PUT", f"/{bucket}/a?uploadId={upload_id}&partNumber={number}", body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize("upload_id", ["", "x", "0" * 32])
def test_unknown_upload(gateway: Served, bucket: str, upload_id: str) -> None:
    target = f"/{bucket}/a?uploadId={upload_id}"
    body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"
    requests = [
        ("PUT", f"{target}&partNumber=1", b"x"),
        ("POST", target, body),
        ("DELETE", target, b""),
        ("GET", target, b""),
    ]
    for method, address, data in requests:
        answer = gateway.request(method, address, body=data)
        assert (answer.status, answer.code) == (404, "NoSuchUpload"), method


def test_upload_belongs_to_its_key_and_bucket(s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket="dev.data")
    upload_id = begin(s3, bucket)
    for name, key in ((bucket, "b"), ("dev.data", "a")):
        with refused("NoSuchUpload", 404):
            upload(s3, name, upload_id, 1, b"x", key)
        with refused("NoSuchUpload", 404):
            s3.list_parts(Bucket=name, Key=key, UploadId=upload_id)
        with refused("NoSuchUpload", 404):
            s3.abort_multipart_upload(Bucket=name, Key=key, UploadId=upload_id)


def test_aborted_upload_is_gone(gateway: Served, s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=upload_id)
    with refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=upload_id)
    assert staged(gateway.store) == []


def test_parts_are_listed_by_number_with_their_size(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    for number in (10, 2, 1):
        upload(s3, bucket, upload_id, number, b"x" * number)
    found = s3.list_parts(Bucket=bucket, Key="a", UploadId=upload_id)
    assert [(part["PartNumber"], part["Size"]) for part in found["Parts"]] == [(1, 1), (2, 2), (10, 10)]
    assert found["IsTruncated"] is False


def test_parts_are_listed_in_pages(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    for number in range(1, 6):
        upload(s3, bucket, upload_id, number, b"x")
    pages = s3.get_paginator("list_parts").paginate(
        Bucket=bucket, Key="a", UploadId=upload_id, PaginationConfig={"PageSize": 2}
    )
    assert [[part["PartNumber"] for part in page["Parts"]] for page in pages] == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("parameter", ["max-parts", "part-number-marker"])
@pytest.mark.parametrize("value", ["-1", "a", "9999999999"])
def test_page_of_parts_that_makes_no_sense_is_refused(
    gateway: Served, s3: Any, bucket: str, parameter: str, value: str
) -> None:
    answer = gateway.request("GET", f"/{bucket}/a?uploadId={begin(s3, bucket)}&{parameter}={value}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_uploads_are_listed_by_key(s3: Any, bucket: str) -> None:
    for key in ("b", "a/b/c", "a"):
        begin(s3, bucket, key)
    assert [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["a", "a/b/c", "b"]
    found = s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")
    assert [item["Key"] for item in found["Uploads"]] == ["a/b/c"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_uploads_are_listed_in_pages(s3: Any, bucket: str, size: int) -> None:
    ids = {begin(s3, bucket, key) for key in ("a", "a", "b", "c", "c")}
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
    listed = [[item["UploadId"] for item in page.get("Uploads", [])] for page in pages]
    assert max(map(len, listed)) <= size
    assert sorted(itertools.chain(*listed)) == sorted(ids)


def test_nothing_is_uploaded_to_a_commit(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"")["VersionId"]
    assert s3.list_multipart_uploads(Bucket=f"{version}.data").get("Uploads", []) == []
    with refused("AccessDenied", 403):
        begin(s3, f"{version}.data")


def test_directory_is_not_uploaded_in_parts(s3: Any, bucket: str) -> None:
    with refused("InvalidFilePath", 400):
        begin(s3, bucket, "dir/")


def test_completion_on_a_file_above_is_refused_and_can_be_tried_again(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket, "a/b")
    parts = [upload(s3, bucket, upload_id, 1, b"x", "a/b")]
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    with refused("InvalidFilePath", 400):
        complete(s3, bucket, upload_id, parts, "a/b")
    s3.delete_object(Bucket=bucket, Key="a")
    complete(s3, bucket, upload_id, parts, "a/b")
    assert body_of(s3, bucket, "a/b") == b"x"


def test_completion_if_absent(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    upload_id = begin(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, b"new")]
    with refused("PreconditionFailed", 412):
        complete(s3, bucket, upload_id, parts, IfNoneMatch="*")
    assert body_of(s3, bucket, "a") == b"old"


def test_completion_if_unchanged(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"old")["ETag"]
    upload_id = begin(s3, bucket)
    complete(s3, bucket, upload_id, [upload(s3, bucket, upload_id, 1, b"new")], IfMatch=etag)
    assert body_of(s3, bucket, "a") == b"new"


# Parts copied from objects


def copy_part(s3: Any, bucket: str, upload_id: str, number: int, source: str, **options: Any) -> dict[str, Any]:
    answer = s3.upload_part_copy(Bucket=bucket, Key="a", UploadId=upload_id, PartNumber=number, CopySource=source, **options)
    return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}


def test_part_copied_whole(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"content")
    upload_id = begin(s3, bucket)
    complete(s3, bucket, upload_id, [copy_part(s3, bucket, upload_id, 1, f"{bucket}/source")])
    assert body_of(s3, bucket, "a") == b"content"


def test_parts_copied_by_range(s3: Any, bucket: str) -> None:
    data = PART + bytes(range(256))
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    upload_id = begin(s3, bucket)
    ranges = [f"bytes=0-{len(PART) - 1}", f"bytes={len(PART)}-{len(data) - 1}"]
    parts = [
        copy_part(s3, bucket, upload_id, number, f"{bucket}/source", CopySourceRange=text)
        for number, text in enumerate(ranges, 1)
    ]
    complete(s3, bucket, upload_id, parts)
    assert body_of(s3, bucket, "a") == data


def test_part_copied_from_an_empty_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"")
    upload_id = begin(s3, bucket)
    complete(s3, bucket, upload_id, [copy_part(s3, bucket, upload_id, 1, f"{bucket}/source")])
    assert body_of(s3, bucket, "a") == b""


def test_part_copied_from_a_version(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="source", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="source", Body=b"new")
    upload_id = begin(s3, bucket)
    part = copy_part(s3, bucket, upload_id, 1, f"{bucket}/source?versionId={version}")
    complete(s3, bucket, upload_id, [part])
    assert body_of(s3, bucket, "a") == b"old"


@pytest.mark.parametrize(
    ("range_", "code"),
    [
        *(("bytes=0-9", "InvalidRange"), ("bytes=3-2", "InvalidRange"), ("bytes=7-7", "InvalidRange")),
        *(("bytes=0-", "InvalidArgument"), ("0-2", "InvalidArgument"), ("bytes=0-1,2-3", "InvalidArgument")),
    ],
)
def test_range_that_the_source_does_not_have_is_refused(s3: Any, bucket: str, range_: str, code: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"content")
    upload_id = begin(s3, bucket)
    with refused(code, 400):
        copy_part(s3, bucket, upload_id, 1, f"{bucket}/source", CopySourceRange=range_)


def test_part_copied_from_nothing(s3: Any, bucket: str) -> None:
    upload_id = begin(s3, bucket)
    with refused("NoSuchKey", 404):
        copy_part(s3, bucket, upload_id, 1, f"{bucket}/source")
    with refused("NoSuchBucket", 404):
        copy_part(s3, bucket, upload_id, 1, "master.other/source")


def test_part_copy_under_a_condition(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"content")
    upload_id = begin(s3, bucket)
    with refused("PreconditionFailed", 412):
        copy_part(s3, bucket, upload_id, 1, f"{bucket}/source", CopySourceIfMatch='"other"')


def test_uploads_are_listed_with_prefix_delimiter_and_markers(s3: Any, bucket: str) -> None:
    ids = {key: begin(s3, bucket, key) for key in ("a", "d/x y", "d/z", "e")}
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [item["Key"] for item in page["Uploads"]] == ["a", "e"]
    assert [item["Prefix"] for item in page["CommonPrefixes"]] == ["d/"]
    below = s3.list_multipart_uploads(Bucket=bucket, Prefix="d/", MaxUploads=1)
    assert [(item["Key"], item["UploadId"]) for item in below["Uploads"]] == [("d/x y", ids["d/x y"])]
    assert (below["NextKeyMarker"], below["NextUploadIdMarker"], below["IsTruncated"]) == ("d/x y", ids["d/x y"], True)
    s3.abort_multipart_upload(Bucket=bucket, Key="d/x y", UploadId=ids["d/x y"])
    markers = {"KeyMarker": below["NextKeyMarker"], "UploadIdMarker": below["NextUploadIdMarker"]}
    rest = s3.list_multipart_uploads(Bucket=bucket, Prefix="d/", **markers)
    assert [item["Key"] for item in rest["Uploads"]] == ["d/z"]


def test_keys_of_uploads_are_encoded_if_asked(gateway: Served, s3: Any, bucket: str) -> None:
    begin(s3, bucket, "a b/ü")
    assert b"<Key>a%20b/%C3%BC</Key>" in gateway.request("GET", f"/{bucket}?uploads&encoding-type=url").body
