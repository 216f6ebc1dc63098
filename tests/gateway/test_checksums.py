"""Checksums: verified as the body comes, kept with the object, given back when asked for."""

import base64
import hashlib
import zlib
from typing import Any

import anycrc
import pytest
from gateway.helpers import MIB, Served, body_of, refused

from appliance.gateway import checksums

CONTENT = b"The quick brown fox"
PARTS = (b"a" * (5 * MIB), b"b" * (5 * MIB), b"end")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def value_of(name: str, data: bytes) -> str:
    """Compute a checksum independently of what is under test."""
    if name in ("SHA1", "SHA256"):
        return b64(hashlib.new(name.lower(), data).digest())
    if name == "CRC32":
        return b64(zlib.crc32(data).to_bytes(4, "big"))
    if name == "CRC32C":
        crc = anycrc.CRC(width=32, poly=0x1EDC6F41, init=0xFFFFFFFF, refin=True, refout=True, xorout=0xFFFFFFFF)
        return b64(crc.calc(data).to_bytes(4, "big"))
    crc = anycrc.CRC(width=64, poly=0xAD93D23594C93659, init=2**64 - 1, refin=True, refout=True, xorout=2**64 - 1)
    return b64(crc.calc(data).to_bytes(8, "big"))


ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")],
)
def test_crcs_are_those_of_their_catalogue(name: str, value: str) -> None:
    summed = checksums.ALGORITHMS[name].new()
    for piece in (b"1234", b"", b"56789"):
        summed.update(piece)
    assert summed.digest().hex() == value


