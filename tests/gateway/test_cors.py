"""CORS rules: kept, and what they let pages read; tags of buckets."""

from typing import Any

import pytest
from gateway.helpers import Answer, Served, refused
from store.helpers import put

RULES: list[dict[str, Any]] = [
    {
        "ID": "one",
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedHeaders": ["x-amz-*", "Content-Type"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    },
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]},
]
PAGE = "https://my.example.org"


@pytest.fixture
def ruled(s3: Any, bucket: str) -> str:
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    s3.put_object(Bucket=bucket, Key="a", Body=b"content")
    return bucket


def preflight(gateway: Served, target: str, method: str, headers: str = "", origin: str = PAGE) -> Answer:
    sent = {"Origin": origin, "Access-Control-Request-Method": method}
    return gateway.request("OPTIONS", target, sent | ({"Access-Control-Request-Headers": headers} if headers else {}))


def test_rules_come_back_and_go_away(s3: Any, ruled: str) -> None:
    assert s3.get_bucket_cors(Bucket=ruled)["CORSRules"] == RULES
    s3.delete_bucket_cors(Bucket=ruled)
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=ruled)


def test_preflight_tells_what_the_rule_allows(gateway: Served, ruled: str) -> None:
    answer = preflight(gateway, f"/{ruled}/a", "PUT", "X-Amz-Date, content-type")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "GET, PUT"
    assert answer.headers["access-control-allow-headers"] == "x-amz-date, content-type"
    assert answer.headers["access-control-max-age"] == "600"
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("method", "headers", "origin"),
    [("DELETE", "", PAGE), ("PUT", "x-other", PAGE), ("PUT", "", "https://example.org"), ("PUT", "", "http://elsewhere")],
)
def test_preflight_for_what_no_rule_allows_is_refused(
    gateway: Served, ruled: str, method: str, headers: str, origin: str
) -> None:
    answer = preflight(gateway, f"/{ruled}/a", method, headers, origin)
    assert (answer.status, answer.code) == (403, "AccessForbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_answer_can_be_read_by_the_page_it_is_for(gateway: Served, ruled: str) -> None:
    for key, status in (("a", 200), ("none", 404)):
        answer = gateway.request("GET", f"/{ruled}/{key}", {"Origin": PAGE})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    assert gateway.request("GET", f"/{ruled}/a", {"Origin": "http://x"}).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in gateway.request("PUT", f"/{ruled}/b", {"Origin": "http://x"}).headers
    assert "access-control-allow-origin" not in gateway.request("GET", f"/{ruled}/a").headers


def test_commit_can_be_read_by_the_pages_of_its_branch(gateway: Served, ruled: str) -> None:
    commit = put(gateway.store, "data", "/b", b"x")
    answer = gateway.request("GET", f"/{commit}.{ruled}/b", {"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-origin" not in gateway.request("GET", f"/{commit}.dev.data/b", {"Origin": PAGE}).headers


def test_brackets_in_an_origin_are_no_pattern(gateway: Served, s3: Any, bucket: str) -> None:
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://[::1]:8080", "http://a?c"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert preflight(gateway, f"/{bucket}", "GET", origin="http://[::1]:8080").status == 200
    assert preflight(gateway, f"/{bucket}", "GET", origin="http://:").status == 403
    assert preflight(gateway, f"/{bucket}", "GET", origin="http://abc").status == 403


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("", "MalformedXML"),
        ("<AllowedMethod>GET</AllowedMethod>", "MalformedXML"),
        ("<AllowedOrigin>*</AllowedOrigin>", "MalformedXML"),
        ("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PATCH</AllowedMethod>", "InvalidRequest"),
        ("<AllowedOrigin>*.*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>", "InvalidRequest"),
        ("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><Other/>", "MalformedXML"),
        ("<AllowedOrigin>a&#13;&#10;b</AllowedOrigin><AllowedMethod>GET</AllowedMethod>", "MalformedXML"),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>x</MaxAgeSeconds>",
            "MalformedXML",
        ),
    ],
)
def test_rules_that_can_not_be_are_refused(gateway: Served, s3: Any, bucket: str, rule: str, code: str) -> None:
    body = f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()
    answer = gateway.request("PUT", f"/{bucket}?cors", body=body)
    assert (answer.status, answer.code) == (400, code)
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=bucket)


def test_too_many_rules_are_refused(s3: Any, bucket: str) -> None:
    with refused("InvalidRequest", 400):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [RULES[1]] * 101})


# -- tags of buckets


def test_tags_of_a_bucket_come_back_and_go_away(s3: Any, bucket: str) -> None:
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = [{"Key": f"k{number}", "Value": "ä"} for number in range(50)]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)


def test_too_many_tags_are_refused(s3: Any, bucket: str) -> None:
    with refused("InvalidTag", 400):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": str(n), "Value": ""} for n in range(51)]})


def test_one_setting_leaves_the_others(s3: Any, ruled: str) -> None:
    s3.put_bucket_tagging(Bucket=ruled, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_bucket_acl(Bucket=ruled, ACL="public-read")
    assert s3.get_bucket_cors(Bucket=ruled)["CORSRules"] == RULES
    assert s3.get_bucket_tagging(Bucket=ruled)["TagSet"] == [{"Key": "a", "Value": "b"}]
