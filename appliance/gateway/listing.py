"""What lists ask for, and their pages: keys (ListObjects, both versions), buckets, uploads in progress.

Pages of keys are XML written by hand, because moto's takes 0.1 ms for each key.
https://docs.aws.amazon.com/AmazonS3/latest/API/: API_ListObjects.html, API_ListObjectsV2.html, API_ListBuckets.html,
API_ListMultipartUploads.html
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from appliance.gateway import checksums
from appliance.gateway.checksums import ALGORITHM_HEADER, TYPE_HEADER
from appliance.gateway.errors import invalid_argument, xml_text
from appliance.gateway.metadata import storage_class
from appliance.gateway.request import Address
from appliance.gateway.views import OWNER, BucketView, iso_time
from appliance.store.listings import Page
from appliance.store.snapshots import Entry
from appliance.store.uploads import Upload, UploadPage

_MAX_KEYS = 1000
_INT_MAX = 2**31 - 1
OWNER_XML = f"<Owner><ID>{OWNER['ID']}</ID><DisplayName>{OWNER['DisplayName']}</DisplayName></Owner>"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What a list request asks for; keys without leading slash, as sent."""

    bucket: str
    version: int
    prefix: str
    delimiter: str
    after: str | None
    max_keys: int
    url_encoded: bool
    fetch_owner: bool
    token: str | None
    start_after: str | None

    @property
    def path_after(self) -> str | None:
        """Where to go on after, as the store has it."""
        return None if not self.after else "/" + self.after


def parse_list_request(address: Address) -> ListRequest:
    """Read a list request. Raises S3Error InvalidArgument."""
    version = 2 if address.parameter("list-type") == "2" else 1
    token = address.parameter("continuation-token") if version == 2 else None
    if version == 1:
        after = address.parameter("marker")
    else:
        after = decode_token(token) if token is not None else address.parameter("start-after")
    return ListRequest(
        bucket=address.bucket,
        version=version,
        prefix=address.parameter("prefix") or "",
        delimiter=address.parameter("delimiter") or "",
        after=after,
        max_keys=parse_limit(address.parameter("max-keys"), "max-keys"),
        url_encoded=parse_encoding(address),
        fetch_owner=version == 1 or address.parameter("fetch-owner") == "true",
        token=token,
        start_after=address.parameter("start-after") if version == 2 else None,
    )


def parse_limit(text: str | None, name: str, most: int = _MAX_KEYS) -> int:
    """Return how many items to list: at most `most`. Raises S3Error InvalidArgument."""
    if not text:
        return most
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > _INT_MAX:
        raise invalid_argument(f"Argument {name} must be an integer between 0 and 2147483647")
    return min(int(text), most)


def parse_encoding(address: Address) -> bool:
    """Tell whether keys are to be percent-encoded. Raises S3Error InvalidArgument."""
    encoding = address.parameter("encoding-type")
    if encoding not in (None, "", "url"):
        raise invalid_argument("Invalid Encoding Method specified in Request")
    return encoding == "url"


def encode_token(name: str) -> str:
    """Return a continuation token that says where to go on after."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """Return what a continuation token was made of. Raises S3Error InvalidArgument."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        token = ""
    raise invalid_argument("The continuation token provided is incorrect")


def render(request: ListRequest, page: Page) -> bytes:
    """Return the XML of a page."""
    text = text_encoder(url_encoded=request.url_encoded)
    keys = [item for item in page.items if not isinstance(item, str)]
    prefixes = [item for item in page.items if isinstance(item, str)]
    parts = [_HEAD, f"<Name>{request.bucket}</Name>", *_head_elements(request, page, text)]
    parts.extend(_contents(keys, text, request.fetch_owner))
    parts.extend(f"<CommonPrefixes><Prefix>{text(prefix[1:])}</Prefix></CommonPrefixes>" for prefix in prefixes)
    parts.append("</ListBucketResult>")
    return "".join(parts).encode()


def text_encoder(*, url_encoded: bool) -> Callable[[str], str]:
    """Return what writes keys into XML."""
    return (lambda key: quote(key, safe="/")) if url_encoded else xml_text


def _head_elements(request: ListRequest, page: Page, text: Callable[[str], str]) -> Iterable[str]:
    # Of the first version botocore decodes everything but this one, so it stays as it is where XML can hold it.
    is_plain = request.version == 1 and request.prefix.replace("\n", "").isprintable()
    prefix = xml_text(request.prefix) if is_plain else text(request.prefix)
    yield f"<Prefix>{prefix}</Prefix><MaxKeys>{request.max_keys}</MaxKeys>"
    yield f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
    if request.delimiter:
        yield f"<Delimiter>{text(request.delimiter)}</Delimiter>"
    if request.url_encoded:
        yield "<EncodingType>url</EncodingType>"
    yield from _paging_v1(request, page, text) if request.version == 1 else _paging_v2(request, page, text)


def _paging_v1(request: ListRequest, page: Page, text: Callable[[str], str]) -> Iterable[str]:
    yield f"<Marker>{text(request.after or '')}</Marker>"
    if page.last is not None and request.delimiter:
        yield f"<NextMarker>{text(page.last[1:])}</NextMarker>"


