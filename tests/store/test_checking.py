"""The checker: silent about a sound store, and it finds every kind of damage, planted one by one."""

import hashlib
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from store.helpers import (
    LARGE,
    bytes_of,
    commit_of,
    create_pipeline,
    create_repos,
    delete,
    entry_of,
    fork,
    keep,
    put,
    put_all,
    read,
    run_pipeline,
    stage,
    start,
)

from appliance.errors import Conflict, StoreDamaged
from appliance.store import Db, Store, blobs, files, jobs, squash, staging, uploads
from appliance.store.blobs import INLINE_BYTES, Digest
from appliance.store.checking import check
from appliance.store.findings import Problem, Step


def problems(store: Store, *, deep: bool = False) -> list[str]:
    return [str(found) for found in check(store, deep=deep) if isinstance(found, Problem)]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    """A store with some of everything, whose damage nobody minds."""
    store = Store(tmp_path / "data", "fast")
    create_repos(store, "images")
    put_all(store, "images", {"/dir/a": b"one", "/large": LARGE, "/empty/": b""})
    put(store, "images", "/dir/a", b"two")
    fork(store, "images", "dev", head="master^")
    put(store, "images", "/dir/b", b"three", branch="dev")
    _join_files(store)
    create_pipeline(store, "edges", "images")
    run_pipeline(store, "edges", {"one": {"/out": b"out"}})
    _begin_upload(store)
    _begin_put(store)
    try:
        yield store
    finally:
        store.close()


def _join_files(store: Store) -> None:
    start(store, "images")
    commit = commit_of(store, "images")

    def write(db: Db) -> None:
        parts = [(blobs.record(db, stage(store, data)), 0, len(data)) for data in (b"head", b"tail")]
        files.put_file(db, commit, "/joined", blobs.join(db, parts, f"{'0' * 32}-2"))

    store.write(write)


def _begin_upload(store: Store) -> None:
    def write(db: Db) -> None:
        branch = db.value("SELECT id FROM branches WHERE name = 'dev'")
        upload = uploads.create_upload(db, f"branch/{branch}", "/up", None)
        uploads.put_part(db, upload, 1, blobs.record(db, stage(store, b"part")))

    store.write(write)


def _begin_put(store: Store) -> None:
    content = keep(store, b"staged")
    store.write(lambda db: staging.add_file(db, staging.begin_put(db), "/staged", content))


def damage(store: Store, *statements: str) -> None:
    """Change rows behind everybody's back."""
    with sqlite3.connect(store.directory / "appliance.db") as db:
        for sql in statements:
            assert db.execute(sql).rowcount > 0, f"nothing was damaged by {sql}"
    db.close()


@pytest.mark.parametrize("deep", [False, True])
def test_sound_store_has_no_problems(full: Store, deep: bool) -> None:
    assert problems(full, deep=deep) == []


def test_check_tells_how_far_it_is(full: Store) -> None:
    steps = [found for found in check(full, deep=True) if isinstance(found, Step)]
    assert {"database", "entries", "commits", "bytes"} <= {step.what for step in steps}
    assert all(step.done <= step.total for step in steps)
    assert steps[-1].done == steps[-1].total > len(LARGE)


