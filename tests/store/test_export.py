"""Exports and imports: everything comes back as it was, next to what is there, and nothing that is wrong gets in."""

import hashlib
import io
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import (
    LARGE,
    commit_of,
    create_pipeline,
    create_repos,
    delete,
    derive,
    entry_of,
    fork,
    keep,
    put,
    put_all,
    run_pipeline,
    stage,
    start,
    tree,
    waiting,
)
from store.test_durability import ENVIRONMENT

from appliance.errors import AlreadyExists, ApplianceError, BadDigest, Conflict, InvalidRequest, RepoNotFound, StoreDamaged
from appliance.store import (
    Db,
    Store,
    blobs,
    commits,
    files,
    forgetting,
    jobs,
    pipelines,
    repos,
    snapshots,
    squash,
    staging,
    uploads,
    versions,
)
from appliance.store.collecting import collect
from appliance.store.exporting import iter_export
from appliance.store.importing import Imported, import_all


def export(store: Store, *names: str) -> bytes:
    return b"".join(iter_export(store, names))


def take_in(store: Store, data: bytes, **renamed: str) -> Imported:
    return import_all(store, io.BytesIO(data).read, renamed)


def history(store: Store, repo: str) -> dict[str, object]:
    """Return the files of every commit of a repo that can be read, and what readers of each branch see."""
    with store.snapshot() as db:
        found = list(commits.iter_commits(db, repo))
        heads = {branch.name: branch.head.id for branch in repos.iter_branches(db, repo)}
    readable = [commit for commit in found if not (commit.is_open and commit.origin == "AUTO")]
    facts = {
        commit.id: (commit.branch, commit.origin, commit.description, commit.finished_ns, commit.error) for commit in found
    }
    return {"facts": facts, "trees": {commit.id: tree(store, repo, commit.id) for commit in readable}, "heads": heads}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """Another store, with something in it."""
    opened = Store(tmp_path / "other", "fast")
    create_repos(opened, "there")
    put_all(opened, "there", {"/a": b"1", "/large": LARGE})
    before = history(opened, "there")
    try:
        yield opened
        assert history(opened, "there") == before
        check(opened)
        collect(opened)
        assert check(opened) == []
    finally:
        opened.close()


def fill(store: Store) -> None:
    create_repos(store, "images", "empty")
    put_all(store, "images", {"/dir/a": b"one", "/large": LARGE, "/explicit/": b"", "/ä +%": b"umlaut"})
    put(store, "images", "/dir/a", random.Random(1).randbytes(70_000))
    fork(store, "images", "dev", head="master^")
    put(store, "images", "/dir/b", b"three", branch="dev")
    delete(store, "images", "/large", branch="dev")
    start(store, "images")
    head, tail = commit_of(store, "images"), stage(store, b"tail")
    store.write(lambda db: files.append_file(db, head, "/large", blobs.record(db, tail)))
    put(store, "images", "/described", b"x")


def test_repo_comes_back_with_all_its_history(store: Store, other: Store) -> None:
    fill(store)
    imported = take_in(other, export(store, "images"))
    assert (imported.repos, imported.commits, imported.blobs) == (("images",), 5, 2)
    assert history(other, "images") == history(store, "images")
    assert put(other, "images", "/new", b"1", branch="dev")


def versions_of(store: Store, repo: str) -> list[tuple[str, str, bool]]:
    with store.snapshot() as db:
        head = snapshots.open_branch(db, repo, "master")
        page = versions.list_versions(db, head, prefix="/", delimiter="", after=None, after_id=None, limit=100)
        return [(item.path, item.id, item.entry is None) for item in page.items if isinstance(item, versions.Version)]


def test_versions_come_with_deletes_of_nothing_and_without_what_was_forgotten(store: Store, other: Store) -> None:
    create_repos(store, "images")
    gone = put(store, "images", "/a", b"1")
    put(store, "images", "/a", b"2")

    def change(db: Db) -> None:
        head = snapshots.open_branch(db, "images", "master")
        assert head.commit is not None
        versions.add_markers(db, head.commit, ["/never"])
        forgetting.forget_version(db, head, "/a", gone)

    store.write(change)
    take_in(other, export(store, "images"))
    assert versions_of(other, "images") == versions_of(store, "images")
    with other.snapshot() as db:
        assert versions.is_forgotten(db, commits.get_commit(db, "images", gone), "/a")


