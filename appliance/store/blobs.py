"""Bytes by digest: received aside, published once, never changed afterwards.

Small blobs are kept in the database, larger ones as read-only files `blobs/ab/cdef…` named by their SHA-256. Publishing
comes before the row that refers to the blob, so a row never lacks its bytes; bytes without a row are garbage that the
collector finds.
"""

import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

from appliance.errors import BadDigest, StoreDamaged
from appliance.store.database import Db, Durability
from appliance.store.disk import explain, explained
from appliance.store.holds import BlobFile, Digest, Holds

_log = logging.getLogger(__name__)

__all__ = ["Content", "Digest", "Extent", "StagedBlob"]

INLINE_BYTES = 32 * 1024
READ_BYTES = 1024 * 1024
_WRITE_BACK_BYTES = 16 * 1024 * 1024
# From here on a second thread hashes sooner than it costs to tell it.
_LARGE_PIECE_BYTES = 512 * 1024

# MD5 takes as long as all else that is done with a large piece; hashlib works on it without the interpreter's lock.
_hashing = ThreadPoolExecutor(max_workers=4, thread_name_prefix="md5")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StagedBlob:
    """Bytes received and hashed, not yet permanent. Exactly one of `data` and `file` is set.

    What was published is safe from the collector for as long as somebody has this object: until a row refers to it. `md5`
    is empty if nobody asked for it.
    """

    size_bytes: int
    digest: Digest
    md5: bytes
    data: bytes | None
    file: Path | None

    def discard(self) -> None:
        """Forget the bytes; harmless after publishing."""
        if self.file is not None:
            _drop(self.file)


class Receiver:
    """Takes the bytes of one blob as they arrive; memory use is bounded by `INLINE_BYTES`.

    Use as a context manager: leaving it without `finish` drops what was received.
    """

    def __init__(self, staging: Path, *, durable: bool, md5: bool) -> None:
        self._staging, self._durable = staging, durable
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._sent_bytes = 0
        self.size_bytes = 0

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            _drop(self._path)

    def write(self, piece: bytes | memoryview) -> None:
        """Add bytes, which may change afterwards. Raises DiskFailed.

        Call from a worker thread for large pieces: hashing takes about 2 ms per MiB.
        """
        hashed = self._begin_md5(piece)
        try:
            self._sha256.update(piece)
            self._keep(piece)
        finally:
            if hashed is not None:
                hashed.result()

    def _begin_md5(self, piece: bytes | memoryview) -> Future[None] | None:
        """Add a small piece to the MD5, or have that done for a large one: it is when the result is there."""
        if self._md5 is None:
            return None
        if len(piece) >= _LARGE_PIECE_BYTES:
            return _hashing.submit(self._md5.update, piece)
        self._md5.update(piece)
        return None

    def _keep(self, piece: bytes | memoryview) -> None:
        self.size_bytes += len(piece)
        with explained("the bytes can not be kept"):
            if self._file is not None:
                _write_all(self._file, piece)
                if self._durable and self.size_bytes - self._sent_bytes >= _WRITE_BACK_BYTES:
                    self._write_back(self._file)
            else:
                self._pieces.append(bytes(piece))
                if self.size_bytes > INLINE_BYTES:
                    self._spill()

    def finish(self) -> StagedBlob:
        """Return what was received. The caller publishes or discards it."""
        digest, md5 = Digest(self._sha256.digest()), self._md5.digest() if self._md5 is not None else b""
        if self._file is None:
            return StagedBlob(self.size_bytes, digest, md5, b"".join(self._pieces), None)
        self._file.close()
        self._file = None
        return StagedBlob(self.size_bytes, digest, md5, None, self._path)

    def _write_back(self, file: IO[bytes]) -> None:
        """Have the kernel begin to write what it has, so that the fsync of a large blob does not begin with all of it.

        Linux starts that for pages that it is told nobody needs; those that are still dirty stay.
        """
        os.posix_fadvise(file.fileno(), self._sent_bytes, self.size_bytes - self._sent_bytes, os.POSIX_FADV_DONTNEED)
        self._sent_bytes = self.size_bytes

    def _spill(self) -> None:
        self._path = self._staging / secrets.token_hex(16)
        # Unbuffered: the pieces are large, and a second copy would cost more than the calls.
        self._file = self._path.open("xb", buffering=0)
        for piece in self._pieces:
            _write_all(self._file, piece)
        self._pieces.clear()


