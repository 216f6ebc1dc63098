"""Tags: the header, the XML, and the one line of text in a file's metadata that they are kept as (pure).

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.s3.exceptions import MalformedXML

from appliance.gateway.errors import S3Error, invalid_argument
from appliance.gateway.parsing import parse_xml

HEADER = "x-amz-tagging"
"""The header, and the name in a file's metadata."""

_MOST = 10
_KEY_LENGTH, _VALUE_LENGTH = 128, 256
Tags = Sequence[tuple[str, str]]


def parse_header(text: str) -> str:
    """Return the tags of a header as they are kept. Raises S3Error InvalidArgument, InvalidTag."""
    try:
        tags = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        tags = [("", "")]
    if len(dict(tags)) < len(tags) or "" in dict(tags):
        message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name"
        raise invalid_argument(f"{message} duplicates.")
    return keep(tags)


def parse_body(body: Any, *, most: int = _MOST) -> list[tuple[str, str]]:
    """Return the tags of a Tagging document. Raises S3Error InvalidTag, MalformedXML."""
    wanted = parse_xml(body).get("Tagging")
    tag_set = wanted.get("TagSet") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or "TagSet" not in wanted:
        raise MalformedXML
    tags = [_parse_tag(item) for item in (tag_set.get("Tag") if isinstance(tag_set, dict) else None) or ()]
    check(tags, most=most)
    return tags


def _parse_tag(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict) or not isinstance(item.get("Key"), str) or not isinstance(item.get("Value") or "", str):
        raise MalformedXML
    return item["Key"], item.get("Value") or ""


def check(tags: Tags, *, most: int = _MOST) -> None:
    """Raise S3Error for tags that can not be."""
    if len(tags) > most:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {most}")
    if len(dict(tags)) < len(tags):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in tags:
        if not 0 < len(key) <= _KEY_LENGTH:
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
        if len(value) > _VALUE_LENGTH:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid")
        if key.startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester")


def keep(tags: Tags) -> str:
    """Return tags as they are kept, sorted by key."""
    check(tags)
    return urlencode(sorted(tags))


def read(text: str) -> list[tuple[str, str]]:
    """Return what was kept."""
    return parse_qsl(text, keep_blank_values=True)


def describe(tags: Tags) -> dict[str, Any]:
    """Return tags in botocore's names."""
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}
