"""Names and values with characters that XML can not hold: every answer can be read."""

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from gateway.helpers import Answer, Served, keys_of

from appliance.gateway.errors import xml_text

UNSHOWN = ["\x01", "\x0b", "\x1f", "\ufffe", "\uffff"]
SHOWN = ["\t", "\n", "\r", "\x7f", "\x85", "\u2028", "]]>", "&#x1;", "\U0001f600"]


def as_shown(character: str) -> str:
    """What stands for a character in XML."""
    return "\ufffd" if character in UNSHOWN else character


def texts(answer: Answer, element: str) -> list[str | None]:
    """The texts of the elements of a name in an answer, which has to be XML."""
    assert answer.status == 200
    return [found.text for found in ElementTree.fromstring(answer.body).iter() if found.tag.rpartition("}")[2] == element]


@pytest.mark.parametrize("character", [*UNSHOWN, *SHOWN])
def test_text_of_an_element_is_what_it_was_or_a_replacement(character: str) -> None:
    assert ElementTree.fromstring(f"<a>x{xml_text(character)}</a>").text == f"x{as_shown(character)}"


@pytest.mark.parametrize("character", [*UNSHOWN, *SHOWN])
def test_every_listing_can_be_read(gateway: Served, s3: Any, bucket: str, character: str) -> None:
    key, shown = f"a{character}b", f"a{as_shown(character)}b"
    s3.put_object(Bucket=bucket, Key=key, Body=b"")
    gateway.request("POST", f"/{bucket}/{quote(key)}?uploads")
    for query in ("", "list-type=2", "versions", "uploads"):
        assert texts(gateway.request("GET", f"/{bucket}?{query}"), "Key") == [shown]
    for query in ("prefix=a", "list-type=2&prefix=a", "versions&prefix=a", "uploads&prefix=a"):
        asked = gateway.request("GET", f"/{bucket}?{query}{quote(character)}&delimiter={quote(character)}")
        assert texts(asked, "Delimiter") == [shown[1:-1]]


@pytest.mark.parametrize("character", [*UNSHOWN, *SHOWN])
def test_key_can_be_uploaded_in_parts(s3: Any, bucket: str, character: str) -> None:
    name = {"Bucket": bucket, "Key": f"a{character}b"}
    upload = name | {"UploadId": s3.create_multipart_upload(**name)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]}
    assert s3.list_parts(**upload)["Parts"][0]["PartNumber"] == 1
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == [name["Key"]]
