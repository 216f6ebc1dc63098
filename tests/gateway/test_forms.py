"""Uploads by forms: what a policy allows, who may, and what a browser is told."""

import base64
import hashlib
import hmac
import json
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import pytest
from gateway.door import ALICE, Door
from gateway.helpers import KEY, Answer, Served, body_of, client, keys_of, refused, serving
from urllib3.filepost import encode_multipart_formdata

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store

BUCKET = "master.data"
Fields = Iterable[tuple[str, Any]]
FILE = ("file", ("cat.txt", b"meow"))


def post(gateway: Served, fields: Fields, bucket: str = BUCKET) -> Answer:
    body, content_type = encode_multipart_formdata(list(fields))
    return gateway.request("POST", f"/{bucket}", {"Content-Type": content_type}, body)


def sign(document: object, key: str = KEY) -> list[tuple[str, str]]:
    """Return the fields of a version 2 signature over a policy."""
    policy = base64.b64encode(document if isinstance(document, bytes) else json.dumps(document).encode())
    signature = base64.b64encode(hmac.digest(key.encode(), policy, "sha1")).decode()
    return [("AWSAccessKeyId", key), ("policy", policy.decode()), ("signature", signature)]


def policy_of(*conditions: Any, expiration: str = "2100-01-01T00:00:00Z") -> dict[str, Any]:
    return {"expiration": expiration, "conditions": [{"bucket": BUCKET}, ["starts-with", "$key", ""], *conditions]}


def test_form_of_boto3(gateway: Served, s3: Any, bucket: str) -> None:
    made = s3.generate_presigned_post(
        bucket,
        "up/${filename}",
        Fields={"acl": "public-read", "Content-Type": "text/plain", "x-amz-meta-from": "Zürich"},
        Conditions=[
            {"acl": "public-read"},
            ["starts-with", "$Content-Type", "text/"],
            ["starts-with", "$x-amz-meta-from", ""],
            ["content-length-range", 1, 10],
        ],
    )
    answer = post(gateway, [*made["fields"].items(), FILE, ("after", "not looked at")])
    assert (answer.status, answer.body) == (204, b"")
    stored = s3.get_object(Bucket=bucket, Key="up/cat.txt")
    assert (stored["Body"].read(), stored["ContentType"]) == (b"meow", "text/plain")
    assert answer.headers["etag"] == stored["ETag"]
    assert answer.headers["location"] == f"{gateway.url}/{bucket}/up/cat.txt"
    assert answer.headers["x-amz-version-id"] == stored["VersionId"]
    assert len(s3.get_object_acl(Bucket=bucket, Key="up/cat.txt")["Grants"]) == 2


@pytest.mark.parametrize("asked", ["200", "201", "204", "404", ""])
def test_answer_has_the_status_that_was_asked_for(gateway: Served, bucket: str, asked: str) -> None:
    answer = post(gateway, [("key", "a&b"), ("success_action_status", asked), FILE])
    assert answer.status == (int(asked) if asked in ("200", "201") else 204)
    if asked == "201":
        told = {child.tag: child.text for child in ElementTree.fromstring(answer.body)}
        assert told == {
            "Location": f"{gateway.url}/{bucket}/a%26b",
            "Bucket": bucket,
            "Key": "a&b",
            "ETag": f'"{hashlib.md5(b"meow").hexdigest()}"',
        }


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://x.example/done", "https://x.example/done?bucket=master.data&key=a&etag=%22{}%22"),
        ("http://x.example/?q=1", "http://x.example/?q=1&bucket=master.data&key=a&etag=%22{}%22"),
        ("javascript:alert(1)", None),
        ("http://x.example/\r\nSet-Cookie: a=b", None),
        ("/relative", None),
        ("http://[", None),
    ],
)
def test_browser_is_sent_on_to_a_page_and_nowhere_else(gateway: Served, bucket: str, url: str, location: str | None) -> None:
    answer = post(gateway, [("key", "a"), ("success_action_redirect", url), FILE])
    if location is None:
        assert answer.status == 204
    else:
        assert (answer.status, answer.headers["location"]) == (303, location.format(hashlib.md5(b"meow").hexdigest()))


def test_names_of_fields_in_any_case(gateway: Served, s3: Any, bucket: str) -> None:
    conditions = [{"AcL": "private"}, ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"]]
    fields = [("kEy", "a"), ("aCl", "private"), ("content-TYPE", "text/plain"), ("x-ignore-this", "1")]
    assert post(gateway, [*fields, *sign(policy_of(*conditions)), FILE]).status == 204
    assert s3.head_object(Bucket=bucket, Key="a")["ContentType"] == "text/plain"


def test_tags_and_checksums_of_a_form(gateway: Served, s3: Any, bucket: str) -> None:
    xml = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>"
    right = base64.b64encode(hashlib.sha256(b"meow").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"woof").digest()).decode()
    assert post(gateway, [("key", "a"), ("tagging", xml), ("x-amz-checksum-sha256", right), FILE]).status == 204
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == [{"Key": "k", "Value": "v w"}]
    assert s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")["ChecksumSHA256"] == right
    assert post(gateway, [("key", "b"), ("x-amz-checksum-sha256", wrong), FILE]).code == "BadDigest"
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["a"]


