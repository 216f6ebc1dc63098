"""Specs before they are pipelines: fetched from where they are, and what datums they would come to."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from appliance.errors import InvalidRequest, InvalidSpec
from appliance.external.remote import Received
from appliance.external.urls import parse_url
from appliance.external.web import find_page, read_page
from appliance.pipelines.planner import iter_planned, pin_heads
from appliance.pipelines.spec import crons_of, parse_specs
from appliance.store import Db

_SPEC_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlannedDatum:
    """A datum that there would be, with the paths of its inputs."""

    id: str
    files: tuple[str, ...]


def fetch_spec(url: str) -> str:
    """Return the text of a spec at an http address. Raises InvalidRequest, TransferFailed, InvalidSpec."""
    address = parse_url(url)
    if address.provider != "http":
        raise InvalidRequest("a spec is a file, - for stdin, or at an http:// or https:// address")
    (page,) = find_page(address, recursive=False)
    content = bytearray()
    for piece in read_page(page, Received(etag=page.etag, modified_ns=page.modified_ns)):
        content += piece
        if len(content) > _SPEC_BYTES:
            raise InvalidSpec(f"malformed pipeline spec: {address.name()} has more than {_SPEC_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidSpec(f"malformed pipeline spec: {address.name()} is not UTF-8 text") from None


def iter_planned_datums(db: Db, text: str, *, strict: bool) -> Iterator[PlannedDatum]:
    """Yield the datums of the input of a spec, as its branches are now. Raises InvalidSpec, RepoNotFound."""
    specs = parse_specs(text, strict=strict)
    if len(specs) > 1:
        raise InvalidRequest("can list the datums of one spec at a time")
    (tree,) = (spec.input for spec in specs)
    if tree is None:
        return
    if crons_of(tree):
        raise InvalidRequest("can't list datums with a cron input, there will be no datums until the pipeline is created")
    for datum in iter_planned(lambda: nullcontext(db), tree, pin_heads(db, tree), salt=""):
        yield PlannedDatum(datum.id, tuple(f"{item.repo}@{item.commit}:{item.path}" for item in datum.inputs))