def test_parts_of_an_object_come_with_it(store: Store, other: Store) -> None:
    create_repos(store, "images")
    start(store, "images")
    head, parts = commit_of(store, "images"), [keep(store, data) for data in (b"head", b"tail")]

    def join(db: Db) -> None:
        content = blobs.join(db, [(part, 0, part.size_bytes) for part in parts], f"{'0' * 32}-2")
        sent = [uploads.Part(number, part, 0, {}) for number, part in enumerate(parts, 1)]
        uploads.record_parts(db, content, sent, None)
        files.put_file(db, head, "/joined", content)

    store.write(join)
    take_in(other, export(store, "images"))
    with other.snapshot() as db:
        found = uploads.list_object_parts(db, entry_of(other, "images", "master", "/joined").content)
    assert [(part.number, part.offset, part.size_bytes) for part in found] == [(1, 0, 4), (2, 4, 4)]


def test_file_without_md5_comes_with_its_etag(store: Store, other: Store) -> None:
    create_repos(store, "data")
    content = keep(store, LARGE, md5=False)
    start(store, "data")
    head = commit_of(store, "data")
    store.write(lambda db: files.put_file(db, head, "/a", content))
    take_in(other, export(store, "data"))
    assert entry_of(other, "data", "master", "/a").content.etag == content.etag
    check(other)


def test_md5_comes_to_bytes_that_had_none(store: Store, other: Store) -> None:
    create_repos(store, "data")
    put(store, "data", "/a", LARGE)
    keep(other, LARGE, md5=False)
    take_in(other, export(store, "data"))
    assert entry_of(other, "data", "master", "/a").content.etag == hashlib.md5(LARGE).hexdigest()
    check(other)


def test_everything_comes_with_pipelines_and_unfinished_jobs(store: Store, other: Store) -> None:
    fill(store)
    create_repos(store, "source")
    put(store, "source", "/a", b"1")
    create_pipeline(store, "edges", "source")
    run_pipeline(store, "edges", {"one": {"/out": LARGE + b"out"}, "two": {"/two": b"2"}})
    put(store, "source", "/b", b"2")
    take_in(other, export(store))
    assert all(history(other, name) == history(store, name) for name in ("images", "source", "edges", "empty"))
    with other.snapshot() as db, store.snapshot() as old:
        assert [pipeline.name for pipeline in pipelines.list_pipelines(db)] == ["edges"]
        kept = [(job.id, job.state, job.total, job.processed) for job in jobs.list_jobs(db)]
        assert kept == [(job.id, job.state, job.total, job.processed) for job in jobs.list_jobs(old)]
    assert waiting(other, "edges").open_inputs == 0
    run_pipeline(other, "edges", {"one": {}, "two": {}, "three": {"/three": b"3"}})
    assert tree(other, "edges") == {"/out": LARGE + b"out", "/two": b"2", "/three": b"3"}


def test_chosen_repo_of_a_pipeline_comes_as_an_ordinary_one(store: Store, other: Store) -> None:
    create_repos(store, "source")
    create_pipeline(store, "edges", "source")
    run_pipeline(store, "edges", {"one": {"/out": b"1"}})
    put(store, "source", "/b", b"2")  # a job is waiting
    take_in(other, export(store, "edges", "source"))
    assert tree(other, "edges") == {"/out": b"1"}
    assert commit_of(other, "edges").error == "exported before its job had ended"
    put(other, "edges", "/mine", b"3")
    put(other, "source", "/c", b"4")
    assert tree(other, "edges") == {"/out": b"1", "/mine": b"3"}
    with other.snapshot() as db:
        assert [up.repo for up in commits.list_provenance(db, commit_of(other, "edges", "master^^"))] == ["source"]


def test_provenance_between_branches_comes_along(store: Store, other: Store) -> None:
    create_repos(store, "source", "derived")
    derive(store, "derived", "source")
    store.write(lambda db: _finish_all(db))
    take_in(other, export(store, "derived", "source"))
    made = put(other, "source", "/a", b"1")
    assert commit_of(other, "derived").id == made


def _finish_all(db: Db) -> int:
    return db.execute("UPDATE commits SET finished_ns = 1 WHERE finished_ns IS NULL").rowcount