@pytest.mark.parametrize("xml", ["<", "nope", "\0", "<Tagging/>", "<Tagging><TagSet><Tag><Key/></Tag></TagSet></Tagging>"])
def test_tags_that_can_not_be_read(gateway: Served, s3: Any, bucket: str, xml: str) -> None:
    assert post(gateway, [("key", "a"), ("tagging", xml), FILE]).code == "MalformedXML"
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []


def without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        (policy_of(), 204, None),
        (policy_of(["content-length-range", 4, 4]), 204, None),
        (policy_of(["content-length-range", "0", "4"]), 204, None),
        (policy_of(["content-length-range", 0, 3]), 400, "EntityTooLarge"),
        (policy_of(["content-length-range", 5, 9]), 400, "EntityTooSmall"),
        (policy_of(["content-length-range", 0]), 400, "InvalidPolicyDocument"),
        (policy_of(["content-length-range", -1, 9]), 400, "InvalidPolicyDocument"),
        (policy_of(["content-length-range", 0, True]), 400, "InvalidPolicyDocument"),
        (policy_of(["eq", "$key", "a"]), 204, None),
        (policy_of(["eq", "$key", "b"]), 403, "AccessDenied"),
        (policy_of(["starts-with", "$x-amz-meta-must", "x"]), 403, "AccessDenied"),
        (policy_of(["ends-with", "$key", "a"]), 400, "InvalidPolicyDocument"),
        (policy_of(["eq", "key", "a"]), 400, "InvalidPolicyDocument"),
        (policy_of({}), 400, "InvalidPolicyDocument"),
        (policy_of({"key": 1}), 400, "InvalidPolicyDocument"),
        (policy_of("x"), 400, "InvalidPolicyDocument"),
        (policy_of(expiration="2000-01-01T00:00:00Z"), 403, "AccessDenied"),
        (policy_of(expiration="2100-01-01 00:00:00"), 400, "InvalidPolicyDocument"),
        (policy_of(expiration="2100-13-01T00:00:00Z"), 400, "InvalidPolicyDocument"),
        (without(policy_of(), "expiration"), 400, "InvalidPolicyDocument"),
        (without(policy_of(), "conditions"), 400, "InvalidPolicyDocument"),
        ({"EXPIRATION": "2100-01-01T00:00:00Z", "conditions": []}, 400, "InvalidPolicyDocument"),
        ({"expiration": "2100-01-01T00:00:00Z", "conditions": [["starts-with", "$key", ""]]}, 403, "AccessDenied"),
        ({"expiration": "2100-01-01T00:00:00Z", "conditions": [{"bucket": BUCKET}]}, 403, "AccessDenied"),
        ([], 400, "InvalidPolicyDocument"),
        (b"{", 400, "InvalidPolicyDocument"),
        (b"[" * 100_000, 400, "MaxPostPreDataLengthExceededError"),
        (b"[" * 10_000, 400, "InvalidPolicyDocument"),
        (b"\xff", 400, "InvalidPolicyDocument"),
    ],
)
def test_policy_decides(gateway: Served, s3: Any, bucket: str, document: object, status: int, code: str | None) -> None:
    answer = post(gateway, [("key", "a"), *sign(document), FILE])
    assert answer.status == status
    if code is not None:
        assert answer.code == code
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == (["a"] if status == 204 else [])


def test_fields_that_the_policy_does_not_name_are_refused(gateway: Served, bucket: str) -> None:
    answer = post(gateway, [("key", "a"), ("x-amz-meta-more", "1"), *sign(policy_of()), FILE])
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert b"Extra input fields: x-amz-meta-more" in answer.body


def test_policy_of_another_bucket(gateway: Served, s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket="dev.data")
    answer = post(gateway, [("key", "a"), ("bucket", BUCKET), *sign(policy_of()), FILE], "dev.data")
    assert (answer.status, answer.code) == (403, "AccessDenied")


Change = Callable[[dict[str, str]], dict[str, str]]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda fields: {**fields, "signature": fields["signature"][::-1]}, 403, "SignatureDoesNotMatch"),
        (lambda fields: {**fields, "policy": sign(policy_of({"acl": "private"}))[1][1]}, 403, "SignatureDoesNotMatch"),
        (lambda fields: without(fields, "signature"), 400, "InvalidArgument"),
        (lambda fields: without(fields, "policy"), 400, "InvalidArgument"),
        (lambda fields: without(fields, "AWSAccessKeyId"), 400, "InvalidArgument"),
        (lambda fields: {"policy": fields["policy"]}, 403, "AccessDenied"),
    ],
)
def test_signature_has_to_be_right(gateway: Served, bucket: str, change: Change, status: int, code: str) -> None:
    answer = post(gateway, [("key", "a"), *change(dict(sign(policy_of()))).items(), FILE])
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("name", ["x-amz-credential", "x-amz-date", "x-amz-algorithm", "x-amz-signature", "policy"])
def test_every_part_of_a_signature_of_version_4_counts(gateway: Served, bucket: str, name: str) -> None:
    with client(gateway.url, signature_version="s3v4") as s3:
        fields = s3.generate_presigned_post(bucket, "a")["fields"]
    assert post(gateway, [*without(fields, name).items(), FILE]).code in ("InvalidArgument", "SignatureDoesNotMatch")
    changed = {**fields, name: fields[name][:-1] + ("0" if fields[name][-1] != "0" else "1")}
    assert post(gateway, [*changed.items(), FILE]).status in (400, 403)
    assert post(gateway, [*fields.items(), FILE]).status == 204


