"""Every table of the store, in the order in which they came to be.

Ids are small integers inside and names, hex digests and commit ids outside; only `store` sees the integers. Times are
nanoseconds UTC. What others hold on to by number while it may vanish (branches, jobs, datums) never gives a number twice.
Migrations run forward at start; a database that knows migrations this code does not is newer and refused.

**Lines.** History is kept as *lines*. A line is a row of commits numbered by `seq`, each the child of the one before.
Committing on the tip of a line extends it; committing on anything else starts a new line that points at its base. An
*entry* is valid from the commit `from_seq` of its line up to, not including, `until_seq`; NULL means it still is. Writing
one file therefore touches one old and one new row whatever the repo holds, and the head of a line is the partial index on
open entries. What a line does not say about a path is what its base line said at `base_seq`.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterable
from typing import Any

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from appliance.errors import Conflict

migrations = Migrations("appliance")

_INITIAL = (
    # A repo holds branches and commits. `kind` is user, or deleted while its rows wait for the collector; nobody sees those.
    # One with a dot in its name is the system's; see `meta_repos`.
    """
    CREATE TABLE repos (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        kind TEXT NOT NULL DEFAULT 'user',
        description TEXT NOT NULL DEFAULT '',
        created_ns INTEGER NOT NULL,
        UNIQUE (name, kind)
    )
    """,
    # `tip_seq` is the newest commit of the line, `changed_seq` the newest that changed an entry: a snapshot at or after
    # it is read through the index of open entries. Redundant with commits and entries, so that a write reads one row.
    """
    CREATE TABLE lines (
        id INTEGER PRIMARY KEY,
        repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE,
        base_line_id INTEGER REFERENCES lines,
        base_seq INTEGER,
        tip_seq INTEGER NOT NULL DEFAULT 0,
        changed_seq INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX lines_repo ON lines (repo_id)",
    "CREATE INDEX lines_base ON lines (base_line_id) WHERE base_line_id IS NOT NULL",
    # A commit: open while `finished_ns` is NULL. `global_id` is 16 bytes, unique within a repo, shared across repos by
    # a commit set. `branch` is where it was made, for people to read. `origin` is USER or AUTO (made by propagation).
    # With an `error` the commit changed nothing and shows nothing; those after it go on from the one before.
    # `size_bytes` and `file_count` are of its whole tree.
    """
    CREATE TABLE commits (
        id INTEGER PRIMARY KEY,
        repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE,
        line_id INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        global_id BLOB NOT NULL,
        parent_id INTEGER REFERENCES commits,
        branch TEXT NOT NULL,
        origin TEXT NOT NULL,
        description TEXT NOT NULL DEFAULT '',
        started_ns INTEGER NOT NULL,
        finished_ns INTEGER,
        error TEXT,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        file_count INTEGER NOT NULL DEFAULT 0,
        UNIQUE (global_id, repo_id),
        UNIQUE (line_id, seq)
    )
    """,
    "CREATE INDEX commits_repo ON commits (repo_id)",
    "CREATE INDEX commits_parent ON commits (parent_id) WHERE parent_id IS NOT NULL",
    # A branch points at its head; several may share one. `trigger` is JSON, NULL without one.
    """
    CREATE TABLE branches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE,
        name TEXT NOT NULL,
        head_id INTEGER NOT NULL REFERENCES commits,
        trigger TEXT,
        created_ns INTEGER NOT NULL,
        UNIQUE (repo_id, name)
    )
    """,
    "CREATE INDEX branches_head ON branches (head_id)",
    # Direct provenance, of branches (what propagation follows) and of commits (what they were made from).
    """
    CREATE TABLE branch_provenance (
        branch_id INTEGER NOT NULL REFERENCES branches ON DELETE CASCADE,
        upstream_id INTEGER NOT NULL REFERENCES branches,
        PRIMARY KEY (branch_id, upstream_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX branch_provenance_upstream ON branch_provenance (upstream_id)",
    """
    CREATE TABLE commit_provenance (
        commit_id INTEGER NOT NULL REFERENCES commits ON DELETE CASCADE,
        upstream_id INTEGER NOT NULL REFERENCES commits,
        PRIMARY KEY (commit_id, upstream_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX commit_provenance_upstream ON commit_provenance (upstream_id)",
    # Bytes by digest (SHA-256). Small ones are in `data`, larger ones are files below `blobs/`. `data` comes last, so
    # that reading the rest never touches its pages. MD5 is there because S3's ETag is; it is empty for large files that
    # came from elsewhere, until somebody sends the same bytes with one.
    """
    CREATE TABLE blobs (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        md5 BLOB NOT NULL,
        data BLOB
    )
    """,
    # Content made of several blobs, in order: multipart uploads, appends, copies of parts. `digest` is the SHA-256 over
    # the digests, offsets and sizes of its extents, so equal bytes cut differently have different digests.
    """
    CREATE TABLE extent_lists (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        size_bytes INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE extents (
        list_id INTEGER NOT NULL REFERENCES extent_lists ON DELETE CASCADE,
        position INTEGER NOT NULL,
        blob_id INTEGER NOT NULL REFERENCES blobs,
        blob_offset INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (list_id, position)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX extents_blob ON extents (blob_id)",
    # One version of one path on one line. `kind`: 1 file, 2 explicit directory (its path ends in a slash, as its S3 key
    # does), 0 nothing: hides what the base line has there. Exactly one of `blob_id` and `list_id` is set for a file, and
    # for a directory that S3 gave content.
    # `size_bytes`, `etag` and `modified_ns` repeat what blob and commit say, so that a listing reads only entries.
    # `etag` is 16 bytes of MD5 or the text `<hex>-<parts>`. `metadata` is JSON or NULL. Intervals of a path never overlap.
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        line_id INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
        path TEXT NOT NULL,
        from_seq INTEGER NOT NULL,
        until_seq INTEGER,
        kind INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        modified_ns INTEGER NOT NULL,
        etag,
        blob_id INTEGER REFERENCES blobs,
        list_id INTEGER REFERENCES extent_lists,
        metadata TEXT
    )
    """,
    "CREATE UNIQUE INDEX entries_open ON entries (line_id, path) WHERE until_seq IS NULL",
    "CREATE UNIQUE INDEX entries_history ON entries (line_id, path, from_seq)",
    "CREATE INDEX entries_from ON entries (line_id, from_seq)",
    "CREATE INDEX entries_until ON entries (line_id, until_seq) WHERE until_seq IS NOT NULL",
    "CREATE INDEX entries_blob ON entries (blob_id) WHERE blob_id IS NOT NULL",
    "CREATE INDEX entries_list ON entries (list_id) WHERE list_id IS NOT NULL",
    # A multipart upload in progress. `target` says where it will land: `branch/<id>` or `datum/<id>`; text, because the
    # two have nothing else in common.
    """
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        path TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        metadata TEXT
    )
    """,
    "CREATE INDEX uploads_target ON uploads (target, path)",
    """
    CREATE TABLE parts (
        upload_id TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
        number INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        etag NOT NULL,
        blob_id INTEGER REFERENCES blobs,
        list_id INTEGER REFERENCES extent_lists,
        PRIMARY KEY (upload_id, number)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX parts_blob ON parts (blob_id) WHERE blob_id IS NOT NULL",
    "CREATE INDEX parts_list ON parts (list_id) WHERE list_id IS NOT NULL",
    # A pipeline and all versions of its spec (JSON). It owns `branch_id`, its output branch. `salt` is part of every
    # datum's hash: a new one reprocesses everything.
    """
    CREATE TABLE pipelines (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        branch_id INTEGER NOT NULL UNIQUE REFERENCES branches,
        version INTEGER NOT NULL,
        salt TEXT NOT NULL,
        stopped INTEGER NOT NULL DEFAULT 0,
        created_ns INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE pipeline_versions (
        pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
        version INTEGER NOT NULL,
        spec BLOB NOT NULL,
        created_ns INTEGER NOT NULL,
        PRIMARY KEY (pipeline_id, version)
    ) WITHOUT ROWID
    """,
    # A run of a pipeline; `commit_id` is its output commit, whose global id is the job's. The counters are those of
    # Pachyderm's job: total = processed + skipped + failed + recovered once the job has ended.
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
        version INTEGER NOT NULL,
        commit_id INTEGER NOT NULL UNIQUE REFERENCES commits ON DELETE CASCADE,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        created_ns INTEGER NOT NULL,
        started_ns INTEGER,
        finished_ns INTEGER,
        restarts INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        processed INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        recovered INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX jobs_pipeline ON jobs (pipeline_id, id)",
    "CREATE INDEX jobs_unfinished ON jobs (pipeline_id, id) WHERE finished_ns IS NULL",
    # One datum of one job. `inputs` is JSON. `output_of` is the datum whose files are this one's output: itself, or for a
    # skipped datum the one that was processed in an earlier job.
    """
    CREATE TABLE datums (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        position INTEGER NOT NULL,
        datum_id BLOB NOT NULL,
        hash BLOB NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        tries INTEGER NOT NULL DEFAULT 0,
        inputs BLOB NOT NULL,
        started_ns INTEGER,
        finished_ns INTEGER,
        output_of INTEGER REFERENCES datums,
        UNIQUE (job_id, position)
    )
    """,
    "CREATE INDEX datums_hash ON datums (job_id, hash)",
    "CREATE INDEX datums_output_of ON datums (output_of) WHERE output_of IS NOT NULL",
    # What a datum wrote, by path: the staging of a try while it runs, its output once it succeeded. Columns as in entries.
    """
    CREATE TABLE datum_files (
        datum_id INTEGER NOT NULL REFERENCES datums ON DELETE CASCADE,
        path TEXT NOT NULL,
        kind INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        etag,
        blob_id INTEGER REFERENCES blobs,
        list_id INTEGER REFERENCES extent_lists,
        metadata TEXT,
        PRIMARY KEY (datum_id, path)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX datum_files_blob ON datum_files (blob_id) WHERE blob_id IS NOT NULL",
    "CREATE INDEX datum_files_list ON datum_files (list_id) WHERE list_id IS NOT NULL",
    # User code's output, a row for each line. `datum_id` is NULL for the job's own remarks, `stream` then `job`.
    """
    CREATE TABLE log_lines (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        datum_id INTEGER REFERENCES datums ON DELETE CASCADE,
        time_ns INTEGER NOT NULL,
        stream TEXT NOT NULL,
        message TEXT NOT NULL
    )
    """,
    "CREATE INDEX log_lines_job ON log_lines (job_id, id)",
    "CREATE INDEX log_lines_datum ON log_lines (datum_id) WHERE datum_id IS NOT NULL",
)


@migrations()  # type: ignore[untyped-decorator]
def initial(db: Database) -> None:
    """The tables as they were first released."""
    for statement in _INITIAL:
        db.conn.execute(statement)


_STAGED_PUTS = (
    # A put that is still receiving: its files are staged one by one and become one commit in the end. What it refers to is
    # not garbage meanwhile. The columns of staged_files are those of entries; the same path may come twice, the later wins.
    "CREATE TABLE staged_puts (id TEXT PRIMARY KEY, created_ns INTEGER NOT NULL)",
    """
    CREATE TABLE staged_files (
        put_id TEXT NOT NULL REFERENCES staged_puts ON DELETE CASCADE,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        etag NOT NULL,
        blob_id INTEGER REFERENCES blobs,
        list_id INTEGER REFERENCES extent_lists,
        metadata TEXT,
        PRIMARY KEY (put_id, position)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX staged_files_blob ON staged_files (blob_id) WHERE blob_id IS NOT NULL",
    "CREATE INDEX staged_files_list ON staged_files (list_id) WHERE list_id IS NOT NULL",
)


@migrations()  # type: ignore[untyped-decorator]
def staged_puts(db: Database) -> None:
    """Puts of many files that arrive one by one."""
    for statement in _STAGED_PUTS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def triggers(db: Database) -> None:
    """Find the triggers of a repo without reading its branches: every commit that finishes asks."""
    db.conn.execute("CREATE INDEX branches_trigger ON branches (repo_id) WHERE trigger IS NOT NULL")


# Requests that were recorded to happen together, in order: JSON of control's own making.
_TRANSACTIONS = "CREATE TABLE transactions (id TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, requests TEXT NOT NULL)"


@migrations()  # type: ignore[untyped-decorator]
def transactions(db: Database) -> None:
    """Requests that are collected and then run as one write."""
    db.conn.execute(_TRANSACTIONS)


@migrations()  # type: ignore[untyped-decorator]
def damaged_blobs(db: Database) -> None:
    """Blob files in which a check found wrong bytes. Nobody is given them until the same bytes are put again.

    Small blobs are hashed whenever they are read, and what is missing or too short is seen by its size; neither is here.
    """
    db.conn.execute("CREATE TABLE damaged_blobs (digest BLOB PRIMARY KEY, found_ns INTEGER NOT NULL) WITHOUT ROWID")


@migrations()  # type: ignore[untyped-decorator]
def deleted_repos(db: Database) -> None:
    """The kind `deleted`: a repo without name and branches whose rows the collector removes bit by bit."""
    db.conn.execute("CREATE INDEX repos_deleted ON repos (id) WHERE kind = 'deleted'")


@migrations()  # type: ignore[untyped-decorator]
def spent_ids(db: Database) -> None:
    """The greatest id of a table that ever was, as far as the collector has removed rows of it.

    Others hold on to blobs and lists by number between a snapshot and a write, so a number must never mean other bytes.
    """
    db.conn.execute("CREATE TABLE spent_ids (table_name TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID")


_DELETE_MARKERS = (
    # A delete that found nothing to end, for the list of versions that S3 wants: it changes no entry, and makes no commit
    # unless something else was deleted with it. It lies behind what the commit `seq` of its line did to the path; several
    # may, by `id`. `version` is the commit's global id, or one of its own. That an entry ends is such a marker too, with
    # the id of the commit that ended it, and has no row here unless others lie at the same place: then all have.
    """
    CREATE TABLE delete_markers (
        id INTEGER PRIMARY KEY,
        line_id INTEGER NOT NULL,
        path TEXT NOT NULL,
        seq INTEGER NOT NULL,
        version BLOB NOT NULL,
        created_ns INTEGER NOT NULL,
        FOREIGN KEY (line_id, seq) REFERENCES commits (line_id, seq) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX delete_markers_path ON delete_markers (line_id, path, seq)",
    "CREATE INDEX delete_markers_commit ON delete_markers (line_id, seq)",
    "CREATE INDEX delete_markers_version ON delete_markers (version, path)",
    # What was a version of a path and was forgotten: its commit shows the one before now, and yet is not its name.
    """
    CREATE TABLE forgotten_versions (
        line_id INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        path TEXT NOT NULL,
        PRIMARY KEY (line_id, seq, path),
        FOREIGN KEY (line_id, seq) REFERENCES commits (line_id, seq) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
)


@migrations()  # type: ignore[untyped-decorator]
def delete_markers(db: Database) -> None:
    """Deletes of what was not there."""
    for statement in _DELETE_MARKERS:
        db.conn.execute(statement)


_OBJECT_PARTS = (
    # Where the parts began of what was uploaded in parts: one row for each, by the number it had. `checksum` is that of
    # the part, in base64, in the algorithm of the whole; of a part in progress it is JSON, by name.
    """
    CREATE TABLE object_parts (
        list_id INTEGER NOT NULL REFERENCES extent_lists ON DELETE CASCADE,
        number INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        checksum TEXT,
        PRIMARY KEY (list_id, number)
    ) WITHOUT ROWID
    """,
    "ALTER TABLE parts ADD COLUMN checksums TEXT",
    # JSON: what completing answered, for a client that did not hear it and asks again. Such an upload has no parts.
    "ALTER TABLE uploads ADD COLUMN result TEXT",
    # New ids begin with the time, so by id is by age, and a page goes on behind an upload that is gone.
    "CREATE INDEX uploads_place ON uploads (target, path, id) WHERE result IS NULL",
    "CREATE INDEX uploads_age ON uploads (created_ns)",
)


@migrations()  # type: ignore[untyped-decorator]
def object_parts(db: Database) -> None:
    """What is left to know of an upload once it is completed."""
    for statement in _OBJECT_PARTS:
        db.conn.execute(statement)


_OVERLAYS = (
    # What was changed through the mount in a branch and is not committed yet, over the commit `base` (its id; NULL: nothing).
    """
    CREATE TABLE overlays (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE,
        branch TEXT NOT NULL,
        base TEXT,
        created_ns INTEGER NOT NULL,
        UNIQUE (repo_id, branch)
    )
    """,
    # A name in such a tree; what has no row is as in the base. `kind`: 0 nothing, 1 file, 2 directory. `base_path` is where
    # it stands in the base: a directory shows what is there, under its own rows. `file` names the bytes of a file that was
    # written; without, they are those of the base. The root has no parent.
    """
    CREATE TABLE overlay_nodes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        overlay_id INTEGER NOT NULL REFERENCES overlays ON DELETE CASCADE,
        parent_id INTEGER,
        name TEXT NOT NULL,
        kind INTEGER NOT NULL,
        base_path TEXT,
        file TEXT
    )
    """,
    "CREATE UNIQUE INDEX overlay_nodes_name ON overlay_nodes (parent_id, name)",
    "CREATE UNIQUE INDEX overlay_nodes_base ON overlay_nodes (overlay_id, base_path) WHERE base_path IS NOT NULL",
    "CREATE INDEX overlay_nodes_overlay ON overlay_nodes (overlay_id)",
)


@migrations()  # type: ignore[untyped-decorator]
def overlays(db: Database) -> None:
    """Changes made through the mount that wait for their commit."""
    for statement in _OVERLAYS:
        db.conn.execute(statement)


_ACCESS = (
    # Who may come in: the SHA-256 of each token and whose it is. Authentication is on while `pach:root` has one. A token
    # that has expired stays for a while, so that it can be called that.
    """
    CREATE TABLE auth_tokens (
        digest BLOB PRIMARY KEY,
        subject TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        expires_ns INTEGER
    ) WITHOUT ROWID
    """,
    "CREATE INDEX auth_tokens_subject ON auth_tokens (subject)",
    # What a subject may do with a repo; without a repo, with all of them. Exports have neither of the two: subjects are
    # those of one appliance.
    """
    CREATE TABLE auth_roles (
        repo_id INTEGER REFERENCES repos ON DELETE CASCADE,
        subject TEXT NOT NULL,
        role TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX auth_roles_subject ON auth_roles (subject, repo_id, role)",
    "CREATE INDEX auth_roles_repo ON auth_roles (repo_id)",
    # What S3 can be told about a branch as a bucket. `acl` is a canned ACL, `cors` and `tags` are JSON or NULL.
    """
    CREATE TABLE branch_settings (
        branch_id INTEGER PRIMARY KEY REFERENCES branches ON DELETE CASCADE,
        acl TEXT NOT NULL DEFAULT 'private',
        cors TEXT,
        tags TEXT
    )
    """,
)


@migrations()  # type: ignore[untyped-decorator]
def access(db: Database) -> None:
    """Tokens, roles, and what a bucket lets others do."""
    for statement in _ACCESS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def bucket_habits(db: Database) -> None:
    """What a client was promised of a bucket: the place it asked for, and whether answers say versions. NULL: nothing."""
    for name in ("location", "versioning"):
        db.conn.execute(f"ALTER TABLE branch_settings ADD COLUMN {name} TEXT")


@migrations()  # type: ignore[untyped-decorator]
def cron_inputs(db: Database) -> None:
    """What pipelines wait for by the clock. `last_ns` is the newest tick, or from when on there are any; `made`: the repo is
    there only for the ticks.
    """
    db.conn.execute(
        """
        CREATE TABLE cron_inputs (
            id INTEGER PRIMARY KEY,
            pipeline_id INTEGER NOT NULL REFERENCES pipelines ON DELETE CASCADE,
            name TEXT NOT NULL,
            repo TEXT NOT NULL,
            spec TEXT NOT NULL,
            last_ns INTEGER NOT NULL,
            overwrite INTEGER NOT NULL,
            made INTEGER NOT NULL
        )
        """
    )
    db.conn.execute("CREATE INDEX cron_inputs_pipeline ON cron_inputs (pipeline_id)")


@migrations()  # type: ignore[untyped-decorator]
def bucket_aliases(db: Database) -> None:
    """Repos by what S3 clients call them that know neither capitals nor underscores; see `repos.find_alias`."""
    db.conn.execute("CREATE INDEX repos_alias ON repos (replace(lower(name), '_', '-'))")


@migrations()  # type: ignore[untyped-decorator]
def meta_repos(db: Database) -> None:
    """A pipeline has a second branch, in a repo `<pipeline>.meta` that is there only for it: each job makes a commit there
    too, with the id of its output commit. Such a commit has no entries; what it shows is read from the job's datums.
    """
    db.conn.execute("ALTER TABLE pipelines ADD COLUMN meta_branch_id INTEGER REFERENCES branches")
    db.conn.execute("CREATE UNIQUE INDEX pipelines_meta ON pipelines (meta_branch_id)")
    for row in db.conn.execute("SELECT id, name, branch_id FROM pipelines").fetchall():
        _add_meta_repo(db.conn, *row)


def _add_meta_repo(connection: Any, pipeline: int, name: str, output_branch: int) -> None:
    """Give a pipeline of an earlier version its repo, with an empty commit for the branch to begin with."""
    now_ns = time.time_ns()

    def insert(sql: str, *values: Any) -> int:
        row: int = connection.execute(sql, values).lastrowid
        return row

    sql = "INSERT INTO repos (name, description, created_ns) VALUES (?, ?, ?)"
    repo = insert(sql, f"{name}.meta", f"Meta repo for pipeline {name}.", now_ns)
    line = insert("INSERT INTO lines (repo_id, tip_seq) VALUES (?, 1)", repo)
    sql = """
        INSERT INTO commits (repo_id, line_id, seq, global_id, branch, origin, started_ns, finished_ns)
        SELECT ?, ?, 1, ?, name, 'AUTO', ?, ? FROM branches WHERE id = ?
    """
    commit = insert(sql, repo, line, uuid.uuid4().bytes, now_ns, now_ns, output_branch)
    sql = "INSERT INTO branches (repo_id, name, head_id, created_ns) SELECT ?, name, ?, ? FROM branches WHERE id = ?"
    branch = insert(sql, repo, commit, now_ns, output_branch)
    sql = """
        INSERT INTO branch_provenance (branch_id, upstream_id)
        SELECT ?, upstream_id FROM branch_provenance WHERE branch_id = ?
    """
    connection.execute(sql, (branch, output_branch))
    connection.execute("UPDATE pipelines SET meta_branch_id = ? WHERE id = ?", (branch, pipeline))


@migrations()  # type: ignore[untyped-decorator]
def datums_by_id(db: Database) -> None:
    """Find a datum of a job by its id. That finds those of a hash too: equal hashes are of equal ids."""
    db.conn.execute("DROP INDEX datums_hash")
    db.conn.execute("CREATE INDEX datums_id ON datums (job_id, datum_id)")


@migrations()  # type: ignore[untyped-decorator]
def quiet_provenance(db: Database) -> None:
    """With `never` a branch is made from what the other one shows, and not made again because that has changed."""
    db.conn.execute("ALTER TABLE branch_provenance ADD COLUMN never INTEGER NOT NULL DEFAULT 0")


@migrations()  # type: ignore[untyped-decorator]
def buried_pipelines(db: Database) -> None:
    """Pipelines that were deleted and whose rows wait for the collector; nobody sees those. See `burying`."""
    db.conn.execute("ALTER TABLE pipelines ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("CREATE INDEX pipelines_deleted ON pipelines (id) WHERE deleted")


@migrations()  # type: ignore[untyped-decorator]
def overlay_attributes(db: Database) -> None:
    """Working trees hold more than commits do: `kind` may be 3, a symbolic link, or 4, a pipe, socket or device.

    `file` names what has the attributes of a name, its bytes too where it has any. If `is_hollow`, its bytes are still those
    of the base. `same_as` is the origin of what the name is a hard link of, a path in the base or a row's number, so it has
    no type; that row may be gone.
    """
    db.conn.execute("ALTER TABLE overlay_nodes ADD COLUMN same_as")
    db.conn.execute("ALTER TABLE overlay_nodes ADD COLUMN is_hollow INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("CREATE INDEX overlay_nodes_same ON overlay_nodes (overlay_id, same_as) WHERE same_as IS NOT NULL")


@migrations()  # type: ignore[untyped-decorator]
def opened_files(db: Database) -> None:
    """What the doors saw a datum open of its inputs, in its last try. By names, for people to read. Exports have none."""
    db.conn.execute(
        """
        CREATE TABLE opened_files (
            datum_id INTEGER NOT NULL REFERENCES datums ON DELETE CASCADE,
            repo TEXT NOT NULL,
            path TEXT NOT NULL,
            PRIMARY KEY (datum_id, repo, path)
        ) WITHOUT ROWID
        """
    )


@migrations()  # type: ignore[untyped-decorator]
def discarded(db: Database) -> None:
    """Datums that have not succeeded and still have staged files, which wait for the collector."""
    db.conn.execute("CREATE TABLE discarded (datum_id INTEGER PRIMARY KEY REFERENCES datums ON DELETE CASCADE)")


@migrations()  # type: ignore[untyped-decorator]
def overlay_order(db: Database) -> None:
    """What is new in a directory in the order of its listing; see `overlays.iter_children`."""
    db.conn.execute("CREATE INDEX overlay_nodes_mark ON overlay_nodes (parent_id, (name || iif(kind = 2, '/', '')))")


@migrations()  # type: ignore[untyped-decorator]
def job_sizes(db: Database) -> None:
    """What the datums of a job that ran were given (without S3) and wrote, in bytes, and how long they took altogether."""
    for name in ("downloaded_bytes", "uploaded_bytes", "process_ns"):
        db.conn.execute(f"ALTER TABLE jobs ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to this code's schema. Raises Conflict, changing nothing, if it is newer."""
    db = Database(connection)
    known = {migration.name for migration in _all_migrations()}
    if newer := {migration.name for migration in migrations.applied(db)} - known:
        raise Conflict(f"the data directory was written by a newer appliance (schema {', '.join(sorted(newer))})")
    migrations.apply(db)


def list_migrations() -> list[str]:
    """Return the names of the steps that lead to this code's schema, in order."""
    return [migration.name for migration in _all_migrations()]


def _all_migrations() -> Iterable[Any]:
    pending: Iterable[Any] = migrations.pending(Database(memory=True))
    return pending
