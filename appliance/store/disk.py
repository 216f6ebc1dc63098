"""What the disk below the data directory refuses, as errors of ours: what is full, what fails, in words for the caller.

Whoever writes to the data directory does it inside `explained`. SQLite has codes of its own for the same things
(https://www.sqlite.org/rescode.html).
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import ApplianceError, DiskFailed, OutOfSpace, StoreDamaged

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FAILED = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOLFS}
_PRIMARY = 0xFF


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise OutOfSpace or DiskFailed for what the disk says inside; `doing` says what could not be done."""
    try:
        yield
    except OSError as error:
        raise explain(error, doing) from error


def explain(error: OSError, doing: str) -> ApplianceError:
    """Return the error of ours for one of the disk."""
    kind = OutOfSpace if error.errno in _FULL else DiskFailed
    return kind(f"{doing}: {error.strerror or error}")


def explain_sqlite(error: sqlite3.Error) -> ApplianceError | None:
    """Return the error of ours for what SQLite says of its files, None for what is not about them."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return OutOfSpace(f"the database has no room to grow: {error}")
    if code in _FAILED:
        return DiskFailed(f"the database can not be read or written: {error}")
    if code in _DAMAGED:
        return StoreDamaged(f"the database is damaged: {error}")
    return None