@pytest.mark.parametrize(
    "value", ["k/20200101/日本/s3/aws4_request", "ü/20200101/us-east-1/s3/aws4_request", "k", "////", "\ud7ff"]
)
def test_credential_that_can_not_be_is_refused(gateway: Served, bucket: str, value: str) -> None:
    with client(gateway.url, signature_version="s3v4") as s3:
        fields = s3.generate_presigned_post(bucket, "a")["fields"]
    day = fields["x-amz-credential"].split("/")[1]
    changed = {**fields, "x-amz-credential": value.replace("20200101", day)}
    assert post(gateway, [*changed.items(), FILE]).status in (400, 403)


BOUNDARY = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
A_FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nmeow\r\n'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"no form", "MalformedPOSTRequest"),
        (b"--x--\r\n", "InvalidArgument"),
        (BOUNDARY % (b"key", b"a") + b"--x--\r\n", "InvalidArgument"),
        (A_FILE + b"--x--\r\n", "InvalidArgument"),
        (BOUNDARY % (b"key", b"a") + A_FILE, "MalformedPOSTRequest"),
        (BOUNDARY % (b"key", b"a") * 2 + A_FILE + b"--x--\r\n", "InvalidArgument"),
        (BOUNDARY % (b"key", b"\xff") + A_FILE + b"--x--\r\n", "MalformedPOSTRequest"),
        (b"--x\r\nContent-Type: a\r\n\r\na\r\n" + A_FILE + b"--x--\r\n", "MalformedPOSTRequest"),
        (BOUNDARY % (b"key", b"a" * 30_000) + A_FILE + b"--x--\r\n", "MaxPostPreDataLengthExceededError"),
        (BOUNDARY % (b"", b"") * 300 + A_FILE + b"--x--\r\n", "MalformedPOSTRequest"),
        (BOUNDARY % (b"key", b"../up") + A_FILE + b"--x--\r\n", "InvalidFilePath"),
        (
            BOUNDARY % (b"key", b"a") + BOUNDARY % (b"x-amz-server-side-encryption", b"AES256") + A_FILE + b"--x--",
            "NotImplemented",
        ),
    ],
)
def test_what_is_no_form_changes_nothing(gateway: Served, s3: Any, bucket: str, body: bytes, code: str) -> None:
    answer = gateway.request("POST", f"/{bucket}", {"Content-Type": "multipart/form-data; boundary=x"}, body)
    assert answer.code == code
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []


@pytest.mark.parametrize("content_type", ["multipart/form-data", "text/plain", "multipart/form-data; boundary=" + "x" * 200])
def test_body_of_another_type(gateway: Served, bucket: str, content_type: str) -> None:
    answer = gateway.request("POST", f"/{bucket}", {"Content-Type": content_type}, b"x")
    assert answer.code in ("PreconditionFailed", "MalformedPOSTRequest")


def test_large_file_is_not_held_in_memory(gateway: Served, s3: Any, bucket: str) -> None:
    content = b"\r\n--almost" * 2_000_000
    body, content_type = encode_multipart_formdata([("key", "a"), ("file", ("f", content))])
    tracemalloc.start()
    try:
        assert gateway.request("POST", f"/{bucket}", {"Content-Type": content_type}, body).status == 204
        assert tracemalloc.get_traced_memory()[1] < len(content)
    finally:
        tracemalloc.stop()
    assert body_of(s3, bucket, "a") == content


def test_a_form_needs_what_a_put_needs(door: Door) -> None:
    fields, alice = [("key", "b")], door.token(ALICE)
    assert post(door.gateway, [*fields, FILE]).code == "AccessDenied"
    assert post(door.gateway, [*fields, *sign(policy_of(), "nobody"), FILE]).code == "InvalidAccessKeyId"
    assert post(door.gateway, [*fields, *sign(policy_of(), alice), FILE]).code == "AccessDenied"
    door.give(ALICE, "repoWriter")
    assert post(door.gateway, [*fields, *sign(policy_of(), alice), FILE]).status == 204
    door.client().put_bucket_acl(Bucket=BUCKET, ACL="public-read-write")
    assert post(door.gateway, [*fields, FILE]).status == 204


def test_strict_mode_has_no_forms(store: Store, bucket: str) -> None:
    with serving(store, RepoBuckets(), strict=True) as strict:
        assert post(strict, [("key", "a"), FILE]).code == "NotImplemented"


def test_a_form_on_a_commit_is_refused_before_its_file(gateway: Served, s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"")["VersionId"]
    assert post(gateway, [("key", "b"), FILE], f"{version}.data").status == 403
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="b")
