"""What a datum left in `/pfs/out`, into the store.

Files are taken in by hashing and renaming, so their bytes are not copied. A symbolic link into an input becomes that
input's content without reading it; other links are followed; anything that is neither file nor directory is left out, as
are empty directories (Pachyderm's `src/server/worker/driver`, uploadOutput).

Paths are followed as user code saw them (`/pfs/out/…`, `/pfs/<input>/…`, the host's elsewhere): what the host has at
`/pfs` is another datum's or nothing at all, and is never looked at.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from appliance.errors import ApplianceError, InvalidPath
from appliance.names import check_path
from appliance.pipelines.datums import DatumInput
from appliance.store import Db, Store, blobs, commits, datums, listings, snapshots
from appliance.store.blobs import Content, StagedBlob
from appliance.store.snapshots import Kind

_BATCH = 200
_SORTED = 1000
_MAX_DEPTH = 100
_MAX_LINKS = 40
_PFS = PurePosixPath("/pfs")
_OUT = _PFS / "out"


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to take in: staged bytes, or the content of an input that it links to."""

    path: str
    content: StagedBlob | Content


def collect(store: Store, datum_row: int, out: Path, inputs: tuple[DatumInput, ...], *, strict: bool) -> None:
    """Stage everything below `out` as the output of a running datum. Blocks.

    Raises ApplianceError for a name that no file can have, a dangling link, or directories without end.
    """
    walk = _Walk(store, out, inputs, strict)
    # Links first: what one leads to may be a file that is taken in by renaming, and then would not be found.
    for follow_links in (True, False):
        _take_in(store, datum_row, walk.iter(follow_links=follow_links))


def _take_in(store: Store, datum_row: int, found: Iterator[_Found]) -> None:
    batch: list[_Found] = []
    try:
        for file in found:
            batch.append(file)
            if len(batch) >= _BATCH:
                _stage(store, datum_row, batch)
                batch.clear()
        _stage(store, datum_row, batch)
    finally:
        for file in batch:
            if isinstance(file.content, StagedBlob):
                file.content.discard()


def _stage(store: Store, datum_row: int, batch: list[_Found]) -> None:
    def put(db: Db) -> None:
        for file in batch:
            content = blobs.record(db, file.content) if isinstance(file.content, StagedBlob) else file.content
            datums.put_datum_file(db, datum_row, file.path, Kind.FILE, content)

    for file in batch:
        if isinstance(file.content, StagedBlob):
            store.blobs.publish(file.content)
    if batch:
        store.write(put)


