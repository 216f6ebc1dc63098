"""What the datums of a job saw, wrote and came to, as the files of its commit in `<pipeline>.meta` (Pachyderm 2's meta repo).

    /meta/<datum>/meta           JSON: job, inputs, hash, state, reason and times, as Pachyderm's `datum.Meta`
    /pfs/<datum>/<input>/…       the files that it was given, at their paths
    /pfs/<datum>/out/…           the files that it wrote, if it ended well

Nothing of this is kept: it is read from the rows of datums, and from the commits that these were given, each time somebody
looks. So a job pays nothing for it, however many datums it has, and it can not disagree with them. A datum that was skipped
has the account of the one whose output it took over. What S3 inputs have is not among the files, for it never was.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import msgspec

from appliance.errors import NotFound
from appliance.names import find_meta_owner
from appliance.store import snapshots
from appliance.store.blobs import Content
from appliance.store.commits import Commit, get_commit
from appliance.store.database import Db
from appliance.store.snapshots import LAST, Entry, Kind, Scan, Snapshot, Staging

_META, _PFS = "/meta/", "/pfs/"
_HEX = "0123456789abcdef"
_ID_DIGITS = 64
_EMPTY_ETAG = hashlib.md5(usedforsecurity=False).hexdigest()
_NO_ROW = (None,) * 11


@dataclass(frozen=True, slots=True)
class _Datum:
    """A datum of the job. `account` is the row of the one that was processed: itself, or the one it was skipped for."""

    row: int
    id: str
    inputs: list[dict[str, Any]]
    output: int | None
    account: int


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The place of a meta commit's files, those of a job. `inputs` are commits that its datums were given, once looked up."""

    commit: Commit
    job: int | None
    inputs: dict[tuple[str, str], Snapshot] = field(default_factory=dict, compare=False)

    def find(self, db: Db, path: str) -> Any:
        """Return the row of a path or None."""
        row = next(self.rows(db, path), None)
        return row if row is not None and row[0] == path else None

    def rows(self, db: Db, start: str) -> Iterator[Any]:
        """Yield the rows from the path `start` on, lazily."""
        inputs = _Inputs(db, self.inputs)
        sides: tuple[tuple[str, Callable[[Db, _Datum], Iterator[Entry]]], ...] = (
            (_META, lambda db, datum: iter((_account(db, self.commit, datum),))),
            (_PFS, lambda db, datum: _iter_files(db, datum, inputs, start)),
        )
        for top, iter_of in sides:
            if start > top and not start.startswith(top):
                continue
            for datum in self._iter_datums(db, start.removeprefix(top) if start > top else ""):
                yield from (self._row(entry) for entry in iter_of(db, datum) if entry.path >= start)

    def rolled(self, db: Db, prefix: str, delimiter: str, start: str) -> Iterator[Any]:
        """Yield the first path of each group of a listing and each path in none, from `start` on, lazily, with its row."""
        rows = self.rows(db, start)
        while (row := next(rows, None)) is not None:
            end = row[0].find(delimiter, len(prefix))
            if end < 0:
                yield row[0], *row
                continue
            yield row[0], *_NO_ROW
            rows = self.rows(db, row[0][: end + len(delimiter)] + LAST)

    def _iter_datums(self, db: Db, start: str) -> Iterator[_Datum]:
        """Yield the datums that have ended, by id and each id once, from the one on that a path begins with."""
        sql = """
            SELECT id, lower(hex(datum_id)), inputs, output_of, CASE state WHEN 'skipped' THEN output_of ELSE id END
            FROM datums INDEXED BY datums_id
            WHERE job_id = ? AND datum_id >= ? AND position >= 0 AND state NOT IN ('waiting', 'running') ORDER BY datum_id
        """
        before = ""
        for row, datum_id, inputs, output, account in db.execute(sql, (self.job, _first_id(start.partition("/")[0]))):
            if datum_id != before:
                yield _Datum(row, datum_id, msgspec.json.decode(inputs), output, account)
            before = datum_id

    def _row(self, entry: Entry) -> tuple[Any, ...]:
        """Return the row of an entry, which is of this commit alone: its number is one that no entry has."""
        number = hashlib.blake2b(f"{self.commit.row}{entry.path}".encode(), digest_size=7).digest()
        size_bytes, etag, blob_id, list_id, text = snapshots.pack(_without_data(entry.content), entry.metadata)
        held = entry.content.data if entry.content.data is not None else blob_id
        place = -int.from_bytes(number) - 1, self.commit.line, self.commit.seq
        return (entry.path, int(entry.kind), size_bytes, entry.modified_ns, etag, held, list_id, text, *place)


def open_files(db: Db, commit: Commit) -> JobFiles:
    """Return what there is to see of a meta commit; nothing if its job was deleted."""
    sql = """
        SELECT j.id FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id JOIN commits c ON c.id = j.commit_id
        WHERE c.global_id = ? AND p.name = ?
    """
    return JobFiles(commit, db.value(sql, (bytes.fromhex(commit.id), find_meta_owner(commit.repo))))


def _without_data(content: Content) -> Content:
    return Content(content.size_bytes, content.etag, content.blob_id, content.list_id)


def _first_id(text: str) -> bytes:
    """Return the first id that, written in hex, does not come before a text."""
    known = next((end for end, digit in enumerate(text[:_ID_DIGITS]) if digit not in _HEX), min(len(text), _ID_DIGITS))
    digits, other = text[:known], text[known : known + 1]
    if "9" < other < "a":
        digits += "a"
    return bytes.fromhex(digits.ljust(_ID_DIGITS, "f" if other > "f" and known < _ID_DIGITS else "0"))


