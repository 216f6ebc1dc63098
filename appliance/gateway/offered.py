"""Which requests are offered at all, by their query parameters and headers.

Whatever asks for more is refused before moto sees it: moto would take it for a plain listing or a plain GET.
"""

from appliance.gateway.errors import not_implemented
from appliance.gateway.request import GatewayRequest
from appliance.gateway.unconfigured import BUCKET_READS, OBJECT_READS

# Query parameters that make a request something else (the S3 API's "subresources"), and which of them are offered.
_SUBRESOURCES = frozenset(
    (
        *("accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering"),
        *("inventory", "legal-hold", "lifecycle", "location", "logging", "metadataConfiguration", "metadataTable"),
        *("metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock"),
        *("renameObject", "replication", "requestPayment", "restore", "retention", "select", "session", "tagging"),
        *("torrent", "uploadId", "uploads", "versioning", "versions", "website"),
    )
)
_OFFERED = {
    ("bucket", "GET"): {
        *("location", "uploads", "versioning", "versions"),
        *("acl", "cors", "encryption", "lifecycle", "object-lock", "ownershipControls", "policy", "publicAccessBlock"),
        *("replication", "tagging", "website"),
        *BUCKET_READS,
    },
    ("bucket", "PUT"): {"acl", "cors", "tagging", "versioning"},
    ("bucket", "POST"): {"delete"},
    ("bucket", "DELETE"): {"cors", "tagging"},
    ("object", "GET"): {"acl", "attributes", "tagging", "uploadId", *OBJECT_READS},
    ("object", "PUT"): {"acl", "tagging", "uploadId"},
    ("object", "POST"): {"uploads", "uploadId"},
    ("object", "DELETE"): {"tagging", "uploadId"},
}
# Headers that ask for what is not offered: taking the request without it would be a lie.
_REFUSED_HEADERS = (
    "x-amz-bucket-object-lock-enabled",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-if-match-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
    "x-amz-write-offset-bytes",
)
_HARMLESS = {
    "x-amz-object-ownership": {"BucketOwnerEnforced"},
    "x-amz-bucket-object-lock-enabled": {"false"},
}


def check_offered(request: GatewayRequest) -> None:
    """Raise S3Error NotImplemented for a request that asks for anything we do not do."""
    kind = "bucket" if request.address.key is None else "object"
    asked = _SUBRESOURCES & request.address.query.keys()
    if asked - _OFFERED.get((kind, request.method), set()):
        raise not_implemented()
    for name, value in request.headers.items():
        lower = name.lower()
        if value in _HARMLESS.get(lower, ()):
            continue
        if lower in _HARMLESS or lower.startswith(_REFUSED_HEADERS):
            raise not_implemented()
