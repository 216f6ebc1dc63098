"""The collector: takes what nothing refers to and nothing else, whoever is at work, and gives the space back."""

import gc
import hashlib
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import (
    bytes_of,
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
    read,
    run_pipeline,
    stage,
    start,
    tree,
)
from store.test_durability import ENVIRONMENT, OPEN

from appliance.errors import RepoNotFound
from appliance.store import Db, Store, blobs, commits, files, repos, squash, staging, uploads
from appliance.store.blobs import Content
from appliance.store.collecting import STALE_NS, Collector, collect


def large(seed: int) -> bytes:
    return random.Random(seed).randbytes(100_000)


def count(store: Store, table: str) -> int:
    with store.snapshot() as db:
        found: int = db.value(f"SELECT count(*) FROM {table}")
        return found


def blob_files(store: Store) -> set[str]:
    return {file.parent.name + file.name for file in (store.directory / "blobs").glob("*/*")}


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def drop(store: Store, repo: str, revision: str = "master") -> None:
    store.write(lambda db: squash.drop_commit(db, repo, revision))


def delete_repo(store: Store, repo: str) -> None:
    store.write(lambda db: repos.delete_repo(db, repo))


def test_history_is_no_garbage(store: Store) -> None:
    create_repos(store, "images")
    first = put(store, "images", "/a", large(1))
    put(store, "images", "/a", large(2))
    delete(store, "images", "/a")
    assert collect(store).blobs == 0
    assert read(store, "images", first, "/a") == large(1)


def test_dropped_bytes_are_collected_and_shared_ones_stay(store: Store) -> None:
    create_repos(store, "images")
    put_all(store, "images", {"/a": large(1), "/small": b"1"})
    put_all(store, "images", {"/same": large(1), "/new": large(2), "/tiny": b"2"})
    drop(store, "images")
    collected = collect(store)
    assert (collected.blobs, collected.size_bytes) == (2, 100_001)
    assert blob_files(store) == {name_of(large(1))}
    assert tree(store, "images") == {"/a": large(1), "/small": b"1"}


def test_overwritten_bytes_of_an_open_commit_are_collected(store: Store) -> None:
    create_repos(store, "images")
    start(store, "images")
    for seed in range(3):
        put(store, "images", "/a", large(seed))
    assert collect(store).blobs == 2
    assert read(store, "images", "master", "/a") == large(2)