def test_export_is_of_one_moment(store: Store, other: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", LARGE)
    before = history(store, "images")
    pieces = iter_export(store)
    data = next(pieces)
    put(store, "images", "/b", b"later")
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == 2
    store.write(lambda db: squash.drop_commit(db, "images", "master"))
    store.write(lambda db: repos.delete_repo(db, "images"))
    take_in(other, data + b"".join(pieces))
    assert history(other, "images") == before


def test_each_piece_may_be_asked_for_by_another_thread(store: Store, other: Store) -> None:
    fill(store)
    pieces, found = iter_export(store), list[bytes | None]()
    while not found or found[-1] is not None:
        asking = threading.Thread(target=lambda: found.append(next(pieces, None)))
        asking.start()
        asking.join()
    assert take_in(other, b"".join(piece for piece in found if piece)).repos == ("empty", "images")


def test_export_that_is_not_read_to_its_end_leaves_nothing(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", LARGE)
    pieces = iter_export(store)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert list((store.directory / "staging").iterdir()) == []
    assert not store.collecting.locked()


def test_what_is_still_received_is_not_exported(store: Store, other: Store) -> None:
    content = keep(store, b"staged")
    store.write(lambda db: staging.add_file(db, staging.begin_put(db), "/staged", content))
    data = export(store)
    take_in(other, data)
    assert b"staged" not in data.replace(b"staged_", b"")


def test_tables_that_are_not_of_an_export_stay_at_home(store: Store) -> None:
    store.write(lambda db: db.execute("CREATE TABLE tokens (secret TEXT)").rowcount)
    store.write(lambda db: db.execute("INSERT INTO tokens VALUES ('hush-hush')").rowcount)
    assert b"hush-hush" not in export(store)
    store.write(lambda db: db.execute("DROP TABLE tokens").rowcount)


def test_missing_repo_is_said_before_anything_is_sent(store: Store) -> None:
    with pytest.raises(RepoNotFound):
        next(iter_export(store, ["nowhere"]))


def test_damaged_bytes_are_not_exported(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/large", LARGE)
    file = store.blobs.path(stage_digest(LARGE))
    file.chmod(0o644)
    file.write_bytes(LARGE[:-1])
    with pytest.raises(StoreDamaged, match="has 51199 bytes"):
        next(iter_export(store))
    file.write_bytes(bytes(len(LARGE)))
    with pytest.raises(StoreDamaged, match="is damaged, part of images@"):
        export(store)
    file.write_bytes(LARGE)


def stage_digest(data: bytes) -> blobs.Digest:
    return blobs.Digest(hashlib.sha256(data).digest())


# -- names


def test_name_that_is_taken_is_refused_and_can_be_changed(store: Store, other: Store) -> None:
    fill(store)
    create_repos(other, "images")
    data = export(store)
    with pytest.raises(AlreadyExists, match="repo images already exists"):
        take_in(other, data)
    assert take_in(other, data, images="pictures").repos == ("empty", "pictures")
    assert history(other, "pictures") == history(store, "images")


def test_export_can_come_back_next_to_where_it_came_from(store: Store) -> None:
    fill(store)
    take_in(store, export(store, "images"), images="copy")
    assert tree(store, "copy", "dev") == tree(store, "images", "dev")
    assert tree(store, "copy", "master^") == tree(store, "images", "master^")
    assert commit_of(store, "copy").id != commit_of(store, "images").id
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == db.value("SELECT count(DISTINCT digest) FROM blobs")
    store.write(lambda db: squash.drop_commit(db, "copy", "dev"))
    assert commit_of(store, "images", "dev").id


def test_repo_of_a_pipeline_keeps_its_name(store: Store, other: Store) -> None:
    create_repos(store, "source")
    create_pipeline(store, "edges", "source")
    data = export(store)
    for name in ("source", "edges"):
        with pytest.raises(Conflict, match=f"repo {name} can not have another name: pipeline edges of the export uses it"):
            take_in(other, data, **{name: "renamed"})
    with pytest.raises(RepoNotFound, match="repo nowhere not found in the export"):
        take_in(other, data, nowhere="renamed")
    take_in(other, data)
    with pytest.raises(AlreadyExists):
        take_in(other, data)


# -- what is no export, or a wrong one


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def packed(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def exported(store: Store) -> bytes:
    fill(store)
    return export(store)


def test_any_tar_can_read_an_export(exported: bytes) -> None:
    found = members(exported)
    assert json.loads(found.pop("appliance-export.json"))["format"] == 1
    assert found.pop("appliance.db").startswith(b"SQLite format 3")
    assert all(name == f"blobs/{hashlib.sha256(content).hexdigest()}" for name, content in found.items())
    assert len(found) == 2


def test_export_that_was_packed_again_is_taken(other: Store, exported: bytes) -> None:
    assert take_in(other, packed(members(exported))).blobs == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_export_that_is_cut_off_is_refused(other: Store, exported: bytes, share: float) -> None:
    with pytest.raises(InvalidRequest, match="cut off"):
        take_in(other, exported[: int((len(exported) - 1024) * share)])


@pytest.mark.parametrize("data", [b"nonsense" * 1000, bytes(10_000)], ids=["text", "zeros"])
def test_file_that_is_no_export_is_refused(other: Store, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no export of an appliance"):
        take_in(other, data)


def _change(name: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    def apply(found: dict[str, bytes]) -> None:
        found[name] = change(found[name])

    return apply


def _first_blob(found: dict[str, bytes]) -> str:
    return next(name for name in found if name.startswith("blobs/"))


def _flip_blob(found: dict[str, bytes]) -> None:
    name = _first_blob(found)
    found[name] = bytes([found[name][0] ^ 1]) + found[name][1:]


def _manifest(**changed: object) -> Callable[[dict[str, bytes]], None]:
    return _change("appliance-export.json", lambda text: json.dumps({**json.loads(text), **changed}).encode())


WRONG = {
    "flipped bit": (_flip_blob, BadDigest, "is damaged"),
    "missing blob": (lambda found: found.pop(_first_blob(found)), InvalidRequest, "the export lacks blob"),
    "unlisted blob": (lambda found: found.update({"blobs/" + "0" * 64: b"x"}), InvalidRequest, "does not list"),
    "path outside": (lambda found: found.update({"../../outside": b"x"}), InvalidRequest, "does not list"),
    "other format": (_manifest(format=2), InvalidRequest, "of format 2"),
    "newer schema": (_manifest(schema=["initial", "from_2099"]), InvalidRequest, "newer appliance"),
    "older schema": (_manifest(schema=["initial"]), InvalidRequest, "other tables"),
    "no manifest": (lambda found: found.pop("appliance-export.json"), InvalidRequest, "appliance-export.json is missing"),
    "manifest of nonsense": (_change("appliance-export.json", lambda _: b"[" * 100_000), InvalidRequest, "can not be read"),
    "huge manifest": (_change("appliance-export.json", lambda _: bytes(2**21)), InvalidRequest, "is missing"),
    "no database": (lambda found: found.pop("appliance.db"), InvalidRequest, "appliance.db is missing"),
    "database of nonsense": (_change("appliance.db", lambda _: b"nonsense" * 999), InvalidRequest, "the export is damaged"),
    "torn database": (_change("appliance.db", lambda data: data[: len(data) // 2]), InvalidRequest, "the export is damaged"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_export_is_refused_and_leaves_nothing(other: Store, exported: bytes, wrong: str) -> None:
    harm, error, text = WRONG[wrong]
    found = members(exported)
    harm(found)
    with pytest.raises(error, match=text):
        take_in(other, packed(found))
    with other.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db)] == ["there"]
    assert list((other.directory / "staging").iterdir()) == []


def test_link_in_an_archive_is_refused(other: Store, exported: bytes) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo("appliance-export.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(InvalidRequest, match="is no plain file"):
        take_in(other, target.getvalue())


HOSTILE = [
    ("UPDATE repos SET name = '../x' WHERE name = 'images'", "invalid"),
    ("UPDATE repos SET kind = 'deleted' WHERE name = 'empty'", "repos that were deleted"),
    ("UPDATE entries SET path = '/../x' WHERE path = '/dir/a'", "relative file paths are not allowed"),
    ("UPDATE entries SET path = CAST(x'2fff' AS TEXT) WHERE path = '/dir/b'", "UTF-8"),
    ("UPDATE entries SET from_seq = 'x' WHERE path = '/dir/b'", "values in entries that are not of their column's type"),
    ("UPDATE entries SET until_seq = from_seq + 9 WHERE until_seq IS NULL AND path = '/explicit/'", "has a newer change"),
    ("UPDATE entries SET id = -id WHERE path = '/dir/b'", "ids in entries that no row has"),
    ("UPDATE entries SET id = 9223372036854775807 WHERE path = '/dir/b'", "ids in entries that no row has"),
    ("UPDATE lines SET base_line_id = id WHERE base_line_id IS NOT NULL", "begins"),
    ("UPDATE commits SET parent_id = id WHERE parent_id IS NOT NULL", "parent"),
    ("UPDATE commits SET size_bytes = size_bytes + 1 WHERE id = 1", "bytes in"),
    ("UPDATE branches SET head_id = 999", "does not exist"),
    ("UPDATE branches SET trigger = '{\"branch\": 7}'", "trigger that can not be read"),
    ("UPDATE extent_lists SET digest = zeroblob(32)", "has a digest that is not of its extents"),
    ("UPDATE blobs SET data = x'00' WHERE data = x'6f6e65'", "bytes"),
    ("INSERT INTO uploads (id, target, path, created_ns) VALUES ('x', 'branch/1', '/a', 1)", "rows in uploads"),
    ("CREATE TRIGGER t AFTER INSERT ON repos BEGIN DELETE FROM repos; END", "other tables"),
    ("CREATE VIEW v AS SELECT 1", "other tables"),
    ("DROP INDEX entries_open", "other tables"),
]


@pytest.mark.parametrize(("sql", "text"), HOSTILE, ids=[sql for sql, _ in HOSTILE])
def test_hostile_rows_are_refused(other: Store, exported: bytes, tmp_path: Path, sql: str, text: str) -> None:
    found = members(exported)
    file = tmp_path / "hostile.db"
    file.write_bytes(found["appliance.db"])
    with sqlite3.connect(file) as db:
        assert db.execute(sql).rowcount != 0
    db.close()
    found["appliance.db"] = file.read_bytes()
    with pytest.raises(ApplianceError, match=text) as refused:
        take_in(other, packed(found))
    assert isinstance(refused.value, InvalidRequest | BadDigest)
    with other.snapshot() as db:
        assert db.value("SELECT count(*) FROM repos") == 1  # type: ignore[attr-defined]


def test_import_can_be_ended_while_it_checks(other: Store, exported: bytes) -> None:
    def end() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        import_all(other, io.BytesIO(exported).read, {}, end)
    assert list((other.directory / "staging").iterdir()) == []
    assert not other.collecting.locked()
    take_in(other, exported)


KILLED = """
import os, pathlib, sys
from appliance.store import Store
from appliance.store.importing import import_all
from store.helpers import create_repos
store = Store(pathlib.Path(sys.argv[1]), "fast")
create_repos(store, "there")
left = int(sys.argv[3])
with open(sys.argv[2], "rb") as source:
    def read(size_bytes):
        global left
        left -= size_bytes
        if left < 0:
            os.kill(os.getpid(), 9)
        return source.read(size_bytes)
    if sys.argv[4] == "writing":  # the first rows, which nothing refers to yet
        store.listen(lambda changes: changes.garbage and os.kill(os.getpid(), 9))
    import_all(store, read, {})
"""


@pytest.mark.parametrize(("share", "when"), [(0.1, "reading"), (0.6, "reading"), (0.95, "reading"), (2.0, "writing")])
def test_killed_import_leaves_nothing_but_garbage(exported: bytes, tmp_path: Path, share: float, when: str) -> None:
    (tmp_path / "export").write_bytes(exported)
    where, limit = [str(tmp_path / "new"), str(tmp_path / "export")], str(int(len(exported) * share))
    done = subprocess.run([sys.executable, "-c", KILLED, *where, limit, when], env=ENVIRONMENT, check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "new", "fast")
    with store.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db)] == ["there"]
    check(store)
    collect(store)
    assert check(store) == []
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == 0
    assert take_in(store, exported).repos == ("empty", "images")
    store.close()


def test_data_directory_that_was_copied_opens_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", "fast")
    fill(store)
    before = history(store, "images")
    store.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copy = Store(tmp_path / "copy", "fast")
    assert history(copy, "images") == before
    put(copy, "images", "/new", b"1", branch="dev")
    check(copy)
    copy.close()
