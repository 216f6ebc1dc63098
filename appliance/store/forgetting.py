"""Forgetting single versions of files for good: surgery on the intervals of one path (schema.py explains lines).

The version before takes the forgotten one's place, in every commit that showed it, on the line and on the forks that share
it. Sizes and counts of those commits follow.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appliance.errors import Conflict
from appliance.names import parents
from appliance.store import snapshots, versions
from appliance.store.database import Db
from appliance.store.snapshots import Entry, Kind, Snapshot
from appliance.store.versions import Version

_AFTER_SLASH = "0"  # the character that follows "/"


@dataclass(frozen=True, slots=True)
class _Span:
    """The commits of a line from `first` up to, not including, `until` (None: all that follow)."""

    line: int
    first: int
    until: int | None


@dataclass(frozen=True, slots=True)
class _Shift:
    """By how much the commits of a span are to be counted larger."""

    span: _Span
    size_bytes: int
    file_count: int


class Forgetting:
    """Forgets versions in the history of one snapshot; `settle` at the end, in the same write, sets the commits' sizes right.

    Together, because counting again for each version would cost as much as there are commits after it.
    """

    def __init__(self, db: Db, head: Snapshot) -> None:
        self._db, self._head = db, head
        self._shifts: dict[int, list[_Shift]] = defaultdict(list)

    def forget(self, path: str, version_id: str) -> Version | None:
        """Forget one version and return what it was; None if there is none.

        Raises Conflict, changing nothing, while the provenance of another commit rests on one that shows it, or if a file
        would come back where there is a directory now, or the other way round.
        """
        version = versions.find_version(self._db, self._head, path, version_id)
        if version is None:
            return None
        if version.entry is not None:
            self._forget_entry(version, version.entry)
        else:
            self._forget_marker(version)
        if self._head.commit is not None:
            self._db.changes.forgotten.add((self._head.commit.repo, path))
        # A marker with an id of its own leaves its commit the right to be the name of what it shows.
        sql = """
            INSERT OR IGNORE INTO forgotten_versions (line_id, seq, path)
            SELECT line_id, seq, ? FROM commits WHERE line_id = ? AND seq = ? AND global_id = ?
        """
        self._db.execute(sql, (path, version.line, version.seq, bytes.fromhex(version.id)))
        return version

    def settle(self) -> None:
        """Count the commits again that show something else now, and announce the branches among them."""
        for line, shifts in self._shifts.items():
            for span, size_bytes, file_count in _sum_up(line, shifts):
                self._db.execute(
                    f"""
                    UPDATE commits AS c SET size_bytes = size_bytes + ?4, file_count = file_count + ?5
                    WHERE {_IN_SPAN} AND c.error IS NULL
                    """,
                    (span.line, span.first, span.until, size_bytes, file_count),
                )
        self._announce()
        self._shifts.clear()
        self._db.changes.garbage = True

    def _announce(self) -> None:
        commit = self._head.commit
        if commit is None or not self._shifts:
            return
        sql = "SELECT b.name, c.line_id FROM branches b JOIN commits c ON c.id = b.head_id WHERE b.repo_id = ?"
        touched = (name for name, line in self._db.execute(sql, (commit.repo_id,)) if line in self._shifts)
        self._db.changes.heads.update((commit.repo, name) for name in touched)

    # -- entries

    def _forget_entry(self, version: Version, entry: Entry) -> None:
        until = self._db.value("SELECT until_seq FROM entries WHERE id = ?", (entry.row,))
        span = _Span(version.line, version.seq, until)
        spans = self._list_spans(span, version.path)
        self._note(spans, entry, self._find_shown(span, version.path))
        self._db.execute("DELETE FROM entries WHERE id = ?", (entry.row,))
        if not self._extend(span, version.path, until) and until is not None and self._ends_nowhere(span, version.path):
            versions.name_marker(self._db, version.line, version.path, until)

    def _extend(self, span: _Span, path: str, until: int | None) -> bool:
        """Let the entry that ended where a span begins go on; tell whether there is one."""
        sql = "UPDATE entries SET until_seq = ? WHERE line_id = ? AND path = ? AND until_seq = ?"
        return self._db.execute(sql, (until, span.line, path, span.first)).rowcount > 0

    def _ends_nowhere(self, span: _Span, path: str) -> bool:
        """Tell whether what is said at the end of a span is only that nothing is there any more."""
        sql = """
            SELECT EXISTS (SELECT 1 FROM entries WHERE line_id = ?1 AND path = ?2 AND from_seq = ?3)
                OR EXISTS (SELECT 1 FROM delete_markers WHERE line_id = ?1 AND path = ?2 AND seq = ?3)
        """
        return not self._db.value(sql, (span.line, path, span.until))

    def _find_shown(self, span: _Span, path: str) -> Entry | None:
        """Return what a path shows in a span without what the line says there: the entry before, else the base's."""
        sql = f"SELECT {snapshots.COLUMNS} FROM entries WHERE line_id = ? AND path = ? AND until_seq = ?"
        row = self._db.row(sql, (span.line, path, span.first))
        if row is not None:
            before = snapshots.entry_of(row)
            return before if before.kind != Kind.NOTHING else None
        base, seq = self._db.row("SELECT base_line_id, base_seq FROM lines WHERE id = ?", (span.line,))
        return snapshots.find(self._db, snapshots.open_seq(self._db, base, seq), path)

    # -- delete markers

    def _forget_marker(self, version: Version) -> None:
        gap = self._find_gap(version)
        if gap is not None:
            spans, shown = self._list_spans(gap, version.path), self._find_shown(gap, version.path)
            if shown is not None:
                self._check_free(spans, version.path)
            self._note(spans, None, shown)
            self._close(gap, version.path)
        if version.row is not None:
            self._db.execute("DELETE FROM delete_markers WHERE id = ?", (version.row,))

    def _find_gap(self, version: Version) -> _Span | None:
        """Return the commits in which this marker alone hides what was there before: none while another lies at its place.

        They reach up to the next marker, or to where the path is something again.
        """
        place = (version.line, version.path, version.seq)
        sql = "SELECT 1 FROM delete_markers WHERE line_id = ? AND path = ? AND seq = ? AND id <> ?"
        if self._db.value(sql, (*place, version.row or 0)):
            return None
        sql = """
            SELECT EXISTS (SELECT 1 FROM entries WHERE line_id = ?1 AND path = ?2 AND until_seq = ?3)
                OR EXISTS (SELECT 1 FROM entries WHERE line_id = ?1 AND path = ?2 AND from_seq = ?3 AND kind = 0)
        """
        if not self._db.value(sql, place):
            return None
        sql = """
            SELECT min(seq) FROM (
                SELECT min(from_seq) AS seq FROM entries WHERE line_id = ?1 AND path = ?2 AND from_seq > ?3
                UNION ALL SELECT until_seq FROM entries WHERE line_id = ?1 AND path = ?2 AND from_seq = ?3
                UNION ALL SELECT min(seq) FROM delete_markers WHERE line_id = ?1 AND path = ?2 AND seq > ?3)
        """
        return _Span(version.line, version.seq, self._db.value(sql, place))

    def _close(self, gap: _Span, path: str) -> None:
        """Let what was before a gap go on to its end; a marker there says from then on that nothing is."""
        place = (gap.line, path, gap.first)
        sql = "SELECT id, until_seq FROM entries WHERE line_id = ? AND path = ? AND from_seq = ? AND kind = 0"
        nothing = self._db.row(sql, place)
        if nothing is not None and nothing[1] == gap.until:
            self._db.execute("DELETE FROM entries WHERE id = ?", (nothing[0],))
        elif nothing is not None:
            self._db.execute("UPDATE entries SET from_seq = ? WHERE id = ?", (gap.until, nothing[0]))
        self._extend(gap, path, gap.until)
        sql = "UPDATE lines SET changed_seq = max(changed_seq, ?) WHERE id = ?"
        self._db.execute(sql, (gap.until or 0, gap.line))

    # -- what else a change touches

    def _list_spans(self, span: _Span, path: str) -> list[_Span]:
        """Return all commits that show what a line says of a path in a span. Raises Conflict if one can not change."""
        spans = list(self._iter_spans(span, path))
        for each in spans:
            self._check_unused(each, path)
        return spans

    def _note(self, spans: Iterable[_Span], before: Entry | None, after: Entry | None) -> None:
        """Remember by how much commits change that show another entry from now on."""
        size_bytes = (after.content.size_bytes if after else 0) - (before.content.size_bytes if before else 0)
        count = (after is not None and after.kind == Kind.FILE) - (before is not None and before.kind == Kind.FILE)
        for span in spans:
            self._shifts[span.line].append(_Shift(span, size_bytes, count))

    def _iter_spans(self, span: _Span, path: str) -> Iterator[_Span]:
        """Yield a span, and those of the lines forked from it up to where they say something of the path themselves."""
        pending = [span]
        while pending:
            each = pending.pop()
            yield each
            sql = """
                SELECT id, (SELECT min(from_seq) FROM entries WHERE line_id = l.id AND path = ?4) FROM lines l
                WHERE base_line_id = ?1 AND base_seq >= ?2 AND (?3 IS NULL OR base_seq < ?3)
            """
            forks = self._db.execute(sql, (each.line, each.first, each.until, path)).fetchall()
            pending.extend(_Span(fork, 0, own) for fork, own in forks)

    def _check_unused(self, span: _Span, path: str) -> None:
        sql = f"""
            SELECT lower(hex(c.global_id)), r.name, lower(hex(d.global_id)) FROM commits c
            JOIN commit_provenance p ON p.upstream_id = c.id JOIN commits d ON d.id = p.commit_id
            JOIN repos r ON r.id = d.repo_id WHERE {_IN_SPAN} LIMIT 1
        """
        used = self._db.row(sql, (span.line, span.first, span.until))
        if used is not None:
            shown, repo, commit = used
            raise Conflict(f"cannot forget a version of {path}: commit {repo}@{commit} was made from {shown}, which shows it")

    def _check_free(self, spans: Iterable[_Span], path: str) -> None:
        """Raise Conflict if a path can not come back in all of these commits, because its name, or a parent's, is taken."""
        above = [*parents(path), path.rstrip("/")] if path.endswith("/") else parents(path)
        ranges = [(name, name + "\0") for name in above]
        if not path.endswith("/"):
            ranges.append((path + "/", path + _AFTER_SLASH))
        overlaps = "line_id = ?1 AND kind <> 0 AND (until_seq IS NULL OR until_seq > ?2) AND (?3 IS NULL OR from_seq < ?3)"
        sql = f"SELECT path FROM entries WHERE {overlaps} AND path >= ?4 AND path < ?5 LIMIT 1"
        for span, (start, end) in itertools.product(spans, ranges):
            taken = self._db.value(sql, (span.line, span.first, span.until, start, end))
            if taken is not None:
                raise Conflict(f"{path} cannot come back: there is {taken} by now")


_IN_SPAN = "c.line_id = ?1 AND c.seq >= ?2 AND (?3 IS NULL OR c.seq < ?3)"


def _sum_up(line: int, shifts: Iterable[_Shift]) -> Iterator[tuple[_Span, int, int]]:
    """Yield spans that do not overlap, with the sum of the shifts that apply there, where that is any."""
    steps: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for shift in shifts:
        for seq, sign in ((shift.span.first, 1), (shift.span.until, -1)):
            if seq is not None:
                steps[seq][0] += sign * shift.size_bytes
                steps[seq][1] += sign * shift.file_count
    bounds: list[int | None] = [*sorted(steps), None]
    size_bytes = file_count = 0
    for first, until in itertools.pairwise(bounds):
        assert first is not None
        size_bytes += steps[first][0]
        file_count += steps[first][1]
        if size_bytes or file_count:
            yield _Span(line, first, until), size_bytes, file_count


def forget_version(db: Db, head: Snapshot, path: str, version_id: str) -> Version | None:
    """Forget one version; see `Forgetting.forget`."""
    forgetting = Forgetting(db, head)
    version = forgetting.forget(path, version_id)
    forgetting.settle()
    return version