@pytest.mark.parametrize("name", ALGORITHMS)
def test_checksum_is_kept_and_given_back_when_asked(s3: Any, bucket: str, name: str) -> None:
    expected = value_of(name, CONTENT)
    answer = s3.put_object(Bucket=bucket, Key="a", Body=CONTENT, **{f"Checksum{name}": expected})
    assert (answer[f"Checksum{name}"], answer["ChecksumType"]) == (expected, "FULL_OBJECT")
    found = s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert (found[f"Checksum{name}"], found["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert f"Checksum{name}" not in s3.head_object(Bucket=bucket, Key="a")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_checksum_that_differs_is_refused(gateway: Served, bucket: str, name: str) -> None:
    header = {f"x-amz-checksum-{name.lower()}": value_of(name, b"other")}
    answer = gateway.request("PUT", f"/{bucket}/a", header, CONTENT)
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert gateway.request("HEAD", f"/{bucket}/a").status == 404


def test_only_one_checksum_is_expected(gateway: Served, bucket: str) -> None:
    headers = {"x-amz-checksum-crc32": value_of("CRC32", b"x"), "x-amz-checksum-sha1": value_of("SHA1", b"x")}
    answer = gateway.request("PUT", f"/{bucket}/a", headers, b"x")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_range_has_no_checksum(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=CONTENT, ChecksumAlgorithm="SHA256")
    answer = gateway.request("GET", f"/{bucket}/a", {"Range": "bytes=0-3", "x-amz-checksum-mode": "ENABLED"})
    assert answer.status == 206
    assert not [name for name in answer.headers if name.startswith("x-amz-checksum")]


def upload(
    s3: Any, bucket: str, name: str, kind: str | None = None, parts: tuple[bytes, ...] = PARTS
) -> tuple[str, list[Any]]:
    options = {"ChecksumType": kind} if kind else {}
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a", ChecksumAlgorithm=name, **options)
    assert begun["ChecksumAlgorithm"] == name
    sent = []
    for number, data in enumerate(parts, 1):
        field = {f"Checksum{name}": value_of(name, data)}
        part = s3.upload_part(Bucket=bucket, Key="a", UploadId=begun["UploadId"], PartNumber=number, Body=data, **field)
        sent.append({"PartNumber": number, "ETag": part["ETag"], **field})
    return begun["UploadId"], sent


def complete(s3: Any, bucket: str, upload_id: str, parts: list[Any], **options: Any) -> dict[str, Any]:
    wanted = {"Parts": parts}
    answer: dict[str, Any] = s3.complete_multipart_upload(
        Bucket=bucket, Key="a", UploadId=upload_id, MultipartUpload=wanted, **options
    )
    return answer


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME"])
def test_crc_of_the_whole_is_joined_from_the_parts(s3: Any, bucket: str, name: str) -> None:
    upload_id, parts = upload(s3, bucket, name, "FULL_OBJECT")
    expected = value_of(name, b"".join(PARTS))
    answer = complete(s3, bucket, upload_id, parts, ChecksumType="FULL_OBJECT", **{f"Checksum{name}": expected})
    assert (answer[f"Checksum{name}"], answer["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")[f"Checksum{name}"] == expected
    assert body_of(s3, bucket, "a") == b"".join(PARTS)  # which compares it


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_is_of_the_checksums_of_the_parts(s3: Any, bucket: str, name: str) -> None:
    upload_id, parts = upload(s3, bucket, name)
    digests = b"".join(base64.b64decode(value_of(name, data)) for data in PARTS)
    expected = f"{value_of(name, digests)}-3"
    answer = complete(s3, bucket, upload_id, parts)
    assert (answer[f"Checksum{name}"], answer["ChecksumType"]) == (expected, "COMPOSITE")
    found = s3.get_object(Bucket=bucket, Key="a", PartNumber=2, ChecksumMode="ENABLED")
    assert found["Body"].read() == PARTS[1]
    assert found[f"Checksum{name}"] == value_of(name, PARTS[1])


@pytest.mark.parametrize("name", ["CRC32", "SHA256"])
def test_checksum_of_the_whole_that_differs_is_refused(s3: Any, bucket: str, name: str) -> None:
    upload_id, parts = upload(s3, bucket, name, parts=(b"x",))
    with refused("BadDigest", 400):
        complete(s3, bucket, upload_id, parts, **{f"Checksum{name}": value_of(name, b"other")})
    complete(s3, bucket, upload_id, parts)
    assert body_of(s3, bucket, "a") == b"x"


def test_checksum_of_a_part_that_differs_is_refused(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "SHA256", parts=(b"x",))
    with refused("InvalidPart", 400):
        complete(s3, bucket, upload_id, [{**parts[0], "ChecksumSHA256": value_of("SHA256", b"y")}])


def test_part_needs_the_checksum_of_its_upload(gateway: Served, s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "SHA256", parts=())
    answer = gateway.request("PUT", f"/{bucket}/a?uploadId={upload_id}&partNumber=1", body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(("name", "kind"), [("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("CRC32", "OTHER")])
def test_checksum_that_can_not_be_is_refused_at_the_beginning(gateway: Served, bucket: str, name: str, kind: str) -> None:
    headers = {"x-amz-checksum-algorithm": name, "x-amz-checksum-type": kind}
    answer = gateway.request("POST", f"/{bucket}/a?uploads", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_size_that_differs_is_refused(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "CRC32", parts=(b"four",))
    with refused("InvalidRequest", 400):
        complete(s3, bucket, upload_id, parts, MpuObjectSize=5)
    complete(s3, bucket, upload_id, parts, MpuObjectSize=4)


def test_completing_again_answers_the_same(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "SHA256", parts=(b"x",))
    answers = [complete(s3, bucket, upload_id, parts) for _ in range(2)]
    for name in ("ETag", "VersionId", "ChecksumSHA256", "ChecksumType"):
        assert answers[0][name] == answers[1][name]


def test_parts_are_listed_with_their_checksums(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "SHA1", parts=(b"x",))
    page = s3.list_parts(Bucket=bucket, Key="a", UploadId=upload_id)
    assert (page["ChecksumAlgorithm"], page["ChecksumType"]) == ("SHA1", "COMPOSITE")
    assert page["Parts"][0]["ChecksumSHA1"] == parts[0]["ChecksumSHA1"]


def test_copied_part_has_the_checksum_of_its_range(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=CONTENT)
    upload_id, _ = upload(s3, bucket, "SHA256", parts=())
    part = s3.upload_part_copy(
        Bucket=bucket, Key="a", UploadId=upload_id, PartNumber=1, CopySource=f"{bucket}/source", CopySourceRange="bytes=4-8"
    )["CopyPartResult"]
    assert part["ETag"] == f'"{hashlib.md5(b"quick").hexdigest()}"'
    assert part["ChecksumSHA256"] == value_of("SHA256", b"quick")
    complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": part["ETag"]}])
    assert body_of(s3, bucket, "a") == b"quick"


def test_copy_keeps_the_checksum_or_gets_the_one_asked_for(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=CONTENT, ChecksumAlgorithm="SHA1")
    kept = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")["CopyObjectResult"]
    assert kept["ChecksumSHA1"] == value_of("SHA1", CONTENT)
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/a", ChecksumAlgorithm="CRC64NVME")
    found = s3.head_object(Bucket=bucket, Key="c", ChecksumMode="ENABLED")
    assert found["ChecksumCRC64NVME"] == value_of("CRC64NVME", CONTENT)
    assert "ChecksumSHA1" not in found


# Attributes, and parts of what was uploaded in parts


def attributes(s3: Any, bucket: str, *names: str, **options: Any) -> dict[str, Any]:
    wanted = names or ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
    found: dict[str, Any] = s3.get_object_attributes(Bucket=bucket, Key="a", ObjectAttributes=wanted, **options)
    return found


def test_attributes_of_an_object(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="a", Body=CONTENT, ChecksumAlgorithm="SHA256")
    found = attributes(s3, bucket)
    assert (found["ETag"], found["ObjectSize"], found["StorageClass"]) == (put["ETag"].strip('"'), len(CONTENT), "STANDARD")
    assert found["Checksum"] == {"ChecksumSHA256": value_of("SHA256", CONTENT), "ChecksumType": "FULL_OBJECT"}
    assert found["VersionId"] == put["VersionId"]
    assert "ObjectParts" not in found


def test_attributes_are_those_of_a_version(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"22")
    assert (attributes(s3, bucket, VersionId=old)["ObjectSize"], attributes(s3, bucket)["ObjectSize"]) == (1, 2)


def test_only_the_attributes_asked_for_are_told(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    found = attributes(s3, bucket, "ObjectSize")
    assert "ObjectSize" in found
    assert not found.keys() & {"ETag", "Checksum", "StorageClass"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-object-attributes": "Size"},
        {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "-1"},
        {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": "x"},
    ],
)
def test_attributes_that_are_none_are_refused(gateway: Served, s3: Any, bucket: str, headers: dict[str, str]) -> None:
    complete(s3, bucket, *upload(s3, bucket, "CRC32", parts=(b"x",)))
    answer = gateway.request("GET", f"/{bucket}/a?attributes", headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_parts_are_read_by_number_and_told(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "SHA256")
    etag = complete(s3, bucket, upload_id, parts)["ETag"]
    for number, data in enumerate(PARTS, 1):
        found = s3.get_object(Bucket=bucket, Key="a", PartNumber=number)
        assert (found["PartsCount"], found["ETag"], found["Body"].read()) == (3, etag, data)
        assert s3.head_object(Bucket=bucket, Key="a", PartNumber=number)["ContentLength"] == len(data)
    page = attributes(s3, bucket, "ObjectParts", MaxParts=1, PartNumberMarker=1)["ObjectParts"]
    assert (page["TotalPartsCount"], page["IsTruncated"], page["NextPartNumberMarker"]) == (3, True, 2)
    assert page["Parts"] == [{"PartNumber": 2, "Size": 5 * MIB, "ChecksumSHA256": value_of("SHA256", PARTS[1])}]


def test_parts_keep_their_numbers(s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    etags = {
        n: s3.upload_part(Bucket=bucket, Key="a", UploadId=upload_id, PartNumber=n, Body=PARTS[0])["ETag"] for n in (3, 7)
    }
    complete(s3, bucket, upload_id, [{"PartNumber": number, "ETag": etag} for number, etag in etags.items()])
    assert (
        s3.head_object(Bucket=bucket, Key="a", PartNumber=7)["ContentRange"] == f"bytes {5 * MIB}-{10 * MIB - 1}/{10 * MIB}"
    )
    with refused("400", 400):
        s3.head_object(Bucket=bucket, Key="a", PartNumber=1)


def test_part_and_range_exclude_each_other(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=CONTENT)
    answer = gateway.request("GET", f"/{bucket}/a?partNumber=1", {"Range": "bytes=0-1"})
    assert (answer.status, answer.code) == (400, "InvalidRequest")
