"""What the rows of the store must agree on, as queries that find what does not. `checking` runs them.

A rule looks at the rows of one table whose ids are above `:low` and up to `:high`, and gives a line of text for each that
breaks it, so that a check goes through a table of any size in steps. Each step is right within its own snapshot: nothing
that happens between two steps can look like an error. Rows of repos that were deleted and wait for the collector are
nobody's any more, and left out.

What is named is what people know: repos, commits and paths. Numbers of rows stand where nothing better is left.
"""

from typing import Final

_DELETED_LINES = "(SELECT l.id FROM lines l JOIN repos r ON r.id = l.repo_id WHERE r.kind = 'deleted')"
_ENTRY = f"e.id > :low AND e.id <= :high AND e.line_id NOT IN {_DELETED_LINES}"
_COMMIT = "c.id > :low AND c.id <= :high AND r.kind <> 'deleted'"


def name_entry(alias: str) -> str:
    """Return an expression for `repo@commit:path` of an entry of this alias; the commit is the one that began it."""
    return f"""
        coalesce((SELECT r.name || '@' || coalesce(lower(hex(c.global_id)), 'line ' || l.id || ' at ' || {alias}.from_seq)
                  FROM lines l JOIN repos r ON r.id = l.repo_id
                  LEFT JOIN commits c ON c.line_id = l.id AND c.seq = {alias}.from_seq WHERE l.id = {alias}.line_id),
                 'line ' || {alias}.line_id) || ':' || {alias}.path
    """


def _entries(text: str, condition: str, join: str = "") -> str:
    return f"SELECT {name_entry('e')} || ' {text}' FROM entries e {join} WHERE {_ENTRY} AND ({condition})"


def _contents(name: str, join: str, alias: str, condition: str, *, single_etag: bool = True) -> list[str]:
    """Return the rules for rows that hold the content of a file: which blob or list, how large, which ETag."""
    held = f"{join} LEFT JOIN blobs b ON b.id = {alias}.blob_id LEFT JOIN extent_lists x ON x.id = {alias}.list_id"
    half = f"({alias}.blob_id IS NULL) = ({alias}.list_id IS NULL)"
    size = f"{alias}.size_bytes <> coalesce(b.size_bytes, x.size_bytes)"
    rules = [
        f"SELECT {name} || ' has not exactly one of blob and list' {join} WHERE {condition} AND {half}",
        f"SELECT {name} || ' records ' || {alias}.size_bytes || ' bytes and its content has '"
        f" || coalesce(b.size_bytes, x.size_bytes) {held} WHERE {condition} AND {size}",
        f"SELECT {name} || ' has metadata that is not text by name' {join}"
        f" WHERE {condition} AND {alias}.metadata IS NOT NULL AND {_bad_metadata(alias)}",
    ]
    if single_etag:
        other = f"{alias}.etag IS NOT b.md5 AND b.md5 IS NOT x''"  # empty: nobody knows
        wrong = f"(typeof({alias}.etag) = 'blob' AND {other}) OR {_bad_etag(alias)}"
        rules.append(f"SELECT {name} || ' has an ETag that is not of its content' {held} WHERE {condition} AND ({wrong})")
    return rules


def _bad_metadata(alias: str) -> str:
    """Return a condition for metadata that is not an object of texts, or has what would break out of a header."""
    # A tab is part of the text of a header.
    control = "'*[' || char(1) || '-' || char(8) || char(10) || '-' || char(31) || ']*'"
    return f"""
        CASE WHEN NOT json_valid({alias}.metadata) THEN 1 WHEN json_type({alias}.metadata) <> 'object' THEN 1 ELSE
        EXISTS (SELECT 1 FROM json_each({alias}.metadata) WHERE type <> 'text' OR key GLOB {control} OR value GLOB {control})
        END
    """


def _bad_etag(alias: str) -> str:
    odd = f"typeof({alias}.etag) = 'text' AND {alias}.etag NOT GLOB '*-[1-9]*'"
    return f"typeof({alias}.etag) NOT IN ('blob', 'text') OR ({odd})"


_REPOS = (
    "SELECT 'repo ' || name || ' is of the unknown kind ' || kind FROM repos WHERE id > :low AND id <= :high"
    " AND kind NOT IN ('user', 'deleted')",
)

