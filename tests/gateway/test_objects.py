"""Putting, reading and deleting objects: what is kept, what comes back, and under which names."""

import email.utils
import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from gateway.helpers import Served, body_of, key_target, keys_of, refused, serving
from store.checks import check
from store.helpers import LARGE, commit_of, create_repos, fork, put, start, tree

from appliance.gateway.repo_buckets import RepoBuckets

DIGITS = b"0123456789"
LONG_AGO, FAR_AHEAD = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
HEADERS = {
    "ContentType": "application/x-special",
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
    "ContentDisposition": 'attachment; filename="a b.txt"',
    "CacheControl": "max-age=60",
}
NAMES = [
    *("plain", "a b", "a+b", "100%", "%2F", "%20", "a%2Bb", "übung/日本", "é", "~-_.", "a=b&c;d,e", "it's (1)!*"),
    *("a:b@c$d", "[x]{y}^", "a\\b", '"quoted"', "<tag>", "#", "?", "a?versionId=b", " leading", "trailing ", "...", ".a"),
    *("\x01", "a\tb", "a\rb", "a\nb", "😀", "s" * 255, "/".join("d" * 10 for _ in range(90))),
]
IMPOSSIBLE = ["..", ".", "a/../b", "./a", "a/.", "a//b", "/a", "a/b//", "//", "s" * 256, "a\0b"]