def _paging_v2(request: ListRequest, page: Page, text: Callable[[str], str]) -> Iterable[str]:
    yield f"<KeyCount>{len(page.items)}</KeyCount>"
    if request.token is not None:
        yield f"<ContinuationToken>{xml_text(request.token)}</ContinuationToken>"
    if request.start_after:
        yield f"<StartAfter>{text(request.start_after)}</StartAfter>"
    if page.last is not None:
        yield f"<NextContinuationToken>{encode_token(page.last[1:])}</NextContinuationToken>"


def _contents(entries: Iterable[Entry], text: Callable[[str], str], with_owner: bool) -> Iterable[str]:
    owner = OWNER_XML if with_owner else ""
    for entry in entries:
        yield (
            f"<Contents><Key>{text(entry.path[1:])}</Key><LastModified>{iso_time(entry.modified_ns)}</LastModified>"
            f"<ETag>&quot;{entry.content.etag}&quot;</ETag><Size>{entry.content.size_bytes}</Size>"
            f"<StorageClass>{storage_class(entry.metadata)}</StorageClass>{owner}</Contents>"
        )


@dataclass(frozen=True, slots=True)
class BucketsRequest:
    """What a ListBuckets asks for."""

    prefix: str | None
    after: str
    max_buckets: int


def parse_buckets_request(address: Address) -> BucketsRequest:
    """Read a ListBuckets. Raises S3Error InvalidArgument."""
    most = parse_limit(address.parameter("max-buckets"), "max-buckets", 10_000)
    after = decode_token(address.parameter("continuation-token") or "")
    return BucketsRequest(address.parameter("prefix"), after, most)


def describe_buckets(request: BucketsRequest, buckets: Iterable[BucketView]) -> dict[str, Any]:
    """Return a page of the buckets with the prefix, which come by name, in botocore's names."""
    found = [bucket for bucket in buckets if bucket.name > request.after]
    page = found[: request.max_buckets]
    listed = [{"Name": bucket.name, "CreationDate": bucket.creation_date_ISO8601} for bucket in page]
    result: dict[str, Any] = {"Owner": OWNER, "Buckets": listed}
    if request.prefix:
        result["Prefix"] = request.prefix
    if listed and len(found) > request.max_buckets:
        result["ContinuationToken"] = encode_token(page[-1].name)
    return result


@dataclass(frozen=True, slots=True)
class UploadsRequest:
    """What a ListMultipartUploads asks for; keys without leading slash, as sent."""

    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    id_marker: str
    max_uploads: int
    url_encoded: bool


def parse_uploads_request(address: Address) -> UploadsRequest:
    """Read a ListMultipartUploads. Raises S3Error InvalidArgument."""
    names = ("prefix", "delimiter", "key-marker", "upload-id-marker")
    prefix, delimiter, key_marker, id_marker = (address.parameter(name) or "" for name in names)
    most = parse_limit(address.parameter("max-uploads"), "max-uploads")
    encoded = parse_encoding(address)
    return UploadsRequest(address.bucket, prefix, delimiter, key_marker, id_marker, most, encoded)


def describe_uploads(request: UploadsRequest, page: UploadPage) -> dict[str, Any]:
    """Return a page of uploads in botocore's names."""
    text: Callable[[str], str] = (lambda key: quote(key, safe="/")) if request.url_encoded else str
    uploads = [item for item in page.items if not isinstance(item, str)]
    result: dict[str, Any] = {
        "Bucket": request.bucket,
        "Prefix": text(request.prefix),
        "KeyMarker": text(request.key_marker),
        "UploadIdMarker": request.id_marker,
        "MaxUploads": request.max_uploads,
        "IsTruncated": page.truncated,
        "Uploads": [_describe_upload(upload, text) for upload in uploads],
        "CommonPrefixes": [{"Prefix": text(item[1:])} for item in page.items if isinstance(item, str)],
    }
    if request.delimiter:
        result["Delimiter"] = text(request.delimiter)
    if request.url_encoded:
        result["EncodingType"] = "url"
    if page.truncated:
        last = page.items[-1]
        result["NextKeyMarker"] = text((last if isinstance(last, str) else last.path)[1:])
        result["NextUploadIdMarker"] = "" if isinstance(last, str) else last.id
    return result


def _describe_upload(upload: Upload, text: Callable[[str], str]) -> dict[str, Any]:
    described = {
        "Key": text(upload.path[1:]),
        "UploadId": upload.id,
        "Initiated": iso_time(upload.created_ns),
        "StorageClass": storage_class(upload.metadata),
        "Owner": OWNER,
        "Initiator": OWNER,
    }
    plan = checksums.parse_plan(upload.metadata.get(ALGORITHM_HEADER), upload.metadata.get(TYPE_HEADER))
    if plan is not None:
        described |= {"ChecksumAlgorithm": plan.algorithm.name.upper(), "ChecksumType": plan.type}
    return described
