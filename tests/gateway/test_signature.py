"""Signatures made by botocore, as it makes them for real requests, are accepted; anything changed is not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore.auth import BaseSigner, HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from appliance.gateway import signature
from appliance.gateway.signature import Claim, parse_claim, verify_claim
from appliance.httpd import Headers

ORIGIN = "http://127.0.0.1:4566"
KEYS = ["plain", "a b", "a+b", "100%", "%2F", "übung/日本", "a//b/", "~-_.", "a=b&c;d,e", "it's (1)!*", "a:b@c$d"]
QUERIES = ["", "uploads", "prefix=&delimiter=%2F", "partNumber=2&uploadId=x%2By", "b=1&a=2&a=1&a%20b=%2B"]
Sign = Callable[[AWSRequest], None]


def signer(kind: str, *, expires_s: int = 3600) -> BaseSigner:
    credentials = Credentials("key", "secret")
    return {
        "v4": lambda: S3SigV4Auth(credentials, "s3", "eu-north-7"),
        "v4-presigned": lambda: S3SigV4QueryAuth(credentials, "s3", "US", expires=expires_s),
        "v2": lambda: HmacV1Auth(credentials),
        "v2-presigned": lambda: HmacV1QueryAuth(credentials, expires=expires_s),
    }[kind]()


KINDS = ["v4", "v4-presigned", "v2", "v2-presigned"]


def signed(kind: str, key: str = "key", query: str = "", method: str = "GET", **headers: str) -> tuple[str, str, Headers]:
    """Method, target and headers as they arrive."""
    url = f"{ORIGIN}/master.data/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    signer(kind).add_auth(request)
    target = request.prepare().url.removeprefix(ORIGIN)
    fields = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
    if "presigned" in kind:
        fields = [(name, value) for name, value in fields if name != "Date"]
    return method, target, Headers([("Host", ORIGIN.removeprefix("http://")), *fields])


def check(request: tuple[str, str, Headers], secret: str = "secret", *, late_s: float = 0) -> Claim:
    claim = parse_claim(*request)
    assert claim is not None
    verify_claim(claim, secret, now=datetime.now(UTC) + timedelta(seconds=late_s))
    return claim


def altered(request: tuple[str, str, Headers], old: str, new: str) -> tuple[str, str, Headers]:
    method, target, headers = request
    fields = [(name, value.replace(old, new)) for name, value in headers.items()]
    return method, target.replace(old, new), Headers(fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_botocore_signature_is_accepted_for_every_key(kind: str, key: str) -> None:
    claim = check(signed(kind, key))
    assert (claim.kind, claim.access_key) == (kind, "key")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", QUERIES)
def test_botocore_signature_is_accepted_for_every_query(kind: str, query: str) -> None:
    check(signed(kind, query=query))


@pytest.mark.parametrize("kind", ["v4", "v4-presigned"])
def test_equals_sign_of_an_empty_value_makes_no_difference(kind: str) -> None:
    # In version 2 botocore signs it, against S3's rule that other clients follow.
    method, target, headers = signed(kind, query="uploads=")
    check((method, target.replace("uploads=", "uploads"), headers))


@pytest.mark.parametrize("kind", KINDS)
def test_botocore_signature_is_accepted_with_headers(kind: str) -> None:
    check(signed(kind, method="PUT", Content_Type="text/plain", x_amz_meta_a="  two   words ".strip(), Content_MD5="x=="))


@pytest.mark.parametrize("kind", KINDS)
def test_other_secret_is_refused(kind: str) -> None:
    with pytest.raises(signature.SignatureDoesNotMatch):
        check(signed(kind), "other")


CHANGES = [("/k", "/l"), ("partNumber=2", "partNumber=3"), ("text/plain", "text/html"), ("master.data", "master.date")]


@pytest.mark.parametrize(("kind", "old", "new"), [(kind, *change) for kind in KINDS for change in CHANGES])
def test_changed_request_is_refused(kind: str, old: str, new: str) -> None:
    request = signed(kind, query="partNumber=2", Content_Type="text/plain")
    check(request)
    with pytest.raises(signature.SignatureDoesNotMatch):
        check(altered(request, old, new))


@pytest.mark.parametrize("kind", KINDS)
def test_changed_method_is_refused(kind: str) -> None:
    _, target, headers = signed(kind)
    with pytest.raises(signature.SignatureDoesNotMatch):
        check(("PUT", target, headers))


@pytest.mark.parametrize("kind", ["v4", "v4-presigned"])
def test_changed_host_is_refused(kind: str) -> None:
    with pytest.raises(signature.SignatureDoesNotMatch):
        check(altered(signed(kind), "127.0.0.1:4566", "127.0.0.1:4567"))


@pytest.mark.parametrize("kind", ["v4", "v2"])
def test_changed_date_is_refused(kind: str) -> None:
    method, target, headers = signed(kind)
    later = datetime.now(UTC) + timedelta(seconds=90)
    dates = {"x-amz-date": later.strftime("%Y%m%dT%H%M%SZ"), "date": later.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    fields = [(name, dates.get(name.lower(), value)) for name, value in headers.items()]
    with pytest.raises((signature.SignatureDoesNotMatch, signature.AuthorizationHeaderMalformed)):
        check((method, target, Headers(fields)))


@pytest.mark.parametrize("kind", ["v4-presigned", "v2-presigned"])
def test_prolonged_url_is_refused(kind: str) -> None:
    method, target, headers = signed(kind)
    name = "X-Amz-Expires=" if kind == "v4-presigned" else "Expires="
    with pytest.raises(signature.SignatureDoesNotMatch):
        check((method, target.replace(name, f"{name}1"), headers))


@pytest.mark.parametrize("kind", KINDS)
def test_added_amz_header_is_refused(kind: str) -> None:
    method, target, headers = signed(kind)
    added = Headers([*headers.items(), ("X-Amz-Acl", "public-read-write")])
    with pytest.raises((signature.AccessDenied, signature.SignatureDoesNotMatch)):
        check((method, target, added))


def test_changed_payload_hash_is_refused() -> None:
    method, target, headers = signed("v4")
    fields = [(name, value) for name, value in headers.items() if name.lower() != "x-amz-content-sha256"]
    with pytest.raises(signature.SignatureDoesNotMatch):
        check((method, target, Headers([*fields, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")])))


@pytest.mark.parametrize("kind", ["v4", "v2"])
@pytest.mark.parametrize("late_s", [-901, 901])
def test_skewed_clock_is_refused(kind: str, late_s: float) -> None:
    check(signed(kind), late_s=late_s / 2)
    with pytest.raises(signature.RequestTimeTooSkewed):
        check(signed(kind), late_s=late_s)


@pytest.mark.parametrize("kind", ["v4-presigned", "v2-presigned"])
def test_url_expires(kind: str) -> None:
    check(signed(kind), late_s=3590)
    with pytest.raises(signature.AccessDenied, match="Request has expired"):
        check(signed(kind), late_s=3610)


@pytest.mark.parametrize("authorization", [None, "Bearer x", "Basic a2V5OnNlY3JldA=="])
def test_no_signature_is_anonymous(authorization: str | None) -> None:
    fields = [("Host", "h"), *([("Authorization", authorization)] if authorization else [])]
    assert parse_claim("GET", "/b/k?Expires=1", Headers(fields)) is None


CREDENTIAL = "Credential=k/20240101/r/s3/aws4_request"
STAMP = ("X-Amz-Date", "20240101T000000Z")


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 nonsense",
        f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=k/20240101/r/s3, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=k/20240101/r/sns/aws4_request, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=k/20240102/r/s3/aws4_request, SignedHeaders=host, Signature=00",
    ],
)
def test_malformed_v4_header_is_refused(authorization: str) -> None:
    with pytest.raises(signature.AuthorizationHeaderMalformed):
        parse_claim("GET", "/", Headers([("Host", "h"), STAMP, ("Authorization", authorization)]))


@pytest.mark.parametrize("authorization", ["AWS ", "AWS key", "AWS key:", "AWS :AAAA", "AWS key:not base64"])
def test_malformed_v2_header_is_refused(authorization: str) -> None:
    with pytest.raises(signature.InvalidArgument):
        parse_claim("GET", "/", Headers([("Host", "h"), STAMP, ("Authorization", authorization)]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=-1"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=x"),
        ("X-Amz-Expires=3600&", ""),
        ("X-Amz-Date=2", "X-Amz-Date=x"),
        ("X-Amz-Signature=", "X-Amz-Signature=%FF"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("%2Fs3%2F", "%2Fsns%2F"),
    ],
)
def test_malformed_presigned_v4_is_refused(old: str, new: str) -> None:
    request = signed("v4-presigned")
    assert old in request[1]
    with pytest.raises(signature.AuthorizationQueryParametersError):
        parse_claim(*altered(request, old, new))


def test_missing_date_is_refused() -> None:
    authorization = f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host, Signature=00"
    with pytest.raises(signature.AccessDenied):
        parse_claim("GET", "/", Headers([("Host", "h"), ("Authorization", authorization)]))


def test_two_signatures_are_refused() -> None:
    method, target, _ = signed("v4-presigned")
    with pytest.raises(signature.InvalidArgument):
        parse_claim(method, target, signed("v4")[2])


def test_compact_header_of_s3cmd_and_date_header_are_read() -> None:
    authorization = f"AWS4-HMAC-SHA256 {CREDENTIAL},SignedHeaders=date;host,Signature=00"
    date = ("Date", "Mon, 01 Jan 2024 00:00:00 GMT")
    claim = parse_claim("GET", "/", Headers([("Host", "h"), date, ("Authorization", authorization)]))
    assert claim is not None
    assert claim.signed_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert claim.payload_hash == signature.EMPTY_SHA256


def test_virtual_host_bucket_is_part_of_a_v2_signature() -> None:
    method, target, headers = signed("v2")
    claim = parse_claim(method, target.removeprefix("/master.data"), headers, bucket="master.data")
    assert claim is not None
    verify_claim(claim, "secret", now=datetime.now(UTC))


def test_access_key_may_have_slashes() -> None:
    request = AWSRequest("GET", f"{ORIGIN}/b/k")
    S3SigV4Auth(Credentials("a/b", "a/b"), "s3", "r").add_auth(request)
    claim = check(("GET", "/b/k", Headers([("Host", "127.0.0.1:4566"), *request.headers.items()])), "a/b")
    assert claim.access_key == "a/b"


def test_repeated_and_folded_headers_are_signed_as_one() -> None:
    method, target, headers = signed("v4", x_amz_meta_a="one two,three")
    fields = [(name, value) for name, value in headers.items() if name.lower() != "x-amz-meta-a"]
    check((method, target, Headers([*fields, ("X-Amz-Meta-A", " one   two "), ("x-amz-meta-a", "three")])))
