"""The decoder of aws-chunked bodies: same payload however it arrives, and nothing tampered with gets through."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError, IncompleteBody, InvalidRequest
from appliance.gateway.chunked import ChunkedDecoder
from appliance.gateway.signature import EMPTY_SHA256, ChunkVerifier, Scope, SignatureDoesNotMatch, signing_key

# The examples of the S3 manual, for the secret key it gives to AKIAIOSFODNN7EXAMPLE.
SCOPE = Scope("20130524", "us-east-1")
STAMP = "20130524T000000Z"
KEY = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SCOPE)
PAYLOAD = b"a" * 66560
SIZES = [65536, 1024, 0]
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
SIGNATURES = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
]
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
TRAILER_SIGNATURES = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
]
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
TRAILER = b"x-amz-checksum-crc32c:sOO8/Q==\r\n"


def verifier(seed: str = SEED) -> ChunkVerifier:
    return ChunkVerifier(KEY, STAMP, SCOPE, seed)


def framed(signatures: list[str], trailer: bytes = b"") -> bytes:
    body, at = b"", 0
    for size, sign in zip(SIZES, signatures, strict=True):
        body += b"%x;chunk-signature=%b\r\n" % (size, sign.encode()) + PAYLOAD[at : at + size]
        body += b"\r\n" if size else b""
        at += size
    return body + trailer + b"\r\n"


SIGNED = framed(SIGNATURES)
SIGNED_TRAILER = framed(TRAILER_SIGNATURES, TRAILER + f"x-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n".encode())
UNSIGNED = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"


def decode(decoder: ChunkedDecoder, *parts: bytes) -> bytes:
    payload = b"".join(piece for part in parts for piece in decoder.feed(part))
    decoder.close()
    return payload


def unsigned(decoded_length: int | None = 11) -> ChunkedDecoder:
    return ChunkedDecoder(verify=None, trailer_names=["x-amz-checksum-crc32"], decoded_length=decoded_length)


def signed_small(payload: bytes, sizes: list[int], trailer: tuple[str, str] | None) -> bytes:
    """A small signed body, made by the manual's rules and without the code under test."""
    body, previous, context = b"", SEED, f"{STAMP}\n{SCOPE}"

    def sign(text: str) -> str:
        return hmac.new(KEY, text.encode(), "sha256").hexdigest()

    for size in [*sizes, 0]:
        data, payload = payload[:size], payload[size:]
        digest = hashlib.sha256(data).hexdigest()
        previous = sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{context}\n{previous}\n{EMPTY_SHA256}\n{digest}")
        body += b"%x;chunk-signature=%b\r\n%b" % (size, previous.encode(), data) + (b"\r\n" if size else b"")
    if trailer is not None:
        digest = hashlib.sha256(f"{trailer[0]}:{trailer[1]}\n".encode()).hexdigest()
        previous = sign(f"AWS4-HMAC-SHA256-TRAILER\n{context}\n{previous}\n{digest}")
        body += f"{trailer[0]}:{trailer[1]}\r\nx-amz-trailer-signature:{previous}\r\n".encode()
    return body + b"\r\n"


SMALL = signed_small(b"hello world", [5, 6], ("x-amz-checksum-crc32", "DUoRhQ=="))


def small() -> ChunkedDecoder:
    return ChunkedDecoder(verify=verifier(), trailer_names=["x-amz-checksum-crc32"], decoded_length=11)


def splits(body: bytes) -> st.SearchStrategy[list[bytes]]:
    cuts = st.lists(st.integers(0, len(body)), max_size=12).map(sorted)
    return cuts.map(lambda at: [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)])


@given(splits(SIGNED))
def test_signed_chunks_of_the_manual_in_any_pieces(parts: list[bytes]) -> None:
    assert decode(ChunkedDecoder(verify=verifier(), decoded_length=66560), *parts) == PAYLOAD


