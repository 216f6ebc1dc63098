"""What is not offered is refused, never done in part or silently left out."""

from typing import Any

import pytest
from gateway.helpers import Served, keys_of, refused

SUBRESOURCES = [
    *("accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory"),
    *("legal-hold", "lifecycle", "location", "logging", "metadataConfiguration", "metadataTable", "metrics"),
    *("notification", "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject"),
    *("replication", "requestPayment", "restore", "retention", "select", "session", "tagging", "torrent", "uploads"),
    *("versioning", "versions", "website"),
]
# What there is an answer to; everything else is refused in every combination.
ANSWERED = {
    ("bucket", "GET"): {
        *("acl", "cors", "encryption", "lifecycle", "location", "object-lock", "ownershipControls", "policy"),
        *("publicAccessBlock", "replication", "tagging", "uploads", "versioning", "versions", "website"),
        *("accelerate", "analytics", "intelligent-tiering", "inventory", "logging", "metrics", "notification"),
        *("policyStatus", "requestPayment"),
    },
    ("bucket", "PUT"): {"acl", "cors", "tagging", "versioning"},
    ("bucket", "POST"): {"delete"},
    ("bucket", "DELETE"): {"cors", "tagging"},
    ("object", "GET"): {"acl", "attributes", "legal-hold", "retention", "tagging"},
    ("object", "PUT"): {"acl", "tagging"},
    ("object", "POST"): {"uploads"},
    ("object", "DELETE"): {"tagging"},
}
HEADERS = {
    "x-amz-acl": "log-delivery-write",
    "x-amz-bucket-object-lock-enabled": "true",
    "x-amz-grant-read": 'id="x"',
    "x-amz-grant-full-control": 'id="x"',
    "x-amz-if-match-size": "1",
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-object-ownership": "ObjectWriter",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-server-side-encryption-customer-key": "x",
    "x-amz-copy-source-server-side-encryption-customer-key": "x",
    "x-amz-storage-class": "GLACIER",
    "x-amz-write-offset-bytes": "3",
}


@pytest.mark.parametrize("name", SUBRESOURCES)
def test_subresource_is_refused_by_every_method_that_has_no_answer(unchanged: Served, name: str) -> None:
    for kind, target in (("bucket", "/master.data"), ("object", "/master.data/a")):
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            if name in ANSWERED.get((kind, method), ()):
                continue
            answer = unchanged.request(method, f"{target}?{name}", body=b"<a/>" if method in ("PUT", "POST") else b"")
            assert answer.status == 501, f"{method} {target}?{name}"


@pytest.mark.parametrize("name", HEADERS)
def test_header_that_asks_for_more_is_refused(unchanged: Served, name: str) -> None:
    requests = [("PUT", "/master.data/b", b"x"), ("POST", "/master.data/b?uploads", b"")]
    if name != "x-amz-storage-class":  # means nothing to a bucket
        requests.append(("PUT", "/master.other", b""))
    for method, target, body in requests:
        answer = unchanged.request(method, target, {name: HEADERS[name]}, body)
        assert (answer.status, answer.code) == (501, "NotImplemented"), f"{method} {target}"
    copy = {"x-amz-copy-source": "master.data/a", name: HEADERS[name]}
    assert unchanged.request("PUT", "/master.data/b", copy).status == 501


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-acl": "private"},
        {"x-amz-acl": "bucket-owner-full-control"},
        {"x-amz-storage-class": "STANDARD"},
        {"x-amz-tagging-directive": "COPY"},
    ],
)
def test_header_that_asks_for_what_is_so_anyway_is_accepted(gateway: Served, bucket: str, headers: dict[str, str]) -> None:
    assert gateway.request("PUT", f"/{bucket}/a", headers, b"x").status == 200


EMPTY = [
    *("get_bucket_accelerate_configuration", "get_bucket_logging", "get_bucket_notification_configuration"),
    *("list_bucket_analytics_configurations", "list_bucket_intelligent_tiering_configurations"),
    *("list_bucket_inventory_configurations", "list_bucket_metrics_configurations"),
]


@pytest.mark.parametrize("method", EMPTY)
def test_what_nobody_configured_is_empty(s3: Any, bucket: str, method: str) -> None:
    answer = getattr(s3, method)(Bucket=bucket)
    assert set(answer) <= {"ResponseMetadata", "IsTruncated"}
    assert not answer.get("IsTruncated")
    with refused("NoSuchBucket", 404):
        getattr(s3, method)(Bucket="master.other")


def test_owner_pays(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"


@pytest.mark.parametrize(("name", "code"), [("metrics", "NoSuchConfiguration"), ("inventory", "NoSuchConfiguration")])
def test_configuration_that_is_not_there_is_not_found(gateway: Served, bucket: str, name: str, code: str) -> None:
    answer = gateway.request("GET", f"/{bucket}?{name}&id=x")
    assert (answer.status, answer.code) == (404, code)


def test_bucket_has_no_policy(s3: Any, bucket: str) -> None:
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy_status(Bucket=bucket)


@pytest.mark.parametrize("method", ["get_object_legal_hold", "get_object_retention"])
def test_objects_are_not_locked(s3: Any, bucket: str, method: str) -> None:
    with refused("NoSuchKey", 404):
        getattr(s3, method)(Bucket=bucket, Key="a")
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    with refused("InvalidRequest", 400):
        getattr(s3, method)(Bucket=bucket, Key="a")


OWNER = "0" * 32


def test_request_for_the_bucket_of_somebody_else_is_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ExpectedBucketOwner=OWNER)
    with refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="b", Body=b"x", ExpectedBucketOwner="somebody")
    with refused("AccessDenied", 403):
        s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner="somebody")
    source = {"CopySource": f"{bucket}/a", "ExpectedBucketOwner": OWNER}
    s3.copy_object(Bucket=bucket, Key="b", ExpectedSourceBucketOwner=OWNER, **source)
    with refused("AccessDenied", 403):
        s3.copy_object(Bucket=bucket, Key="c", ExpectedSourceBucketOwner="somebody", **source)
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == ["a", "b"]