def test_joined_content_keeps_its_blobs_until_it_goes(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", large(1))
    start(store, "images")
    commit, tail = commit_of(store, "images"), stage(store, large(2))
    store.blobs.publish(tail)
    store.write(lambda db: files.append_file(db, commit, "/a", blobs.record(db, tail)))
    assert collect(store).blobs == 0
    assert read(store, "images", "master", "/a") == large(1) + large(2)
    put(store, "images", "/a", b"other")
    assert collect(store).blobs == 1
    assert (count(store, "extent_lists"), count(store, "extents")) == (0, 0)


def test_parts_of_uploads_and_staged_files_are_kept_until_they_end(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    content, part = keep(store, large(1)), keep(store, large(2))

    def begin(db: Db) -> tuple[str, uploads.Upload]:
        put_id = staging.begin_put(db)
        staging.add_file(db, put_id, "/staged", content)
        branch = db.value("SELECT id FROM branches")
        upload = uploads.create_upload(db, f"branch/{branch}", "/up", None)
        uploads.put_part(db, upload, 1, part)
        return put_id, upload

    put_id, upload = store.write(begin)
    assert collect(store).blobs == 0
    store.write(lambda db: staging.discard_put(db, put_id))
    store.write(lambda db: uploads.delete_upload(db, upload))
    assert collect(store).blobs == 2


def test_put_that_nobody_ended_expires_after_a_week(store: Store) -> None:
    content = keep(store, large(1))
    put_id = store.write(staging.begin_put)
    store.write(lambda db: staging.add_file(db, put_id, "/staged", content))
    almost = time.time_ns() - STALE_NS + 60 * 10**9
    store.write(lambda db: db.execute("UPDATE staged_puts SET created_ns = ?", (almost,)).rowcount)
    collect(store)
    assert (count(store, "staged_puts"), count(store, "staged_files")) == (1, 1)
    store.write(lambda db: db.execute("UPDATE staged_puts SET created_ns = ?", (time.time_ns() - STALE_NS - 1,)).rowcount)
    collect(store)
    assert (count(store, "staged_puts"), count(store, "staged_files"), blob_files(store)) == (0, 0, set())


def test_outputs_of_datums_are_kept(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    run_pipeline(store, "edges", {"one": {"/out": large(1)}})
    assert collect(store).blobs == 0
    assert read(store, "edges", "master", "/out") == large(1)


def test_file_without_a_row_is_removed_and_foreign_files_stay(store: Store) -> None:
    staged = stage(store, large(1))
    store.blobs.publish(staged)
    foreign = store.blobs.path(staged.digest).parent / "note"
    foreign.write_text("x")
    del staged
    assert collect(store).freed_bytes >= 100_000
    assert blob_files(store) == {foreign.parent.name + "note"}
    foreign.unlink()


# -- the race with those who put and read


def test_published_bytes_are_safe_until_their_row_is_written(store: Store) -> None:
    """The moment between publishing and the row: nothing refers to the file, and it must not go."""
    create_repos(store, "images")
    put(store, "images", "/a", large(1))
    drop(store, "images")
    again = stage(store, large(1))
    store.blobs.publish(again)  # drops its copy: the file is there
    collect(store)
    assert count(store, "blobs") == 0
    content = store.write(lambda db: blobs.record(db, again))
    assert bytes_of(store, content) == large(1)


def test_bytes_that_somebody_is_about_to_read_stay_until_they_were(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", large(1))
    content = entry_of(store, "images", "master", "/a").content
    with store.snapshot() as db:
        extents = blobs.list_extents(db, store.blobs, content)
    drop(store, "images")
    collect(store)
    assert count(store, "blobs") == 0
    assert b"".join(blobs.read_extents(extents)) == large(1)
    del extents
    collect(store)
    assert blob_files(store) == set()


def test_snapshot_from_before_keeps_its_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.store.collecting._DRAIN_S", 0.0)
    create_repos(store, "images")
    put(store, "images", "/a", large(1))
    content = entry_of(store, "images", "master", "/a").content
    with store.snapshot() as db:
        assert db.value("SELECT count(*) FROM blobs") == 1
        drop(store, "images")
        collect(store)
        assert b"".join(blobs.read_extents(blobs.list_extents(db, store.blobs, content))) == large(1)
    gc.collect()
    collect(store)
    assert blob_files(store) == set()


def test_number_of_a_collected_blob_never_means_other_bytes(store: Store) -> None:
    def join(data: bytes) -> Content:
        part = keep(store, data)
        return store.write(lambda db: blobs.join(db, [(part, 0, 3), (part, 0, 2)], f"{'0' * 32}-2"))

    before = [keep(store, b"one"), join(b"three")]
    collect(store)
    after = [keep(store, b"two"), join(b"four")]
    assert {before[0].blob_id, before[1].list_id}.isdisjoint({after[0].blob_id, after[1].list_id})
    assert after[0].blob_id is not None
    assert before[0].blob_id is not None
    assert after[0].blob_id > before[0].blob_id


def test_collecting_under_puts_and_drops_loses_nothing(store: Store) -> None:
    """Many writers put and drop the same few contents while one collects all the time."""
    names = [f"repo{number}" for number in range(4)]
    create_repos(store, *names)
    ended, wrong = threading.Event(), list[str]()

    def work(name: str) -> None:
        choose = random.Random(name)
        for _ in range(60):
            data = large(choose.randrange(3))
            put(store, name, "/a", data)
            if read(store, name, "master", "/a") != data:
                wrong.append(name)
            drop(store, name)

    def collect_all_the_time() -> None:
        while not ended.is_set():
            collect(store)

    collecting = threading.Thread(target=collect_all_the_time)
    collecting.start()
    workers = [threading.Thread(target=work, args=(name,)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended.set()
    collecting.join()
    assert wrong == []
    put(store, "repo0", "/b", large(0))
    assert read(store, "repo0", "master", "/b") == large(0)


# -- deleted repos


def test_deleted_repo_is_nobodys_before_the_collector_has_come(store: Store) -> None:
    create_repos(store, "images", "edges")
    made = put(store, "images", "/a", b"1")
    derive(store, "edges", "images")
    output = commit_of(store, "edges")
    delete_repo(store, "edges")
    with store.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db)] == ["images"]
        assert [commit.repo for commit in commits.iter_commits(db)] == ["images"]
        assert [commit.repo for commit in commits.list_set(db, made)] == ["images"]
        assert commits.find_in_set(db, commit_of(store, "images").repo_id, output.id) in (None, commit_of(store, "images"))
        with pytest.raises(RepoNotFound):
            commits.get_commit(db, "edges", "master")
    assert check(store) == []
    create_repos(store, "edges")
    put(store, "edges", "/new", b"2")
    put(store, "images", "/b", b"3")
    assert tree(store, "edges") == {"/new": b"2"}
    store.write(lambda db: squash.drop_commit(db, "images", "master"))
    store.write(lambda db: squash.drop_commit(db, "images", made))
    delete_repo(store, "images")
    collect(store)
    assert (count(store, "repos"), count(store, "commits")) == (1, 1)


def test_deleting_a_large_repo_is_one_small_write(store: Store) -> None:
    create_repos(store, "images")
    put_all(store, "images", {f"/{number}": b"x" for number in range(3000)})
    fork(store, "images", "dev", "master")
    put(store, "images", "/more", b"y", "dev")
    changed = store.write(
        lambda db: (before := db.total_changes, repos.delete_repo(db, "images"), db.total_changes - before)[2]
    )
    assert changed < 10
    collect(store)
    assert [count(store, table) for table in ("repos", "commits", "lines", "entries", "blobs")] == [0] * 5


# -- space


def test_space_of_small_files_is_returned_to_the_disk(store: Store) -> None:
    create_repos(store, "images", "other")
    put(store, "other", "/a", b"kept")
    collect(store)
    before = (store.directory / "appliance.db").stat().st_size
    put_all(store, "images", {f"/{number}": random.Random(number).randbytes(20_000) for number in range(200)})
    store.settle(0)
    assert (store.directory / "appliance.db").stat().st_size > before + 4_000_000
    delete_repo(store, "images")
    collected = collect(store)
    after = (store.directory / "appliance.db").stat().st_size
    assert after < before + 200_000
    assert collected.freed_bytes > 4_000_000
    assert (store.directory / "appliance.db-wal").stat().st_size == 0
    assert tree(store, "other") == {"/a": b"kept"}


def test_database_made_before_it_could_shrink_is_rewritten_once(tmp_path: Path) -> None:
    store = Store(tmp_path, "fast")
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    store.close()
    _make_unshrinkable(tmp_path / "appliance.db")
    store = Store(tmp_path, "fast")
    with store.snapshot() as db:
        assert db.value("PRAGMA auto_vacuum") == 2
    assert tree(store, "images") == {"/a": b"1"}
    check(store)
    store.close()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_database_whose_rewriting_is_killed_loses_nothing(tmp_path: Path, share: float) -> None:
    store = Store(tmp_path, "fast")
    create_repos(store, "images")
    put_all(store, "images", {f"/{number}": random.Random(number).randbytes(20_000) for number in range(300)})
    before = tree(store, "images")
    store.close()
    _make_unshrinkable(tmp_path / "appliance.db")
    size, log = (tmp_path / "appliance.db").stat().st_size, tmp_path / "appliance.db-wal"
    with subprocess.Popen([sys.executable, "-c", OPEN, str(tmp_path)], env=ENVIRONMENT) as process:
        while process.poll() is None and (not log.exists() or log.stat().st_size <= share * size):
            pass
        process.kill()
    store = Store(tmp_path, "fast")
    assert tree(store, "images") == before
    check(store)
    store.close()


def _make_unshrinkable(database: Path) -> None:
    with sqlite3.connect(database, isolation_level=None) as db:
        for sql in ("PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = 0", "VACUUM"):
            db.execute(sql)
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    db.close()


def test_killed_collector_leaves_nothing_that_the_next_does_not_find(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys
from store.test_collecting import create_repos, delete_repo, drop, large, put
from appliance.store import Store
from appliance.store.collecting import Collector
store = Store(pathlib.Path(sys.argv[1]), "fast")
create_repos(store, "images", "gone")
for seed in range(20):
    put(store, "gone", f"/{seed}", large(seed))
put(store, "images", "/a", large(0))
delete_repo(store, "gone")
for step, _ in enumerate(Collector(store).run()):
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
"""
    ends = []
    for step in range(0, 40, 4):
        place = tmp_path / str(step)
        done = subprocess.run([sys.executable, "-c", script, str(place), str(step)], env=ENVIRONMENT, check=False)
        ends.append(done.returncode)
        store = Store(place, "fast")
        check(store)
        collect(store)
        assert check(store) == []
        assert blob_files(store) == {name_of(large(0))}
        assert read(store, "images", "master", "/a") == large(0)
        store.close()
    assert ends[0] == -9


def test_steps_are_small_so_that_writers_never_wait_long(store: Store) -> None:
    create_repos(store, "images")
    put_all(store, "images", {f"/{number}": str(number).encode() for number in range(3000)})
    delete_repo(store, "images")
    collector = Collector(store)
    changes = []
    before = store.write(lambda db: db.total_changes)
    for _step in collector.run():
        now = store.write(lambda db: db.total_changes)
        changes.append(now - before)
        before = now
    assert max(changes) <= 2000 + 200
    assert collector.total.blobs == 3000
