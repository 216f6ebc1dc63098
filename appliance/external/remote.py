"""What there is at an address, whoever keeps it."""

from dataclasses import dataclass, field
from pathlib import Path

from appliance.external.clients import Bucket
from appliance.external.urls import ObjectUrl

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object in a listing of `url`. `relative_path` is what it is called below the place it is copied to.

    `address` stands for it wherever it is found again, or is empty where none does. A web server may not tell size, ETag
    or time: None. `root` is the directory that a file of this machine must be below, `bucket` what an object was found in.
    """

    url: ObjectUrl
    key: str
    relative_path: str
    size_bytes: int | None
    etag: str | None
    modified_ns: int | None
    address: str
    root: Path | None = None
    bucket: Bucket | None = field(default=None, repr=False, compare=False)


@dataclass(slots=True)
class Received:
    """What is known about an object once it is read: size, ETag, and metadata by the names that files have it under."""

    size_bytes: int = 0
    etag: str | None = None
    modified_ns: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
