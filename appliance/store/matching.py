"""What a glob matches in a commit, and the digests that stand for files and whole directories."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from appliance.globs import Glob
from appliance.store import blobs, listings, snapshots
from appliance.store.database import Db
from appliance.store.snapshots import Entry, Kind, Snapshot

# Matches whose digests are asked for together: for one at a time that is a third of all the work.
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Matched:
    """A file or directory. `path` has no trailing slash; `digest` is hex and covers everything below a directory."""

    path: str
    digest: str
    size_bytes: int
    is_dir: bool
    captures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What a glob matches, before anybody has looked into it. `entry` is None for a directory."""

    path: str
    entry: Entry | None
    captures: tuple[str, ...]


def iter_matches(db: Db, snapshot: Snapshot, glob: Glob) -> Iterator[Matched]:
    """Yield what a glob matches, parents before what is below them. An empty commit has nothing, not even its root."""
    if (captures := glob.match("/")) is not None:
        digest, size_bytes, count = digest_tree(db, snapshot, "/")
        if count:
            yield Matched("/", digest, size_bytes, True, captures)
    base = glob.literal_prefix.rpartition("/")[0]
    found = _iter_below(db, snapshot, glob, base, base.count("/") + 1)
    while page := list(islice(found, _PAGE)):
        yield from _matched(db, snapshot, page)


def _iter_below(db: Db, snapshot: Snapshot, glob: Glob, directory: str, depth: int) -> Iterator[_Found]:
    for child in listings.iter_children(db, snapshot, directory or "/"):
        path = f"{directory}/{child.name}"
        captures = glob.match(path)
        if captures is not None:
            yield _Found(path, child.entry, captures)
        if child.entry is None and (glob.depth is None or depth < glob.depth):
            yield from _iter_below(db, snapshot, glob, path, depth + 1)


def _matched(db: Db, snapshot: Snapshot, page: Sequence[_Found]) -> Iterator[Matched]:
    digests = iter(blobs.list_digests(db, [found.entry.content for found in page if found.entry is not None]))
    for found in page:
        if found.entry is not None:
            yield Matched(found.path, next(digests).hex(), found.entry.content.size_bytes, False, found.captures)
        else:
            digest, size_bytes, _ = digest_tree(db, snapshot, found.path)
            yield Matched(found.path, digest, size_bytes, True, found.captures)


def digest_tree(db: Db, snapshot: Snapshot, directory: str) -> tuple[str, int, int]:
    """Return (hex digest, bytes, number of files) of everything below a directory; costs a look at each entry."""
    prefix = directory.rstrip("/") + "/"
    whole = hashlib.sha256()
    size_bytes = count = 0
    for entry in snapshots.iter_entries(db, snapshot, prefix):
        name = entry.path.removeprefix(prefix).encode()
        whole.update(len(name).to_bytes(4, "big") + name)
        if entry.kind == Kind.FILE:
            whole.update(blobs.get_digest(db, entry.content))
            count += 1
        size_bytes += entry.content.size_bytes
    return whole.hexdigest(), size_bytes, count