def _drop(staged: Path) -> None:
    """Remove a file of staging. What the disk does not let go of now is removed at the next start, and the error that
    led here is the one to hear of.
    """
    try:
        staged.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s stays until the next start: %s", staged, error)


def _write_all(file: IO[bytes], piece: bytes | memoryview) -> None:
    """Write all of a piece: an unbuffered write may take less, of a very large one or as the disk fills up."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


class Blobs:
    """The blob files below one data directory, and the rows that name them."""

    def __init__(self, directory: Path, durability: Durability) -> None:
        self._files = directory / "blobs"
        self._staging = directory / "staging"
        self._durable = durability == "durable"
        self._files.mkdir(exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        self._device = self._files.stat().st_dev
        self._settled: set[Path] = set()
        self._doubtful: set[Path] = set()
        """Files whose names may not be durable although they are there."""
        self.holds = Holds(self._files, self._staging)
        self._published: WeakKeyDictionary[StagedBlob, BlobFile] = WeakKeyDictionary()
        if self._durable:  # what was just made: the database, the directories here, and this one
            _sync_directory(directory)
            _sync_directory(directory.parent)
        self.sweep_staging()

    def sweep_staging(self) -> None:
        """Remove what a killed process left half received. Only at start: nobody else may be receiving."""
        for leftover in self._staging.iterdir():
            leftover.unlink()

    def receive(self, *, md5: bool = True) -> Receiver:
        """Return an empty receiver for one blob.

        MD5 takes twice as long as everything else: who does without it gets an ETag that is none, see `etag_of`.
        """
        return Receiver(self._staging, durable=self._durable, md5=md5)

    def copy_in(self, file: Path, go_on: Callable[[], None] = lambda: None) -> StagedBlob:
        """Stage a copy of a file. Blocks for the disk. `go_on` is called for each piece and may raise to give up."""
        with self.receive() as receiver, file.open("rb", buffering=0) as source:
            while piece := source.read(READ_BYTES):
                go_on()
                receiver.write(piece)
            return receiver.finish()

    def adopt(self, file: Path) -> StagedBlob:
        """Stage a file that nobody else needs, without copying it where that is safe. Blocks for the disk.

        It is not if somebody could still change the bytes behind our back: through another name, or a descriptor that a
        process left behind holds open for writing. A read lease is the kernel's word that there is none.
        """
        with file.open("rb", buffering=0) as source:
            status = os.fstat(source.fileno())
            if status.st_size <= INLINE_BYTES or status.st_nlink > 1 or not self._is_mine(status) or not _lease(source):
                return self.copy_in(file)
            digest, md5, size_bytes = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
            while piece := source.read(READ_BYTES):
                digest.update(piece)
                md5.update(piece)
                size_bytes += len(piece)
        return StagedBlob(size_bytes, Digest(digest.digest()), md5.digest(), None, file)

    def _is_mine(self, status: os.stat_result) -> bool:
        """Tell whether a file can become ours by renaming: same file system, and no other owner who could reopen it."""
        return status.st_dev == self._device and status.st_uid == os.geteuid()

    def path(self, digest: Digest) -> BlobFile:
        """Return where the file of a large blob is; it stays there for as long as the caller keeps the answer."""
        return self.holds.get(digest)

    def get_intact(self, digest: Digest, size_bytes: int) -> BlobFile:
        """Return the file of a large blob as `path`. Raises StoreDamaged unless it is there, whole as far as is known."""
        file = self.path(digest)
        if self.holds.is_damaged(digest):
            raise StoreDamaged(f"blob file {digest.hex()} is damaged")
        try:
            found = file.stat().st_size
        except FileNotFoundError:
            raise StoreDamaged(f"blob file {digest.hex()} is missing") from None
        if found != size_bytes:
            raise StoreDamaged(f"blob file {digest.hex()} has {found} bytes instead of {size_bytes}")
        return file

    def publish(self, staged: StagedBlob) -> None:
        """Make staged bytes permanent, so that a row may refer to them; small ones become so with their row.

        The file is in place and durable on return. Bytes that exist already only drop the staged copy, unless they are known
        to be damaged: then the copy replaces them. Raises DiskFailed, and BadDigest if the size on disk is not
        `staged.size_bytes`. Blocks for the disk: call from a worker thread.
        """
        if staged.file is None:
            return
        target = self.path(staged.digest)
        self._published[staged] = target
        with explained("the bytes can not be made permanent"):
            if self._is_good(staged, target):
                staged.discard()
            else:
                self._settle(staged.file, staged.size_bytes)
                self._make_directory(target.parent)
                staged.file.rename(target)
                self.holds.mend(staged.digest)
            if self._durable:  # also for bytes that were there: whoever put them there may not have synced yet
                self._make_name_durable(target)

    def _is_good(self, staged: StagedBlob, target: Path) -> bool:
        known_bad = target in self._doubtful or self.holds.is_damaged(staged.digest)
        return not known_bad and _has_size(target, staged.size_bytes)

    def _make_name_durable(self, file: Path) -> None:
        """Sync the directory of a file. After a failure the kernel may forget the name and still say yes the next time, so
        only a file that is put there anew will do.
        """
        try:
            _sync_directory(file.parent)
        except OSError:
            self._doubtful.add(file)
            raise
        self._doubtful.discard(file)

    def _make_directory(self, directory: Path) -> None:
        """Make sure that a directory is there and durable; one that another thread has just made may not be yet."""
        if directory in self._settled:
            return
        directory.mkdir(exist_ok=True)
        if self._durable:
            _sync_directory(directory.parent)
        self._settled.add(directory)

    def _settle(self, file: Path, size_bytes: int) -> None:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size != size_bytes:
                raise BadDigest(f"staged {size_bytes} bytes, found {os.fstat(descriptor).st_size} on disk")
            os.fchmod(descriptor, 0o444)
            if self._durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _has_size(file: Path, size_bytes: int) -> bool:
    try:
        return file.stat().st_size == size_bytes
    except FileNotFoundError:
        return False


def _lease(file: IO[bytes]) -> bool:
    """Tell whether nobody has a file open for writing; holds while `file` stays open."""
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file version: one blob (`blob_id`) or several in order (`list_id`).

    `etag` is S3's, unquoted: hex MD5, or `<hex>-<parts>` for what has another. `data` is there instead for what was only made
    up, and is nowhere.
    """

    size_bytes: int
    etag: str
    blob_id: int | None = None
    list_id: int | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of a blob. `data` holds the whole blob if it is a small one, `file` names it otherwise, and keeps it there."""

    offset: int
    size_bytes: int
    data: bytes | None
    file: BlobFile | None


def record(db: Db, staged: StagedBlob) -> Content:
    """Return the content for a published blob, making its row if there is none and mending one whose bytes are damaged."""
    blob_id, data, md5 = db.row("SELECT id, data, md5 FROM blobs WHERE digest = ?", (staged.digest,)) or (None, None, b"")
    if data != staged.data and blob_id is not None and (data is None or staged.data is not None):
        db.execute("UPDATE blobs SET data = ? WHERE id = ?", (staged.data, blob_id))
    if blob_id is None:
        row = (staged.digest, staged.size_bytes, staged.md5, staged.data)
        blob_id = db.execute(_INSERT_BLOB, row).lastrowid
    elif staged.md5 and not md5:
        db.execute("UPDATE blobs SET md5 = ? WHERE id = ?", (staged.md5, blob_id))
    return Content(staged.size_bytes, etag_of(staged.digest, staged.md5 or md5), blob_id=blob_id)


def record_all(db: Db, staged: Sequence[StagedBlob]) -> list[Content]:
    """`record` some hundred blobs; those that there are no rows of yet cost little more than one."""
    sql = f"SELECT digest FROM blobs WHERE digest IN ({', '.join('?' * len(staged))})"
    known = {digest for (digest,) in db.execute(sql, tuple(blob.digest for blob in staged))}
    new = {blob.digest: blob for blob in staged if blob.digest not in known}
    first = db.value(f"SELECT {next_id('blobs')}")
    if new:
        rows = [(first + place, blob.digest, blob.size_bytes, blob.md5, blob.data) for place, blob in enumerate(new.values())]
        db.insert("blobs (id, digest, size_bytes, md5, data)", rows)
    ids = {digest: first + place for place, digest in enumerate(new)}
    return [
        Content(blob.size_bytes, etag_of(blob.digest, blob.md5), blob_id=ids[blob.digest])
        if blob.digest in ids
        else record(db, blob)
        for blob in staged
    ]


def etag_of(digest: Digest, md5: bytes) -> str:
    """Return S3's ETag for one blob: its MD5. Without that, half of its digest in the form of an upload's in one part, by
    which clients know that it is no MD5.
    """
    return md5.hex() if md5 else f"{digest[:16].hex()}-1"


def settle(db: Db, content: Content) -> Content:
    """Return content that a row can refer to: the same, or the blob of bytes that were nowhere yet."""
    if content.data is None:
        return content
    digest, md5 = Digest(hashlib.sha256(content.data).digest()), bytes.fromhex(content.etag)
    return record(db, StagedBlob(content.size_bytes, digest, md5, content.data, None))


def next_id(table: str) -> str:
    """Return an expression for an id that no row of the table ever had, whatever the collector removed."""
    spent = f"(SELECT id FROM spent_ids WHERE table_name = '{table}')"
    return f"max((SELECT coalesce(max(id), 0) FROM {table}), coalesce({spent}, 0)) + 1"


_INSERT_BLOB = f"INSERT INTO blobs (id, digest, size_bytes, md5, data) VALUES ({next_id('blobs')}, ?, ?, ?, ?)"
_INSERT_LIST = f"INSERT INTO extent_lists (id, digest, size_bytes) VALUES ({next_id('extent_lists')}, ?, ?)"


def find(db: Db, digest: bytes) -> Content | None:
    """Return the content that is one recorded blob, None if there is none of this digest."""
    row = db.row("SELECT id, size_bytes, md5 FROM blobs WHERE digest = ?", (digest,))
    return Content(row[1], etag_of(Digest(digest), row[2]), blob_id=row[0]) if row else None


def is_recorded(db: Db, content: Content) -> bool:
    """Tell whether content that was found in an earlier snapshot is still there: its rows have ids that none has again."""
    table, row = ("blobs", content.blob_id) if content.list_id is None else ("extent_lists", content.list_id)
    return row is None or db.value(f"SELECT 1 FROM {table} WHERE id = ?", (row,)) is not None


def joined_etag(contents: Sequence[Content]) -> str:
    """Return S3's ETag for several contents joined: the MD5 of their MD5s, and their number."""
    digest = hashlib.md5(usedforsecurity=False)
    for content in contents:
        digest.update(bytes.fromhex(content.etag.partition("-")[0]))
    return f"{digest.hexdigest()}-{len(contents)}"


