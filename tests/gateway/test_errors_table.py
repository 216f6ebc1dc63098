"""Errors: every kind has its S3 code, and every refusal is S3's XML."""

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from gateway.helpers import Served

from appliance import errors
from appliance.errors import ApplianceError
from appliance.gateway import signature
from appliance.gateway.errors import TABLE, S3Error, render, translate
from appliance.gateway.server import error_reply

OURS = (ApplianceError, errors.TransferFailed, errors.DiskFailed, errors.OutOfSpace, errors.StoreDamaged)
"""What no caller can be blamed for."""


def kinds(root: type[ApplianceError] = ApplianceError) -> Iterator[type[ApplianceError]]:
    """Yield the errors that can get to this door: those everybody shares, and its own."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == "appliance.errors" or kind.__module__.startswith("appliance.gateway."):
            yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_error_has_a_code(kind: type[ApplianceError]) -> None:
    found = translate(kind("text"))
    assert found.code
    assert found.message
    assert (found.status >= 500) == (kind in OURS or kind is errors.Unsupported)


@pytest.mark.parametrize("kind", list(kinds(errors.NotFound)))
def test_what_is_not_found_is_404(kind: type[ApplianceError]) -> None:
    assert translate(kind("text")).status == 404


@pytest.mark.parametrize("kind", list(kinds(signature.AuthError)))
def test_signature_errors_bring_their_own_code(kind: type[signature.AuthError]) -> None:
    found = translate(kind("text"))
    assert (found.code, found.status) == (kind.code, kind.status)


def test_table_names_only_errors_of_the_tree() -> None:
    assert set(TABLE) <= set(kinds())


@pytest.mark.parametrize("kind", [ApplianceError])
def test_our_own_fault_is_not_explained(kind: type[ApplianceError]) -> None:
    assert "secret" not in translate(kind("secret")).message


def test_text_is_escaped() -> None:
    body = render(S3Error("Code", "<&>\x01"), "/a&b", "ID").decode()
    assert "<Message>&lt;&amp;&gt;\ufffd</Message><Resource>/a&amp;b</Resource>" in body


@pytest.mark.parametrize("status", [400, 405, 408, 413, 414, 431, 500, 501, 505])
def test_refusal_of_the_server_is_xml(status: int) -> None:
    reply = error_reply(status, "text")
    assert isinstance(reply.body, bytes)
    root = ElementTree.fromstring(reply.body)
    assert (reply.status, root.findtext("Message")) == (status, "text")
    assert root.findtext("RequestId")


def test_shortage_of_the_server_has_the_code_that_clients_try_again_after() -> None:
    body = error_reply(503, "text").body
    assert isinstance(body, bytes)
    assert ElementTree.fromstring(body).findtext("Code") == "SlowDown"


_PREFLIGHT = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
REFUSED: list[tuple[str, str, dict[str, str], bytes, int, str]] = [
    ("GET", "/master.none", {}, b"", 404, "NoSuchBucket"),
    ("GET", "/master.none/a", {}, b"", 404, "NoSuchBucket"),
    ("GET", "/master.data/none", {}, b"", 404, "NoSuchKey"),
    ("GET", "/a.b.c.d", {}, b"", 400, "InvalidBucketName"),
    ("GET", "//a", {}, b"", 400, "InvalidBucketName"),
    ("GET", "/%ff", {}, b"", 400, "InvalidURI"),
    ("GET", "/?" + "&".join("a" for _ in range(101)), {}, b"", 400, "InvalidURI"),
    ("GET", "/" + "a" * 20_000, {}, b"", 414, "KeyTooLongError"),
    ("GET", "/master.data", {"x-filler": "a" * 70_000}, b"", 431, "InvalidRequest"),
    ("PUT", "/master.none/a", {}, b"x", 404, "NoSuchBucket"),
    ("PUT", "/master.data/..", {}, b"x", 400, "InvalidFilePath"),
    ("PUT", "/master.data/a", {"Content-MD5": "no"}, b"x", 400, "InvalidDigest"),
    ("PUT", "/master.data/a", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, b"x", 400, "BadDigest"),
    ("PUT", "/master.data/a", {"x-amz-checksum-crc32": "AAAAAA=="}, b"x", 400, "BadDigest"),
    ("PUT", "/master.data/a", {"x-amz-checksum-rot13": "AAAAAA=="}, b"x", 400, "InvalidRequest"),
    ("PUT", "/master.data/a", {"x-amz-acl": "aws-exec-read"}, b"x", 501, "NotImplemented"),
    ("PUT", "/", {}, b"x", 405, "MethodNotAllowed"),
    ("DELETE", "/", {}, b"", 405, "MethodNotAllowed"),
    ("POST", "/", {}, b"", 405, "MethodNotAllowed"),
    ("POST", "/master.data/a", {}, b"", 405, "MethodNotAllowed"),
    ("POST", "/master.data", {}, b"", 412, "PreconditionFailed"),
    ("PATCH", "/master.data/a", {}, b"", 405, "MethodNotAllowed"),
    ("TRACE", "/", {}, b"", 405, "MethodNotAllowed"),
    ("CONNECT", "/", {}, b"", 405, "MethodNotAllowed"),
    ("OPTIONS", "/master.data/a", _PREFLIGHT, b"", 403, "AccessForbidden"),
    ("OPTIONS", "/master.data", _PREFLIGHT, b"", 403, "AccessForbidden"),
    ("OPTIONS", "/master.none", _PREFLIGHT, b"", 403, "AccessForbidden"),
    ("OPTIONS", "/master.data", {"Origin": "http://x"}, b"", 400, "BadRequest"),
    ("OPTIONS", "/", {}, b"", 400, "BadRequest"),
    ("GET", "/", {"Authorization": "AWS nonsense"}, b"", 400, "InvalidArgument"),
    ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 nonsense"}, b"", 400, "AuthorizationHeaderMalformed"),
    ("GET", "/?max-buckets=x", {}, b"", 400, "InvalidArgument"),
    ("GET", "/?continuation-token=%25", {}, b"", 400, "InvalidArgument"),
    ("PUT", "/master.data/a", {"Transfer-Encoding": "gzip"}, b"x", 501, "NotImplemented"),
]


@pytest.mark.parametrize(("method", "target", "headers", "body", "status", "code"), REFUSED)
def test_refusal_is_xml_with_the_id_of_the_request(
    unchanged: Served, method: str, target: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    answer = unchanged.request(method, target, headers, body)
    root = ElementTree.fromstring(answer.body)
    assert (answer.status, root.findtext("Code")) == (status, code)
    assert root.tag == "Error"
    assert root.findtext("Message")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.headers.get("x-amz-request-id", root.findtext("RequestId")) == root.findtext("RequestId")
    assert root.findtext("RequestId")


def test_resource_is_what_was_asked_for(gateway: Served) -> None:
    answer = gateway.request("GET", "/master.none/a%20b?versionId=x")
    assert ElementTree.fromstring(answer.body).findtext("Resource") == "/master.none/a%20b"


@pytest.mark.parametrize("target", ["/master.none", "/master.data/none", "/%ff", "/a.b.c.d", "/master.data/a?torrent"])
def test_head_has_the_status_and_no_body(unchanged: Served, target: str) -> None:
    answer = unchanged.request("HEAD", target)
    assert answer.status == unchanged.request("GET", target).status >= 400
    assert answer.body == b""


def test_put_without_length_is_411(gateway: Served, bucket: str) -> None:
    reply = gateway.send(f"PUT /{bucket}/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 411 ")
    assert b"<Code>MissingContentLength</Code>" in reply


def test_refused_put_is_answered_before_its_body(gateway: Served) -> None:
    head = "PUT /master.none/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
    reply = gateway.send(head.encode())
    assert reply.startswith(b"HTTP/1.1 404 ")


def test_put_that_is_too_large_is_refused_before_its_body(gateway: Served, bucket: str) -> None:
    head = f"PUT /{bucket}/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {6 * 1024**3}\r\n\r\n"
    reply = gateway.send(head.encode())
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>EntityTooLarge</Code>" in reply


def test_every_answer_has_an_id(gateway: Served, s3: Any, bucket: str) -> None:
    ids = {s3.list_buckets()["ResponseMetadata"]["RequestId"] for _ in range(3)}
    assert len(ids) == 3