_LINE = f"l.id > :low AND l.id <= :high AND l.id NOT IN {_DELETED_LINES}"
_LINES = (
    f"""
    SELECT 'line ' || l.id || ' has its tip at ' || tip_seq || ' and its newest commit at ' || coalesce(newest, 'none')
    FROM (SELECT l.id, l.tip_seq, (SELECT max(seq) FROM commits c WHERE c.line_id = l.id) AS newest
          FROM lines l WHERE {_LINE}) l
    WHERE tip_seq IS NOT newest
    """,
    f"""
    SELECT 'line ' || l.id || ' says it last changed at ' || l.changed_seq || ' and has a newer change' FROM lines l
    WHERE {_LINE} AND l.changed_seq < max(
        coalesce((SELECT max(from_seq) FROM entries e WHERE e.line_id = l.id), 0),
        coalesce((SELECT max(until_seq) FROM entries e WHERE e.line_id = l.id AND e.until_seq IS NOT NULL), 0))
    """,
    f"SELECT 'line ' || l.id || ' has half a base' FROM lines l"
    f" WHERE {_LINE} AND (base_line_id IS NULL) <> (base_seq IS NULL)",
    f"""
    SELECT 'line ' || l.id || ' begins at a commit that does not exist' FROM lines l
    WHERE {_LINE} AND l.base_line_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM commits c WHERE c.line_id = l.base_line_id AND c.seq = l.base_seq)
    """,
    # A line is younger than the one it began on, so no row of bases comes back to where it started.
    f"""
    SELECT 'line ' || l.id || ' begins on a line of another repo, or a younger one' FROM lines l
    JOIN lines b ON b.id = l.base_line_id WHERE {_LINE} AND (b.repo_id <> l.repo_id OR b.id >= l.id)
    """,
)

_NAME_COMMIT = "'commit ' || r.name || '@' || lower(hex(c.global_id))"
_FROM_COMMIT = "FROM commits c JOIN repos r ON r.id = c.repo_id"
_COMMITS = (
    f"""
    SELECT {_NAME_COMMIT} || ' is on a line of another repo' {_FROM_COMMIT} JOIN lines l ON l.id = c.line_id
    WHERE {_COMMIT} AND l.repo_id <> c.repo_id
    """,
    f"SELECT {_NAME_COMMIT} || ' has no legal id' {_FROM_COMMIT} WHERE {_COMMIT} AND length(c.global_id) <> 16",
    f"SELECT {_NAME_COMMIT} || ' was made on a branch without a legal name' {_FROM_COMMIT}"
    f" WHERE {_COMMIT} AND (c.branch = '' OR c.branch GLOB '*[^a-zA-Z0-9_-]*')",
    f"SELECT {_NAME_COMMIT} || ' has the unknown origin ' || c.origin {_FROM_COMMIT}"
    f" WHERE {_COMMIT} AND c.origin NOT IN ('USER', 'AUTO')",
    # The parent is the commit before it on its line; of the first, the commit that the line began at.
    f"""
    SELECT name || ' does not have the commit before it as parent' FROM (
        SELECT {_NAME_COMMIT} AS name, c.parent_id, coalesce(
            (SELECT p.id FROM commits p WHERE p.line_id = c.line_id AND p.seq < c.seq ORDER BY p.seq DESC LIMIT 1),
            (SELECT p.id FROM lines l JOIN commits p ON p.line_id = l.base_line_id AND p.seq = l.base_seq
             WHERE l.id = c.line_id)) AS before {_FROM_COMMIT} WHERE {_COMMIT})
    WHERE parent_id IS NOT before
    """,
    f"""
    SELECT {_NAME_COMMIT} || ' was made from ' || ur.name || '@' || lower(hex(u.global_id)) || ', which is younger'
    {_FROM_COMMIT} JOIN commit_provenance p ON p.commit_id = c.id JOIN commits u ON u.id = p.upstream_id
    JOIN repos ur ON ur.id = u.repo_id WHERE {_COMMIT} AND u.id >= c.id
    """,
    f"""
    SELECT {_NAME_COMMIT} || ' was made from ' || count(*) || ' commits of repo ' || ur.name
    {_FROM_COMMIT} JOIN commit_provenance p ON p.commit_id = c.id JOIN commits u ON u.id = p.upstream_id
    JOIN repos ur ON ur.id = u.repo_id WHERE {_COMMIT} GROUP BY c.id, ur.id HAVING count(*) > 1 OR ur.id = r.id
    """,
    f"""
    SELECT {_NAME_COMMIT} || ' was made from a commit of a repo that was deleted' {_FROM_COMMIT}
    JOIN commit_provenance p ON p.commit_id = c.id JOIN commits u ON u.id = p.upstream_id
    JOIN repos ur ON ur.id = u.repo_id WHERE {_COMMIT} AND ur.kind = 'deleted'
    """,
)

