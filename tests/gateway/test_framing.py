"""The framings a body may come in, and what happens to one that is not what was announced."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from gateway.helpers import Answer, Served, Signer, client, crc32, refused, staged
from store.helpers import LARGE, tree

PIECES = [LARGE[:20_000], LARGE[20_000:50_000], LARGE[50_000:]]
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = f"{SIGNED}-TRAILER"
TARGET = "/master.data/a"


def put(gateway: Served, signer: Signer, payload_hash: str, body: bytes | Sequence[bytes], **more: str) -> Answer:
    fields = signer.headers("PUT", TARGET, f"127.0.0.1:{gateway.port}", payload_hash, **more)
    return gateway.request("PUT", TARGET, fields, body)


def trailing(pieces: Sequence[bytes], checksum: str) -> bytes:
    """An unsigned body with a trailer."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + f"0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()


def put_trailing(gateway: Served, body: bytes | Sequence[bytes], size: int = len(LARGE)) -> Answer:
    more = {"x_amz_trailer": "x-amz-checksum-crc32", "x_amz_decoded_content_length": str(size)}
    return put(gateway, Signer(), UNSIGNED_TRAILER, body, content_encoding="aws-chunked", **more)


def put_signed(
    gateway: Served,
    pieces: Sequence[bytes],
    *,
    checksum: str | None = None,
    old: bytes = b"",
    new: bytes = b"",
    size: int = -1,
) -> Answer:
    """Send signed chunks, in which `old` was replaced by `new` after the signing."""
    signer = Signer()
    data = b"".join(pieces)
    more = {"x_amz_decoded_content_length": str(len(data) if size < 0 else size)}
    if checksum is not None:
        more["x_amz_trailer"] = "x-amz-checksum-crc32"
    framing = SIGNED if checksum is None else SIGNED_TRAILER
    fields = signer.headers("PUT", TARGET, f"127.0.0.1:{gateway.port}", framing, **more)
    body = b"".join(signer.chunk(piece) for piece in [*pieces, b""])
    body += b"\r\n" if checksum is None else signer.trailer(f"x-amz-checksum-crc32:{checksum}\n")
    return gateway.request("PUT", TARGET, fields, body.replace(old, new, 1) if old else body)


def assert_stored(gateway: Served, answer: Answer, data: bytes = LARGE) -> None:
    assert answer.status == 200, answer.body
    assert answer.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert tree(gateway.store, "data") == {"/a": data}


