"""What is due by the clock, at a time that the test says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store.helpers import commit_of, create_repos, put

from appliance.clock import Clock
from appliance.store import Store, repos
from appliance.store.triggers import Trigger

MINUTE_NS = 60 * 1_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path, "fast")
    create_repos(opened, "images")
    yield opened
    opened.close()


def watch(store: Store, spec: str) -> None:
    trigger = Trigger("master", cron_spec=spec)
    store.write(lambda db: repos.create_branch(db, "images", "release", trigger=trigger))


def test_branch_takes_over_at_the_next_tick(store: Store) -> None:
    watch(store, "* * * * *")
    clock = Clock(store)
    first = put(store, "images", "/a", b"1")
    now_ns = commit_of(store, "images").finished_ns or 0
    clock.fire_due(now_ns)
    assert commit_of(store, "images", "release").id != first
    clock.fire_due(now_ns + MINUTE_NS)
    assert commit_of(store, "images", "release").id == first


def test_wait_ends_at_the_next_tick(store: Store) -> None:
    watch(store, "* * * * *")
    assert Clock(store).fire_due(7 * MINUTE_NS + MINUTE_NS // 4) == 45.0


def test_tick_that_was_missed_is_made_up_for(store: Store) -> None:
    watch(store, "* * * * *")
    first = put(store, "images", "/a", b"1")
    Clock(store).fire_due((commit_of(store, "images").finished_ns or 0) + MINUTE_NS)
    assert commit_of(store, "images", "release").id == first


def test_interval_counts_from_the_start(store: Store) -> None:
    watch(store, "@every 10m")
    first = put(store, "images", "/a", b"1")
    clock = Clock(store)
    now_ns = commit_of(store, "images").finished_ns or 0
    assert clock.fire_due(now_ns) == 60.0
    clock.fire_due(now_ns + 9 * MINUTE_NS)
    assert commit_of(store, "images", "release").id != first
    clock.fire_due(now_ns + 10 * MINUTE_NS)
    assert commit_of(store, "images", "release").id == first


def test_never_never_fires(store: Store) -> None:
    watch(store, "@never")
    first = put(store, "images", "/a", b"1")
    Clock(store).fire_due(2**62)
    assert commit_of(store, "images", "release").id != first