PLANTED = [
    ("UPDATE repos SET name = 'no name' WHERE name = 'images'", "repo name (no name) invalid"),
    ("UPDATE repos SET kind = 'odd' WHERE name = 'images'", "repo images is of the unknown kind odd"),
    ("UPDATE lines SET tip_seq = tip_seq + 1 WHERE id = 1", "line 1 has its tip at"),
    ("UPDATE lines SET changed_seq = 0 WHERE id = 1", "line 1 says it last changed at 0"),
    ("UPDATE lines SET base_seq = NULL WHERE base_line_id IS NOT NULL", "has half a base"),
    ("UPDATE lines SET base_seq = 999 WHERE base_line_id IS NOT NULL", "begins at a commit that does not exist"),
    ("UPDATE lines SET base_line_id = id WHERE base_line_id IS NOT NULL", "begins on a line of another repo, or a younger"),
    ("UPDATE lines SET base_line_id = 999 WHERE base_line_id IS NOT NULL", "refers to one of lines that does not exist"),
    ("UPDATE lines SET repo_id = (SELECT id FROM repos WHERE name = 'edges') WHERE id = 1", "is on a line of another repo"),
    ("UPDATE commits SET global_id = x'01' WHERE id = 1", "has no legal id"),
    ("UPDATE commits SET origin = 'ODD' WHERE id = 1", "has the unknown origin ODD"),
    ("UPDATE commits SET parent_id = NULL WHERE seq = 2", "does not have the commit before it as parent"),
    ("UPDATE commits SET size_bytes = size_bytes + 1 WHERE id = 1", "bytes in 2 files and has"),
    ("UPDATE commits SET file_count = file_count + 1 WHERE id = 2", "in 3 files and has"),
    ("UPDATE commits SET finished_ns = NULL WHERE id IN (SELECT commit_id FROM jobs)", "has ended and its commit is open"),
    ("UPDATE commits SET error = 'odd' WHERE id IN (SELECT commit_id FROM jobs)", "has ended well with a failed commit"),
    ("DELETE FROM commits WHERE line_id = 1 AND seq = 2", "begins at a commit that does not exist"),
    ("DELETE FROM commits WHERE line_id = 1 AND seq = 2", "ends at a commit that does not exist"),
    ("INSERT INTO commit_provenance VALUES (1, 3)", "which is younger"),
    ("INSERT INTO commit_provenance VALUES (2, 1)", "was made from 1 commits of repo images"),
    ("UPDATE branches SET name = 'no name' WHERE name = 'dev'", "branch name (no name) invalid"),
    ("UPDATE branches SET head_id = (SELECT commit_id FROM jobs) WHERE name = 'dev'", "points at a commit of another repo"),
    ("UPDATE branches SET head_id = 999 WHERE name = 'dev'", "refers to one of commits that does not exist"),
    ("UPDATE branches SET trigger = '{' WHERE name = 'dev'", "has a trigger that can not be read"),
    ("INSERT INTO branch_provenance SELECT upstream_id, branch_id, 0 FROM branch_provenance", "is in its own provenance"),
    ("UPDATE entries SET until_seq = from_seq WHERE until_seq IS NOT NULL", "ends before it begins"),
    ("UPDATE entries SET until_seq = until_seq + 1 WHERE until_seq IS NOT NULL", "begins before the one before it ended"),
    ("UPDATE entries SET kind = 7 WHERE path = '/large'", "images@", "/large is of no known kind"),
    ("UPDATE entries SET path = '/empty' WHERE path = '/empty/'", "is a directory without a slash"),
    ("UPDATE entries SET path = '/large/' WHERE path = '/large'", "is a file with a slash"),
    ("UPDATE entries SET blob_id = 1 WHERE path = '/empty/'", "has content and is not a file"),
    ("UPDATE entries SET size_bytes = 3 WHERE path = '/empty/'", "/empty/ has not exactly one of blob and list"),
    (
        "INSERT INTO delete_markers (line_id, path, seq, version, created_ns) VALUES (1, '/a', 1, x'00', 0)",
        "delete marker of /a has no legal version",
    ),
    (
        "INSERT INTO delete_markers (line_id, path, seq, version, created_ns) VALUES (1, 'a', 1, zeroblob(16), 0)",
        "delete marker of a is of no legal path",
    ),
    (
        "INSERT INTO object_parts (list_id, number, size_bytes) SELECT id, 1, 3 FROM extent_lists",
        "has parts of another size than its own",
    ),
    (
        "INSERT INTO object_parts (list_id, number, size_bytes, checksum) SELECT id, 1, size_bytes, '-' FROM extent_lists",
        "has a part whose checksum is not base64",
    ),
    ("UPDATE entries SET blob_id = NULL WHERE path = '/large'", "has not exactly one of blob and list"),
    ("UPDATE entries SET size_bytes = 7 WHERE path = '/large'", "records 7 bytes and its content has 51200"),
    ("UPDATE entries SET metadata = '{' WHERE path = '/large'", "has metadata that is not text by name"),
    ("UPDATE entries SET metadata = '[1]' WHERE path = '/large'", "has metadata that is not text by name"),
    ("UPDATE entries SET metadata = '{\"a\": \"x\\r\\ny\"}' WHERE path = '/large'", "has metadata that is not text by name"),
    ("UPDATE commits SET branch = 'no name' WHERE id = 1", "was made on a branch without a legal name"),
    ("UPDATE entries SET etag = zeroblob(16) WHERE path = '/large'", "has an ETag that is not of its content"),
    ("UPDATE entries SET etag = 'odd' WHERE path = '/joined'", "has an ETag that is not of its content"),
    ("UPDATE entries SET path = '/a//b' WHERE path = '/large'", "empty path elements are not allowed"),
    ("UPDATE entries SET path = '/dir' WHERE path = '/large'", 'could not put file at "/dir"'),
    ("UPDATE entries SET path = '/large/x' WHERE path = '/dir/b'", 'could not create directory at "/large"'),
    ("UPDATE entries SET blob_id = 999 WHERE path = '/large'", "refers to one of blobs that does not exist"),
    ("UPDATE blobs SET md5 = x'00' WHERE data IS NULL", "has a row that no blob can have"),
    ("UPDATE blobs SET size_bytes = 9 WHERE data = x'6f6e65'", "records 9 bytes and has 3"),
    ("UPDATE extents SET size_bytes = 3 WHERE position = 1", "records 8 bytes and has 7"),
    ("UPDATE extents SET position = 5 WHERE position = 1", "has gaps between its positions"),
    ("UPDATE extents SET blob_offset = 2 WHERE position = 1", "reaches beyond its blob at position 1"),
    ("UPDATE uploads SET target = 'branch/999'", "has the target branch/999, which does not exist"),
    ("UPDATE uploads SET target = 'odd'", "has the target odd, which does not exist"),
    ("UPDATE parts SET size_bytes = 9", "part 1 of upload", "records 9 bytes and its content has 4"),
    ("UPDATE staged_files SET size_bytes = 9", "file /staged staged for put", "records 9 bytes and its content has 6"),
    ("UPDATE pipelines SET version = 9", "pipeline edges has no version 9"),
    ("UPDATE pipelines SET branch_id = 999", "has no branch in a repo of its name to write to"),
    ("UPDATE pipeline_versions SET spec = '{'", "has a spec that is not JSON"),
    ("UPDATE jobs SET state = 'odd'", "is in the unknown state odd"),
    ("UPDATE jobs SET version = 9", "is of version 9, which its pipeline never had"),
    ("UPDATE datums SET state = 'odd'", "is in the unknown state odd"),
    ("UPDATE datums SET output_of = NULL", "ended well and has no output"),
    ("UPDATE datums SET state = 'failed', output_of = NULL", "stale datum", "had file /out"),
    ("DELETE FROM datum_files", "commit edges@", "holds 1 files and its datums wrote 0"),
    ("UPDATE datum_files SET size_bytes = 9", "records 9 bytes and its content has 3"),
]  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED, ids=lambda case: f"{case[0]} → {case[1]}")
def test_wrong_row_is_found(full: Store, planted: tuple[str, ...]) -> None:
    sql, *expected = planted
    damage(full, sql)
    found = problems(full)
    assert any(all(text in line for text in expected) for line in found), found
    assert all(line.startswith("consistency error: ") for line in found)