def join(db: Db, contents: Iterable[tuple[Content, int, int]], etag: str, *, as_list: bool = False) -> Content:
    """Return one content made of (content, offset, size_bytes) ranges in order; no bytes are moved.

    With `as_list` it has a list of extents even if it is just one blob.
    """
    pieces: list[tuple[int, int, int]] = []
    for content, offset, size_bytes in contents:
        pieces.extend(_cut(db, content, offset, size_bytes))
    size_bytes = sum(piece[2] for piece in pieces)
    if len(pieces) == 1 and not as_list and _is_whole_blob(db, *pieces[0]):
        return Content(size_bytes, etag, blob_id=pieces[0][0])
    row = (_digest_pieces(db, pieces), size_bytes)
    list_id = db.execute(_INSERT_LIST, row).lastrowid
    db.executemany(
        "INSERT INTO extents (list_id, position, blob_id, blob_offset, size_bytes) VALUES (?, ?, ?, ?, ?)",
        ((list_id, position, *piece) for position, piece in enumerate(pieces)),
    )
    return Content(size_bytes, etag, list_id=list_id)


def digest_list(db: Db, list_id: int) -> bytes:
    """Return the digest of an extent list as it follows from its extents."""
    return _digest_pieces(db, _pieces(db, Content(0, "", list_id=list_id)))


