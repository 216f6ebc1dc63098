"""Listings of a snapshot: pages with a delimiter, and the directory view."""

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.store.database import Db
from appliance.store.snapshots import LAST, Entry, Scan, Snapshot, entry_of

_AFTER_SLASH = "0"  # the character that follows "/": `dir0` is the first path behind everything below `dir/`


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing: entries and common prefixes together in bytewise order. `last` is where to go on after."""

    items: tuple[Entry | str, ...]
    truncated: bool
    last: str | None


def list_page(db: Db, snapshot: Snapshot, *, prefix: str, delimiter: str, after: str | None, limit: int) -> Page:
    """Return up to `limit` entries below `prefix` that come behind `after`.

    With a delimiter, paths that share the text up to its first occurrence behind the prefix are rolled into one item (a
    string); a rolled-up group costs one seek, however many it holds. `after` may be a path or such a prefix.
    """
    if limit == 0:
        return Page((), truncated=False, last=None)
    items: list[Entry | str] = []
    for item in _iter_items(db, snapshot, prefix, delimiter, after):
        if len(items) == limit:
            last = items[-1]
            return Page(tuple(items), truncated=True, last=last if isinstance(last, str) else last.path)
        items.append(item)
    return Page(tuple(items), truncated=False, last=None)


def _iter_items(db: Db, snapshot: Snapshot, prefix: str, delimiter: str, after: str | None) -> Iterator[Entry | str]:
    start = max(prefix, after or "")
    passed = common_prefix(after, prefix, delimiter) if after and after.startswith(prefix) else None
    if passed is not None:
        start = passed + LAST
    for path, entry in _iter_firsts(db, snapshot, prefix, delimiter, start):
        if not path.startswith(prefix):
            return
        if after is not None and path <= after:
            continue
        group = common_prefix(path, prefix, delimiter)
        if group is None:
            assert entry is not None
            yield entry
        elif group != passed:
            passed = group
            yield group


def _iter_firsts(db: Db, snapshot: Snapshot, prefix: str, delimiter: str, start: str) -> Iterator[tuple[str, Entry | None]]:
    """Yield at least the first path of each group, and every path in none with its entry."""
    if delimiter and len(snapshot.places) == 1:
        for path, *row in snapshot.places[0].rolled(db, prefix, delimiter, start):
            yield path, entry_of(tuple(row)) if row[0] is not None else None
        return
    scan = Scan(db, snapshot, start)
    for entry in scan:
        yield entry.path, entry
        if (group := common_prefix(entry.path, prefix, delimiter)) is not None:
            scan.seek(group + LAST)


def common_prefix(path: str, prefix: str, delimiter: str) -> str | None:
    """Return the common prefix a path is rolled into, None if it stands for itself."""
    found = path.find(delimiter, len(prefix)) if delimiter else -1
    return path[: found + len(delimiter)] if found >= 0 else None


def is_directory(db: Db, snapshot: Snapshot, path: str) -> bool:
    """Tell whether a path without trailing slash is a directory, explicit or implied. The root always is."""
    if path == "/":
        return True
    entry = Scan(db, snapshot, path + "/").next()
    return entry is not None and entry.path.startswith(path + "/")


@dataclass(frozen=True, slots=True)
class Child:
    """A name in a directory; `entry` is None for a directory."""

    name: str
    entry: Entry | None


def iter_children(db: Db, snapshot: Snapshot, path: str, *, after: str = "") -> Iterator[Child]:
    """Yield what is directly in a directory behind the name `after`; nothing for what is no directory.

    The order is that of paths with the slash of directories counted, so it is stable and `after` finds its place.
    """
    base = path.rstrip("/") + "/"
    scan = Scan(db, snapshot, base + after)
    while (entry := scan.next()) is not None and entry.path.startswith(base):
        name, slash, _ = entry.path.removeprefix(base).partition("/")
        if slash:
            scan.seek(base + name + _AFTER_SLASH)
        if name and name + slash > after:
            yield Child(name, None if slash else entry)