def test_head_that_was_not_made_from_its_provenance_is_found(full: Store) -> None:
    put(full, "images", "/more", b"1", branch="dev")
    full.write(lambda db: db.execute("UPDATE jobs SET finished_ns = NULL, state = 'running'").rowcount)
    full.write(
        lambda db: db.execute("UPDATE commits SET finished_ns = NULL WHERE id IN (SELECT commit_id FROM jobs)").rowcount
    )
    assert problems(full) == []
    damage(full, "DELETE FROM commit_provenance WHERE commit_id IN (SELECT head_id FROM branches)")
    assert "branch edges@master has a head that was not made from its provenance" in problems(full)[0]


def test_wrong_digest_of_a_list_is_found_by_a_deep_check(full: Store) -> None:
    damage(full, "UPDATE extent_lists SET digest = zeroblob(32)")
    assert "has a digest that is not of its extents" in problems(full, deep=True)[0]


# -- bytes


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def _shorten(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])


def _file(store: Store) -> Path:
    return store.blobs.path(Digest(hashlib.sha256(LARGE).digest()))


@pytest.fixture
def stored(store: Store) -> Store:
    """A store with a large and a small file, repaired afterwards."""
    create_repos(store, "images")
    put_all(store, "images", {"/large": LARGE, "/small": b"small"})
    return store


