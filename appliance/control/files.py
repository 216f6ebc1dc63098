"""Putting and getting files: local ones in two steps (bytes first, then all paths in one commit); URLs are in `transfers`."""

from collections.abc import Iterable, Iterator
from itertools import islice

from appliance.app import App
from appliance.control.describing import FileInfo, describe_directory, describe_file
from appliance.errors import InvalidRequest
from appliance.globs import Glob, compile_glob
from appliance.httpd import FileSlice
from appliance.names import check_path, clean_path
from appliance.store import Db, Store, blobs, files, history, listings, matching, snapshots, staging
from appliance.store.blobs import Extent, StagedBlob
from appliance.store.snapshots import Entry, Snapshot


class FileCalls:
    """The calls about files. Every public method is one."""

    def __init__(self, app: App) -> None:
        self._app, self._store = app, app.store
        self._strict = app.config.strict

    def begin_put(self, repo: str, branch: str) -> str:
        """Begin a put of files that are sent one by one; refuse before a byte is sent what would be refused at the end."""

        def begin(db: Db) -> str:
            history.check_branch_writable(db, repo, branch)
            return staging.begin_put(db)

        return self._store.write(begin)

    def put_staged(self, put: str, repo: str, branch: str, append: bool = False) -> str:
        """Put the files that were sent, all in one commit; return its id."""
        return self._store.write(lambda db: staging.put_all(db, put, repo, branch, append=append))

    def discard_put(self, put: str) -> None:
        """Forget the files that were sent."""
        self._store.write(lambda db: staging.discard_put(db, put))

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


def stage_file(store: Store, put: str, path: str, position: int, staged: StagedBlob, *, strict: bool) -> None:
    """Make bytes permanent and keep them for the end of a put. Raises UploadNotFound, InvalidPath."""
    store.blobs.publish(staged)

    def stage(db: Db) -> None:
        staging.add_file(db, put, path, blobs.record(db, staged), strict=strict, position=position)

    store.write(stage)


def open_file(store: Store, repo: str, revision: str, path: str, offset: int) -> list[FileSlice]:
    """Return where the bytes of a file are from an offset on; the path may be a pattern that matches this file alone.

    Raises FileNotFound, InvalidRequest.
    """
    with store.snapshot() as db:
        snapshot = snapshots.open_revision(db, repo, revision)
        wanted = clean_path(path)
        if listings.is_directory(db, snapshot, wanted):
            raise _not_one_file(wanted, "cannot get directory or non-regular file")
        content = _get_one(db, snapshot, wanted).content
        if offset > content.size_bytes:
            raise InvalidRequest(f"offset {offset} is beyond the {content.size_bytes} bytes of {wanted}")
        return list(_skip(blobs.list_extents(db, store.blobs, content), offset))


def _get_one(db: Db, snapshot: Snapshot, path: str) -> Entry:
    entry = snapshots.find(db, snapshot, path)
    if entry is None and (glob := as_pattern(path)) is not None:
        found = list(islice(matching.iter_matches(db, snapshot, glob), 2))
        if len(found) > 1:
            raise _not_one_file(path, "matched multiple files")
        if found and found[0].is_dir:
            raise _not_one_file(path, "cannot get directory or non-regular file")
        path = found[0].path if found else path
    return snapshots.get_file(db, snapshot, path)


def _not_one_file(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"couldn't download {path}: {reason}. Try again with the -r flag")


def as_pattern(path: str) -> Glob | None:
    """Return a path as a pattern, None if it is none: many characters of patterns may be in names, too."""
    try:
        glob = compile_glob(path)
    except InvalidRequest:
        return None
    return None if glob.literal_prefix == path else glob


def _skip(extents: Iterable[Extent], offset: int) -> Iterator[FileSlice]:
    for extent in extents:
        skipped = min(offset, extent.size_bytes)
        offset -= skipped
        if skipped < extent.size_bytes:
            yield FileSlice(extent.file, extent.data, extent.offset + skipped, extent.size_bytes - skipped)