def assert_refused(gateway: Served, answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert tree(gateway.store, "data") == {}
    assert staged(gateway.store) == []


def test_plain_hash(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put(gateway, Signer(), hashlib.sha256(LARGE).hexdigest(), LARGE))


def test_plain_hash_of_something_else(gateway: Served, bucket: str) -> None:
    answer = put(gateway, Signer(), hashlib.sha256(b"").hexdigest(), LARGE)
    assert_refused(gateway, answer, 400, "XAmzContentSHA256Mismatch")


def test_unsigned_payload(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put(gateway, Signer(), "UNSIGNED-PAYLOAD", LARGE))


def test_unsigned_payload_in_chunked_transfer(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put(gateway, Signer(), "UNSIGNED-PAYLOAD", PIECES))


def test_unsigned_trailer(gateway: Served, bucket: str) -> None:
    answer = put_trailing(gateway, trailing(PIECES, crc32(LARGE)))
    assert_stored(gateway, answer)
    assert answer.headers["x-amz-checksum-crc32"] == crc32(LARGE)


def test_unsigned_trailer_in_chunked_transfer(gateway: Served, bucket: str) -> None:
    body = trailing(PIECES, crc32(LARGE))
    assert_stored(gateway, put_trailing(gateway, [body[i : i + 7001] for i in range(0, len(body), 7001)]))


def test_framing_is_not_kept_as_encoding(gateway: Served, bucket: str) -> None:
    put_trailing(gateway, trailing(PIECES, crc32(LARGE)))
    assert "content-encoding" not in gateway.request("HEAD", TARGET).headers


def test_unsigned_trailer_with_a_wrong_checksum(gateway: Served, bucket: str) -> None:
    assert_refused(gateway, put_trailing(gateway, trailing(PIECES, crc32(b""))), 400, "BadDigest")


def test_signed_chunks(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put_signed(gateway, PIECES))


def test_signed_chunks_of_nothing(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put_signed(gateway, []), b"")


def test_signed_chunk_that_was_changed(gateway: Served, bucket: str) -> None:
    answer = put_signed(gateway, PIECES, old=b"\x00\x01\x02", new=b"\x00\x01\x03")
    assert_refused(gateway, answer, 403, "SignatureDoesNotMatch")


def test_signed_chunks_with_trailer(gateway: Served, bucket: str) -> None:
    assert_stored(gateway, put_signed(gateway, PIECES, checksum=crc32(LARGE)))


def test_signed_chunks_with_a_wrong_checksum(gateway: Served, bucket: str) -> None:
    assert_refused(gateway, put_signed(gateway, PIECES, checksum=crc32(b"")), 400, "BadDigest")


def test_signed_trailer_that_was_changed(gateway: Served, bucket: str) -> None:
    good, bad = crc32(LARGE), crc32(b"")
    answer = put_signed(gateway, PIECES, checksum=bad, old=bad.encode(), new=good.encode())
    assert_refused(gateway, answer, 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("size", [0, len(LARGE) - 1, len(LARGE) + 1])
def test_size_that_was_announced_has_to_come(gateway: Served, bucket: str, size: int) -> None:
    assert_refused(gateway, put_signed(gateway, PIECES, size=size), 400, "IncompleteBody")
    assert_refused(gateway, put_trailing(gateway, trailing(PIECES, crc32(LARGE)), size), 400, "IncompleteBody")


@pytest.mark.parametrize("size", ["", "x", "-1", "9" * 40])
def test_size_that_is_no_number(gateway: Served, bucket: str, size: str) -> None:
    headers = {"x-amz-content-sha256": UNSIGNED_TRAILER, "x-amz-decoded-content-length": size}
    assert_refused(gateway, gateway.request("PUT", TARGET, headers, b"0\r\n\r\n"), 400, "InvalidArgument")


def test_size_that_is_missing(gateway: Served, bucket: str) -> None:
    headers = {"x-amz-content-sha256": UNSIGNED_TRAILER}
    assert_refused(gateway, gateway.request("PUT", TARGET, headers, b"0\r\n\r\n"), 411, "MissingContentLength")


@pytest.mark.parametrize(
    "body", [b"x", b"5\r\nab", b"zz\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n", b"2\r\nab\r\n0\r\n\r\nmore\r\n", b"2" * 3000]
)
def test_framing_that_is_broken(gateway: Served, bucket: str, body: bytes) -> None:
    headers = {"x-amz-content-sha256": UNSIGNED_TRAILER, "x-amz-decoded-content-length": "2"}
    answer = gateway.request("PUT", TARGET, headers, body)
    assert answer.status == 400
    assert answer.code in ("InvalidArgument", "IncompleteBody")
    assert (tree(gateway.store, "data"), staged(gateway.store)) == ({}, [])


@pytest.mark.parametrize("framing", [SIGNED, UNSIGNED_TRAILER])
@pytest.mark.parametrize("cut", [1, 2, 1000, 30_000])
def test_framing_that_ends_early(gateway: Served, bucket: str, framing: str, cut: int) -> None:
    headers = {"x-amz-content-sha256": framing, "x-amz-decoded-content-length": str(len(LARGE))}
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PIECES) + b"0\r\n\r\n"
    assert_refused(gateway, gateway.request("PUT", TARGET, headers, body[:-cut]), 400, "IncompleteBody")


@pytest.mark.parametrize("sent", [0, 100, 40_000])
def test_client_that_leaves_early_leaves_nothing(gateway: Served, bucket: str, sent: int) -> None:
    head = f"PUT {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode()
    gateway.send(head + LARGE[:sent])
    assert (tree(gateway.store, "data"), staged(gateway.store)) == ({}, [])


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_botocores_checksum_is_verified_and_answered(gateway: Served, s3: Any, bucket: str, algorithm: str) -> None:
    answer = s3.put_object(Bucket=bucket, Key="a", Body=LARGE, ChecksumAlgorithm=algorithm)
    assert answer[f"Checksum{algorithm}"]
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="a", Body=b"", **{f"Checksum{algorithm}": answer[f"Checksum{algorithm}"]})


def test_botocores_stream_has_a_trailer(gateway: Served, bucket: str, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    with client(gateway.url) as s3, (tmp_path / "file").open("rb") as file:
        s3.put_object(Bucket=bucket, Key="a", Body=file, ChecksumAlgorithm="CRC32")
    assert tree(gateway.store, "data") == {"/a": LARGE}


def test_framing_of_a_presigned_put_is_not_stored_as_content(gateway: Served, bucket: str) -> None:
    with client(gateway.url, signature_version="s3v4") as s3:
        url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "a"})
    headers = {"x-amz-content-sha256": UNSIGNED_TRAILER}
    answer = gateway.request("PUT", url.removeprefix(gateway.url), headers, trailing(PIECES, crc32(LARGE)))
    assert_refused(gateway, answer, 411, "MissingContentLength")


def test_part_is_deframed_too(gateway: Served, s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    headers = {"x-amz-content-sha256": UNSIGNED_TRAILER, "x-amz-decoded-content-length": "2"}
    answer = gateway.request("PUT", f"{TARGET}?uploadId={upload_id}&partNumber=1", headers, b"2\r\nab\r\n0\r\n\r\n")
    assert answer.headers["etag"] == f'"{hashlib.md5(b"ab").hexdigest()}"'
