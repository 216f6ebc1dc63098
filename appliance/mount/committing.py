"""Staged changes of a branch become a commit, are listed, or are given up; for the mount and without one."""

from collections.abc import Callable, Iterator
from itertools import islice

from appliance.mount.staged import StagedFiles
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, overlaying, overlays, staging
from appliance.store.overlays import View

DIRECTORY = "mount"
_BATCH = 64


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
        written = ((path, node.file) for path, node, _ in overlaying.iter_nodes(db, view) if node.file is not None)
        while batch := list(islice(written, _BATCH)):
            go_on()
            _stage_batch(store, files, put_id, batch, go_on)


def _stage_batch(
    store: Store, files: StagedFiles, put_id: str, batch: list[tuple[str, str]], go_on: Callable[[], None]
) -> None:
    received = [(path, store.blobs.copy_in(files.path(file), go_on)) for path, file in batch]
    for _, staged in received:
        store.blobs.publish(staged)

    def add(db: Db) -> None:
        for path, staged in received:
            staging.add_file(db, put_id, path, blobs.record(db, staged))

    store.write(add)


def iter_status(db: Db) -> Iterator[dict[str, object]]:
    """Yield everything that is staged: repo, branch, what was done and the path."""
    for repo, branch, _ in overlays.list_views(db):
        view = overlays.open_view(db, repo, branch)
        for staged in overlaying.iter_staged(db, view):
            yield {"repo": repo, "branch": branch, "what": staged.what, "path": staged.path}