@pytest.mark.parametrize(("harm", "reason"), [(Path.unlink, "is missing"), (_shorten, "has 51199 bytes instead of 51200")])
def test_missing_or_short_file_is_found_with_what_it_is_part_of(
    stored: Store, harm: Callable[[Path], object], reason: str
) -> None:
    harm(_file(stored))
    digest, commit = hashlib.sha256(LARGE).hexdigest(), commit_of(stored, "images").id
    expected = [f"consistency error: blob {digest} {reason}, part of images@{commit}:/large"]
    assert problems(stored) == problems(stored, deep=True) == expected
    with pytest.raises(StoreDamaged):
        read(stored, "images", "master", "/large")
    put(stored, "images", "/again", LARGE)
    assert read(stored, "images", "master", "/large") == LARGE


def test_flipped_bit_is_found_by_a_deep_check_and_never_given_out_again(stored: Store) -> None:
    _flip(_file(stored))
    assert problems(stored) == []
    assert "is damaged, part of images@" in problems(stored, deep=True)[0]
    with pytest.raises(StoreDamaged, match="is damaged"):
        read(stored, "images", "master", "/large")
    assert "is damaged, part of images@" in problems(stored)[0]
    put(stored, "images", "/again", LARGE)
    assert read(stored, "images", "master", "/large") == LARGE


def test_damage_is_remembered_after_a_restart_and_so_is_its_repair(tmp_path: Path) -> None:
    store = Store(tmp_path, "fast")
    create_repos(store, "images")
    put(store, "images", "/large", LARGE)
    _flip(_file(store))
    assert len(problems(store, deep=True)) == 1
    store.close()
    store = Store(tmp_path, "fast")
    with pytest.raises(StoreDamaged, match="is damaged"):
        read(store, "images", "master", "/large")
    put(store, "images", "/again", LARGE)
    store.close()
    store = Store(tmp_path, "fast")
    assert (read(store, "images", "master", "/large"), problems(store, deep=True)) == (LARGE, [])
    store.close()


def test_file_that_was_restored_is_given_out_after_a_deep_check(stored: Store) -> None:
    file = _file(stored)
    _flip(file)
    assert len(problems(stored, deep=True)) == 1
    file.write_bytes(LARGE)
    assert problems(stored, deep=True) == []
    assert read(stored, "images", "master", "/large") == LARGE


def test_flipped_bit_in_a_small_file_is_never_given_out_and_a_put_repairs_it(stored: Store) -> None:
    damage(stored, "UPDATE blobs SET data = CAST('smalL' AS BLOB) WHERE data IS NOT NULL")
    with pytest.raises(StoreDamaged, match="is damaged"):
        read(stored, "images", "master", "/small")
    assert "is damaged, part of images@" in problems(stored, deep=True)[0]
    put(stored, "images", "/again", b"small")
    assert read(stored, "images", "master", "/small") == b"small"