_BRANCH = "b.id > :low AND b.id <= :high AND r.kind <> 'deleted'"
_NAME_BRANCH = "'branch ' || r.name || '@' || b.name"
_FROM_BRANCH = "FROM branches b JOIN repos r ON r.id = b.repo_id"
_BRANCHES = (
    f"""
    SELECT {_NAME_BRANCH} || ' points at a commit of another repo' {_FROM_BRANCH} LEFT JOIN commits c ON c.id = b.head_id
    WHERE {_BRANCH} AND c.repo_id IS NOT b.repo_id
    """,
    f"""
    SELECT {_NAME_BRANCH} || ' is in its own provenance' {_FROM_BRANCH} WHERE {_BRANCH} AND b.id IN (
        WITH RECURSIVE up(id) AS (
            SELECT upstream_id FROM branch_provenance WHERE branch_id = b.id
            UNION SELECT p.upstream_id FROM branch_provenance p JOIN up ON p.branch_id = up.id
        ) SELECT id FROM up)
    """,
    f"""
    SELECT {_NAME_BRANCH} || ' depends on a branch of repo ' || ur.name || ', which was deleted' {_FROM_BRANCH}
    JOIN branch_provenance p ON p.branch_id = b.id JOIN branches u ON u.id = p.upstream_id
    JOIN repos ur ON ur.id = u.repo_id WHERE {_BRANCH} AND ur.kind = 'deleted'
    """,
    # A head that a job of the pipeline as it is now works on was made from its inputs as they are now: one commit of each.
    f"""
    SELECT {_NAME_BRANCH} || ' has a head that was not made from its provenance' {_FROM_BRANCH}
    JOIN jobs j ON j.commit_id = b.head_id JOIN pipelines p ON p.id = j.pipeline_id
    WHERE {_BRANCH} AND j.finished_ns IS NULL AND j.version = p.version AND p.branch_id = b.id AND (
        EXISTS (SELECT u.repo_id FROM branch_provenance q JOIN branches u ON u.id = q.upstream_id WHERE q.branch_id = b.id
                EXCEPT SELECT u.repo_id FROM commit_provenance q JOIN commits u ON u.id = q.upstream_id
                WHERE q.commit_id = b.head_id)
        OR EXISTS (SELECT u.repo_id FROM commit_provenance q JOIN commits u ON u.id = q.upstream_id
                   WHERE q.commit_id = b.head_id EXCEPT SELECT u.repo_id FROM branch_provenance q
                   JOIN branches u ON u.id = q.upstream_id WHERE q.branch_id = b.id))
    """,
)

_ENTRIES = (
    _entries("ends before it begins", "e.until_seq <= e.from_seq"),
    _entries(
        "has a version that begins before the one before it ended",
        """EXISTS (SELECT 1 FROM entries n WHERE n.line_id = e.line_id AND n.path = e.path AND n.from_seq > e.from_seq
                   AND (e.until_seq IS NULL OR n.from_seq < e.until_seq))""",
    ),
    _entries(
        "begins at a commit that does not exist",
        "NOT EXISTS (SELECT 1 FROM commits c WHERE c.line_id = e.line_id AND c.seq = e.from_seq)",
    ),
    _entries(
        "ends at a commit that does not exist",
        """e.until_seq IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM commits c WHERE c.line_id = e.line_id AND c.seq = e.until_seq)""",
    ),
    _entries("is of no known kind", "e.kind NOT IN (0, 1, 2)"),
    _entries("is a directory without a slash behind its path", "e.kind = 2 AND e.path NOT LIKE '%/'"),
    _entries("is a file with a slash behind its path", "e.kind = 1 AND e.path LIKE '%/'"),
    _entries(
        "has content and is not a file",
        """e.kind <> 1 AND (e.kind <> 2 OR e.size_bytes = 0)
           AND (e.blob_id IS NOT NULL OR e.list_id IS NOT NULL OR e.size_bytes <> 0)""",
    ),
    # A directory may have content, which only S3 shows.
    *_contents(name_entry("e"), "FROM entries e", "e", f"{_ENTRY} AND (e.kind = 1 OR (e.kind = 2 AND e.size_bytes <> 0))"),
)

_BLOBS = (
    """
    SELECT 'blob ' || lower(hex(digest)) || ' has a row that no blob can have' FROM blobs
    WHERE id > :low AND id <= :high AND (length(digest) <> 32 OR length(md5) NOT IN (0, 16) OR size_bytes < 0)
    """,
    """
    SELECT 'blob ' || lower(hex(digest)) || ' records ' || size_bytes || ' bytes and has ' || length(data) FROM blobs
    WHERE id > :low AND id <= :high AND data IS NOT NULL AND length(data) <> size_bytes
    """,
)

