"""The checker (fsck): does everything that is kept agree, and are all bytes there?

It runs while the store is written to, in short snapshots, each over a step of one table: what it finds holds within one
snapshot, and what lies outside of the database is looked at again before it is reported. Memory does not grow with the
store. What rows must agree on is in `consistency`; here is what takes more than a query, and the run of it all.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from appliance.errors import InvalidName, InvalidPath, PathConflict, StoreDamaged
from appliance.names import check_name, check_path, find_meta_owner
from appliance.store import Store, commits, diffs, files, snapshots, triggers
from appliance.store.bytecheck import Source, check_blobs, check_lists
from appliance.store.commits import Commit
from appliance.store.consistency import RULES, name_entry
from appliance.store.database import Db
from appliance.store.findings import Finding, Problem, Step
from appliance.store.snapshots import EMPTY, Kind, Snapshot

_STEP = 1000
_COMMITS_STEP = 100
# Of one kind of problem in one step; a wrong table could be all problems.
_MOST = 100

_Look = Callable[[Db, int, int], Iterator[str]]


def check(store: Store, *, deep: bool = False) -> Iterator[Finding]:
    """Look at everything that is kept and yield what is wrong, and how far the check is.

    `deep` reads every byte, and lets SQLite compare its indexes; a file with wrong bytes is given to nobody any more until
    the same bytes are put again. A database that can not be read is a problem like any other.
    """
    try:
        yield from _check_database(store, deep=deep)
        yield from _check_tables(store)
        yield from check_blobs(store, deep=deep)
    except (sqlite3.DatabaseError, StoreDamaged) as error:
        yield Problem(f"the database can not be read: {error}")


def check_rows(source: Source) -> Iterator[Finding]:
    """Look at all rows of a database, as `check` does. Raises sqlite3.DatabaseError if it can not be read."""
    yield from _check_database(source, deep=False)
    yield from _check_tables(source)
    yield from check_lists(source)


def _check_database(source: Source, *, deep: bool) -> Iterator[Finding]:
    yield Step("database", 0, 1)
    with source.snapshot() as db:
        pragma = "integrity_check" if deep else "quick_check"
        said = [text for (text,) in db.execute(f"PRAGMA {pragma}({_MOST})")]
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    yield from (Problem(f"database: {text}") for text in said if text != "ok")
    for table in tables:
        with source.snapshot() as db:
            broken = list(islice(db.execute(f"PRAGMA foreign_key_check({table})"), _MOST))
        for _, row, parent, _ in broken:
            yield Problem(f"row {row} of {table} refers to one of {parent} that does not exist")
    yield Step("database", 1, 1)


def _check_tables(source: Source) -> Iterator[Finding]:
    for table, rules in RULES.items():
        yield from _check_table(source, table, _by_rules(rules))
    yield from _check_table(source, "repos", _look_at_repos)
    yield from _check_table(source, "branches", _look_at_branches)
    yield from _check_table(source, "pipelines", _look_at_pipelines)
    with source.snapshot() as db:
        broken = _find_broken_chain(db)
    if broken is not None:
        yield Problem(f"{broken}: paths and sizes were not checked")
        return
    yield from _check_table(source, "entries", _look_at_paths)
    yield from _check_table(source, "commits", _look_at_sizes, _COMMITS_STEP)


def _check_table(source: Source, table: str, look: _Look, size: int = _STEP) -> Iterator[Finding]:
    """Let `look` name the problems of all rows of a table, some rows and one snapshot at a time."""
    low = 0
    while True:
        with source.snapshot() as db:
            sql = f"SELECT max(id) FROM (SELECT rowid AS id FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?)"
            high = db.value(sql, (low, size))
            if high is None:
                return
            found = list(look(db, low, high))
            last = db.value(f"SELECT max(rowid) FROM {table}")
        yield from map(Problem, found)
        yield Step(table, high, last)
        low = high


def _by_rules(rules: Iterable[str]) -> _Look:
    def look(db: Db, low: int, high: int) -> Iterator[str]:
        for sql in rules:
            broken = db.execute(sql, {"low": low, "high": high})
            yield from (text for (text,) in islice(broken, _MOST))

    return look


def _look_at_repos(db: Db, low: int, high: int) -> Iterator[str]:
    sql = "SELECT name FROM repos WHERE id > ? AND id <= ? AND kind = 'user'"
    for (name,) in db.execute(sql, (low, high)).fetchall():
        owner = find_meta_owner(name)
        yield from _look_at_names("repo", iter([owner or name]))
        if owner is not None and not db.value("SELECT 1 FROM pipelines WHERE name = ?", (owner,)):
            yield f"repo {name} is there without its pipeline"


def _look_at_branches(db: Db, low: int, high: int) -> Iterator[str]:
    sql = "SELECT id, name FROM branches WHERE id > ? AND id <= ?"
    for row, name in db.execute(sql, (low, high)).fetchall():
        yield from _look_at_names("branch", iter([name]))
        try:
            triggers.find_trigger(db, row)
        except ValueError as error:
            yield f"branch {name} has a trigger that can not be read: {error}"


def _look_at_pipelines(db: Db, low: int, high: int) -> Iterator[str]:
    sql = "SELECT name FROM pipelines WHERE id > ? AND id <= ? AND NOT deleted"
    yield from _look_at_names("pipeline", (name for (name,) in db.execute(sql, (low, high))))


def _look_at_names(kind: str, names: Iterator[str]) -> Iterator[str]:
    for name in names:
        try:
            check_name(kind, name)
        except InvalidName as error:
            yield str(error)


def _find_broken_chain(db: Db) -> str | None:
    """Say what lines or parents can not be walked: one that is missing, or that leads back to where it came from."""
    sql = """
        SELECT 'line ' || l.id || ' begins nowhere' FROM lines l LEFT JOIN lines b ON b.id = l.base_line_id
        WHERE l.base_line_id IS NOT NULL AND (b.id IS NULL OR b.id >= l.id OR l.base_seq IS NULL)
        UNION ALL
        SELECT 'commit ' || lower(hex(c.global_id)) || ' has no proper parent' FROM commits c
        LEFT JOIN commits p ON p.id = c.parent_id WHERE c.parent_id IS NOT NULL AND (p.id IS NULL OR p.id >= c.id)
        UNION ALL
        SELECT 'commit ' || lower(hex(c.global_id)) || ' has no line or repo' FROM commits c
        LEFT JOIN lines l ON l.id = c.line_id LEFT JOIN repos r ON r.id = c.repo_id WHERE l.id IS NULL OR r.id IS NULL
    """
    found: str | None = db.value(sql)
    return found


def _look_at_paths(db: Db, low: int, high: int) -> Iterator[str]:
    """Name the entries whose path is illegal, or a file and a directory at once in the commit that began them."""
    sql = """
        SELECT e.line_id, e.from_seq, e.kind, e.path, e.id FROM entries e JOIN lines l ON l.id = e.line_id
        JOIN repos r ON r.id = l.repo_id WHERE e.id > ? AND e.id <= ? AND r.kind = 'user'
    """
    opened: dict[tuple[int, int], Snapshot] = {}
    for line, seq, kind, path, row in db.execute(sql, (low, high)).fetchall():
        if (line, seq) not in opened:
            opened[line, seq] = snapshots.open_seq(db, line, seq)
        if reason := _refusal(db, opened[line, seq], kind, path):
            name = db.value(f"SELECT {name_entry('e')} FROM entries e WHERE e.id = ?", (row,))
            yield f"{name}: {reason}"


def _refusal(db: Db, snapshot: Snapshot, kind: int, path: str) -> str | None:
    """Return why nobody could put an entry where it is, None if everybody could."""
    try:
        if kind == Kind.NOTHING:
            check_path(path)
        else:
            files.check_free(db, snapshot, path)
    except (InvalidPath, PathConflict) as error:
        return str(error)
    except Exception as error:  # whatever reading such rows runs into is what is wrong with them
        return f"can not be read: {error!r}"
    return None


def _look_at_sizes(db: Db, low: int, high: int) -> Iterator[str]:
    """Name the commits that record another size than their parent's and their changes make, at the cost of the changes."""
    sql = """
        SELECT c.id FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.id > ? AND c.id <= ? AND r.kind = 'user'
    """
    for (row,) in db.execute(sql, (low, high)).fetchall():
        commit = commits.get_by_row(db, row)
        if commit.is_open and commit.origin == "AUTO":
            continue  # counted when its job ends
        if find_meta_owner(commit.repo) is not None:
            continue  # what it shows takes no space, and is counted where it is
        try:
            counted = "{} bytes in {} files".format(*_count(db, commit))
        except Exception as error:
            counted = f"files that can not be read: {error!r}"
        recorded = f"{commit.size_bytes} bytes in {commit.file_count} files"
        if counted != recorded:
            yield f"commit {commit.repo}@{commit.id} records {recorded} and has {counted}"


def _count(db: Db, commit: Commit) -> tuple[int, int]:
    """Return the bytes and files of a commit as they follow from those of the one before it."""
    if commit.error is not None:
        return 0, 0
    parent = commits.get_by_row(db, commit.parent) if commit.parent is not None else None
    before = commits.find_readable(db, parent) if parent is not None else None
    size_bytes, count = (before.size_bytes, before.file_count) if before else (0, 0)
    old = snapshots.open_commit(db, before) if before else EMPTY
    for gone, come in diffs.iter_diff(db, old, snapshots.open_commit(db, commit)):
        size_bytes += (come.content.size_bytes if come else 0) - (gone.content.size_bytes if gone else 0)
        count += (come is not None and come.kind == Kind.FILE) - (gone is not None and gone.kind == Kind.FILE)
    return size_bytes, count
