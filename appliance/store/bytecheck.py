"""The part of the checker that looks at bytes: the files of blobs, and with `deep` what is in them.

A blob whose bytes are wrong is named with the files and commits that it is part of. Wrong bytes in a file are remembered, so
that every door refuses them; small blobs, and files that are missing or have another size, every reader notices by itself.
"""

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.store import Store, blobs, damage
from appliance.store.blobs import READ_BYTES, Digest
from appliance.store.database import Db
from appliance.store.findings import Finding, Problem, Step

_STEP = 200
_STEP_BYTES = 64 * READ_BYTES


class Source(Protocol):
    """Where rows are read from: the store, or the database of an export."""

    def snapshot(self) -> AbstractContextManager[Db]:
        """Lend a connection whose answers are all of one moment."""


@dataclass(frozen=True, slots=True)
class _Blob:
    """A row of blobs that has a file."""

    row: int
    digest: Digest
    size_bytes: int
    md5: bytes


def check_blobs(store: Store, *, deep: bool) -> Iterator[Finding]:
    """Look for the bytes of every blob, and with `deep` at them."""
    with store.snapshot() as db:
        total = db.value("SELECT coalesce(sum(size_bytes), 0) FROM blobs")
    low, done = 0, 0
    while True:
        with store.snapshot() as db:
            sql = "SELECT id, digest, size_bytes, md5, data IS NULL FROM blobs WHERE id > ? ORDER BY id LIMIT ?"
            rows = db.execute(sql, (low, _STEP)).fetchall()
            wrong = list(_look_at_small(db, low, rows[-1][0])) if rows and deep else []
        if not rows:
            break
        yield from map(Problem, wrong)
        for *row, has_file in rows:
            if has_file:
                for step in _check_file(store, _Blob(*row), deep=deep):
                    yield step if isinstance(step, Problem) else Step("bytes", done + step.done, max(total, done + step.done))
            done += row[2]
        yield Step("bytes", done, max(total, done))
        low = rows[-1][0]
    if deep:
        yield from check_lists(store)


def _look_at_small(db: Db, low: int, high: int) -> Iterator[str]:
    sql = "SELECT id, digest, md5, data FROM blobs WHERE id > ? AND id <= ? AND data IS NOT NULL"
    for row, digest, md5, data in db.execute(sql, (low, high)):
        if hashlib.sha256(data).digest() != digest:
            yield f"blob {digest.hex()} is damaged, {damage.describe_users(db, row)}"
        elif hashlib.md5(data, usedforsecurity=False).digest() != md5:
            yield f"blob {digest.hex()} records the wrong MD5, {damage.describe_users(db, row)}"


def _check_file(store: Store, blob: _Blob, *, deep: bool) -> Iterator[Finding]:
    """Look at the file of a blob. What is wrong is only reported if its row is still there afterwards."""
    file = store.blobs.path(blob.digest)  # held meanwhile
    reason = _measure(file, blob.size_bytes)
    if reason is None and deep:
        reason = yield from _read(store, blob)
    elif reason is None and store.blobs.holds.is_damaged(blob.digest):
        reason = "is damaged"
    if reason is None:
        return
    with store.snapshot() as db:
        if db.value("SELECT 1 FROM blobs WHERE id = ? AND digest = ?", (blob.row, blob.digest)):
            yield Problem(f"blob {blob.digest.hex()} {reason}, {damage.describe_users(db, blob.row)}")


def _measure(file: Path, size_bytes: int) -> str | None:
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can not be looked at ({error.strerror})"
    return None if found == size_bytes else f"has {found} bytes instead of {size_bytes}"


def _read(store: Store, blob: _Blob) -> Generator[Finding, None, str | None]:
    """Read the file of a blob and return what is wrong with it; remember wrong bytes, or that they are right again."""
    sha256, md5, done = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with store.blobs.path(blob.digest).open("rb", buffering=0) as file:
            inode = os.fstat(file.fileno()).st_ino
            while piece := file.read(READ_BYTES):
                sha256.update(piece)
                md5.update(piece)
                done += len(piece)
                if done % _STEP_BYTES == 0:
                    yield Step("bytes", done, blob.size_bytes)
    except OSError as error:
        return f"can not be read ({error.strerror})"
    if sha256.digest() == blob.digest:
        store.blobs.holds.mend(blob.digest)
        return None if blob.md5 in (b"", md5.digest()) else "records the wrong MD5"
    if not store.blobs.holds.set_damaged(blob.digest, inode):
        return None  # somebody has just put the right bytes in its place
    store.write(lambda db: damage.record_damage(db, blob.digest))
    return "is damaged"


def check_lists(source: Source) -> Iterator[Finding]:
    """Look whether the digests of extent lists are of what they list."""
    low = 0
    while True:
        with source.snapshot() as db:
            sql = "SELECT id, digest FROM extent_lists WHERE id > ? ORDER BY id LIMIT ?"
            lists = db.execute(sql, (low, _STEP)).fetchall()
            wrong = [row for row, digest in lists if blobs.digest_list(db, row) != digest]
        yield from (Problem(f"extent list {row} has a digest that is not of its extents") for row in wrong)
        if not lists:
            return
        low = lists[-1][0]
