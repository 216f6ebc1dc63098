"""Putting and getting files: local ones in two steps (bytes first, then all paths in one commit); URLs are in `transfers`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appliance.app import App
from appliance.control.describing import FileInfo, describe_directory, describe_file
from appliance.errors import BadDigest, InvalidRequest
from appliance.httpd import FileSlice
from appliance.names import check_path, clean_path
from appliance.store import Db, Store, blobs, commits, files, history, listings, snapshots
from appliance.store.blobs import Content, Extent, StagedBlob


@dataclass(frozen=True, slots=True)
class PutFile:
    """A path and the digest of bytes that were sent before."""

    path: str
    digest: str


class FileCalls:
    """The calls about files. Every public method is one."""

    def __init__(self, app: App) -> None:
        self._app, self._store = app, app.store
        self._strict = app.config.strict

    def put_files(self, repo: str, branch: str, files: list[PutFile], append: bool = False) -> str:
        """Put bytes that were sent before, all in one commit; return its id."""

        def put(db: Db) -> str:
            chosen = ((file.path, find_blob(db, file.digest)) for file in files)
            return _put_all(db, repo, branch, chosen, append=append, strict=self._strict)

        return self._store.write(put)

    def check_target(self, repo: str, branch: str) -> None:
        """Refuse before a byte is sent or fetched what would be refused at the end."""
        with self._store.snapshot() as db:
            history.check_branch_writable(db, repo, branch)

    def inspect_file(self, repo: str, revision: str, path: str) -> FileInfo:
        with self._store.snapshot() as db:
            snapshot = snapshots.open_revision(db, repo, revision)
            wanted = clean_path(path)
            if listings.is_directory(db, snapshot, wanted):
                return describe_directory(db, snapshot, wanted.rstrip("/") + "/")
            return describe_file(db, snapshots.get_file(db, snapshot, wanted))

    def copy_file(
        self, repo: str, revision: str, path: str, to_repo: str, to_branch: str, to_path: str, append: bool = False
    ) -> str:
        """Copy a file, or a directory with everything below it, in one commit; return its id. No bytes are moved."""

        def copy(db: Db) -> str:
            source = snapshots.open_revision(db, repo, revision)
            writing = history.begin_write(db, to_repo, to_branch)
            target = clean_path(to_path)
            files.copy_tree(db, source, clean_path(path), writing.commit, target, append=append)
            history.end_write(db, writing)
            return writing.commit.id

        return self._store.write(copy)

    def make_directory(self, repo: str, branch: str, path: str) -> None:
        """Make an explicit, empty directory."""

        def make(db: Db) -> None:
            writing = history.begin_write(db, repo, branch)
            files.make_directory(db, writing.commit, check_path(f"{clean_path(path)}/", strict=self._strict))
            history.end_write(db, writing)

        self._store.write(make)

    def delete_file(self, repo: str, branch: str, path: str, recursive: bool = False) -> None:
        """Remove a file, or with `recursive` everything below a directory; a missing path is no error."""

        def delete(db: Db) -> None:
            writing = history.begin_write(db, repo, branch)
            wanted = clean_path(path)
            if recursive:
                files.delete_tree(db, writing.commit, wanted)
            elif listings.is_directory(db, snapshots.open_commit(db, writing.commit), wanted):
                raise InvalidRequest(f"{wanted} is a directory: -r removes it with everything below")
            if wanted != "/":
                files.delete_path(db, writing.commit, wanted)
            history.end_write(db, writing)

        self._store.write(delete)


def keep(store: Store, staged: StagedBlob) -> Content:
    """Make staged bytes permanent under their digest, for a put that follows."""
    store.blobs.publish(staged)
    return store.write(lambda db: blobs.record(db, staged))


def open_file(store: Store, repo: str, revision: str, path: str, offset: int) -> list[FileSlice]:
    """Return where the bytes of a file are from an offset on. Raises FileNotFound, InvalidRequest."""
    with store.snapshot() as db:
        snapshot = snapshots.open_revision(db, repo, revision)
        wanted = clean_path(path)
        if listings.is_directory(db, snapshot, wanted):
            message = f"couldn't download {wanted}: cannot get directory or non-regular file. Try again with the -r flag"
            raise InvalidRequest(message)
        content = snapshots.get_file(db, snapshot, wanted).content
        if offset > content.size_bytes:
            raise InvalidRequest(f"offset {offset} is beyond the {content.size_bytes} bytes of {wanted}")
        return list(_skip(blobs.list_extents(db, store.blobs, content), offset))


def _skip(extents: Iterable[Extent], offset: int) -> Iterator[FileSlice]:
    for extent in extents:
        skipped = min(offset, extent.size_bytes)
        offset -= skipped
        if skipped < extent.size_bytes:
            yield FileSlice(extent.file, extent.data, extent.offset + skipped, extent.size_bytes - skipped)


def find_blob(db: Db, digest: str) -> Content:
    """The content that was sent before with a digest. Raises BadDigest."""
    try:
        found = blobs.find(db, bytes.fromhex(digest))
    except ValueError:
        found = None
    if found is None:
        raise BadDigest(f"no bytes with the digest {digest} were sent")
    return found


def _put_all(db: Db, repo: str, branch: str, chosen: Iterable[tuple[str, Content]], *, append: bool, strict: bool) -> str:
    writing = history.begin_write(db, repo, branch)
    for path, content in chosen:
        check_path(path, strict=strict)
        files.put_file(db, writing.commit, path, _appended(db, writing.commit, path, content) if append else content)
    history.end_write(db, writing)
    return writing.commit.id


def _appended(db: Db, commit: commits.Commit, path: str, content: Content) -> Content:
    """Return what a path holds followed by more; no bytes are moved."""
    before = snapshots.find(db, snapshots.open_commit(db, commit), path)
    if before is None:
        return content
    ranges = [(item, 0, item.size_bytes) for item in (before.content, content)]
    return blobs.join(db, ranges, blobs.joined_etag([before.content, content]))
