"""What a datum left in `/pfs/out`, into the store.

Files are taken in by hashing and renaming, so their bytes are not copied. A symbolic link into an input becomes that
input's content without reading it; other links are followed; anything that is neither file nor directory is left out, as
are empty directories (Pachyderm's `src/server/worker/driver`, uploadOutput).
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.errors import ApplianceError, InvalidPath
from appliance.names import check_path
from appliance.pipelines.datums import DatumInput
from appliance.store import Db, Store, blobs, commits, files, jobs
from appliance.store.blobs import Content, StagedBlob
from appliance.store.files import Kind

_BATCH = 200
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to take in: staged bytes, or the path of an input that it links to."""

    path: str
    staged: StagedBlob | None
    linked: tuple[DatumInput, str] | None


def collect(store: Store, datum_row: int, out: Path, inputs: tuple[DatumInput, ...], *, strict: bool) -> None:
    """Stage everything below `out` as the output of a running datum. Blocks.

    Raises ApplianceError for a name that no file can have, a dangling link, or a directory of links without end.
    """
    batch: list[_Found] = []
    for found in _walk(store, out, out, "", inputs, strict, 0):
        batch.append(found)
        if len(batch) >= _BATCH:
            _stage(store, datum_row, batch)
            batch = []
    _stage(store, datum_row, batch)


def _stage(store: Store, datum_row: int, batch: list[_Found]) -> None:
    def put(db: Db) -> None:
        for found in batch:
            jobs.put_datum_file(db, datum_row, found.path, Kind.FILE, _content(db, found))

    for found in batch:
        if found.staged is not None:
            store.blobs.publish(found.staged)
    if batch:
        store.write(put)


def _content(db: Db, found: _Found) -> Content:
    if found.staged is not None:
        return blobs.record(db, found.staged)
    assert found.linked is not None
    item, path = found.linked
    return _find_input(db, item, path).content


def _find_input(db: Db, item: DatumInput, path: str) -> files.Entry:
    snapshot = files.open_commit(db, commits.get_commit(db, item.repo, item.commit))
    return files.get_file(db, snapshot, path)


def _walk(
    store: Store, out: Path, directory: Path, prefix: str, inputs: tuple[DatumInput, ...], strict: bool, depth: int
) -> Iterator[_Found]:
    if depth > _MAX_DEPTH:
        raise ApplianceError(f"the output has directories more than {_MAX_DEPTH} deep: {prefix[:200]}…")
    with os.scandir(directory) as entries:
        names = sorted(entries, key=lambda entry: entry.name)
    for entry in names:
        path = f"{prefix}/{entry.name}"
        place = Path(entry.path)
        if entry.is_symlink():
            link = _resolve(place, out, path)
            if (linked := _find_linked(link, inputs)) is not None:
                yield from _walk_input(store, path, linked)
                continue
            place = _outside(link, out)
        mode = _mode(place, path)
        if stat.S_ISDIR(mode):
            yield from _walk(store, out, place, path, inputs, strict, depth + 1)
        elif stat.S_ISREG(mode):
            yield _Found(_check(path, strict), _adopt(store, place, owned=not entry.is_symlink()), None)


def _check(path: str, strict: bool) -> str:
    try:
        return check_path(path, strict=strict)
    except InvalidPath as error:
        message = f"cannot upload file produced by the user code because its name cannot be represented in PFS: {error}"
        raise InvalidPath(message) from None


def _mode(place: Path, path: str) -> int:
    try:
        return place.lstat().st_mode
    except OSError as error:
        raise ApplianceError(f"cannot read output file {path}: {error.strerror}") from None


def _resolve(place: Path, out: Path, path: str) -> PurePosixPath:
    """Return where a link leads, as the user's code saw it: `out` was `/pfs/out` there."""
    seen_at = PurePosixPath("/pfs/out") / place.relative_to(out) if place.is_relative_to(out) else PurePosixPath(place)
    target = seen_at
    for _ in range(40):
        here = _outside(target, out)
        if not here.is_symlink():
            return target
        target = PurePosixPath(os.path.normpath(target.parent / here.readlink()))
    raise ApplianceError(f"too many levels of symbolic links in output file {path}")


def _outside(seen: PurePosixPath, out: Path) -> Path:
    """Return where something that user code saw is on the host."""
    below = PurePosixPath("/pfs/out")
    return out / seen.relative_to(below) if seen.is_relative_to(below) else Path(seen)


def _find_linked(link: PurePosixPath, inputs: tuple[DatumInput, ...]) -> tuple[DatumInput, str] | None:
    for item in inputs:
        root = PurePosixPath("/pfs") / item.name
        if link.is_relative_to(root) and not item.s3:
            path = "/" + str(link.relative_to(root)).removeprefix(".")
            if path == item.path or path.startswith(item.path.rstrip("/") + "/"):
                return item, path
    return None


def _walk_input(store: Store, path: str, linked: tuple[DatumInput, str]) -> Iterator[_Found]:
    """Yield what a link to a file or directory of an input stands for."""
    item, target = linked
    with store.snapshot() as db:
        snapshot = files.open_commit(db, commits.get_commit(db, item.repo, item.commit))
        entry = files.find(db, snapshot, target) if target != "/" else None
        if entry is not None:
            below = [""]
        else:
            prefix = target.rstrip("/") + "/"
            below = [e.path.removeprefix(prefix) for e in files.iter_entries(db, snapshot, prefix) if e.kind == Kind.FILE]
    for rest in below:
        yield _Found(f"{path}/{rest}" if rest else path, None, (item, f"{target.rstrip('/')}/{rest}" if rest else target))


def _adopt(store: Store, place: Path, *, owned: bool) -> StagedBlob:
    return store.blobs.adopt(place) if owned else store.blobs.copy_in(place)