def head(s3: Any, bucket: str, key: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = s3.head_object(Bucket=bucket, Key=key, **options)
    return found


# What comes back


def test_etag_is_the_md5(s3: Any, bucket: str) -> None:
    assert s3.put_object(Bucket=bucket, Key="a", Body=b"content")["ETag"] == f'"{hashlib.md5(b"content").hexdigest()}"'


def test_version_is_the_commit(gateway: Served, s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"content")["VersionId"]
    assert version == commit_of(gateway.store, "data").id == head(s3, bucket, "a")["VersionId"]


def test_large_object_is_read_from_its_file(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=LARGE)
    assert body_of(s3, bucket, "a") == LARGE


def test_empty_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    assert (body_of(s3, bucket, "a"), head(s3, bucket, "a")["ContentLength"]) == (b"", 0)


def test_user_metadata_comes_back(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"", Metadata={"one": "1", "two-words": "x, y", "empty": ""})
    assert head(s3, bucket, "a")["Metadata"] == {"one": "1", "two-words": "x, y", "empty": ""}


def test_repeated_metadata_is_joined(gateway: Served, s3: Any, bucket: str) -> None:
    fields = "x-amz-meta-a: 1\r\nx-amz-meta-a: 2\r\nConnection: close\r\nContent-Length: 0\r\n"
    gateway.send(f"PUT /{bucket}/a HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    assert head(s3, bucket, "a")["Metadata"] == {"a": "1,2"}


def test_metadata_in_utf_8_comes_back_as_the_same_bytes(gateway: Served, bucket: str) -> None:
    value = "Übung 日本".encode().decode("latin-1")
    gateway.request("PUT", f"/{bucket}/a", {"x-amz-meta-a": value})
    assert gateway.request("HEAD", f"/{bucket}/a").headers["x-amz-meta-a"] == value


@pytest.mark.parametrize("name", HEADERS)
def test_content_header_comes_back(s3: Any, bucket: str, name: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"", **{name: HEADERS[name]})
    assert head(s3, bucket, "a")[name] == HEADERS[name]


def test_expires_comes_back_as_it_was(gateway: Served, bucket: str) -> None:
    date = "Tue, 15 Nov 2033 12:45:26 GMT"
    gateway.request("PUT", f"/{bucket}/a", {"Expires": date})
    assert gateway.request("GET", f"/{bucket}/a").headers["expires"] == date


def test_framing_is_not_kept_as_encoding(gateway: Served, bucket: str) -> None:
    gateway.request("PUT", f"/{bucket}/a", {"Content-Encoding": "aws-chunked,gzip"})
    gateway.request("PUT", f"/{bucket}/b", {"Content-Encoding": "aws-chunked"})
    assert gateway.request("HEAD", f"/{bucket}/a").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in gateway.request("HEAD", f"/{bucket}/b").headers


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.tar.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_type_is_guessed_from_the_name(s3: Any, bucket: str, key: str, kind: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert head(s3, bucket, key)["ContentType"] == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"0\n", "text/plain; charset=utf-8"),
        ("é\t\x1b[1m".encode() * 20_000, "text/plain; charset=utf-8"),
        (b"\x89PNG\r\n\x1a\n", "application/octet-stream"),
        (bytes(100_000), "application/octet-stream"),
    ],
)
def test_text_is_known_by_how_it_begins_where_the_name_says_nothing(s3: Any, bucket: str, body: bytes, kind: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    assert head(s3, bucket, "a")["ContentType"] == kind
    s3.put_object(Bucket=bucket, Key="a.gz", Body=body)
    assert head(s3, bucket, "a.gz")["ContentType"] == "application/octet-stream"


def test_metadata_belongs_to_its_version(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="a", Body=b"", Metadata={"is": "old"})["VersionId"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    assert head(s3, bucket, "a")["Metadata"] == {}
    assert head(s3, bucket, "a", VersionId=old)["Metadata"] == {"is": "old"}


def test_head_and_get_say_the_same(gateway: Served, bucket: str) -> None:
    gateway.request("PUT", f"/{bucket}/a", {"x-amz-meta-a": "1"}, b"content")
    answers = [gateway.request(method, f"/{bucket}/a") for method in ("HEAD", "GET")]
    fields = [{k: v for k, v in a.headers.items() if k not in ("date", "x-amz-request-id")} for a in answers]
    assert fields[0] == fields[1]


def test_last_modified_stays_when_another_key_changes(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    before = s3.list_objects_v2(Bucket=bucket, Prefix="a")["Contents"][0]["LastModified"]
    s3.put_object(Bucket=bucket, Key="b", Body=b"")
    assert s3.list_objects_v2(Bucket=bucket, Prefix="a")["Contents"][0]["LastModified"] == before


def test_version_stays_when_another_key_changes(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"")["VersionId"]
    s3.put_object(Bucket=bucket, Key="b", Body=b"")
    assert head(s3, bucket, "a")["VersionId"] == version


def test_put_into_an_open_commit_is_no_commit_of_its_own(gateway: Served, s3: Any, bucket: str) -> None:
    commit = start(gateway.store, "data")
    versions = {s3.put_object(Bucket=bucket, Key=key, Body=b"")["VersionId"] for key in "ab"}
    assert versions == {commit}
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["a", "b"]


# Ranges


def ranged(gateway: Served, text: str, method: str = "GET", **headers: str) -> Any:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.request(method, "/master.data/a", {"Range": text, **more})


@pytest.mark.parametrize(
    ("text", "body", "range_"),
    [
        ("bytes=0-0", b"0", "0-0"),
        ("bytes=2-5", b"2345", "2-5"),
        ("bytes=4-", b"456789", "4-9"),
        ("bytes=0-", DIGITS, "0-9"),
        ("bytes=8-99", b"89", "8-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-99", DIGITS, "0-9"),
        ("bytes=9-9", b"9", "9-9"),
    ],
)
def test_range_is_206(unchanged: Served, text: str, body: bytes, range_: str) -> None:
    answer = ranged(unchanged, text)
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, body, f"bytes {range_}/10")
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=9999999999999999999-"])
def test_range_beyond_the_end_is_416(unchanged: Served, text: str) -> None:
    answer = ranged(unchanged, text)
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert ranged(unchanged, text, "HEAD").status == 416


MEANINGLESS = ["bytes=5-2", "bytes=", "bytes=a-b", "bytes=-", "lines=1-2", "2-5", "bytes=0-1,3-4", "bytes 0-1"]


@pytest.mark.parametrize("text", MEANINGLESS)
def test_range_that_makes_no_sense_is_the_whole(unchanged: Served, text: str) -> None:
    answer = ranged(unchanged, text)
    assert (answer.status, answer.body) == (200, DIGITS)


def test_range_of_head_has_the_length_and_no_body(unchanged: Served) -> None:
    answer = ranged(unchanged, "bytes=2-5", "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (206, "4", b"")


def test_range_of_an_empty_object_is_416(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    assert ranged(gateway, "bytes=0-0").status == 416


def test_range_of_a_large_object(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=LARGE)
    assert ranged(gateway, "bytes=40000-49999").body == LARGE[40000:50000]


def test_range_for_another_version_is_the_whole(gateway: Served, s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=DIGITS)["ETag"]
    assert ranged(gateway, "bytes=0-0", if_range=etag).status == 206
    assert ranged(gateway, "bytes=0-0", if_range='"other"').body == DIGITS


def test_part_of_an_object_put_in_one_piece(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=DIGITS)
    assert body_of(s3, bucket, "a", PartNumber=1) == DIGITS
    with refused("InvalidPart", 400):
        s3.get_object(Bucket=bucket, Key="a", PartNumber=2)


# Conditions


@pytest.mark.parametrize("method", ["get_object", "head_object"])
@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ({"IfMatch": "right"}, None),
        ({"IfMatch": "*"}, None),
        ({"IfMatch": '"x", right'}, None),
        ({"IfMatch": "wrong"}, "PreconditionFailed"),
        ({"IfNoneMatch": "wrong"}, None),
        ({"IfNoneMatch": "right"}, "304"),
        ({"IfNoneMatch": "*"}, "304"),
        ({"IfModifiedSince": LONG_AGO}, None),
        ({"IfModifiedSince": FAR_AHEAD}, "304"),
        ({"IfUnmodifiedSince": FAR_AHEAD}, None),
        ({"IfUnmodifiedSince": LONG_AGO}, "PreconditionFailed"),
        ({"IfMatch": "right", "IfUnmodifiedSince": LONG_AGO}, None),
        ({"IfNoneMatch": "wrong", "IfModifiedSince": FAR_AHEAD}, None),
    ],
)
def test_condition_of_a_read(s3: Any, bucket: str, method: str, condition: dict[str, Any], code: str | None) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=DIGITS)["ETag"]
    sent = {name: value.replace("right", etag) if isinstance(value, str) else value for name, value in condition.items()}
    if code is None:
        assert getattr(s3, method)(Bucket=bucket, Key="a", **sent)["ETag"] == etag
        return
    expected = {"PreconditionFailed": "412"}.get(code, code) if method == "head_object" else code
    with refused(expected, 412 if code == "PreconditionFailed" else 304):
        getattr(s3, method)(Bucket=bucket, Key="a", **sent)


def test_not_modified_keeps_what_a_cache_needs(gateway: Served, s3: Any, bucket: str) -> None:
    put_ = s3.put_object(Bucket=bucket, Key="a", Body=DIGITS, CacheControl="max-age=1")
    answer = gateway.request("GET", f"/{bucket}/a", {"If-None-Match": put_["ETag"]})
    assert (answer.status, answer.body) == (304, b"")
    assert (answer.headers["etag"], answer.headers["cache-control"]) == (put_["ETag"], "max-age=1")


@pytest.mark.parametrize(
    "date", ["yesterday", "", "Mon, 01 Jan 2020 00:00:00 +99999999999999", "Mon, 99 Jan 2020 00:00:00 GMT", "1"]
)
@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
def test_date_that_is_none_is_no_condition(gateway: Served, s3: Any, bucket: str, name: str, date: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=DIGITS)
    assert gateway.request("GET", f"/{bucket}/a", {name: date}).status == 200


def test_modified_since_counts_whole_seconds(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=DIGITS)
    date = gateway.request("HEAD", f"/{bucket}/a").headers["last-modified"]
    before = email.utils.format_datetime(email.utils.parsedate_to_datetime(date) - timedelta(seconds=1), usegmt=True)
    assert gateway.request("GET", f"/{bucket}/a", {"If-Modified-Since": date}).status == 304
    assert gateway.request("GET", f"/{bucket}/a", {"If-Modified-Since": before}).status == 200


def test_put_if_absent(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
    assert body_of(s3, bucket, "a") == b"1"


def test_put_if_unchanged(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="a", Body=b"3", IfMatch=etag)
    assert body_of(s3, bucket, "a") == b"2"


def test_put_if_unchanged_where_nothing_is(s3: Any, bucket: str) -> None:
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfMatch="*")


def test_put_unless_it_is_this_version(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch='"other"')["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch=etag)
    s3.put_object(Bucket=bucket, Key="a", Body=b"3", IfNoneMatch='"other"')
    assert body_of(s3, bucket, "a") == b"3"


def test_condition_that_fails_makes_no_commit(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    before = commit_of(gateway.store, "data").id
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
    assert commit_of(gateway.store, "data").id == before


# Versions


def test_every_version_can_be_read(s3: Any, bucket: str) -> None:
    versions = [s3.put_object(Bucket=bucket, Key="a", Body=str(n).encode())["VersionId"] for n in range(4)]
    assert [body_of(s3, bucket, "a", VersionId=version) for version in versions] == [b"0", b"1", b"2", b"3"]


def test_every_version_is_a_bucket(s3: Any, bucket: str) -> None:
    versions = [s3.put_object(Bucket=bucket, Key="a", Body=str(n).encode())["VersionId"] for n in range(3)]
    for (number, version), name in itertools.product(enumerate(versions), ("{}.data", "{}.master.data")):
        found = s3.get_object(Bucket=name.format(version), Key="a")
        assert (found["Body"].read(), found["VersionId"]) == (str(number).encode(), version)


def test_version_names_the_whole_commit(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    later = s3.put_object(Bucket=bucket, Key="b", Body=b"2")["VersionId"]
    found = s3.get_object(Bucket=bucket, Key="a", VersionId=later)
    assert (found["Body"].read(), found["VersionId"]) == (b"1", first)


def test_ancestry_is_a_version(s3: Any, bucket: str) -> None:
    versions = [s3.put_object(Bucket=bucket, Key="a", Body=str(n).encode())["VersionId"] for n in range(3)]
    assert body_of(s3, bucket, "a", VersionId="master^") == b"1"
    assert body_of(s3, bucket, "a", VersionId=f"{versions[2]}~2") == b"0"


def test_deleted_key_is_there_in_its_old_version(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="a")
    assert body_of(s3, bucket, "a", VersionId=version) == b"1"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unknown_version_is_404(gateway: Served, s3: Any, bucket: str, method: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    answer = gateway.request(method, f"/{bucket}/a?versionId={'0' * 12}4{'0' * 3}8{'0' * 15}")
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "NoSuchVersion"


def test_version_before_the_key_is_404(s3: Any, bucket: str) -> None:
    before = s3.put_object(Bucket=bucket, Key="b", Body=b"")["VersionId"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="a", VersionId=before)


def test_ancestor_too_far_back_is_404(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"")["VersionId"]
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="a", VersionId=f"{version}~99")


def test_version_of_another_branch_is_404(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    fork(gateway.store, "data", "dev", head="master")
    other = s3.put_object(Bucket="dev.data", Key="a", Body=b"")["VersionId"]
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="a", VersionId=other)


def test_version_before_the_fork_is_a_version_of_both(gateway: Served, s3: Any, bucket: str) -> None:
    common = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    fork(gateway.store, "data", "dev", head="master")
    s3.put_object(Bucket="dev.data", Key="a", Body=b"2")
    assert body_of(s3, "dev.data", "a", VersionId=common) == body_of(s3, bucket, "a", VersionId=common) == b"1"


@pytest.mark.parametrize("version", ["master." + "9" * 5000, "master~" + "9" * 5000, "master.99", "master~99"])
def test_version_too_far_back_is_404(gateway: Served, s3: Any, bucket: str, version: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    answer = gateway.request("GET", f"/{bucket}/a?versionId={quote(version)}")
    assert (answer.status, answer.code) == (404, "NoSuchVersion")


@pytest.mark.parametrize("version", ["nonsense", "a b", "", "master^~", "ä", "a" * 32, "^"])
def test_version_that_none_can_be_is_400(gateway: Served, s3: Any, bucket: str, version: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    answer = gateway.request("GET", f"/{bucket}/a?versionId={quote(version)}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_null_is_the_current_version(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert body_of(s3, bucket, "a", VersionId="null") == b"1"


# What a reader may say of the reply


@pytest.mark.parametrize(
    ("option", "header"),
    [
        ("ResponseContentType", "ContentType"),
        ("ResponseContentEncoding", "ContentEncoding"),
        ("ResponseContentLanguage", "ContentLanguage"),
        ("ResponseContentDisposition", "ContentDisposition"),
        ("ResponseCacheControl", "CacheControl"),
    ],
)
def test_response_header_can_be_overridden(s3: Any, bucket: str, option: str, header: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"", **HEADERS)
    assert s3.get_object(Bucket=bucket, Key="a", **{option: "other; a=b+c"})[header] == "other; a=b+c"


@pytest.mark.parametrize("value", ["a%0D%0AX-Evil:%201", "%00", "%E6%97%A5"])
def test_override_that_no_header_can_hold_is_400(gateway: Served, s3: Any, bucket: str, value: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    answer = gateway.request("GET", f"/{bucket}/a?response-content-disposition={value}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


# Names


def test_every_key_comes_back_as_it_was(gateway: Served, s3: Any, bucket: str) -> None:
    for key in NAMES:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert body_of(s3, bucket, key) == key.encode()
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == sorted(NAMES, key=str.encode)
    assert tree(gateway.store, "data") == {f"/{key}": key.encode() for key in NAMES}


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_key_that_is_no_path_is_refused_and_not_found(unchanged: Served, key: str) -> None:
    answer = unchanged.request("PUT", key_target("master.data", key), body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidFilePath")
    assert unchanged.request("GET", key_target("master.data", key)).code == "NoSuchKey"
    assert unchanged.request("DELETE", key_target("master.data", key)).status == 204


def test_key_longer_than_1024_bytes_is_refused(gateway: Served, bucket: str) -> None:
    answer = gateway.request("PUT", key_target(bucket, "/".join(["d" * 100] * 11)), body=b"x")
    assert (answer.status, answer.code) == (400, "KeyTooLongError")


@pytest.mark.parametrize("target", ["%ff", "a%c3", "a?prefix=%ff"])
def test_target_that_is_not_utf_8_is_refused(gateway: Served, bucket: str, target: str) -> None:
    answer = gateway.request("GET", f"/{bucket}/{target}")
    assert (answer.status, answer.code) == (400, "InvalidURI")


def test_target_that_is_not_encoded_is_refused(gateway: Served, bucket: str) -> None:
    reply = gateway.send(f"GET /{bucket}/übung HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>InvalidRequest</Code>" in reply


def test_strict_gateway_refuses_what_pachyderm_does(gateway: Served) -> None:
    create_repos(gateway.store, "data")
    fork(gateway.store, "data", "master")
    with serving(gateway.store, RepoBuckets(), strict=True) as strict:
        for key in ("ü", "a*b", "a+b", "(1)"):
            assert strict.request("PUT", key_target("master.data", key), body=b"x").code == "InvalidFilePath"
        assert strict.request("PUT", "/master.data/a%20b", body=b"x").status == 200


# Directories


def test_directory_comes_back(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"")
    found = head(s3, bucket, "dir/")
    assert (found["ContentLength"], found["ContentType"]) == (0, "application/x-directory")
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["dir/"]
    assert tree(gateway.store, "data") == {"/dir/": b""}


def test_files_go_below_a_directory(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"")
    s3.put_object(Bucket=bucket, Key="dir/a", Body=b"")
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["dir/", "dir/a"]


def test_deleting_a_directory_leaves_what_is_below(s3: Any, bucket: str) -> None:
    for key in ("dir/", "dir/a"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.delete_object(Bucket=bucket, Key="dir/")
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["dir/a"]


def test_directory_may_have_content(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"x")
    s3.put_object(Bucket=bucket, Key="dir/a", Body=b"y")
    assert body_of(s3, bucket, "dir/") == b"x"
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"")
    assert body_of(s3, bucket, "dir/") == b""


def test_directory_that_files_imply_is_no_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/a", Body=b"")
    for key in ("dir", "dir/"):
        with refused("404", 404):
            s3.head_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a", "a/"), ("a/", "a")])
def test_file_and_directory_of_one_name_exclude_each_other(
    gateway: Served, s3: Any, bucket: str, first: str, second: str
) -> None:
    s3.put_object(Bucket=bucket, Key=first, Body=b"")
    before = commit_of(gateway.store, "data").id
    with refused("InvalidFilePath", 400):
        s3.put_object(Bucket=bucket, Key=second, Body=b"")
    assert commit_of(gateway.store, "data").id == before


# Deleting


def test_delete_says_that_it_left_a_marker(gateway: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    answer = s3.delete_object(Bucket=bucket, Key="a")
    assert answer["DeleteMarker"] is True
    assert answer["VersionId"] == commit_of(gateway.store, "data").id


def test_delete_of_nothing_makes_no_commit(gateway: Served, s3: Any, bucket: str) -> None:
    before = commit_of(gateway.store, "data").id
    answer = s3.delete_object(Bucket=bucket, Key="a")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert commit_of(gateway.store, "data").id == before


def test_delete_is_not_recursive(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/a", Body=b"")
    s3.delete_object(Bucket=bucket, Key="dir")
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["dir/a"]


def test_delete_if_unchanged(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="a", IfMatch='"other"')
    s3.delete_object(Bucket=bucket, Key="a", IfMatch=etag)
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == []


def test_delete_in_no_bucket(s3: Any) -> None:
    with refused("NoSuchBucket", 404):
        s3.delete_object(Bucket="master.data", Key="a")


def test_put_from_elsewhere_is_seen_at_once(gateway: Served, s3: Any, bucket: str) -> None:
    put(gateway.store, "data", "/a", b"from the store")
    assert body_of(s3, bucket, "a") == b"from the store"


def test_tab_in_metadata_is_text(gateway: Served, s3: Any, bucket: str) -> None:
    assert gateway.request("PUT", f"/{bucket}/a", {"x-amz-meta-a": "b\tc"}, b"x").status == 200
    assert s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {"a": "b\tc"}
    check(gateway.store)
