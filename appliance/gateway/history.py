"""Versions of objects as S3 names them: found by id, listed, forgotten. A version id is a commit id, or an ancestry.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from appliance.errors import ApplianceError, FileNotFound
from appliance.gateway.buckets import ENABLED, Bucket
from appliance.gateway.errors import S3Error, invalid_argument, no_such_version, not_implemented, xml_text
from appliance.gateway.listing import OWNER_XML, parse_encoding, parse_limit, text_encoder
from appliance.gateway.metadata import storage_class
from appliance.gateway.request import Address
from appliance.gateway.views import http_time, iso_time
from appliance.names import is_commit_id
from appliance.store import Db, snapshots, versions
from appliance.store.forgetting import Forgetting
from appliance.store.snapshots import Entry
from appliance.store.versions import Version, VersionPage

_NULL = "null"


def find_entry(db: Db, bucket: Bucket, path: str, version_id: str | None) -> Entry:
    """Return the entry of a path, of a version if one is named: what that commit shows there.

    Raises FileNotFound, S3Error NoSuchVersion, MethodNotAllowed for a delete marker. Where the newest version is a delete
    marker the error says so, as S3's does. Raises NotAuthorized, also for what is not there where that may not be seen.
    """
    try:
        entry = _find_entry(db, bucket, path, version_id)
    except (ApplianceError, S3Error):
        bucket.check_readable(db)
        raise
    bucket.check_object(db, entry)
    return entry


def _find_entry(db: Db, bucket: Bucket, path: str, version_id: str | None) -> Entry:
    if version_id is None or not bucket.versioned:
        snapshot = bucket.open_object(db, version_id)
        entry = snapshots.find(db, snapshot, path)
        if entry is None:
            raise _not_found(db, bucket, snapshot, path)
        return entry
    try:
        entry = _find_in_commit(db, bucket, path, version_id)
    except S3Error as error:
        if error.code != "NoSuchVersion":
            raise
        entry = None
    if entry is None:
        marker = versions.find_version(db, bucket.open_object(db), path, version_id)
        raise no_such_version() if marker is None else _is_marker(marker)
    return entry


def _find_in_commit(db: Db, bucket: Bucket, path: str, version_id: str) -> Entry | None:
    snapshot = bucket.open_object(db, version_id)
    entry, commit = snapshots.find(db, snapshot, path), snapshot.commit
    if entry is None or commit is None or (entry.line, entry.from_seq) == (commit.line, commit.seq):
        return entry
    return None if versions.is_forgotten(db, commit, path) else entry


def _not_found(db: Db, bucket: Bucket, snapshot: snapshots.Snapshot, path: str) -> Exception:
    newest = next(versions.iter_versions(db, snapshot, path), None) if bucket.versioning is not None else None
    if newest is None:
        return FileNotFound(f"file {path} not found in {bucket.name}")
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": newest.id if bucket.versioning == ENABLED else _NULL}
    return S3Error("NoSuchKey", "The specified key does not exist.", headers=headers)


def _is_marker(marker: Version) -> S3Error:
    headers = {
        "x-amz-delete-marker": "true",
        "x-amz-version-id": marker.id,
        "Last-Modified": http_time(marker.modified_ns),
        "Allow": "DELETE",
    }
    message = "The specified method is not allowed against this resource."
    return S3Error("MethodNotAllowed", message, headers=headers)


def find_version(bucket: Bucket, version_id: str | None) -> str | None:
    """Return the version that a delete is of: where answers say none, the one called `null` is the object itself."""
    return None if version_id == _NULL and bucket.versioning != ENABLED else version_id


def forget(db: Db, bucket: Bucket, forgetting: Forgetting, path: str, version_id: str) -> str | None:
    """Forget a version, if there is one; return its id if it was a delete marker.

    Raises S3Error InvalidArgument for what is no version id, Conflict as `Forgetting.forget`.
    """
    if version_id == _NULL:  # the version of a bucket without versions: there is none
        return None
    if not is_commit_id(version_id):
        commit = bucket.open(db, version_id).commit
        version_id = commit.id if commit is not None else version_id
    forgotten = forgetting.forget(path, version_id)
    return forgotten.id if forgotten is not None and forgotten.entry is None else None


# -- the list


@dataclass(frozen=True, slots=True)
class VersionsRequest:
    """What a ListObjectVersions asks for; keys without leading slash, as sent."""

    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    id_marker: str
    max_keys: int
    url_encoded: bool


def parse_versions_request(address: Address) -> VersionsRequest:
    """Read a ListObjectVersions. Raises S3Error InvalidArgument."""
    names = ("prefix", "delimiter", "key-marker", "version-id-marker")
    prefix, delimiter, key_marker, id_marker = (address.parameter(name) or "" for name in names)
    if id_marker and not key_marker:
        raise invalid_argument("A version-id marker cannot be specified without a key marker.")
    most = parse_limit(address.parameter("max-keys"), "max-keys")
    return VersionsRequest(address.bucket, prefix, delimiter, key_marker, id_marker, most, parse_encoding(address))


def list_versions(db: Db, bucket: Bucket, request: VersionsRequest) -> VersionPage:
    """Return a page of the versions of a bucket. Raises S3Error NotImplemented where there are none."""
    if not bucket.versioned:
        raise not_implemented()
    return versions.list_versions(
        db,
        bucket.open(db),
        prefix="/" + request.prefix,
        delimiter=request.delimiter,
        after="/" + request.key_marker if request.key_marker else None,
        after_id=request.id_marker or None,
        limit=request.max_keys,
    )


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


def render_versions(request: VersionsRequest, page: VersionPage) -> bytes:
    """Return the XML of a page."""
    text = text_encoder(url_encoded=request.url_encoded)
    parts = [_HEAD, f"<Name>{xml_text(request.bucket)}</Name>", *_head_elements(request, page, text)]
    for item in page.items:
        if isinstance(item, str):
            parts.append(f"<CommonPrefixes><Prefix>{text(item[1:])}</Prefix></CommonPrefixes>")
        else:
            parts.append(_version_element(item, text))
    parts.append("</ListVersionsResult>")
    return "".join(parts).encode()


def _head_elements(request: VersionsRequest, page: VersionPage, text: Callable[[str], str]) -> Iterator[str]:
    yield f"<Prefix>{text(request.prefix)}</Prefix><KeyMarker>{text(request.key_marker)}</KeyMarker>"
    yield f"<VersionIdMarker>{xml_text(request.id_marker)}</VersionIdMarker><MaxKeys>{request.max_keys}</MaxKeys>"
    yield f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
    if request.delimiter:
        yield f"<Delimiter>{text(request.delimiter)}</Delimiter>"
    if request.url_encoded:
        yield "<EncodingType>url</EncodingType>"
    if page.truncated:
        last = page.items[-1]
        yield f"<NextKeyMarker>{text((last if isinstance(last, str) else last.path)[1:])}</NextKeyMarker>"
        if not isinstance(last, str):
            yield f"<NextVersionIdMarker>{last.id}</NextVersionIdMarker>"


def _version_element(version: Version, text: Callable[[str], str]) -> str:
    common = (
        f"<Key>{text(version.path[1:])}</Key><VersionId>{version.id}</VersionId>"
        f"<IsLatest>{'true' if version.is_latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_time(version.modified_ns)}</LastModified>{OWNER_XML}"
    )
    if version.entry is None:
        return f"<DeleteMarker>{common}</DeleteMarker>"
    content = version.entry.content
    return (
        f"<Version>{common}<ETag>&quot;{content.etag}&quot;</ETag><Size>{content.size_bytes}</Size>"
        f"<StorageClass>{storage_class(version.entry.metadata)}</StorageClass></Version>"
    )
