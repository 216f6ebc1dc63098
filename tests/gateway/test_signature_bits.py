"""One flipped bit in anything that is signed, and the request is refused; every bit of every part is tried.

What is accepted nevertheless has to mean the same (`%2f` for `%2F`). Who drops the signature altogether is anonymous.
"""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from gateway.test_chunked import PAYLOAD, SIGNED, SIGNED_TRAILER, TRAILER_SEED, decode, verifier

from appliance.errors import ApplianceError
from appliance.gateway.chunked import ChunkedDecoder
from appliance.gateway.errors import S3Error
from appliance.gateway.request import Address, parse_address
from appliance.gateway.signature import Claim, parse_claim, verify_claim
from appliance.httpd import Headers

ORIGIN = "http://127.0.0.1:4566"
CREDENTIALS = Credentials("the-key", "the-key")
SIGNERS = {
    "v4": lambda: S3SigV4Auth(CREDENTIALS, "s3", "us-east-1"),
    "v4-presigned": lambda: S3SigV4QueryAuth(CREDENTIALS, "s3", "us-east-1", expires=3600),
    "v2": lambda: HmacV1Auth(CREDENTIALS),
    "v2-presigned": lambda: HmacV1QueryAuth(CREDENTIALS, expires=3600),
}
# All of these parameters are signed in version 2, too.
PATHS = ("/master.data/dir/a%20b%C3%BC", "/master.data/a?partNumber=2&uploadId=x%2By", "/master.data?versions")
# Of no meaning once the signature is right.
UNSIGNED_HEADERS = {"user-agent", "content-length"}

Signed = tuple[str, str, tuple[tuple[str, str], ...]]


@functools.cache
def signed(kind: str, path: str) -> Signed:
    """Method, target and header fields as they arrive."""
    given = {} if "presigned" in kind else {"Content-Type": "text/plain", "x-amz-meta-a": "b c", "Content-MD5": "eA=="}
    request = AWSRequest("PUT", f"{ORIGIN}{path}", headers=given)
    SIGNERS[kind]().add_auth(request)
    target = request.prepare().url.removeprefix(ORIGIN)
    fields = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
    if "presigned" in kind:
        fields = [(name, value) for name, value in fields if name != "Date"]
    return "PUT", target, (("Host", ORIGIN.removeprefix("http://")), *fields)


def find_claim(request: Signed) -> Claim | None:
    """Return the claim of a request whose signature is right, None for an anonymous one."""
    method, target, fields = request
    claim = parse_claim(method, target, Headers(fields))
    if claim is not None:
        verify_claim(claim, claim.access_key, now=datetime.now(UTC))
    return claim


def meaning(request: Signed) -> tuple[str, Address, list[tuple[str, str]]]:
    method, target, fields = request
    said = [(name.lower(), value.strip()) for name, value in fields if name.lower() not in UNSIGNED_HEADERS]
    return method, parse_address(target, "127.0.0.1"), said


def flips(text: str) -> Iterator[str]:
    """Yield a text with each of its bits flipped."""
    data = text.encode("latin-1")
    for at in range(len(data)):
        for bit in range(8):
            yield (data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]).decode("latin-1")


def mutations(kind: str, request: Signed) -> Iterator[Signed]:
    method, target, fields = request
    yield from ((flipped, target, fields) for flipped in flips(method))
    yield from ((method, flipped, fields) for flipped in flips(target))
    for number, (name, value) in enumerate(fields):
        if name == "Host" and kind.startswith("v2"):  # only a bucket in it is signed
            continue
        if name.lower() not in UNSIGNED_HEADERS:
            for flipped in flips(value):
                yield method, target, (*fields[:number], (name, flipped), *fields[number + 1 :])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", SIGNERS)
def test_no_bit_of_a_signed_request_can_be_changed(kind: str, path: str) -> None:
    request = signed(kind, path)
    assert find_claim(request) is not None
    tried = 0
    for changed in mutations(kind, request):
        tried += 1
        try:
            claim = find_claim(changed)
        except (ApplianceError, S3Error):
            continue
        assert claim is None or meaning(changed) == meaning(request), changed
    assert tried > 800


def chunks(data: bytes, *, trailer: bool) -> tuple[bytes, dict[str, str]]:
    names = {"x-amz-checksum-crc32c"} if trailer else set()
    verify = verifier(TRAILER_SEED) if trailer else verifier()
    decoder = ChunkedDecoder(verify=verify, trailer_names=names, decoded_length=len(PAYLOAD))
    return decode(decoder, data), dict(decoder.trailers)


@pytest.mark.parametrize("trailer", [False, True])
def test_no_bit_of_signed_chunks_can_be_changed(trailer: bool) -> None:
    whole = SIGNED_TRAILER if trailer else SIGNED
    right = chunks(whole, trailer=trailer)
    assert right[0] == PAYLOAD
    # Every byte around the content, and some of that: its digest is what is signed.
    framing = [at for at in range(len(whole)) if whole[at : at + 1] != b"a" or whole[at - 1 : at] != b"a"]
    for at in (*framing, 200, 30_000, len(whole) // 2):
        for bit in range(8):
            changed = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            try:
                found = chunks(changed, trailer=trailer)
            except (ApplianceError, S3Error):
                continue
            assert found == right, (at, bit)
