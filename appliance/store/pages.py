"""Pages of a directory, as the mount shows it: names with what a listing says of them, each page in one step of SQLite.

A step gives other threads the interpreter lock. Where they are busy it takes its time to come back, so a step for each row
would cost a millisecond each; and what SQLite puts together itself is also what costs least.
"""

from collections.abc import Iterator
from itertools import islice, starmap
from typing import Any, NamedTuple

import msgspec

from appliance.store.database import Db
from appliance.store.snapshots import LAST, Entry, Past, Scan, Snapshot, Source, Tip

_AFTER_SLASH = "0"


class Item(NamedTuple):
    """A name in a directory. That of a directory ends in a slash and has nothing else; `row` is that of a file's version."""

    mark: str
    size_bytes: int
    modified_ns: int
    row: int
    entry: Entry | None = None
    """All that is known of a file, where there is no such row."""


_FLAT = """
    SELECT json_group_array(json_array(substr(path, :skip), size_bytes, modified_ns, id)) FROM (
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
    SELECT json_group_array(json_array(name, size_bytes, modified_ns, id)) FROM (
        SELECT CASE instr(substr(item.path, :skip), '/') WHEN 0 THEN substr(item.path, :skip)
                ELSE substr(item.path, :skip, instr(substr(item.path, :skip), '/')) END AS name,
            coalesce(e.size_bytes, 0) AS size_bytes, coalesce(e.modified_ns, 0) AS modified_ns, coalesce(e.id, 0) AS id
        FROM item LEFT JOIN (SELECT * FROM {table} WHERE {visible}) e
            ON e.path = item.path AND instr(substr(item.path, :skip), '/') = 0
        WHERE item.path < :end LIMIT :limit
    )
"""
_decode = msgspec.json.Decoder(list[tuple[str, int, int, int]]).decode


def behind(mark: str) -> str:
    """Return where a page begins that goes on behind an item: `dir0` is the first name behind all below `dir/`."""
    return f"{mark[:-1]}0" if mark.endswith("/") else f"{mark}\0"  # no name has a NUL


def read_page(db: Db, snapshot: Snapshot, directory: str, start: str, limit: int) -> list[Item]:
    """Return up to `limit` items of a directory from the name `start` on; none for what is no directory.

    The order is that of paths with the slash of directories counted.
    """
    base = directory.rstrip("/") + "/"
    place = snapshot.places[0] if len(snapshot.places) == 1 else None
    if not isinstance(place, Tip | Past):
        return list(islice(_iter_items(db, snapshot, base, start), limit))
    given = {"skip": len(base) + 1, "start": base + (start or "\0"), "end": base[:-1] + _AFTER_SLASH, "limit": limit}
    page = _ask(db, place.source, _FLAT, given)
    if any("/" in mark for mark, *_ in page):
        page = _ask(db, place.source, _ROLLED, given | {"last": LAST})
    return list(starmap(Item, page))


def _ask(db: Db, source: Source, sql: str, given: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    answer = db.execute(sql.format(table=source.table, visible=source.visible), given | source.values).fetchone()[0]
    return _decode(answer)


def _iter_items(db: Db, snapshot: Snapshot, base: str, start: str) -> Iterator[Item]:
    scan = Scan(db, snapshot, base + start)
    while (entry := scan.next()) is not None and entry.path.startswith(base):
        name, slash, _ = entry.path.removeprefix(base).partition("/")
        if slash:
            scan.seek(base + name + _AFTER_SLASH)
            yield Item(name + slash, 0, 0, 0)
        elif name:
            whole = entry if snapshot.is_made_up else None
            yield Item(name, entry.content.size_bytes, entry.modified_ns, entry.row, whole)