def _digest_pieces(db: Db, pieces: Iterable[tuple[int, int, int]]) -> bytes:
    digest = hashlib.sha256()
    for blob_id, offset, size in pieces:
        digest.update(db.value("SELECT digest FROM blobs WHERE id = ?", (blob_id,)))
        digest.update(offset.to_bytes(8, "big") + size.to_bytes(8, "big"))
    return digest.digest()


def _cut(db: Db, content: Content, offset: int, size_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield the (blob, offset, size) pieces of a range of some content; empty ranges have none."""
    end = offset + size_bytes
    position = 0
    for blob_id, blob_offset, size in _pieces(db, settle(db, content)):
        start, stop = max(offset, position), min(end, position + size)
        if start < stop:
            yield blob_id, blob_offset + start - position, stop - start
        position += size


def _pieces(db: Db, content: Content) -> list[tuple[int, int, int]]:
    if content.blob_id is not None:
        return [(content.blob_id, 0, content.size_bytes)]
    sql = "SELECT blob_id, blob_offset, size_bytes FROM extents WHERE list_id = ? ORDER BY position"
    return list(db.execute(sql, (content.list_id,)))


def _is_whole_blob(db: Db, blob_id: int, offset: int, size_bytes: int) -> bool:
    return offset == 0 and db.value("SELECT size_bytes FROM blobs WHERE id = ?", (blob_id,)) == size_bytes


def get_digest(db: Db, content: Content) -> Digest:
    """Return the digest that stands for the bytes of some content."""
    if content.data is not None:
        return Digest(hashlib.sha256(content.data).digest())
    if content.blob_id is not None:
        return Digest(db.value("SELECT digest FROM blobs WHERE id = ?", (content.blob_id,)))
    return Digest(db.value("SELECT digest FROM extent_lists WHERE id = ?", (content.list_id,)))


def list_digests(db: Db, contents: Sequence[Content]) -> list[Digest]:
    """Return the digests that stand for the bytes of some contents, in their order."""
    single = [content.blob_id for content in contents if content.blob_id is not None]
    sql = "SELECT b.digest FROM json_each(?) j CROSS JOIN blobs b ON b.id = j.value ORDER BY j.key"
    found = (digest for (digest,) in db.execute(sql, (json.dumps(single),)))
    return [Digest(next(found)) if content.blob_id is not None else get_digest(db, content) for content in contents]


def list_extents(db: Db, blobs: Blobs, content: Content) -> list[Extent]:
    """Return where the bytes of some content are, in order.

    Raises StoreDamaged if any of them are known to be damaged, missing or too few, so that nobody sends what is wrong: small
    blobs are hashed, which costs less than reading them; files are measured.
    """
    if content.data is not None:
        return [Extent(0, content.size_bytes, content.data, None)]
    extents = []
    for blob_id, offset, size_bytes in _pieces(db, content):
        row = db.row("SELECT digest, size_bytes, data FROM blobs WHERE id = ?", (blob_id,))
        if row is None:
            raise StoreDamaged(f"blob {blob_id} is referred to and has no row")
        digest, whole, data = row
        if data is None:
            extents.append(Extent(offset, size_bytes, None, blobs.get_intact(digest, whole)))
            continue
        if hashlib.sha256(data).digest() != digest:
            raise StoreDamaged(f"blob {digest.hex()} is damaged")
        extents.append(Extent(offset, size_bytes, data, None))
    if sum(extent.size_bytes for extent in extents) != content.size_bytes:
        raise StoreDamaged(f"content of {content.size_bytes} bytes has other extents than recorded")
    return extents


def cut_extents(extents: Iterable[Extent], first: int, size_bytes: int) -> Iterator[Extent]:
    """Yield what of some extents lies in a range of their bytes."""
    position, end = 0, first + size_bytes
    for extent in extents:
        start, stop = max(first, position), min(end, position + extent.size_bytes)
        if start < stop:
            yield Extent(extent.offset + start - position, stop - start, extent.data, extent.file)
        position += extent.size_bytes


def read_extents(extents: Iterable[Extent]) -> Iterator[bytes]:
    """Yield the bytes of extents in pieces of at most `READ_BYTES`. Blocks for the disk."""
    for extent in extents:
        if extent.file is None:
            assert extent.data is not None
            yield extent.data[extent.offset : extent.offset + extent.size_bytes]
        else:
            yield from _read_file(extent.file, extent.offset, extent.size_bytes)


def _read_file(file: Path, offset: int, size_bytes: int) -> Iterator[bytes]:
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        raise StoreDamaged(f"blob file {file.parent.name}{file.name} is missing") from None
    except OSError as error:
        raise explain(error, f"blob file {file.parent.name}{file.name} can not be read") from error
    with opened, explained(f"blob file {file.parent.name}{file.name} can not be read"):
        opened.seek(offset)
        while size_bytes > 0:
            piece = opened.read(min(size_bytes, READ_BYTES))
            if not piece:
                raise StoreDamaged(f"blob file {file.parent.name}{file.name} is shorter than recorded")
            size_bytes -= len(piece)
            yield piece
