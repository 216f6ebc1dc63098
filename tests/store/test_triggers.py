"""Branches that take over another one's head when enough has happened there."""

import pytest
from store.helpers import commit_of, create_pipeline, create_repos, finish, fork, put, run_pipeline, start, tree, waiting

from appliance.errors import InvalidName, InvalidRequest
from appliance.store import Store, pipelines, repos, triggers
from appliance.store.triggers import Trigger


@pytest.fixture
def images(store: Store) -> Store:
    create_repos(store, "images")
    return store


def watch(store: Store, name: str, trigger: Trigger) -> None:
    store.write(lambda db: repos.create_branch(db, "images", name, trigger=trigger))


def head(store: Store, branch: str = "master") -> str:
    return commit_of(store, "images", branch).id


def test_fires_after_so_many_commits(images: Store) -> None:
    watch(images, "release", Trigger("master", commits=2))
    before = head(images, "release")
    put(images, "images", "/a", b"1")
    assert head(images, "release") == before
    second = put(images, "images", "/a", b"2")
    assert head(images, "release") == second
    put(images, "images", "/a", b"3")
    assert head(images, "release") == second
    assert put(images, "images", "/a", b"4") == head(images, "release")


def test_fires_once_it_has_grown_enough(images: Store) -> None:
    watch(images, "release", Trigger("master", size="1K"))
    put(images, "images", "/a", b"x" * 999)
    assert tree(images, "images", "release") == {}
    assert put(images, "images", "/b", b"x") == head(images, "release")


def test_open_commit_fires_when_it_is_finished(images: Store) -> None:
    watch(images, "release", Trigger("master", commits=1))
    before = head(images, "release")
    opened = start(images, "images")
    put(images, "images", "/a", b"1")
    assert head(images, "release") == before
    finish(images, "images")
    assert head(images, "release") == opened


def test_any_condition_is_enough(images: Store) -> None:
    watch(images, "release", Trigger("master", commits=9, size="1"))
    assert put(images, "images", "/a", b"1") == head(images, "release")


def test_with_all_every_condition_is_needed(images: Store) -> None:
    watch(images, "release", Trigger("master", all=True, commits=2, size="2"))
    put(images, "images", "/a", b"123")
    assert tree(images, "images", "release") == {}
    assert put(images, "images", "/b", b"") == head(images, "release")


def test_rate_limit_holds_back_what_comes_too_soon(images: Store) -> None:
    watch(images, "release", Trigger("master", rate_limit_spec="@every 1h"))
    put(images, "images", "/a", b"1")
    assert tree(images, "images", "release") == {}
    images.write(lambda db: db.execute("UPDATE commits SET finished_ns = finished_ns - 3600000000000").rowcount)
    second = put(images, "images", "/a", b"2")
    put(images, "images", "/a", b"3")
    assert head(images, "release") == second


def test_triggers_chain(images: Store) -> None:
    watch(images, "staging", Trigger("master", commits=1))
    watch(images, "release", Trigger("staging", commits=1))
    assert put(images, "images", "/a", b"1") == head(images, "staging") == head(images, "release")


def test_firing_propagates_in_the_set_of_the_commit(images: Store) -> None:
    watch(images, "release", Trigger("master", commits=2))
    new = pipelines.NewPipeline("edges", b"{}", "", "master", [("images", "release")], "salt")
    images.write(lambda db: pipelines.create_pipeline(db, new))
    run_pipeline(images, "edges", {})
    put(images, "images", "/a", b"1")
    second = put(images, "images", "/a", b"2")
    assert commit_of(images, "edges").id == second
    assert waiting(images, "edges").open_inputs == 0


def test_output_of_a_pipeline_triggers(images: Store) -> None:
    create_pipeline(images, "edges", "images")
    run_pipeline(images, "edges", {})
    images.write(lambda db: repos.create_branch(db, "edges", "release", trigger=Trigger("master", commits=1)))
    put(images, "images", "/a", b"1")
    run_pipeline(images, "edges", {"one": {"/x": b"x"}})
    assert tree(images, "edges", "release") == {"/x": b"x"}


def test_clock_takes_over_what_is_new(images: Store) -> None:
    watch(images, "release", Trigger("master", cron_spec="@daily"))
    first = put(images, "images", "/a", b"1")
    (timed,) = images.write(triggers.list_timed)
    assert timed.watched_ns == commit_of(images, "images").finished_ns
    assert images.write(lambda db: triggers.fire_timed(db, timed.branch_id))
    assert head(images, "release") == first
    assert not images.write(lambda db: triggers.fire_timed(db, timed.branch_id))


def test_clock_does_not_take_an_open_commit(images: Store) -> None:
    watch(images, "release", Trigger("master", cron_spec="@daily"))
    first = put(images, "images", "/a", b"1")
    start(images, "images")
    (timed,) = images.write(triggers.list_timed)
    images.write(lambda db: triggers.fire_timed(db, timed.branch_id))
    assert head(images, "release") == first


def test_clock_has_nothing_to_do_where_nothing_is_watched(images: Store) -> None:
    watch(images, "release", Trigger("nowhere", cron_spec="@daily"))
    (timed,) = images.write(triggers.list_timed)
    assert timed.watched_ns == 0
    assert not images.write(lambda db: triggers.fire_timed(db, timed.branch_id))


def test_trigger_shows_and_goes_when_the_branch_is_pointed_elsewhere(images: Store) -> None:
    put(images, "images", "/a", b"1")
    trigger = Trigger("master", size="100M")
    watch(images, "release", trigger)
    with images.snapshot() as db:
        assert repos.get_branch(db, "images", "release").trigger == trigger
    fork(images, "images", "release", "master")
    with images.snapshot() as db:
        assert repos.get_branch(db, "images", "release").trigger is None


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (Trigger("", size="1M"), r"^triggers must specify a branch to trigger on$"),
        (Trigger("master", commits=-1), r"^can't trigger on a negative number of commits$"),
        (Trigger("master", size="much"), r"^invalid trigger size"),
        (Trigger("master", cron_spec="soon"), r"^invalid trigger cron spec"),
        (Trigger("master", rate_limit_spec="soon"), r"^invalid trigger rate limit spec"),
        (Trigger("release", commits=1), r"^triggers cannot form a loop$"),
        (Trigger("master"), r"^triggers must say when"),
    ],
)
def test_trigger_that_makes_no_sense_is_refused(images: Store, trigger: Trigger, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        watch(images, "release", trigger)
    with images.snapshot() as db:
        assert list(repos.iter_branches(db, "images")) == []


def test_longer_loop_is_refused(images: Store) -> None:
    watch(images, "b", Trigger("a", commits=1))
    watch(images, "c", Trigger("b", commits=1))
    with pytest.raises(InvalidRequest, match="loop"):
        watch(images, "a", Trigger("c", commits=1))


def test_bad_branch_name_is_refused(images: Store) -> None:
    with pytest.raises(InvalidName):
        watch(images, "release", Trigger("a.b", commits=1))


def test_provenance_and_trigger_exclude_each_other(images: Store) -> None:
    create_repos(images, "labels")
    with pytest.raises(InvalidRequest, match=r"^a branch cannot have both provenance and a trigger$"):
        images.write(
            lambda db: repos.create_branch(
                db, "images", "x", provenance=[("labels", "master")], trigger=Trigger("master", commits=1)
            )
        )
