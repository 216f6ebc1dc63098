"""The writer with its group commit, and the readers."""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from store.helpers import commit_of, create_repos, put, tree

from appliance.errors import AlreadyExists, ApplianceError, Conflict
from appliance.store import Changes, Db, Store, repos, snapshots

TIMEOUT_S = 30


@contextmanager
def held_up(store: Store) -> Iterator[None]:
    """Keep the writer busy, so that what is submitted meanwhile shares the next commit."""
    begun, released = threading.Event(), threading.Event()

    def wait(_db: Db) -> None:
        begun.set()
        released.wait(TIMEOUT_S)

    waiting = store.submit(wait)
    assert begun.wait(TIMEOUT_S)
    try:
        yield
    finally:
        released.set()
        waiting.result(TIMEOUT_S)


def creating(name: str) -> Callable[[Db], None]:
    return lambda db: repos.create_repo(db, name)


def names(store: Store) -> list[str]:
    with store.snapshot() as db:
        return sorted(repo.name for repo in repos.iter_repos(db))


def test_write_gives_its_result(store: Store) -> None:
    assert store.write(lambda db: db.value("SELECT 1 + 1")) == 2


def test_writes_that_queue_share_a_commit(store: Store) -> None:
    heard: list[Changes] = []
    store.listen(heard.append)
    with held_up(store):
        futures = [store.submit(creating(name)) for name in "abc"]
    for future in futures:
        future.result(TIMEOUT_S)
    store.write(lambda db: None)
    assert len(heard) == 1


def test_write_that_raises_does_not_disturb_its_batch(store: Store) -> None:
    def half(db: Db) -> None:
        repos.create_repo(db, "half")
        repos.create_repo(db, "half")

    with held_up(store):
        first, failing, last = store.submit(creating("first")), store.submit(half), store.submit(creating("last"))
    first.result(TIMEOUT_S)
    last.result(TIMEOUT_S)
    with pytest.raises(AlreadyExists):
        failing.result(TIMEOUT_S)
    assert names(store) == ["first", "last"]


def test_write_sees_those_before_it_in_its_batch(store: Store) -> None:
    with held_up(store):
        futures = [store.submit(creating("a")) for _ in range(2)]
    assert [type(future.exception(TIMEOUT_S)) for future in futures] == [type(None), AlreadyExists]


def test_writes_run_in_the_order_of_submission(store: Store) -> None:
    ran: list[int] = []
    with held_up(store):
        futures = [store.submit(lambda _db, number=number: ran.append(number)) for number in range(600)]
    for future in futures:
        future.result(TIMEOUT_S)
    assert ran == list(range(600))


def test_only_writes_that_are_to_be_durable_are_synced(tmp_path: Path) -> None:
    store = Store(tmp_path, "durable")
    store.sync()
    normal, full = 1, 2
    for durable in (True, False, False, True):
        assert store.write(lambda db: db.value("PRAGMA synchronous"), durable=durable) == (full if durable else normal)
    store.write(creating("left"), durable=False)
    store.sync()
    assert names(store) == ["left"]
    store.close()


def test_a_write_that_is_to_be_durable_has_those_beside_it_synced(tmp_path: Path) -> None:
    store = Store(tmp_path, "durable")
    with held_up(store):
        found = [store.submit(lambda db: db.value("PRAGMA synchronous"), durable=durable) for durable in (False, True, False)]
    assert [each.result() for each in found] == [2, 2, 2]
    store.close()


def test_cancelled_write_is_not_run(store: Store) -> None:
    with held_up(store):
        cancelled, other = store.submit(creating("cancelled")), store.submit(creating("other"))
        assert cancelled.cancel()
    other.result(TIMEOUT_S)
    assert names(store) == ["other"]


def test_batch_of_cancelled_writes_is_nothing(store: Store) -> None:
    with held_up(store):
        assert store.submit(creating("cancelled")).cancel()
    create_repos(store, "other")
    assert names(store) == ["other"]


def test_result_is_there_when_readers_can_see_it(store: Store) -> None:
    seen: list[list[str]] = []
    future: Future[None] = store.submit(creating("a"))
    future.add_done_callback(lambda _: seen.append(names(store)))
    store.write(lambda db: None)
    assert seen == [["a"]]


def test_listener_hears_nothing_of_a_write_that_raised(store: Store) -> None:
    create_repos(store, "a")
    heard: list[Changes] = []
    store.listen(heard.append)

    def fail(db: Db) -> None:
        repos.create_repo(db, "b")
        raise KeyError

    with pytest.raises(KeyError):
        store.write(fail)
    store.write(lambda db: None)
    assert heard == []


