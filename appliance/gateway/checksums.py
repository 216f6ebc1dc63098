"""The checksums a client announced for a body: computed as it arrives, compared at its end.

CRC32, SHA-1 and SHA-256 always; CRC32C and CRC64NVME where `awscrt` is installed. Without it these two are neither
checked nor claimed: the body is still covered by what was signed and by its own digests.
"""

import base64
import hashlib
import importlib.util
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from appliance.errors import BadDigest
from appliance.gateway.errors import S3Error

PREFIX = "x-amz-checksum-"


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A CRC with the interface of hashlib. `step` maps data and the value so far to the next value."""

    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step, self._size, self._value = step, size, 0

    def update(self, data: bytes) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crt(name: str) -> Callable[[bytes, int], int]:
    from awscrt import checksums

    step: Callable[[bytes, int], int] = getattr(checksums, name)
    return step


_ALGORITHMS: dict[str, Callable[[], Any]] = {
    "crc32": lambda: _Crc(zlib.crc32, 4),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}
if importlib.util.find_spec("awscrt") is not None:
    _ALGORITHMS["crc32c"] = lambda: _Crc(_crt("crc32c"), 4)
    _ALGORITHMS["crc64nvme"] = lambda: _Crc(_crt("crc64nvme"), 8)

_UNCHECKED = {"crc32c", "crc64nvme"}
_NOT_VALUES = {"type", "algorithm", "mode"}


class Checksums:
    """Checks one body against what its headers, and later its trailers, announce."""

    def __init__(self, header: Callable[[str], str | None], names: set[str], trailer_names: set[str]) -> None:
        """`names` are the lower-case names of all headers. Raises S3Error for an algorithm nobody knows."""
        md5 = header("content-md5")
        self._expected = {name: header(name) or "" for name in names if _is_value(name)}
        wanted = {name.removeprefix(PREFIX) for name in (*self._expected, *trailer_names) if _is_value(name)}
        for unknown in wanted - _ALGORITHMS.keys() - _UNCHECKED:
            raise S3Error("InvalidRequest", f"Checksum algorithm provided is unsupported: {unknown}")
        self._hashes: dict[str, _Hash] = {name: _ALGORITHMS[name]() for name in wanted & _ALGORITHMS.keys()}
        self._md5 = _decode_md5(md5) if md5 is not None else None

    def update(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        for checksum in self._hashes.values():
            checksum.update(data)

    def check(self, md5: bytes, trailers: Mapping[str, str]) -> dict[str, str]:
        """Compare at the end of the body; return the verified checksums as headers. Raises BadDigest."""
        if self._md5 is not None and self._md5 != md5:
            raise BadDigest("Content-MD5 differs")
        verified = {}
        for name, checksum in self._hashes.items():
            header = PREFIX + name
            value = base64.b64encode(checksum.digest()).decode()
            if trailers.get(header, self._expected.get(header)) != value:
                raise BadDigest(f"{header} differs")
            verified[header] = value
        return verified


def _is_value(name: str) -> bool:
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NOT_VALUES


def _decode_md5(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return value
