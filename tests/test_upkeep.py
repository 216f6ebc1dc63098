"""What is done by itself: garbage goes after a while, and a run ends when the appliance does."""

from collections.abc import Callable

import pytest
import trio
from store.helpers import LARGE, create_repos, put
from trio.testing import MockClock

from appliance.errors import ApplianceError
from appliance.store import Store, repos
from appliance.upkeep import Upkeep


def run_until(store: Store, done: Callable[[], bool], limit_s: float) -> float:
    """Run the upkeep until something is so, and return the seconds of its clock that took."""

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            upkeep = Upkeep(store)
            await nursery.start(upkeep.run)
            while not done() and trio.current_time() < limit_s:  # noqa: ASYNC110 - by a clock that jumps
                await trio.sleep(30)
            upkeep.stop()
            nursery.cancel_scope.cancel()
            return trio.current_time()
        raise AssertionError

    return trio.run(main, clock=MockClock(autojump_threshold=0.01))


def has_no_files(store: Store) -> bool:
    return not list((store.directory / "blobs").glob("*/*"))


def delete(store: Store, name: str) -> None:
    store.write(lambda db: repos.delete_repo(db, name))


def test_garbage_goes_by_itself_after_a_while(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", LARGE)
    delete(store, "images")
    assert 60 <= run_until(store, lambda: has_no_files(store), 1000) < 1000


def test_what_is_removed_later_goes_within_the_next_hours(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", LARGE)
    removed = iter([False] * 20 + [True])

    def done() -> bool:
        if next(removed, False):
            delete(store, "images")
        return has_no_files(store)

    assert 3600 <= run_until(store, done, 10_000) < 10_000


def test_a_run_ends_when_the_appliance_does(store: Store) -> None:
    upkeep = Upkeep(store)
    running = upkeep.collect()
    upkeep.stop()
    with pytest.raises(ApplianceError, match="is being stopped"):
        list(running)
