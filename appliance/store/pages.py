"""Pages of a directory, as the mount shows it: names with what a listing says of them, each page in one step of SQLite.

A step gives other threads the interpreter lock. Where they are busy it takes its time to come back, so a step for each row
would cost a millisecond each; and what SQLite puts together itself is also what costs least.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import msgspec

from appliance.store.database import Db
from appliance.store.snapshots import LAST, Entry, Past, Scan, Snapshot, Source, Tip

_AFTER_SLASH = "0"


class Version(NamedTuple):
    """A version of a file: the number of its row, and what it is asked for most.

    Whoever lists has thousands of them, and each costs what it takes to make one; here SQLite's answer is taken apart.
    """

    row: int
    modified_ns: int
    size_bytes: int
    entry: Entry | None = None
    """All of it, of what is in no row."""

    @property
    def key(self) -> tuple[int, int]:
        """What makes a version the same version: the row alone may be used again after it was overwritten."""
        return (self.row, self.modified_ns)


class Item(NamedTuple):
    """A name in a directory, that of a directory with a slash behind it and no file."""

    mark: str
    file: Version | None


_FLAT = """
    SELECT json_group_array(json_array(substr(path, :skip), json_array(id, modified_ns, size_bytes))) FROM (
        SELECT path, size_bytes, modified_ns, id FROM {table}
        WHERE {visible} AND path >= :start AND path < :end ORDER BY path LIMIT :limit
    )
"""
# As in `snapshots`: SQLite skips what is below a directory by itself.
_ROLLED = """
    WITH RECURSIVE item(path) AS (
        SELECT (SELECT path FROM {table} WHERE {visible} AND path >= :start ORDER BY path LIMIT 1)
        UNION ALL
        SELECT (SELECT path FROM {table} WHERE {visible} AND path > CASE instr(substr(item.path, :skip), '/')
                WHEN 0 THEN item.path
                ELSE substr(item.path, 1, :skip + instr(substr(item.path, :skip), '/') - 1) || :last END
            ORDER BY path LIMIT 1)
        FROM item WHERE item.path < :end
    )
    SELECT json_group_array(json_array(name, json(file))) FROM (
        SELECT CASE instr(substr(item.path, :skip), '/') WHEN 0 THEN substr(item.path, :skip)
                ELSE substr(item.path, :skip, instr(substr(item.path, :skip), '/')) END AS name,
            CASE WHEN e.id IS NULL THEN NULL ELSE json_array(e.id, e.modified_ns, e.size_bytes) END AS file
        FROM item LEFT JOIN (SELECT * FROM {table} WHERE {visible}) e
            ON e.path = item.path AND instr(substr(item.path, :skip), '/') = 0
        WHERE item.path < :end LIMIT :limit
    )
"""
_decode = msgspec.json.Decoder(list[Item]).decode


def behind(mark: str) -> str:
    """Return where a page begins that goes on behind an item: `dir0` is the first name behind all below `dir/`."""
    return f"{mark[:-1]}0" if mark.endswith("/") else f"{mark}\0"  # no name has a NUL


def read_page(db: Db, snapshot: Snapshot, directory: str, start: str, limit: int) -> list[Item]:
    """Return up to `limit` items of a directory from the name `start` on; none for what is no directory.

    The order is that of paths with the slash of directories counted.
    """
    place = snapshot.places[0] if len(snapshot.places) == 1 else None
    if not isinstance(place, Tip | Past):
        return list(islice(_iter_items(db, snapshot, directory.rstrip("/") + "/", start), limit))
    return _ask(db, "SELECT ({page})", place.source, directory, start, limit) or []


def read_tip_page(db: Db, snapshot: Snapshot, directory: str, start: str, limit: int) -> list[Item] | None:
    """Return the same in one question, of a snapshot that was opened before. None if it has to be opened again."""
    if len(snapshot.places) != 1 or not isinstance(snapshot.places[0], Tip):
        return None
    source = snapshot.places[0].source
    source = replace(source, values=source.values | {"seq": snapshot.history[0][1]})
    sql = "SELECT CASE WHEN (SELECT changed_seq FROM lines WHERE id = :line) <= :seq THEN ({page}) END"
    return _ask(db, sql, source, directory, start, limit)


def _ask(db: Db, sql: str, source: Source, directory: str, start: str, limit: int) -> list[Item] | None:
    """Ask for a page as if all in the directory were files, and again if there are directories."""
    base = directory.rstrip("/") + "/"
    given = {"skip": len(base) + 1, "start": base + (start or "\0"), "end": base[:-1] + _AFTER_SLASH, "limit": limit}
    for page in (_FLAT, _ROLLED):
        asked = sql.format(page=page.format(table=source.table, visible=source.visible))
        answer = db.value(asked, given | source.values | {"last": LAST})
        items = _decode(answer) if answer is not None else None
        if items is None or not any("/" in mark for mark, _ in items):
            break
    return items


def _iter_items(db: Db, snapshot: Snapshot, base: str, start: str) -> Iterator[Item]:
    scan = Scan(db, snapshot, base + start)
    while (entry := scan.next()) is not None and entry.path.startswith(base):
        name, slash, _ = entry.path.removeprefix(base).partition("/")
        if slash:
            scan.seek(base + name + _AFTER_SLASH)
            yield Item(name + slash, None)
        elif name:
            yield Item(name, version_of(entry, snapshot))


def version_of(entry: Entry, snapshot: Snapshot) -> Version:
    """Return what a snapshot's entry is as a version."""
    return Version(entry.row, entry.modified_ns, entry.content.size_bytes, entry if snapshot.is_made_up else None)
