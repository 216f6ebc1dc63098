"""The parts of a multipart upload as contents: choosing them, joining them, their checksums. No bytes move."""

import itertools
from collections.abc import Sequence

from moto.s3 import exceptions as moto_errors

from appliance.errors import BadDigest
from appliance.gateway import checksums
from appliance.gateway.checksums import Plan
from appliance.gateway.conditions import Header
from appliance.gateway.errors import S3Error
from appliance.gateway.parsing import ChosenPart
from appliance.store import Db, blobs, uploads
from appliance.store.blobs import Content
from appliance.store.uploads import Part

PART_BYTES = 5 * 1024 * 1024


def choose(there: Sequence[Part], chosen: Sequence[ChosenPart], plan: Plan | None) -> list[Part]:
    """Return the parts a client wants joined. Raises S3Error InvalidPart, InvalidPartOrder, EntityTooSmall, MalformedXML."""
    if not chosen:
        raise moto_errors.MalformedXML
    if any(left.number > right.number for left, right in itertools.pairwise(chosen)):
        raise moto_errors.InvalidPartOrder
    by_number = {part.number: part for part in there}
    found = []
    for wanted in {item.number: item for item in chosen}.values():  # of a part that was sent again the last one is meant
        part = by_number.get(wanted.number)
        if part is None or not _is_meant(part, wanted, plan):
            raise moto_errors.InvalidPart
        found.append(part)
    if any(part.content.size_bytes < PART_BYTES for part in found[:-1]):
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    return found


def _is_meant(part: Part, wanted: ChosenPart, plan: Plan | None) -> bool:
    """Tell whether a part is what the client sent under its number."""
    if part.content.etag != wanted.etag.strip().strip('"'):
        return False
    announced = wanted.checksums.get(plan.algorithm.element) if plan is not None else None
    return announced is None or announced == part.checksums.get(plan.algorithm.header if plan else "")


def choose_plan(begun: Plan | None, there: Sequence[Part], header: Header) -> Plan | None:
    """Return what checksum the whole is to have: what was said at the beginning, else what is said at the end.

    Raises S3Error InvalidRequest for one that the parts do not have.
    """
    announced = [algorithm for algorithm in checksums.ALGORITHMS.values() if header(algorithm.header) is not None]
    if begun is None and len(announced) == 1 and all(announced[0].header in part.checksums for part in there):
        is_composite = "-" in (header(announced[0].header) or "")
        return checksums.parse_plan(
            announced[0].name, header(checksums.TYPE_HEADER) or ("COMPOSITE" if is_composite else None)
        )
    if any(begun is None or begun.algorithm != algorithm for algorithm in announced):
        raise S3Error("InvalidRequest", f"The upload was not created with the {announced[0].name} checksum algorithm.")
    return begun


def join(db: Db, parts: Sequence[Part], plan: Plan | None) -> Content:
    """Return the parts as one content, with S3's ETag for it, which knows where they begin."""
    ranges = [(part.content, 0, part.content.size_bytes) for part in parts]
    content = blobs.join(db, ranges, blobs.joined_etag([part.content for part in parts]), as_list=True)
    uploads.record_parts(db, content, parts, plan.algorithm.header if plan is not None else None)
    return content


def sum_up(parts: Sequence[Part], plan: Plan | None, header: Header) -> dict[str, str]:
    """Return the checksum of the whole as metadata. Raises BadDigest if another one was announced."""
    if plan is None:
        return {}
    name = plan.algorithm.header
    value = checksums.join_values(plan, [(part.checksums[name], part.content.size_bytes) for part in parts])
    announced = header(name)
    if announced is not None and not checksums.is_same(announced, value):
        raise BadDigest(f"{name} differs")
    return {name: value}


def check_size(content: Content, announced: str | None) -> None:
    """Raise S3Error InvalidRequest for an object of another size than x-amz-mp-object-size says."""
    if announced is not None and announced.strip() != str(content.size_bytes):
        message = "The provided 'x-amz-mp-object-size' header value does not match what was computed."
        raise S3Error("InvalidRequest", message)