_LIST = "x.id > :low AND x.id <= :high"
_LISTS = (
    f"""
    SELECT 'extent list ' || x.id || ' records ' || x.size_bytes || ' bytes and has '
        || coalesce((SELECT sum(size_bytes) FROM extents p WHERE p.list_id = x.id), 0) FROM extent_lists x
    WHERE {_LIST} AND x.size_bytes <> coalesce((SELECT sum(size_bytes) FROM extents p WHERE p.list_id = x.id), 0)
    """,
    f"""
    SELECT 'extent list ' || x.id || ' has gaps between its positions' FROM extent_lists x
    JOIN extents p ON p.list_id = x.id WHERE {_LIST} GROUP BY x.id HAVING min(position) <> 0 OR max(position) <> count(*) - 1
    """,
    f"""
    SELECT 'extent list ' || x.id || ' reaches beyond its blob at position ' || p.position FROM extent_lists x
    JOIN extents p ON p.list_id = x.id JOIN blobs b ON b.id = p.blob_id
    WHERE {_LIST} AND (p.blob_offset < 0 OR p.size_bytes <= 0 OR p.blob_offset + p.size_bytes > b.size_bytes)
    """,
    f"""
    SELECT 'extent list ' || x.id || ' has parts of another size than its own' FROM extent_lists x
    JOIN object_parts p ON p.list_id = x.id WHERE {_LIST}
    GROUP BY x.id HAVING sum(p.size_bytes) <> x.size_bytes OR min(p.size_bytes) < 0 OR min(p.number) < 1
    """,
    f"""
    SELECT 'extent list ' || x.id || ' has a part whose checksum is not base64' FROM extent_lists x
    JOIN object_parts p ON p.list_id = x.id WHERE {_LIST} AND p.checksum GLOB '*[^a-zA-Z0-9+/=]*'
    """,
)

_DELETE_MARKERS = (
    """
    SELECT 'delete marker of ' || path || ' has no legal version' FROM delete_markers
    WHERE id > :low AND id <= :high AND length(version) <> 16
    """,
    """
    SELECT 'delete marker of ' || path || ' is of no legal path' FROM delete_markers
    WHERE id > :low AND id <= :high AND path NOT LIKE '/%'
    """,
)

_UPLOADS = (
    """
    SELECT 'upload ' || u.id || ' of ' || path || ' has the target ' || target || ', which does not exist' FROM uploads u
    WHERE u.rowid > :low AND u.rowid <= :high AND NOT (
        (target LIKE 'branch/%' AND EXISTS (SELECT 1 FROM branches WHERE id = CAST(substr(target, 8) AS INTEGER)))
        OR (target LIKE 'datum/%' AND EXISTS (SELECT 1 FROM datums WHERE id = CAST(substr(target, 7) AS INTEGER))))
    """,
    *_contents(
        "'part ' || p.number || ' of upload ' || p.upload_id",
        "FROM uploads u JOIN (SELECT *, NULL AS metadata FROM parts) p ON p.upload_id = u.id",
        "p",
        "u.rowid > :low AND u.rowid <= :high",
        single_etag=False,  # a part that copies a range has an ETag that stands for the range
    ),
)

_STAGED_PUTS = _contents(
    "'file ' || s.path || ' staged for put ' || s.put_id",
    "FROM staged_puts u JOIN staged_files s ON s.put_id = u.id",
    "s",
    "u.rowid > :low AND u.rowid <= :high AND s.path NOT LIKE '%/'",
)

