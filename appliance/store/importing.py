"""Imports: an export becomes part of this store, all of it at once or nothing, while the store is in use.

First the bytes: each blob is received, hashed and published, as in any put. Then the rows, under numbers of their own, all
in one write but for those of blobs, which nobody sees. A killed import leaves nothing but garbage for the collector.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import AlreadyExists, BadDigest, Conflict, InvalidRequest, RepoNotFound
from appliance.names import check_name
from appliance.store import Store, repos
from appliance.store.archive import BLOBS, DATABASE, FORMAT, MANIFEST, Member, Read, Reader
from appliance.store.database import Db
from appliance.store.incoming import Incoming
from appliance.store.merging import add_blobs, begin_blobs, merge

_MANIFEST_BYTES = 1024 * 1024
_BLOBS = 200  # in a write; each may have 32 KiB


@dataclass(frozen=True, slots=True)
class Imported:
    """What came: repos by their names here, commits, and the blobs that were received."""

    repos: tuple[str, ...]
    commits: int
    blobs: int
    size_bytes: int


def import_all(store: Store, read: Read, renamed: Mapping[str, str], go_on: Callable[[], None] = lambda: None) -> Imported:
    """Take in the export that `read` reads, with some repos under other names.

    Blocks until all of it is durable; `go_on` is called now and then, and may raise to end it. Raises InvalidRequest,
    InvalidName, BadDigest for what no export can be, AlreadyExists for names that are taken, RepoNotFound for a rename of
    what is not in it, Conflict for a rename of what a pipeline uses.
    """
    aside = store.directory / "staging" / secrets.token_hex(16)
    reader = Reader(read)
    schema = _read_manifest(reader)
    try:
        _read_database(reader, aside)
        with closing(Incoming(aside, schema, go_on)) as incoming, store.collecting:
            names = _choose_names(incoming.db, renamed)
            with store.snapshot() as db:
                _check_free(db, names.values(), _list_pipelines(incoming.db))
            received = _read_blobs(store, reader, incoming.db)
            begin_blobs(incoming.db)
            while store.write(lambda db: add_blobs(db, incoming.db, _BLOBS)):
                go_on()
            commits = store.write(lambda db: _merge(db, incoming.db, names))
    finally:
        aside.unlink(missing_ok=True)
        aside.with_name(f"{aside.name}-journal").unlink(missing_ok=True)
    return Imported(tuple(sorted(names.values())), commits, *received)


def _read_manifest(reader: Reader) -> list[str]:
    """Return the names of the migrations that made the database of an export."""
    _expect(reader.next(), MANIFEST, _MANIFEST_BYTES)
    try:
        manifest = json.loads(b"".join(reader.iter_bytes()))
        if manifest["format"] != FORMAT:
            raise InvalidRequest(f"the export is of format {manifest['format']!r}, and not {FORMAT}")
        return [str(name) for name in manifest["schema"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidRequest("this is no export of an appliance: its manifest can not be read") from None


def _expect(member: Member | None, name: str, most: int | None = None) -> None:
    if member is None or member.name != name or (most is not None and member.size_bytes > most):
        raise InvalidRequest(f"this is no export of an appliance: {name} is missing")


def _read_database(reader: Reader, aside: Path) -> None:
    _expect(reader.next(), DATABASE)
    with aside.open("xb", buffering=0) as file:
        for piece in reader.iter_bytes():
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]


# -- names


def _choose_names(incoming: Db, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the name here of each repo of the export."""
    there = [name for (name,) in incoming.execute("SELECT name FROM repos ORDER BY id")]
    for old, new in renamed.items():
        check_name("repo", new)
        if old not in there:
            raise RepoNotFound(f"repo {old} not found in the export")
        _check_unused(incoming, old)
    names = {name: renamed.get(name, name) for name in there}
    if len(set(names.values())) < len(names):
        raise AlreadyExists("two repos would have the same name")
    return names


def _check_unused(incoming: Db, repo: str) -> None:
    """Raise Conflict if a pipeline of the export has a repo's name in its spec, or is its own."""
    sql = """
        SELECT p.name FROM pipelines p JOIN branches b ON b.id = p.branch_id
        LEFT JOIN branch_provenance q ON q.branch_id = b.id
        LEFT JOIN branches u ON u.id = q.upstream_id JOIN repos r ON r.id IN (b.repo_id, u.repo_id) WHERE r.name = ?
    """
    if pipeline := incoming.value(sql, (repo,)):
        raise Conflict(f"repo {repo} can not have another name: pipeline {pipeline} of the export uses it")


def _list_pipelines(incoming: Db) -> list[str]:
    return [name for (name,) in incoming.execute("SELECT name FROM pipelines")]


def _check_free(db: Db, names: Iterable[str], pipelines: Iterable[str]) -> None:
    for name in names:
        if repos.exists(db, name):
            raise AlreadyExists(f"repo {name} already exists")
    for name in pipelines:
        if db.value("SELECT 1 FROM pipelines WHERE name = ?", (name,)):
            raise AlreadyExists(f'pipeline "{name}" already exists')


# -- bytes


def _read_blobs(store: Store, reader: Reader, incoming: Db) -> tuple[int, int]:
    """Receive all blobs that the database lists and no others; return how many, and their bytes. Raises BadDigest."""
    incoming.execute("CREATE TEMP TABLE received (digest BLOB PRIMARY KEY) WITHOUT ROWID")
    _check_small(incoming)
    number = size_bytes = 0
    while (member := reader.next()) is not None:
        _read_blob(store, reader, incoming, member)
        number, size_bytes = number + 1, size_bytes + member.size_bytes
    sql = "SELECT digest FROM blobs WHERE data IS NULL AND digest NOT IN (SELECT digest FROM received)"
    if missing := incoming.value(sql):
        raise InvalidRequest(f"the export lacks blob {missing.hex()}")
    return number, size_bytes


def _check_small(incoming: Db) -> None:
    for digest, md5, data in incoming.execute("SELECT digest, md5, data FROM blobs WHERE data IS NOT NULL"):
        if (hashlib.sha256(data).digest(), hashlib.md5(data, usedforsecurity=False).digest()) != (digest, md5):
            raise BadDigest(f"blob {digest.hex()} of the export is damaged")


def _read_blob(store: Store, reader: Reader, incoming: Db, member: Member) -> None:
    try:
        digest = bytes.fromhex(member.name.removeprefix(BLOBS))
    except ValueError:
        digest = b""
    sql = "SELECT size_bytes, md5 FROM blobs WHERE digest = ? AND data IS NULL"
    expected = incoming.row(sql, (digest,))
    if expected is None or member.name != BLOBS + digest.hex() or expected[0] != member.size_bytes:
        raise InvalidRequest(f"the export has {member.name[:100]!r}, which its database does not list")
    with store.blobs.receive(md5=bool(expected[1])) as receiver:
        for piece in reader.iter_bytes():
            receiver.write(piece)
        staged = receiver.finish()
    if (staged.digest, staged.md5) != (digest, expected[1]) or staged.file is None:
        staged.discard()
        raise BadDigest(f"blob {digest.hex()} of the export is damaged")
    try:
        store.blobs.publish(staged)
    finally:
        staged.discard()
    incoming.execute("INSERT OR IGNORE INTO received (digest) VALUES (?)", (digest,))


def _merge(db: Db, incoming: Db, names: Mapping[str, str]) -> int:
    _check_free(db, names.values(), _list_pipelines(incoming))
    try:
        return merge(db, incoming, names)
    except sqlite3.IntegrityError as error:
        raise InvalidRequest(f"the export is damaged: {error}") from None
