"""Staged changes of a branch become a commit, are listed, or are given up; for the mount and without one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from appliance.errors import NotFound
from appliance.mount.staged import StagedFiles
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, overlaying, overlays, snapshots, staging
from appliance.store.overlays import View
from appliance.store.snapshots import Metadata

DIRECTORY = "mount"
_BATCH = 64
# The checksum that S3 clients sent with the bytes.
_OF_BYTES = "x-amz-checksum-"


def staged_files(store: Store) -> StagedFiles:
    """Return where a store's staged bytes are."""
    return StagedFiles(store.directory / DIRECTORY)


def sweep(store: Store) -> None:
    """Remove staged bytes that no change refers to. Only before anybody can write."""
    with store.snapshot() as db:
        used = overlays.list_files(db)
    staged_files(store).sweep(used)


def commit(
    store: Store, repo: str, branch: str, *, overwrite: bool = False, go_on: Callable[[], None] = lambda: None
) -> CommitId | None:
    """Put what is staged in a branch in one commit and return its id; None if nothing is staged.

    Nobody may write to it meanwhile. Raises Conflict, see `overlaying.put`; what is staged then stays. So it does if `go_on`,
    which is called again and again, raises. Blocks for the disk.
    """
    with store.snapshot() as db:
        view = overlays.open_view(db, repo, branch)
    if view.overlay is None:
        return None
    put_id = store.write(staging.begin_put)
    try:
        _stage(store, view, put_id, go_on)

        def put(db: Db) -> tuple[CommitId, list[str]]:
            return overlaying.put(db, view, put_id, overwrite=overwrite), overlays.discard(db, repo, branch) or []

        committed, files = store.write(put)
    except BaseException:
        store.write(lambda db: staging.discard_put(db, put_id))
        raise
    staged_files(store).remove(files)
    return committed


def discard(store: Store, repo: str, branch: str) -> bool:
    """Give up what is staged in a branch; tell whether there was something."""
    files = store.write(lambda db: overlays.discard(db, repo, branch))
    staged_files(store).remove(files or ())
    return files is not None


def _stage(store: Store, view: View, put_id: str, go_on: Callable[[], None]) -> None:
    """Take in the bytes of all files that were written, some at a time."""
    files = staged_files(store)
    with store.snapshot() as db:
        written = _iter_written(db, view)
        while batch := list(islice(written, _BATCH)):
            go_on()
            _stage_batch(store, files, put_id, batch, go_on)


@dataclass(frozen=True, slots=True)
class _Written:
    path: str
    file: str
    metadata: Metadata


def _iter_written(db: Db, view: View) -> Iterator[_Written]:
    """Yield the files that have bytes of their own. A file that is rewritten keeps its S3 metadata, but not its checksum."""
    for path, node, _ in overlaying.iter_nodes(db, view):
        if node.file is not None:
            before = snapshots.find(db, view.base, node.base_path) if node.base_path is not None else None
            kept = before.metadata if before is not None else {}
            yield _Written(path, node.file, {name: value for name, value in kept.items() if not name.startswith(_OF_BYTES)})


def _stage_batch(store: Store, files: StagedFiles, put_id: str, batch: list[_Written], go_on: Callable[[], None]) -> None:
    received = [(one, store.blobs.copy_in(files.path(one.file), go_on)) for one in batch]
    for _, staged in received:
        store.blobs.publish(staged)

    def add(db: Db) -> None:
        for one, staged in received:
            staging.add_file(db, put_id, one.path, blobs.record(db, staged), one.metadata)

    store.write(add)


def iter_status(db: Db) -> Iterator[dict[str, object]]:
    """Yield everything that is staged: repo, branch, what was done and the path."""
    for repo, branch, _ in overlays.list_views(db):
        try:
            view = overlays.open_view(db, repo, branch)
        except NotFound:  # its commit was squashed or dropped: what was changed in it can still be named
            view = overlays.open_without_base(db, repo, branch)
        for staged in overlaying.iter_staged(db, view):
            yield {"repo": repo, "branch": branch, "what": staged.what, "path": staged.path}
