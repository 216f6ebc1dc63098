"""Checksums that S3 clients announce and ask for: of a body as it arrives, of an object made of parts, kept with the file.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import anycrc

from appliance.errors import BadDigest
from appliance.gateway.errors import S3Error

PREFIX = "x-amz-checksum-"
ALGORITHM_HEADER, TYPE_HEADER = f"{PREFIX}algorithm", f"{PREFIX}type"
Type = Literal["COMPOSITE", "FULL_OBJECT"]

_NOT_VALUES = {"type", "algorithm", "mode"}


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A CRC with the interface of hashlib."""

    def __init__(self, model: Any, size_bytes: int) -> None:
        self._model, self._size_bytes, self._value = model, size_bytes, 0

    def update(self, data: bytes) -> None:
        self._value = self._model.calc(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A way to sum up bytes. `combine` makes the value of two stretches of those of each and the second's size."""

    name: str
    new: Callable[[], Any]
    combine: Callable[[int, int, int], int] | None = None

    @property
    def header(self) -> str:
        """The header that carries a value."""
        return PREFIX + self.name

    @property
    def element(self) -> str:
        """The XML element that carries a value, in botocore's names too."""
        return f"Checksum{self.name.upper()}"


def _crc(name: str, model_name: str, size_bytes: int) -> Algorithm:
    model = anycrc.Model(model_name)
    return Algorithm(name, lambda: _Crc(model, size_bytes), model.combine)


ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        _crc("crc32", "CRC32-ISO-HDLC", 4),
        _crc("crc32c", "CRC32-ISCSI", 4),
        _crc("crc64nvme", "CRC64-NVME", 8),
        Algorithm("sha1", lambda: hashlib.sha1(usedforsecurity=False)),
        Algorithm("sha256", hashlib.sha256),
    )
}


def get_algorithm(name: str) -> Algorithm:
    """Return an algorithm by its name, in whatever case. Raises S3Error InvalidRequest."""
    found = ALGORITHMS.get(name.lower())
    if found is None:
        raise S3Error("InvalidRequest", f"Checksum algorithm provided is unsupported: {name}")
    return found


class Checksums:
    """Checks one body against what its headers, and later its trailers, announce."""

    def __init__(self, header: Callable[[str], str | None], names: set[str], trailer_names: set[str]) -> None:
        """`names` are the lower-case names of all headers. Raises S3Error for an algorithm nobody knows, or two values."""
        md5 = header("content-md5")
        self._expected = {name: header(name) or "" for name in names if _is_value(name)}
        wanted = {name.removeprefix(PREFIX) for name in (*self._expected, *trailer_names) if _is_value(name)}
        if len(wanted) > 1:
            text = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
            raise S3Error("InvalidRequest", text)
        self._hashes: dict[str, _Hash] = {name: get_algorithm(name).new() for name in wanted}
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
            value = _encode(checksum.digest())
            if trailers.get(header, self._expected.get(header)) != value:
                raise BadDigest(f"{header} differs")
            verified[header] = value
        return verified


def _is_value(name: str) -> bool:
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NOT_VALUES


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _decode_md5(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return value


def sum_up(pieces: Iterable[bytes], algorithm: Algorithm | None) -> tuple[str, str | None]:
    """Return the MD5 of some bytes in hex, and their checksum in base64 if one is wanted."""
    md5, checksum = hashlib.md5(usedforsecurity=False), algorithm.new() if algorithm else None
    for piece in pieces:
        md5.update(piece)
        if checksum is not None:
            checksum.update(piece)
    return md5.hexdigest(), _encode(checksum.digest()) if checksum is not None else None


# -- checksums that are kept with a file: one at most, in its metadata under the name of its header


def find_kept(metadata: Mapping[str, str]) -> tuple[Algorithm, str] | None:
    """Return the checksum that a file's metadata have."""
    for algorithm in ALGORITHMS.values():
        if (value := metadata.get(algorithm.header)) is not None:
            return algorithm, value
    return None


def without_kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata without a checksum."""
    return {name: value for name, value in metadata.items() if not _is_value(name)}


def type_of(value: str) -> Type:
    """Tell whether a value is of the bytes or of the values of parts, whose number stands behind it."""
    return "COMPOSITE" if "-" in value else "FULL_OBJECT"


# -- uploads in parts


@dataclass(frozen=True, slots=True)
class Plan:
    """What the checksum of an object made of parts is to be."""

    algorithm: Algorithm
    type: Type


def parse_plan(algorithm: str | None, kind: str | None) -> Plan | None:
    """Read what an upload was begun with. Raises S3Error InvalidRequest for what can not be."""
    if algorithm is None:
        if kind is not None:
            raise S3Error(
                "InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm"
            )
        return None
    found = get_algorithm(algorithm)
    default: Type = "FULL_OBJECT" if found.name == "crc64nvme" else "COMPOSITE"
    chosen = kind.upper() if kind else default
    if chosen == "FULL_OBJECT" and found.combine is not None:
        return Plan(found, "FULL_OBJECT")
    if chosen == "COMPOSITE" and found.name != "crc64nvme":
        return Plan(found, "COMPOSITE")
    raise S3Error("InvalidRequest", f"The {kind} checksum type cannot be used with the {found.name} checksum algorithm.")


def join_values(plan: Plan, parts: Sequence[tuple[str, int]]) -> str:
    """Return the checksum of the whole from the (value, size_bytes) of its parts."""
    digests = [(base64.b64decode(value), size_bytes) for value, size_bytes in parts]
    algorithm = plan.algorithm
    if plan.type == "COMPOSITE":
        whole = algorithm.new()
        whole.update(b"".join(digest for digest, _ in digests))
        return f"{_encode(whole.digest())}-{len(digests)}"
    assert algorithm.combine is not None
    value = 0
    for digest, size_bytes in digests:
        value = algorithm.combine(value, int.from_bytes(digest, "big"), size_bytes)
    return _encode(value.to_bytes(len(digests[0][0]), "big"))


def is_same(announced: str, value: str) -> bool:
    """Tell whether a client means this checksum; the number of parts need not be said."""
    return announced == value or announced == value.partition("-")[0]