def test_wrong_md5_is_found_by_a_deep_check(full: Store) -> None:
    damage(full, "UPDATE blobs SET md5 = zeroblob(16) WHERE data IS NULL")
    assert any("records the wrong MD5" in line for line in problems(full, deep=True))


def test_damage_names_the_files_that_rest_on_a_blob_through_a_list(store: Store) -> None:
    create_repos(store, "images")
    start(store, "images")
    commit = commit_of(store, "images")
    staged = [stage(store, LARGE), stage(store, b"tail" * INLINE_BYTES)]
    for blob in staged:
        store.blobs.publish(blob)

    def write(db: Db) -> None:
        parts = [(blobs.record(db, blob), 0, blob.size_bytes) for blob in staged]
        files.put_file(db, commit, "/joined", blobs.join(db, parts, f"{'0' * 32}-2"))

    store.write(write)
    good = _file(store).rename(store.directory / "good")
    assert problems(store)[0].endswith(f"is missing, part of images@{commit.id}:/joined")
    good.rename(_file(store))
    assert bytes_of(store, entry_of(store, "images", "master", "/joined").content) == LARGE + b"tail" * INLINE_BYTES


def test_database_with_broken_pages_is_a_problem_and_not_a_crash(full: Store) -> None:
    with sqlite3.connect(full.directory / "appliance.db") as db:
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries_history'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    full.close()
    with (full.directory / "appliance.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    store = Store(full.directory, "fast")
    assert any("database" in line for line in problems(store))
    store.close()


def test_file_that_goes_away_with_its_row_is_no_problem(full: Store) -> None:
    """Between the look at a row and the look at its file, the collector may have taken both."""
    put(full, "images", "/first", b"first" * INLINE_BYTES, branch="dev")
    _file(full).unlink()
    second = keep(full, b"second" * INLINE_BYTES)
    found = []
    for problem in check(full):
        if isinstance(problem, Problem):
            found.append(problem.text)
            full.write(lambda db: db.execute("DELETE FROM blobs WHERE id = ?", (second.blob_id,)).rowcount)
            full.blobs.path(Digest(hashlib.sha256(b"second" * INLINE_BYTES).digest())).unlink()
    assert len(found) == 1


def test_what_changes_during_a_check_is_no_problem(store: Store) -> None:
    """Writers put, delete, fork, drop and squash all the time, and a pipeline runs; the check must not see a step halfway."""
    names = [f"repo{number}" for number in range(3)]
    create_repos(store, *names)
    create_pipeline(store, "edges", "repo0")
    ended = threading.Event()

    def work(name: str) -> None:
        choose = random.Random(name)
        for number in range(120):
            put_all(store, name, {f"/{choose.randrange(4)}/{choose.randrange(9)}": choose.randbytes(40_000)})
            if number % 5 == 1:
                delete(store, name, f"/{choose.randrange(4)}/")
                fork(store, name, f"fork{number}", head="master^")
                put(store, name, "/fork", b"x", branch=f"fork{number}")
            if number % 5 == 3 and name != "repo0":
                squash_parent(store, name)
                store.write(lambda db: squash.drop_commit(db, name, "master"))

    def run_jobs() -> None:
        while not ended.is_set():
            with store.snapshot() as db:
                due = jobs.list_waiting(db)
            if due:
                run_pipeline(store, "edges", {"one": {"/out": LARGE}})

    workers = [threading.Thread(target=work, args=(name,)) for name in names]
    runner = threading.Thread(target=run_jobs)
    for thread in (*workers, runner):
        thread.start()
    checks = 0
    while checks < 2 or any(worker.is_alive() for worker in workers):
        assert problems(store, deep=checks % 2 == 0) == []
        checks += 1
    ended.set()
    runner.join()


def squash_parent(store: Store, repo: str) -> None:
    with suppress(Conflict):  # a fork that rests on it may be open
        store.write(lambda db: squash.squash_commit(db, repo, "master^"))


def test_check_does_not_keep_a_snapshot_open_between_steps(full: Store) -> None:
    for _ in check(full):
        assert full.settle(timeout_s=0)
