"""The rows of an export into the tables of the store, under numbers that nobody has had: blobs bit by bit, then the rest.

Most numbers move up by as much as the store has used, which keeps their order: what is older stays smaller. Blobs that are
there already keep the number they have here. Commits keep their ids unless the store has one of the same, as when an export
comes back next to where it came from: then both would be one set, and dropping one would drop the other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.errors import Conflict
from appliance.names import new_commit_id
from appliance.store.blobs import next_id
from appliance.store.database import Db

_MOVED = ("lines", "commits", "branches", "extent_lists", "pipelines", "jobs", "datums")
"""Tables whose numbers others refer to by offset."""

_REPO = "(SELECT new FROM new_repos WHERE old = {0})"
_BLOB = "(SELECT new FROM new_blobs WHERE old = {0})"

# For each table what to select of the export's for each of its columns; `:name` is the offset of a table.
_ROWS: tuple[tuple[str, Mapping[str, str], str], ...] = (
    (
        "lines",
        {
            "id": "id + :lines",
            "repo_id": _REPO.format("repo_id"),
            "base_line_id": "base_line_id + :lines",
        },
        "id",
    ),
    (
        "commits",
        {
            "id": "id + :commits",
            "repo_id": _REPO.format("repo_id"),
            "line_id": "line_id + :lines",
            "global_id": "coalesce((SELECT new FROM new_ids WHERE old = global_id), global_id)",
            "parent_id": "parent_id + :commits",
        },
        "id",
    ),
    (
        "branches",
        {"id": "id + :branches", "repo_id": _REPO.format("repo_id"), "head_id": "head_id + :commits"},
        "id",
    ),
    ("branch_settings", {"branch_id": "branch_id + :branches"}, "branch_id"),
    (
        "branch_provenance",
        {"branch_id": "branch_id + :branches", "upstream_id": "upstream_id + :branches"},
        "branch_id",
    ),
    (
        "commit_provenance",
        {"commit_id": "commit_id + :commits", "upstream_id": "upstream_id + :commits"},
        "commit_id",
    ),
    ("extent_lists", {"id": "id + :extent_lists"}, "id"),
    ("extents", {"list_id": "list_id + :extent_lists", "blob_id": _BLOB.format("blob_id")}, "list_id"),
    (
        "entries",
        {
            "id": "NULL",
            "line_id": "line_id + :lines",
            "blob_id": _BLOB.format("blob_id"),
            "list_id": "list_id + :extent_lists",
        },
        "id",
    ),
    (
        "delete_markers",
        {
            "id": "NULL",
            "line_id": "line_id + :lines",
            "version": "coalesce((SELECT new FROM new_ids WHERE old = version), version)",
        },
        "id",
    ),
    ("forgotten_versions", {"line_id": "line_id + :lines"}, "line_id"),
    ("object_parts", {"list_id": "list_id + :extent_lists"}, "list_id"),
    (
        "pipelines",
        {
            "id": "id + :pipelines",
            "branch_id": "branch_id + :branches",
            "meta_branch_id": "meta_branch_id + :branches",
        },
        "id",
    ),
    ("pipeline_versions", {"pipeline_id": "pipeline_id + :pipelines"}, "pipeline_id"),
    ("cron_inputs", {"id": "NULL", "pipeline_id": "pipeline_id + :pipelines"}, "id"),
    (
        "jobs",
        {"id": "id + :jobs", "pipeline_id": "pipeline_id + :pipelines", "commit_id": "commit_id + :commits"},
        "id",
    ),
    # The datum that a skipped one refers to is older, and so comes first.
    ("datums", {"id": "id + :datums", "job_id": "job_id + :jobs", "output_of": "output_of + :datums"}, "id"),
    (
        "datum_files",
        {"datum_id": "datum_id + :datums", "blob_id": _BLOB.format("blob_id"), "list_id": "list_id + :extent_lists"},
        "datum_id",
    ),
    ("log_lines", {"id": "NULL", "job_id": "job_id + :jobs", "datum_id": "datum_id + :datums"}, "id"),
)


def begin_blobs(incoming: Db) -> None:
    """Make room for the numbers that the blobs of an export get."""
    incoming.execute("BEGIN")  # what is written there is only for this
    incoming.execute("CREATE TEMP TABLE new_blobs (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")


def add_blobs(db: Db, incoming: Db, limit: int) -> bool:
    """Add the rows of some blobs of an export, which were received; tell whether there are more.

    Nothing refers to them before `merge`, so the collector must be standing still.
    """
    db.changes.garbage = True  # should that never come
    after = incoming.value("SELECT coalesce(max(old), 0) FROM new_blobs")
    sql = "SELECT id, digest, size_bytes, md5, data FROM blobs WHERE id > ? ORDER BY id LIMIT ?"
    rows = incoming.execute(sql, (after, limit)).fetchall()
    insert = f"INSERT INTO blobs (id, digest, size_bytes, md5, data) VALUES ({next_id('blobs')}, ?, ?, ?, ?) RETURNING id"
    for old, digest, *rest in rows:
        db.execute("UPDATE blobs SET md5 = ? WHERE digest = ? AND md5 = x''", (rest[1], digest))
        new = db.value("SELECT id FROM blobs WHERE digest = ?", (digest,)) or db.value(insert, (digest, *rest))
        incoming.execute("INSERT INTO new_blobs (old, new) VALUES (?, ?)", (old, new))
    return len(rows) == limit


def merge(db: Db, incoming: Db, names: Mapping[str, str]) -> int:
    """Add all rows of an export whose blobs are there, its repos under new names; return the number of commits.

    Takes about half a minute for a million files, in which other writers wait.
    """
    offsets = {table: db.value(f"SELECT {next_id(table)}") - 1 for table in _MOVED}
    _add_repos(db, incoming, names)
    _choose_ids(db, incoming)
    for table, changed, order in _ROWS:
        _add_rows(db, incoming, table, changed, order, offsets)
    _announce(db, incoming, names)
    number: int = incoming.value("SELECT count(*) FROM commits")
    return number


def _add_rows(db: Db, incoming: Db, table: str, changed: Mapping[str, str], order: str, offsets: Mapping[str, int]) -> None:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    selected = ", ".join(changed.get(column, column) for column in columns)
    rows = incoming.execute(f"SELECT {selected} FROM {table} ORDER BY {order}", offsets)
    marks = ", ".join("?" for _ in columns)
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _add_repos(db: Db, incoming: Db, names: Mapping[str, str]) -> None:
    incoming.execute("CREATE TEMP TABLE new_repos (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
    sql = "SELECT id, name, kind, description, created_ns FROM repos ORDER BY id"
    for old, name, *rest in incoming.execute(sql).fetchall():
        insert = "INSERT INTO repos (name, kind, description, created_ns) VALUES (?, ?, ?, ?)"
        new = db.execute(insert, (names[name], *rest)).lastrowid
        incoming.execute("INSERT INTO new_repos (old, new) VALUES (?, ?)", (old, new))


def _choose_ids(db: Db, incoming: Db) -> None:
    """Choose new ids for the commits whose ids the store has. Raises Conflict if jobs come along: their data has the old."""
    incoming.execute("CREATE TEMP TABLE new_ids (old BLOB PRIMARY KEY, new BLOB NOT NULL) WITHOUT ROWID")
    taken = (
        (old, bytes.fromhex(new_commit_id()))
        for (old,) in incoming.execute("SELECT DISTINCT global_id FROM commits")
        if db.value("SELECT 1 FROM commits WHERE global_id = ?", (old,))
    )
    incoming.executemany("INSERT INTO new_ids (old, new) VALUES (?, ?)", taken)
    if incoming.value("SELECT 1 FROM new_ids") and incoming.value("SELECT 1 FROM jobs"):
        raise Conflict("the export has jobs whose commits are in this store already")


def _announce(db: Db, incoming: Db, names: Mapping[str, str]) -> None:
    sql = "SELECT r.name, b.name FROM branches b JOIN repos r ON r.id = b.repo_id"
    rows: Iterator[Any] = incoming.execute(sql)
    db.changes.heads.update((names[repo], branch) for repo, branch in rows)
    db.changes.repos = db.changes.jobs = db.changes.triggers = True
