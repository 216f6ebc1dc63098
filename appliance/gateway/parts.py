"""The parts of a multipart upload as contents: cutting one out of an object, choosing them, joining them. No bytes move."""

import hashlib
import itertools
from collections.abc import Sequence

from moto.s3 import exceptions as moto_errors

from appliance.gateway.errors import S3Error
from appliance.store import Db, blobs
from appliance.store.blobs import Content
from appliance.store.uploads import Part

PART_BYTES = 5 * 1024 * 1024
MAX_PARTS = 10_000


def cut(db: Db, content: Content, first: int | None, last: int | None) -> Content:
    """Return the range of a content that a part copies, with the ETag of its bytes' stand-in; all of it without a range."""
    if first is None or last is None:
        return content
    if first > last or last >= content.size_bytes:
        raise S3Error("InvalidRange", f"Range specified is not valid for source object of size: {content.size_bytes}", 400)
    # The MD5 of a range would mean reading it; an ETag need only name the bytes, so it is made of what names them here.
    name = f"{content.etag}:{first}-{last}".encode()
    etag = hashlib.md5(name, usedforsecurity=False).hexdigest()
    return blobs.join(db, [(content, first, last - first + 1)], etag)


def choose(there: Sequence[Part], chosen: Sequence[tuple[int, str]]) -> list[Part]:
    """Return the parts a client wants joined. Raises S3Error InvalidPart, InvalidPartOrder, EntityTooSmall, MalformedXML."""
    if not chosen:
        raise moto_errors.MalformedXML
    numbers = [number for number, _ in chosen]
    if any(left >= right for left, right in itertools.pairwise(numbers)):
        raise moto_errors.InvalidPartOrder
    by_number = {part.number: part for part in there}
    parts = [by_number.get(number) for number in numbers]
    for part, (_, etag) in zip(parts, chosen, strict=True):
        if part is None or part.content.etag != etag.strip().strip('"'):
            raise moto_errors.InvalidPart
    found = [part for part in parts if part is not None]
    if any(part.content.size_bytes < PART_BYTES for part in found[:-1]):
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    return found


def join(db: Db, parts: Sequence[Part]) -> Content:
    """Return the parts as one content, with S3's ETag for it."""
    ranges = [(part.content, 0, part.content.size_bytes) for part in parts]
    return blobs.join(db, ranges, blobs.joined_etag([part.content for part in parts]))