# -- files


class _Inputs:
    """The commits that datums were given, each looked up once."""

    def __init__(self, db: Db, opened: dict[tuple[str, str], Snapshot]) -> None:
        self._db, self._opened = db, opened

    def open(self, repo: str, commit_id: str) -> Snapshot:
        """Return what a commit holds; nothing if it was removed by force."""
        if (repo, commit_id) not in self._opened:
            try:
                snapshot = snapshots.open_commit(self._db, get_commit(self._db, repo, commit_id))
            except NotFound:
                snapshot = snapshots.EMPTY
            self._opened[repo, commit_id] = snapshot
        return self._opened[repo, commit_id]


def _iter_files(db: Db, datum: _Datum, inputs: _Inputs, start: str) -> Iterator[Entry]:
    """Yield what a datum was given and wrote, in order of paths, from the path `start` on."""
    base = f"{_PFS}{datum.id}/"
    parts: dict[str, list[Iterator[Entry]]] = {}
    for item in datum.inputs:
        if not item["s3"]:
            parts.setdefault(item["name"], []).append(_iter_input(db, item, inputs, base + item["name"], start))
    if datum.output is not None:
        parts["out"] = [_iter_below(db, Snapshot((Staging(datum.output),)), "/", f"{base}out", start)]
    for name in sorted(parts, key=lambda name: f"{name}/"):
        if base + name + LAST > start:
            merged = heapq.merge(*parts[name], key=lambda entry: entry.path)
            yield from (next(same) for _, same in groupby(merged, key=lambda entry: entry.path))


def _iter_input(db: Db, item: Mapping[str, Any], inputs: _Inputs, base: str, start: str) -> Iterator[Entry]:
    snapshot = inputs.open(item["repo"], item["commit"])
    path = item["path"].rstrip("/") + "/" if item["is_dir"] else item["path"]
    found = _iter_below(db, snapshot, path, base, start)
    return (_emptied(entry) for entry in found) if item["empty_files"] else found


def _iter_below(db: Db, snapshot: Snapshot, path: str, base: str, start: str) -> Iterator[Entry]:
    """Yield a file, or with a slash behind its path what is in a directory, with `base` in front, from `start` on."""
    first = start.removeprefix(base) if start.startswith(f"{base}/") else ""
    for entry in Scan(db, snapshot, max(path, first)):
        if entry.path != path and not (path.endswith("/") and entry.path.startswith(path)):
            return
        yield _moved(entry, base + entry.path)


def _moved(entry: Entry, path: str) -> Entry:
    return Entry(entry.row, path, entry.kind, entry.content, entry.modified_ns, entry.metadata, entry.line, entry.from_seq)


def _emptied(entry: Entry) -> Entry:
    content = Content(0, _EMPTY_ETAG, data=b"")
    return Entry(entry.row, entry.path, entry.kind, content, entry.modified_ns, {}, entry.line, entry.from_seq)


# -- accounts

_STATES = {"success": "PROCESSED", "skipped": "PROCESSED", "failed": "FAILED", "recovered": "RECOVERED"}


def _account(db: Db, commit: Commit, datum: _Datum) -> Entry:
    """Return the file that says what became of a datum."""
    sql = """
        SELECT lower(hex(c.global_id)), d.inputs, lower(hex(d.hash)), d.state, d.reason, d.position, d.started_ns,
               d.finished_ns, (SELECT coalesce(sum(size_bytes), 0) FROM datum_files f WHERE f.datum_id = d.output_of)
        FROM datums d JOIN jobs j ON j.id = d.job_id
        JOIN commits c ON c.id = j.commit_id WHERE d.id = ?
    """
    job, inputs, digest, state, reason, position, started_ns, finished_ns, written = db.row(sql, (datum.account,))
    given = msgspec.json.decode(inputs)
    account = {
        "job": {"pipeline": {"name": find_meta_owner(commit.repo)}, "id": job},
        "inputs": [_describe_input(item) for item in given],
        "hash": digest,
        "state": _STATES[state],
        **({"reason": reason} if reason else {}),
        "stats": {
            "processTime": f"{(finished_ns - started_ns) / 1e9 if started_ns and finished_ns else 0:.9f}s",
            "downloadBytes": str(sum(item["size_bytes"] for item in given if not item["s3"] and not item["empty_files"])),
            "uploadBytes": str(written),
        },
        "index": str(position),
    }
    data = msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n"
    content = Content(len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), data=data)
    modified_ns = finished_ns or commit.finished_ns or commit.started_ns
    return Entry(0, f"{_META}{datum.id}/meta", Kind.FILE, content, modified_ns, {}, 0, 0)


def _describe_input(item: Mapping[str, Any]) -> dict[str, Any]:
    owner = find_meta_owner(item["repo"])
    repo = {"name": owner or item["repo"], "type": "meta" if owner else "user"}
    commit = {"branch": {"repo": repo, "name": item["branch"]}, "id": item["commit"]}
    info = {
        "file": {"commit": commit, "path": item["path"]},
        "fileType": "DIR" if item["is_dir"] else "FILE",
        "sizeBytes": str(item["size_bytes"]),
        "hash": item["digest"],
    }
    flags = {"outerJoin": item["outer_join"], "emptyFiles": item["empty_files"], "s3": item["s3"]}
    keys = {"joinOn": item["join_on"], "groupBy": item["group_by"]}
    said = {name: value for name, value in (keys | flags).items() if value}
    return {"fileInfo": info, "name": item["name"], "branch": item["branch"], **said}
