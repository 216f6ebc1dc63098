"""Staged changes of a branch become a commit, are listed, or are given up; for the mount and without one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from appliance.errors import NotFound
from appliance.mount.following import Following
from appliance.mount.staged import StagedFiles
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, overlaying, overlays, snapshots, staging
from appliance.store.blobs import Content, StagedBlob
from appliance.store.overlays import Node, NodeKind, View
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


def _do_nothing() -> None:
    pass


def commit(
    store: Store,
    repo: str,
    branch: str,
    on_received: Callable[[], None] = _do_nothing,
    on_written: Callable[[], None] = _do_nothing,
    *,
    roots: Sequence[str] = (),
    overwrite: bool = False,
    go_on: Callable[[], None] = _do_nothing,
) -> CommitId | None:
    """Put what is staged in a branch in one commit and return its id; None if nothing is staged.

    Nobody may write to it meanwhile. `roots` is where it is mounted, for the sake of absolute links in it. What no commit
    holds, pipes and links that lead out of the branch, is left out and gone afterwards. `on_received` is called when all
    bytes are there, before the one write that makes the commit and ends what is staged; `on_written` behind that write, and
    returns when nobody is left who looks at a snapshot of before: then the files go that this names.

    Raises Conflict, see `overlaying.put`; what is staged then stays. So it does if `go_on`, which is called again and again,
    raises. Blocks for the disk.
    """
    with store.snapshot() as db:
        view = overlays.open_view(db, repo, branch)
    if view.overlay is None:
        return None
    put_id = store.write(staging.begin_put)
    try:
        _stage(store, view, roots, put_id, go_on)

        def put(db: Db) -> tuple[CommitId, list[str]]:
            return overlaying.put(db, view, put_id, overwrite=overwrite), overlays.discard(db, repo, branch) or []

        on_received()
        committed, files = store.write(put)
    except BaseException:
        store.write(lambda db: staging.discard_put(db, put_id))
        raise
    on_written()
    staged_files(store).remove(files)
    return committed


def discard(store: Store, repo: str, branch: str, on_written: Callable[[], None] = _do_nothing) -> bool:
    """Give up what is staged in a branch; tell whether there was something. `on_written` as for `commit`."""
    files = store.write(lambda db: overlays.discard(db, repo, branch))
    on_written()
    staged_files(store).remove(files or ())
    return files is not None


def _stage(store: Store, view: View, roots: Sequence[str], put_id: str, go_on: Callable[[], None]) -> None:
    """Take in the bytes of all files that were written or have links to them, some at a time."""
    files = staged_files(store)
    with store.snapshot() as db:
        written = _iter_written(Following(db, view, files, roots))
        while batch := list(islice(written, _BATCH)):
            go_on()
            _stage_batch(store, files, put_id, batch, go_on)


@dataclass(frozen=True, slots=True)
class _Written:
    """What becomes of a path: bytes of a staged file, or content that is known already."""

    path: str
    bytes_of: str | Content
    metadata: Metadata


def _iter_written(following: Following) -> Iterator[_Written]:
    """Yield the files that have bytes of their own, and what links lead to."""
    for path, node, _ in overlaying.iter_nodes(following.db, following.view):
        if node.has_bytes:
            yield _describe(following, path, node)
        elif node.kind == NodeKind.LINK:
            for below, item in following.iter_files(path):
                if item.entry is not None:
                    yield _Written(below, item.entry.content, item.entry.metadata)
                elif item.node is not None:
                    yield _describe(following, below, item.node)


def _describe(following: Following, path: str, node: Node) -> _Written:
    """Return what becomes of a file that was written: it keeps its S3 metadata, but not its checksum."""
    assert node.file is not None, f"{path} has no bytes"
    before = snapshots.find(following.db, following.view.base, node.base_path) if node.base_path is not None else None
    kept = before.metadata if before is not None else {}
    return _Written(path, node.file, {name: value for name, value in kept.items() if not name.startswith(_OF_BYTES)})


def _stage_batch(store: Store, files: StagedFiles, put_id: str, batch: list[_Written], go_on: Callable[[], None]) -> None:
    received = [(one, _take_in(store, files, one.bytes_of, go_on)) for one in batch]

    def add(db: Db) -> None:
        for one, content in received:
            known = blobs.record(db, content) if isinstance(content, StagedBlob) else content
            staging.add_file(db, put_id, one.path, known, one.metadata)

    store.write(add)


def _take_in(store: Store, files: StagedFiles, bytes_of: str | Content, go_on: Callable[[], None]) -> StagedBlob | Content:
    if isinstance(bytes_of, Content):
        return bytes_of
    files.allow_reading(bytes_of)
    staged = store.blobs.copy_in(files.path(bytes_of), go_on)
    store.blobs.publish(staged)
    return staged


def iter_status(
    store: Store, db: Db, list_roots: Callable[[str, str], Sequence[str]] = lambda repo, branch: ()
) -> Iterator[dict[str, object]]:
    """Yield everything that is staged: repo, branch, what was done and the path.

    `list_roots` says where a branch is mounted, for the sake of absolute links in it.
    """
    for repo, branch, _ in overlays.list_views(db):
        try:
            view = overlays.open_view(db, repo, branch)
        except NotFound:  # its commit was squashed or dropped: what was changed in it can still be named
            view = overlays.open_without_base(db, repo, branch)
        following = Following(db, view, staged_files(store), list_roots(repo, branch))
        for staged in overlaying.iter_staged(db, view):
            lost = staged.is_link and following.find(staged.path) is None
            yield {"repo": repo, "branch": branch, "what": "not kept" if lost else staged.what, "path": staged.path}
