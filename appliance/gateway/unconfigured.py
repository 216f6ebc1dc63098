"""What a bucket, or an object, answers about features that are not offered: as in S3 where nobody has configured them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.gateway.errors import S3Error
from appliance.gateway.views import OWNER


@dataclass(frozen=True, slots=True)
class Described:
    """An answer without content: the operation, and what its result says nevertheless, in botocore's names."""

    action: str
    result: Mapping[str, Any] = field(default_factory=dict)


_NO_CONFIGURATION = S3Error("NoSuchConfiguration", "The specified configuration does not exist.", 404)
_NO_LOCK = S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")

_BUCKET: dict[str, Described | S3Error] = {
    "accelerate": Described("GetBucketAccelerateConfiguration"),
    "analytics": Described("ListBucketAnalyticsConfigurations", {"IsTruncated": False}),
    "intelligent-tiering": Described("ListBucketIntelligentTieringConfigurations", {"IsTruncated": False}),
    "inventory": Described("ListBucketInventoryConfigurations", {"IsTruncated": False}),
    "logging": Described("GetBucketLogging"),
    "metrics": Described("ListBucketMetricsConfigurations", {"IsTruncated": False}),
    "notification": Described("GetBucketNotificationConfiguration"),
    "policyStatus": S3Error("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "requestPayment": Described("GetBucketRequestPayment", {"Payer": "BucketOwner"}),
}
_OBJECT: dict[str, Described | S3Error] = {"legal-hold": _NO_LOCK, "retention": _NO_LOCK}
_BY_ID = {"analytics", "intelligent-tiering", "inventory", "metrics"}

BUCKET_READS, OBJECT_READS = frozenset(_BUCKET), frozenset(_OBJECT)
"""The subresources that are answered here."""


def answer_bucket(query: Mapping[str, Any]) -> Described | None:
    """Return what a bucket says that was never configured; None for a question that is not answered here. Raises S3Error."""
    name = next((name for name in _BUCKET if name in query), None)
    if name is None:
        return None
    return _said(_NO_CONFIGURATION if name in _BY_ID and "id" in query else _BUCKET[name])


def answer_object(query: Mapping[str, Any]) -> Described | None:
    """Return the same of an object."""
    name = next((name for name in _OBJECT if name in query), None)
    return None if name is None else _said(_OBJECT[name])


def _said(answer: Described | S3Error) -> Described:
    if isinstance(answer, S3Error):
        raise S3Error(answer.code, answer.message, answer.status)
    return answer


def check_owner(expected: str | None) -> None:
    """Raise S3Error AccessDenied if a request is meant for the bucket of somebody else (x-amz-expected-bucket-owner)."""
    if expected is not None and expected.strip() not in (OWNER["ID"], _ACCOUNT):
        raise S3Error("AccessDenied", "Access Denied")


_ACCOUNT = "0" * 12
"""What S3 calls an account, and moto."""
