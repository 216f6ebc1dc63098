"""A datum's inputs as directories to bind below `/pfs`.

`fuse`: the subtree of the appliance's own mount, by commit; nothing is copied and only what is read is touched.
`files`: a farm of hard links to blob files, native speed and no FUSE; small blobs, several extents, and blobs that have
run out of links are copied. Both are bound read-only; blob files are 0444 besides.
"""

import errno
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from appliance.pipelines.datums import DatumInput
from appliance.pipelines.process import Bind
from appliance.store import Db, Store, blobs, commits, snapshots
from appliance.store.snapshots import Entry, Kind, Snapshot


def fuse_binds(store: Store, mount: Path, scratch: Path, inputs: Sequence[DatumInput]) -> tuple[Bind, ...]:
    """Return the binds that show a datum's inputs through the mount at `mount`. Blocks for the disk.

    Files that are to be empty are laid out: the mount shows them as they are.
    """
    shown = [item for item in inputs if not item.s3 and not item.empty_files]
    binds = (Bind(mount / f"{item.repo}@{item.commit}" / item.path.strip("/"), _target(item)) for item in shown)
    empty = [item for item in inputs if item.empty_files]
    return (*binds, *(file_binds(store, scratch, empty) if empty else ()))


def _target(item: DatumInput) -> str:
    return f"/pfs/{item.name}{item.path}".rstrip("/")


def file_binds(store: Store, scratch: Path, inputs: Sequence[DatumInput], *, copy: bool = False) -> tuple[Bind, ...]:
    """Lay a datum's inputs out below `scratch` and return the binds that show them. Blocks for the disk.

    With `copy` nothing is linked: for where nothing keeps user code from writing to what it sees.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    plain = [item for item in inputs if not item.s3]
    for item in plain:
        (scratch / item.name).mkdir(exist_ok=True)
        with store.snapshot() as db:
            snapshot = snapshots.open_commit(db, commits.get_commit(db, item.repo, item.commit))
            _lay_out(store, db, snapshot, item, scratch / item.name, copy=copy)
    return tuple(Bind(scratch / name, f"/pfs/{name}") for name in dict.fromkeys(item.name for item in plain))


def _lay_out(store: Store, db: Db, snapshot: Snapshot, item: DatumInput, root: Path, *, copy: bool) -> None:
    lay = _lay_empty if item.empty_files else partial(lay_file, copy=copy)
    if not item.is_dir:
        lay(store, db, snapshots.get_file(db, snapshot, item.path), root)
        return
    for entry in snapshots.iter_entries(db, snapshot, item.path.rstrip("/") + "/"):
        lay(store, db, entry, root)


def _lay_empty(_store: Store, _db: Db, entry: Entry, root: Path) -> None:
    place = root / entry.path.strip("/")
    if entry.kind == Kind.DIRECTORY:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(0o444)


def lay_file(store: Store, db: Db, entry: Entry, root: Path, *, copy: bool = False) -> None:
    """Make a file or directory appear at its path below `root`."""
    place = root / entry.path.strip("/")
    if entry.kind == Kind.DIRECTORY:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    extents = blobs.list_extents(db, store.blobs, entry.content)
    whole = extents[0].file if entry.content.blob_id is not None else None
    if whole is not None and not copy and _link(whole, place):
        return
    with place.open("xb") as file:
        for piece in blobs.read_extents(extents):
            file.write(piece)
    place.chmod(0o444)


def _link(source: Path, place: Path) -> bool:
    """Link, or say that this blob has as many links as the file system allows."""
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno in (errno.EMLINK, errno.EXDEV, errno.EPERM):
            return False
        raise
    return True