@given(splits(SIGNED_TRAILER))
def test_signed_trailer_of_the_manual_in_any_pieces(parts: list[bytes]) -> None:
    decoder = ChunkedDecoder(verify=verifier(TRAILER_SEED), trailer_names=["x-amz-checksum-crc32c"])
    assert decode(decoder, *parts) == PAYLOAD
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


@given(splits(UNSIGNED))
def test_unsigned_trailer_in_any_pieces(parts: list[bytes]) -> None:
    decoder = unsigned()
    assert decode(decoder, *parts) == b"hello world"
    assert decoder.trailers == {"x-amz-checksum-crc32": "DUoRhQ=="}


def test_one_byte_at_a_time() -> None:
    assert decode(small(), *(bytes([byte]) for byte in SMALL)) == b"hello world"


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=8), st.data())
def test_any_payload_in_any_chunks(payload: bytes, sizes: list[int], data: st.DataObject) -> None:
    fitting, total = [], 0
    for size in sizes:
        fitting.append(min(size, len(payload) - total))
        total += fitting[-1]
    fitting = [size for size in [*fitting, len(payload) - total] if size]
    parts = data.draw(splits(signed_small(payload, fitting, None)))
    assert decode(ChunkedDecoder(verify=verifier(), decoded_length=len(payload)), *parts) == payload


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_a_changed_byte_never_changes_the_result(at: int, difference: int) -> None:
    changed = SMALL[:at] + bytes([SMALL[at] ^ difference]) + SMALL[at + 1 :]
    decoder = small()
    try:
        payload = decode(decoder, changed)
    except ApplianceError:
        return
    # The case of a name or of a hexadecimal digit is nothing that was signed.
    assert (payload, decoder.trailers) == (b"hello world", {"x-amz-checksum-crc32": "DUoRhQ=="})


@given(st.integers(0, len(SMALL) - 1))
def test_a_body_that_ends_early_is_incomplete(end: int) -> None:
    with pytest.raises(IncompleteBody):
        decode(small(), SMALL[:end])


def test_swapped_chunks_are_refused() -> None:
    first, second = SMALL.index(b"hello\r\n") + 7, SMALL.index(b" world\r\n") + 8
    with pytest.raises(SignatureDoesNotMatch):
        decode(small(), SMALL[first:second] + SMALL[:first] + SMALL[second:])


def test_chunk_without_signature_is_refused_where_one_is_due() -> None:
    with pytest.raises(SignatureDoesNotMatch):
        decode(small(), UNSIGNED)


def test_trailer_without_signature_is_refused_where_one_is_due() -> None:
    start, end = SMALL.index(b"x-amz-trailer-signature"), len(SMALL) - 2
    with pytest.raises(SignatureDoesNotMatch):
        decode(small(), SMALL[:start] + SMALL[end:])


def test_signatures_are_noise_when_not_verified() -> None:
    assert decode(ChunkedDecoder(verify=None), SIGNED) == PAYLOAD


@pytest.mark.parametrize("decoded_length", [10, 12, 0])
def test_other_length_than_announced_is_incomplete(decoded_length: int) -> None:
    with pytest.raises(IncompleteBody):
        decode(unsigned(decoded_length), UNSIGNED)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5;name=value\r\nhello\r\n",
        b"11111111111111111\r\n",
        b"4\r\nhello\r\n",
        b"0\r\nx-amz-other:1\r\n\r\n",
        b"0\r\nx-amz-checksum-crc32\r\n\r\n",
        b"0\r\nx-amz-checksum-crc32:1\r\nx-amz-checksum-crc32:1\r\n\r\n",
        b"0\r\n\r\n",
        UNSIGNED + b"more\r\n",
        b"5" * 2000,
        b"0\r\nx-amz-checksum-crc32:" + b"a" * 2000,
    ],
)
def test_other_bytes_are_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(unsigned(None), body)


def test_endless_line_is_refused_while_it_arrives() -> None:
    with pytest.raises(InvalidRequest):
        decode(unsigned(), *[b"5"] * 2000)