class _Walk:
    """The files of one output directory. `seen` is a path as user code saw it, `path` what the file will be called."""

    def __init__(self, store: Store, out: Path, inputs: tuple[DatumInput, ...], strict: bool) -> None:
        self._store, self._out, self._strict = store, out, strict
        self._inputs = [item for item in inputs if not item.s3]

    def iter(self, *, follow_links: bool) -> Iterator[_Found]:
        """Yield what links lead to, or else the files that lie there themselves."""
        return self._iter_directory((_OUT,), "", follow_links=follow_links, by_link=False)

    def _iter_directory(
        self, chain: tuple[PurePosixPath, ...], path: str, *, follow_links: bool, by_link: bool
    ) -> Iterator[_Found]:
        """Yield what is below the last of a chain of directories, each entered from the one before it."""
        if len(chain) > _MAX_DEPTH:
            raise ApplianceError(f"the output has directories more than {_MAX_DEPTH} deep: {path[:200]}…")
        for entry in self._iter_names(chain[-1], path):
            seen, below = chain[-1] / entry.name, f"{path}/{entry.name}"
            if entry.is_symlink():
                if follow_links:
                    yield from self._iter_target(chain, self._resolve(seen, below), below)
            elif entry.is_dir(follow_symlinks=False):
                yield from self._iter_directory((*chain, seen), below, follow_links=follow_links, by_link=by_link)
            elif entry.is_file(follow_symlinks=False) and by_link == follow_links:
                yield self._take(seen, below, owned=not by_link)

    def _iter_target(self, chain: tuple[PurePosixPath, ...], target: PurePosixPath, path: str) -> Iterator[_Found]:
        """Yield what a link stands for."""
        if _is_in_inputs(target):
            yield from self._iter_inputs(target, path)
            return
        mode = _mode(self._host(target), path)
        if stat.S_ISDIR(mode):
            if target in chain or _PFS.is_relative_to(target):
                raise ApplianceError(f"output file {path} is a link to {target}, which contains it")
            yield from self._iter_directory((*chain, target), path, follow_links=True, by_link=True)
        elif stat.S_ISREG(mode):
            yield self._take(target, path, owned=False)

    def _iter_names(self, seen: PurePosixPath, path: str) -> Iterator[os.DirEntry[str]]:
        """Yield what is in a directory: in order of names, but a million are not held for that."""
        place = self._host(seen)
        try:
            if seen.is_relative_to(_OUT) and not os.access(place, os.R_OK | os.X_OK):
                place.chmod(0o700)
            with os.scandir(place) as entries:
                while page := sorted(islice(entries, _SORTED), key=lambda entry: entry.name):
                    yield from page
        except OSError as error:
            raise ApplianceError(f"cannot read output directory {path}: {error.strerror}") from None

    def _take(self, seen: PurePosixPath, path: str, *, owned: bool) -> _Found:
        self._check(path)
        place = self._host(seen)
        try:
            return _Found(path, self._store.blobs.adopt(place) if owned else self._store.blobs.copy_in(place))
        except PermissionError:  # never as root
            if not seen.is_relative_to(_OUT):
                raise
            place.chmod(0o600)  # the file is ours, whatever mode it was given
            return _Found(path, self._store.blobs.copy_in(place))

    def _check(self, path: str) -> None:
        try:
            check_path(path, strict=self._strict)
        except InvalidPath as error:
            message = f"cannot upload file produced by the user code because its name cannot be represented in PFS: {error}"
            raise InvalidPath(message) from None

    def _host(self, seen: PurePosixPath) -> Path:
        """Return where something that is not an input lies on the host."""
        return self._out / seen.relative_to(_OUT) if seen.is_relative_to(_OUT) else Path(seen)

    def _resolve(self, link: PurePosixPath, path: str) -> PurePosixPath:
        """Return where a link leads, step by step, for every directory on the way may be a link too."""
        here, rest, links = PurePosixPath("/"), list(reversed(link.parts[1:])), 0
        while rest:
            name = rest.pop()
            here = here.parent if name == ".." else here / name
            if here == _PFS or _is_in_inputs(here) or not self._host(here).is_symlink():
                continue
            links += 1
            if links > _MAX_LINKS:
                raise ApplianceError(f"too many levels of symbolic links in output file {path}")
            target = PurePosixPath(self._host(here).readlink())
            here = PurePosixPath("/") if target.is_absolute() else here.parent
            rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        return here

    def _iter_inputs(self, target: PurePosixPath, path: str) -> Iterator[_Found]:
        """Yield the files that user code saw at or below a path of an input; their bytes are not looked at."""
        found = False
        for item in self._inputs:
            root = _PFS / item.name / item.path.lstrip("/")
            if target.is_relative_to(root):
                taken = self._iter_input(item, _path_in(item, target), path)
            elif root.is_relative_to(target):
                taken = self._iter_input(item, item.path, f"{path}/{root.relative_to(target)}")
            else:
                continue
            for file in taken:
                found = True
                yield file
        if not found and not any(self._is_directory(item, target) for item in self._inputs):
            raise ApplianceError(f"cannot read output file {path}: it is a link to {target}, which does not exist")

    def _iter_input(self, item: DatumInput, target: str, path: str) -> Iterator[_Found]:
        with self._store.snapshot() as db:
            snapshot = snapshots.open_commit(db, commits.get_commit(db, item.repo, item.commit))
            entry = snapshots.find(db, snapshot, target) if target != "/" else None
            if entry is not None:
                found = [(path, entry.content)]
            else:
                prefix = target.rstrip("/") + "/"
                entries = (entry for entry in snapshots.iter_entries(db, snapshot, prefix) if entry.kind == Kind.FILE)
                found = [(f"{path}/{entry.path.removeprefix(prefix)}", entry.content) for entry in entries]
        for name, content in found:
            self._check(name)
            yield _Found(name, content)

    def _is_directory(self, item: DatumInput, target: PurePosixPath) -> bool:
        """Tell whether user code saw a directory, an empty one, at a path of an input."""
        root = _PFS / item.name / item.path.lstrip("/")
        if not target.is_relative_to(root):
            return False
        with self._store.snapshot() as db:
            snapshot = snapshots.open_commit(db, commits.get_commit(db, item.repo, item.commit))
            return listings.is_directory(db, snapshot, _path_in(item, target))


def _path_in(item: DatumInput, seen: PurePosixPath) -> str:
    """Return the path in its repo of what user code saw in an input."""
    return "/" + "/".join(seen.relative_to(_PFS / item.name).parts)


def _is_in_inputs(seen: PurePosixPath) -> bool:
    """Tell whether a path is below `/pfs` and not in the output; there are no links there."""
    return seen != _PFS and seen.is_relative_to(_PFS) and not seen.is_relative_to(_OUT)


def _mode(place: Path, path: str) -> int:
    try:
        return place.lstat().st_mode
    except OSError as error:
        raise ApplianceError(f"cannot read output file {path}: {error.strerror}") from None
