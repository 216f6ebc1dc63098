"""What headers, parameters and XML bodies of a request ask for, as objects (pure).

What can not be read raises S3Error or moto's MalformedXML; a body that is not XML at all raises what expat says of it.
`translated` makes all of these S3Error.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_to_bytes
from xml.parsers.expat import ExpatError

import xmltodict
from moto.s3.exceptions import MalformedXML, S3ClientError

from appliance.gateway.conditions import Header
from appliance.gateway.errors import S3Error, invalid_argument, not_implemented
from appliance.gateway.request import Address

MAX_PARTS = 10_000


@contextmanager
def translated() -> Iterator[None]:
    """Raise what moto and the XML parser raise as S3Error."""
    try:
        yield
    except S3ClientError as error:
        raise S3Error(error.code, error.message) from None
    except (ExpatError, UnicodeDecodeError):
        raise S3Error("MalformedXML", MalformedXML().message) from None


_OVERRIDES = {
    f"response-{name.lower()}": name
    for name in ("Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition", "Content-Encoding")
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a copy comes from: the bytes `first` to `last` inclusive, or with None the whole. `header` has the conditions."""

    bucket: str
    key: str
    version: str | None
    header: Header
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """What DeleteObjects asks for: (key, version or None) to delete, and `refused` objects, of which it says more."""

    objects: Sequence[tuple[str, str | None]]
    refused: Sequence[dict[str, str]]
    quiet: bool


@dataclass(frozen=True, slots=True)
class ChosenPart:
    """A part that CompleteMultipartUpload wants joined; `checksums` are by the names of their elements."""

    number: int
    etag: str
    checksums: Mapping[str, str]


def parse_source(header: Header) -> Source:
    """Read x-amz-copy-source: `bucket/key`, percent-encoded, with or without a leading slash and `?versionId=`."""
    text = header("x-amz-copy-source") or ""
    path, _, query = text.partition("?versionId=")
    try:
        decoded = unquote_to_bytes(path.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise invalid_argument("Copy Source is not percent-encoded UTF-8") from None
    bucket, slash, key = decoded.removeprefix("/").partition("/")
    if not (bucket and slash and key):
        raise invalid_argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    first, last = _parse_source_range(header("x-amz-copy-source-range"))
    version = unquote(query)
    return Source(bucket, key, version if version not in ("", "null") else None, header, first, last)


def _parse_source_range(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = re.fullmatch(r"bytes=(\d{1,19})-(\d{1,19})", text.strip())
    if not found:
        message = "The x-amz-copy-source-range value must be of the form bytes=first-last"
        raise invalid_argument(message)
    return int(found[1]), int(found[2])


def parse_overrides(address: Address) -> dict[str, str]:
    """Read the headers that a GET wants answered with its own values: response-content-type and its kind."""
    values = {name: address.parameter(parameter) for parameter, name in _OVERRIDES.items()}
    return {name: _header_value(value) for name, value in values.items() if value is not None}


def _header_value(text: str) -> str:
    """Return text from a query as a header value. Raises S3Error for what a header can not hold."""
    if not text.isprintable():
        raise invalid_argument("Header values can not have control characters")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise invalid_argument("Header value cannot be represented using ISO-8859-1.") from None
    return text


def parse_xml(body: Any, *, lists: Sequence[str] = ("Object", "Part", "Tag")) -> dict[str, Any]:
    """Return a body as dictionaries, elements with the names of `lists` as lists.

    Attributes say nothing in S3, and neither does the white space between elements; inside of one it counts. Entities are
    off in xmltodict.
    """
    try:
        parsed: dict[str, Any] = xmltodict.parse(
            body, strip_whitespace=False, xml_attribs=False, force_list=lists, postprocessor=_drop_space
        )
    except ValueError:
        raise MalformedXML from None
    return parsed


def _drop_space(_path: Any, name: str, value: Any) -> tuple[str, Any] | None:
    return None if name == "#text" and value.isspace() else (name, value)


_LOCATION = re.compile(r"[A-Za-z0-9-]{1,64}")


def parse_location(body: Any) -> str | None:
    """Read the region that CreateBucket asks for, if it does. Raises S3Error InvalidLocationConstraint."""
    document = parse_xml(body)
    if "CreateBucketConfiguration" not in document:
        raise MalformedXML
    wanted = document["CreateBucketConfiguration"]
    location = wanted.get("LocationConstraint") if isinstance(wanted, dict) else None
    if location is None or (isinstance(location, str) and _LOCATION.fullmatch(location)):
        return location
    raise S3Error("InvalidLocationConstraint", "The specified location-constraint is not valid")


def parse_versioning(body: Any) -> str:
    """Read the status that PutBucketVersioning asks for; empty without one."""
    wanted = parse_xml(body).get("VersioningConfiguration", "")
    if wanted == "":
        raise MalformedXML
    settings = wanted if isinstance(wanted, dict) else {}
    if settings.get("MfaDelete") not in (None, "Disabled"):
        raise not_implemented()
    return str(settings.get("Status") or "")


def parse_deletion(body: Any) -> Deletion:
    """Read the objects of DeleteObjects: 1 to 1000."""
    wanted = parse_xml(body).get("Delete")
    if not isinstance(wanted, dict):
        raise MalformedXML
    objects = wanted.get("Object")
    if not objects or len(objects) > 1000 or not all(_is_object_identifier(item) for item in objects):
        raise MalformedXML
    plain = [(item["Key"], item.get("VersionId")) for item in objects if item.keys() <= {"Key", "VersionId"}]
    quiet = str(wanted.get("Quiet")).strip().lower() == "true"
    return Deletion(plain, [item for item in objects if item.keys() - {"Key", "VersionId"}], quiet)


def _is_object_identifier(item: Any) -> bool:
    """Tell whether an element of DeleteObjects has a key, and nothing but text in it."""
    return isinstance(item, dict) and bool(item.get("Key")) and all(isinstance(value, str) for value in item.values())


def parse_parts(body: Any) -> list[ChosenPart]:
    """Read the parts that CompleteMultipartUpload wants joined."""
    wanted = parse_xml(body).get("CompleteMultipartUpload")
    parts = wanted.get("Part") if isinstance(wanted, dict) else None
    if not parts or len(parts) > MAX_PARTS:
        raise MalformedXML
    try:
        return [ChosenPart(int(part["PartNumber"]), str(part["ETag"]), _checksums_of(part)) for part in parts]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MalformedXML from None


def _checksums_of(part: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in part.items() if name.startswith("Checksum")}


def parse_attributes(header: Header) -> set[str]:
    """Read which attributes GetObjectAttributes is to tell. Raises S3Error InvalidArgument."""
    wanted = {name.strip() for name in (header("x-amz-object-attributes") or "").split(",")}
    if not wanted <= {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}:
        raise invalid_argument("Invalid attribute name specified.")
    return wanted