def test_a_write_is_answered_when_its_listeners_are_done(store: Store) -> None:
    first: Future[None] = Future()
    second: Future[None] = Future()
    store.listen(lambda _: first)
    store.listen(lambda _: second)
    changing = store.submit(creating("data"))
    store.write(lambda db: None)  # changed nothing, and waits for nobody
    first.set_result(None)
    assert not changing.done()
    second.set_result(None)
    assert changing.result(TIMEOUT_S) is None
    assert store.write(lambda db: "the writer goes on") == "the writer goes on"


def test_listener_that_fails_does_not_stop_the_writer(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_changes: Changes) -> None:
        raise RuntimeError("the loop has ended")

    store.listen(fail)
    create_repos(store, "a")
    store.submit(creating("b")).result(TIMEOUT_S)
    assert names(store) == ["a", "b"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_closed_store_finishes_what_is_queued_and_takes_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path, "fast")
    futures = [store.submit(creating(f"r{number}")) for number in range(10)]
    store.close()
    assert all(future.exception(TIMEOUT_S) is None for future in futures)
    with pytest.raises(Conflict, match="the store is closed"):
        store.submit(creating("late"))


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """Else the second one closes whatever file has got the number of the lock."""
    store = Store(tmp_path, "fast")
    store.close()
    descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
    store.close()
    os.close(descriptor)


def test_full_disk_is_an_error_and_the_store_lives_on(store: Store) -> None:
    create_repos(store, "images")
    store.write(lambda db: db.value(f"PRAGMA max_page_count = {db.value('PRAGMA page_count') + 8}"))
    kept: dict[str, bytes] = {}

    def fill() -> None:
        for number in range(100):
            data = bytes([number]) * 3000
            put(store, "images", f"/{number:02}", data)
            kept[f"/{number:02}"] = data

    with pytest.raises(ApplianceError, match="database or disk is full"):
        fill()
    assert tree(store, "images") == kept
    store.write(lambda db: db.value("PRAGMA max_page_count = 1000000"))
    put(store, "images", "/a", b"1")
    assert tree(store, "images") == {**kept, "/a": b"1"}


def test_transaction_given_up_by_sqlite_fails_all_its_writes(store: Store) -> None:
    def give_up(db: Db) -> None:
        repos.create_repo(db, "half")
        db.execute("ROLLBACK")  # as SQLite does by itself after some I/O errors
        raise sqlite3.OperationalError("disk I/O error")

    with held_up(store):
        futures = [store.submit(creating("a")), store.submit(give_up), store.submit(creating("b"))]
    errors = [future.exception(TIMEOUT_S) for future in futures]
    assert [str(error) for error in errors] == ["the database can not be written: disk I/O error"] * 3
    assert (names(store), [type(error) for error in errors]) == ([], [ApplianceError] * 3)
    create_repos(store, "a")


def test_snapshot_is_of_one_moment(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    with store.snapshot() as db:
        before = commit_of(store, "images").id
        snapshot = snapshots.open_branch(db, "images", "master")
        put(store, "images", "/b", b"2")
        assert [entry.path for entry in snapshots.iter_entries(db, snapshot)] == ["/a"]
        assert repos.get_branch(db, "images", "master").head.id == before
    assert list(tree(store, "images")) == ["/a", "/b"]


def test_snapshot_does_not_see_an_older_one_that_somebody_still_reads(store: Store) -> None:
    """An exception on its way up keeps such an iterator alive, too."""
    create_repos(store, "images")
    for name in "abcdef":
        put(store, "images", f"/{name}", b"1")
    with store.snapshot() as db:
        entries = snapshots.iter_entries(db, snapshots.open_branch(db, "images", "master"))
        next(entries)
    put(store, "images", "/new", b"2")
    assert "/new" in tree(store, "images")
    del entries


def test_snapshots_are_lent_to_many_threads(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    barrier = threading.Barrier(8, timeout=TIMEOUT_S)
    found: list[str] = []

    def look() -> None:
        with store.snapshot() as db:
            barrier.wait()
            found.append(repos.get_branch(db, "images", "master").head.id)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [commit_of(store, "images").id] * 8


def test_snapshot_cannot_be_written(store: Store) -> None:
    with store.snapshot() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        repos.create_repo(db, "images")


def test_changes_add_up() -> None:
    changes = Changes()
    assert not changes
    changes.update(Changes(heads={("a", "b")}, logs={1}))
    changes.update(Changes(repos=True, jobs=True))
    assert changes == Changes({("a", "b")}, True, True, {1})
