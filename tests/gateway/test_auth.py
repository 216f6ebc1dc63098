"""Who may ask, with authentication off: anybody, and any pair of equal keys, if the signature is right."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway.helpers import Answer, Served, Signer, body_of, client, refused
from store.helpers import tree

EMPTY = hashlib.sha256(b"").hexdigest()


def host(gateway: Served) -> str:
    return f"127.0.0.1:{gateway.port}"


def target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.fixture(params=["s3", "s3v4"])
def presigning(request: Any, gateway: Served) -> Iterator[Any]:
    """A client that signs URLs, with version 2 and version 4."""
    with client(gateway.url, signature_version=request.param) as made:
        yield made


def test_anonymous_may_do_everything(gateway: Served) -> None:
    assert gateway.request("PUT", "/master.data").status == 200
    assert gateway.request("PUT", "/master.data/a", body=b"content").status == 200
    assert gateway.request("GET", "/master.data/a").body == b"content"
    assert gateway.request("DELETE", "/master.data/a").status == 204


@pytest.mark.parametrize("pair", ["token", "1234", "a/b"])
@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_any_equal_pair_is_accepted(gateway: Served, pair: str, version: str) -> None:
    with client(gateway.url, pair, pair, signature_version=version) as s3:
        assert s3.list_buckets()["Buckets"] == []


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_wrong_secret_is_refused(gateway: Served, version: str) -> None:
    with client(gateway.url, "one", "two", signature_version=version) as s3, refused("SignatureDoesNotMatch", 403):
        s3.list_buckets()


def test_other_schemes_count_as_anonymous(gateway: Served) -> None:
    assert gateway.request("GET", "/", {"Authorization": "Bearer token"}).status == 200


@pytest.mark.parametrize("minutes", [-14, 14])
def test_clock_may_be_a_little_off(gateway: Served, minutes: int) -> None:
    signer = Signer(late=timedelta(minutes=minutes))
    assert gateway.request("GET", "/", signer.headers("GET", "/", host(gateway), EMPTY)).status == 200


@pytest.mark.parametrize("minutes", [-16, 16])
def test_clock_that_is_more_off_is_refused(gateway: Served, minutes: int) -> None:
    signer = Signer(late=timedelta(minutes=minutes))
    answer = gateway.request("GET", "/", signer.headers("GET", "/", host(gateway), EMPTY))
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")


def test_request_without_date_is_refused(gateway: Served) -> None:
    fields = Signer().headers("GET", "/", host(gateway), EMPTY)
    del fields["x-amz-date"]
    answer = gateway.request("GET", "/", fields)
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "text",
    [
        "Credential=x",
        "Credential=token/20200101/us-east-1/s3/aws4_request,SignedHeaders=host",
        "Credential=token/20200101/us-east-1/iam/aws4_request,SignedHeaders=host,Signature=0",
        "Credential=token,SignedHeaders=host,Signature=0",
        "",
    ],
)
def test_malformed_version_4_is_400(gateway: Served, text: str) -> None:
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {text}", "x-amz-date": Signer().stamp}
    answer = gateway.request("GET", "/", headers)
    assert (answer.status, answer.code) == (400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize("text", ["", "token", "token:", ":AAAA", "token:!!!"])
def test_malformed_version_2_is_400(gateway: Served, text: str) -> None:
    answer = gateway.request("GET", "/", {"Authorization": f"AWS {text}"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_presigned_get(gateway: Served, s3: Any, bucket: str, presigning: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a b+c", Body=b"content")
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b+c"})
    assert gateway.request("GET", target_of(url)).body == b"content"


def test_presigned_put(gateway: Served, bucket: str, presigning: Any) -> None:
    url = presigning.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a"})
    assert gateway.request("PUT", target_of(url), body=b"content").status == 200
    assert tree(gateway.store, "data") == {"/a": b"content"}


def test_presigned_override(gateway: Served, s3: Any, bucket: str, presigning: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"content")
    options = {"Bucket": bucket, "Key": "a", "ResponseContentDisposition": 'attachment; filename="a+b c"'}
    answer = gateway.request("GET", target_of(presigning.generate_presigned_url("get_object", options)))
    assert answer.headers["content-disposition"] == 'attachment; filename="a+b c"'


def test_presigned_for_another_method_is_refused(gateway: Served, s3: Any, bucket: str, presigning: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"content")
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"})
    assert gateway.request("DELETE", target_of(url)).code == "SignatureDoesNotMatch"
    assert body_of(s3, bucket, "a") == b"content"


@pytest.mark.parametrize(("old", "new"), [("/a?", "/b?"), ("versionId=1", "versionId=2")])
def test_presigned_url_that_was_changed_is_refused(gateway: Served, bucket: str, presigning: Any, old: str, new: str) -> None:
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a", "VersionId": "1"})
    answer = gateway.request("GET", target_of(url).replace(old, new))
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_presigned_url_that_expired_is_refused(gateway: Served, bucket: str, presigning: Any) -> None:
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"}, ExpiresIn=-10)
    answer = gateway.request("GET", target_of(url))
    assert answer.status == 403
    assert answer.code in ("AccessDenied", "AuthorizationQueryParametersError")


def test_two_signatures_are_one_too_many(gateway: Served, bucket: str, presigning: Any) -> None:
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"})
    answer = gateway.request("GET", target_of(url), {"Authorization": "AWS token:AAAA"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def put(gateway: Served, signer: Signer, signed: bytes, sent: bytes) -> Answer:
    digest = hashlib.sha256(signed).hexdigest()
    return gateway.request("PUT", "/master.data/a", signer.headers("PUT", "/master.data/a", host(gateway), digest), sent)


def test_body_that_was_signed_is_stored(gateway: Served, bucket: str) -> None:
    assert put(gateway, Signer(), b"content", b"content").status == 200
    assert tree(gateway.store, "data") == {"/a": b"content"}


def test_body_that_was_changed_is_refused(gateway: Served, bucket: str) -> None:
    answer = put(gateway, Signer(), b"content", b"changed")
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert tree(gateway.store, "data") == {}


def test_xml_that_was_changed_is_refused(gateway: Served, bucket: str) -> None:
    fields = Signer().headers("POST", "/master.data?delete=", host(gateway), hashlib.sha256(b"x").hexdigest())
    answer = gateway.request("POST", "/master.data?delete=", fields, b"<Delete/>")
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")


def test_header_that_was_added_is_refused(gateway: Served, bucket: str) -> None:
    fields = Signer().headers("PUT", "/master.data/a", host(gateway), EMPTY)
    answer = gateway.request("PUT", "/master.data/a", {**fields, "x-amz-copy-source": "master.data/b"})
    assert (answer.status, answer.code) == (403, "AccessDenied")