_WRITTEN = "FROM datums d JOIN datum_files f ON f.datum_id = d.output_of WHERE d.job_id = j.id AND f.kind = 1"
_PIPELINE = "p.id > :low AND p.id <= :high AND NOT p.deleted"
_PIPELINES = (
    f"""
    SELECT 'pipeline ' || p.name || ' has no version ' || p.version FROM pipelines p WHERE {_PIPELINE}
    AND NOT EXISTS (SELECT 1 FROM pipeline_versions v WHERE v.pipeline_id = p.id AND v.version = p.version)
    """,
    f"""
    SELECT 'pipeline ' || p.name || ' has no branch in a repo of its name to write to' FROM pipelines p
    LEFT JOIN branches b ON b.id = p.branch_id LEFT JOIN repos r ON r.id = b.repo_id
    WHERE {_PIPELINE} AND (r.kind IS NOT 'user' OR r.name IS NOT p.name)
    """,
    f"""
    SELECT 'pipeline ' || p.name || ' has no branch for what its datums saw' FROM pipelines p
    LEFT JOIN branches b ON b.id = p.meta_branch_id LEFT JOIN repos r ON r.id = b.repo_id
    WHERE {_PIPELINE} AND (r.kind IS NOT 'user' OR r.name IS NOT p.name || '.meta')
    """,
    f"""
    SELECT 'commit ' || name || '@' || id || ' holds ' || file_count || ' files and its datums wrote ' || written FROM (
        SELECT p.name, lower(hex(c.global_id)) AS id, c.file_count, c.size_bytes,
            (SELECT count(*) {_WRITTEN}) AS written, (SELECT coalesce(sum(f.size_bytes), 0) {_WRITTEN}) AS size
        FROM pipelines p JOIN jobs j ON j.id =
            (SELECT max(id) FROM jobs s WHERE s.pipeline_id = p.id AND s.state = 'success')
        JOIN commits c ON c.id = j.commit_id WHERE {_PIPELINE})
    WHERE (file_count, size_bytes) <> (written, size)
    """,
    f"""
    SELECT 'version ' || v.version || ' of pipeline ' || p.name || ' has a spec that is not JSON' FROM pipelines p
    JOIN pipeline_versions v ON v.pipeline_id = p.id WHERE {_PIPELINE} AND NOT json_valid(CAST(v.spec AS TEXT))
    """,
)

_JOB_STATES: Final = """
    ('created', 'starting', 'running', 'egressing', 'finishing', 'success', 'failure', 'killed', 'unrunnable')
"""
_JOB = "j.id > :low AND j.id <= :high"
_NAME_JOB = "'job ' || p.name || '@' || coalesce(lower(hex(c.global_id)), 'row ' || j.id)"
_FROM_JOB = "FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id AND NOT p.deleted LEFT JOIN commits c ON c.id = j.commit_id"
_JOBS = (
    f"SELECT {_NAME_JOB} || ' is in the unknown state ' || j.state {_FROM_JOB} WHERE {_JOB} AND j.state NOT IN {_JOB_STATES}",
    f"""
    SELECT {_NAME_JOB} || ' has ended and its commit is open, or the reverse' {_FROM_JOB}
    WHERE {_JOB} AND (j.finished_ns IS NULL) <> (c.finished_ns IS NULL)
    """,
    f"""
    SELECT {_NAME_JOB} || ' has ended well with a failed commit, or the reverse' {_FROM_JOB}
    WHERE {_JOB} AND j.finished_ns IS NOT NULL AND (j.state = 'success') <> (c.error IS NULL)
    """,
    f"""
    SELECT {_NAME_JOB} || ' is of version ' || j.version || ', which its pipeline never had' {_FROM_JOB}
    WHERE {_JOB} AND NOT EXISTS
        (SELECT 1 FROM pipeline_versions v WHERE v.pipeline_id = j.pipeline_id AND v.version = j.version)
    """,
)

_DATUM = "d.id > :low AND d.id <= :high"
_NAME_DATUM = "'datum ' || lower(hex(d.datum_id)) || ' of job row ' || d.job_id"
_DATUMS = (
    f"SELECT {_NAME_DATUM} || ' is in the unknown state ' || d.state FROM datums d"
    f" WHERE {_DATUM} AND d.state NOT IN ('waiting', 'running', 'success', 'failed', 'recovered', 'skipped')",
    f"SELECT {_NAME_DATUM} || ' ended well and has no output' FROM datums d"
    f" WHERE {_DATUM} AND d.state IN ('success', 'skipped') AND d.output_of IS NULL",
    f"""
    SELECT 'stale datum ' || lower(hex(d.datum_id)) || ' had file ' || f.path FROM datums d
    JOIN datum_files f ON f.datum_id = d.id
    WHERE {_DATUM} AND d.state NOT IN ('running', 'success') AND d.output_of IS NOT d.id
    AND NOT EXISTS (SELECT 1 FROM discarded x WHERE x.datum_id = d.id)
    """,
    *_contents(
        "'file ' || f.path || ' of datum ' || lower(hex(d.datum_id))",
        "FROM datums d JOIN datum_files f ON f.datum_id = d.id",
        "f",
        f"{_DATUM} AND f.kind = 1",
    ),
)

RULES: Final = {
    "repos": _REPOS,
    "lines": _LINES,
    "commits": _COMMITS,
    "branches": _BRANCHES,
    "blobs": _BLOBS,
    "extent_lists": _LISTS,
    "entries": _ENTRIES,
    "delete_markers": _DELETE_MARKERS,
    "uploads": _UPLOADS,
    "staged_puts": _STAGED_PUTS,
    "pipelines": _PIPELINES,
    "jobs": _JOBS,
    "datums": _DATUMS,
}
"""The rules by the table that they go through."""
