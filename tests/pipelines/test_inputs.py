"""Combined inputs, inputs by the clock, and what user code is shown of them, in pipelines that really run.

The join and group examples are those of Pachyderm's documentation, with its file names.
"""

import time
from typing import Any

import pytest
from pipelines.helpers import COPY, Lab, images, wait_until
from store.helpers import commit_of, create_repos, fork, put, tree

from appliance.errors import ApplianceError, InvalidRequest, RepoNotFound
from appliance.store import commits, crons, pipelines, repos
from appliance.store.crons import tick_name

SECOND_NS = 1_000_000_000
LIST = "cd /pfs; find * -type f -o -type l | grep -v '^out/' | sort | tr '\\n' ' ' >> /pfs/out/$PACH_DATUM_ID"


def pfs(repo: str, glob: str, **fields: Any) -> dict[str, Any]:
    return {"pfs": {"repo": repo, "glob": glob, **fields}}


def seen(lab: Lab) -> list[str]:
    """Return what each datum saw below /pfs, one line each."""
    return sorted(text.decode().strip() for text in lab.output().values())


@pytest.fixture
def shop(lab: Lab) -> Lab:
    """Purchases, returns and stores as in the documentation's examples."""
    create_repos(lab.store, "stores", "purchases", "returns")
    lab.put({f"/STOREID{number}.txt": b"" for number in range(1, 4)}, "stores")
    lab.put({f"/ORDERW{number}_STOREID{number}.txt": b"" for number in (1, 2, 5)}, "purchases")
    lab.put({"/ORDERW1_STOREID1.txt": b"", "/ODERW9_STOREID2.txt": b""}, "returns")
    return lab


STORES = pfs("stores", "/STOREID(*).txt", join_on="$1", group_by="$1")
PURCHASES = pfs("purchases", "/*_STOREID(*).txt", join_on="$1", group_by="$1")
RETURNS = pfs("returns", "/*_STOREID(*).txt", join_on="$1", group_by="$1")


def test_union_is_one_datum_for_each_file(shop: Lab) -> None:
    shop.pipeline(LIST, input={"union": [pfs("stores", "/*"), pfs("returns", "/*")]})
    assert shop.succeeded().total == 5
    assert seen(shop)[0] == "returns/ODERW9_STOREID2.txt"


def test_members_of_a_union_may_share_a_name(shop: Lab) -> None:
    shop.pipeline(LIST, input={"union": [pfs("stores", "/*1.txt", name="in"), pfs("returns", "/ORDER*", name="in")]})
    assert shop.succeeded().total == 2
    assert seen(shop) == ["in/ORDERW1_STOREID1.txt", "in/STOREID1.txt"]


def test_inner_join_has_what_both_have(shop: Lab) -> None:
    shop.pipeline(LIST + "; echo $PACH_DATUM_stores_JOIN_ON", input={"join": [STORES, PURCHASES]})
    job = shop.succeeded()
    assert seen(shop) == [
        "purchases/ORDERW1_STOREID1.txt stores/STOREID1.txt",
        "purchases/ORDERW2_STOREID2.txt stores/STOREID2.txt",
    ]
    assert sorted(shop.logs(job)) == ["1", "2"]


def test_outer_join_keeps_what_has_no_partner(shop: Lab) -> None:
    outer = pfs("stores", "/STOREID(*).txt", join_on="$1", outer_join=True)
    shop.pipeline(LIST, input={"join": [outer, PURCHASES]})
    assert shop.succeeded().total == 3
    assert seen(shop)[2] == "stores/STOREID3.txt"


def test_group_has_all_files_of_a_key(shop: Lab) -> None:
    shop.pipeline(LIST + "; echo $PACH_DATUM_stores_GROUP_BY", input={"group": [STORES, PURCHASES, RETURNS]})
    assert shop.succeeded().total == 4
    assert seen(shop) == [
        "purchases/ORDERW1_STOREID1.txt returns/ORDERW1_STOREID1.txt stores/STOREID1.txt",
        "purchases/ORDERW2_STOREID2.txt returns/ODERW9_STOREID2.txt stores/STOREID2.txt",
        "purchases/ORDERW5_STOREID5.txt",
        "stores/STOREID3.txt",
    ]


def test_group_of_one_repo_has_several_files_of_one_input(shop: Lab) -> None:
    shop.put({"/ORDERW7_STOREID1.txt": b""}, "purchases")
    shop.pipeline(LIST, input={"group": [PURCHASES]})
    shop.succeeded()
    assert seen(shop)[0] == "purchases/ORDERW1_STOREID1.txt purchases/ORDERW7_STOREID1.txt"


def test_combinations_nest(shop: Lab) -> None:
    shop.put({"/a": b""})
    tree_of = {"cross": [images("/*"), {"union": [{"join": [STORES, PURCHASES]}, {"group": [RETURNS]}]}]}
    shop.pipeline(LIST, input=tree_of)
    assert shop.succeeded().total == 4
    assert seen(shop)[0] == "images/a purchases/ORDERW1_STOREID1.txt stores/STOREID1.txt"


def test_next_job_of_a_join_runs_only_the_pairs_that_are_new(shop: Lab) -> None:
    shop.pipeline(LIST, input={"join": [STORES, PURCHASES]})
    shop.succeeded()
    job = shop.succeeded(shop.put({"/ORDERW3_STOREID3.txt": b""}, "purchases"))
    assert (job.total, job.processed, job.skipped) == (3, 1, 2)


# -- what user code sees


def test_empty_files_have_names_and_nothing_else(lab: Lab) -> None:
    lab.put({"/a": b"content", "/dir/b": b"more", "/dir/sub/c": b""})
    lab.pipeline("cd /pfs/images; find . -type f -size 0 | sort", input=pfs("images", "/", empty_files=True))
    job = lab.succeeded()
    assert lab.logs(job) == ["./a", "./dir/b", "./dir/sub/c"]


def test_lazy_files_are_read_as_others(lab: Lab) -> None:
    lab.put({"/a": b"content"})
    lab.pipeline(COPY, input=pfs("images", "/*", lazy=True))
    lab.succeeded()
    assert lab.output() == {"/a": b"content"}


# -- triggers


def test_input_with_a_trigger_waits_until_it_fires(lab: Lab) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(COPY, input=pfs("images", "/*", trigger={"commits": 2}))
    assert lab.succeeded().total == 0
    job = lab.succeeded(lab.put({"/b": b"2"}))
    assert (job.total, lab.output()) == (2, {"/a": b"1", "/b": b"2"})
    lab.put({"/c": b"3"})
    assert lab.newest().id == job.id
    assert lab.succeeded(lab.put({"/d": b"4"})).total == 4
    with lab.store.snapshot() as db:
        assert repos.get_repo(db, "images").branches == ("master", "edges-trigger-1")


def test_trigger_that_says_nothing_is_refused_and_nothing_made(lab: Lab) -> None:
    with pytest.raises(ApplianceError, match="triggers must say when"):
        lab.pipeline(COPY, input=pfs("images", "/*", trigger={"branch": "master"}))
    with lab.store.snapshot() as db:
        assert not pipelines.exists(db, "edges")
        assert not repos.exists(db, "edges")


# -- cron

TICK = {"cron": {"name": "tick", "spec": "@yearly"}}


def test_each_tick_is_a_file_and_a_job(lab: Lab) -> None:
    lab.pipeline("ls /pfs/tick > /pfs/out/$(ls /pfs/tick)", input=TICK)
    assert lab.succeeded().total == 0
    before = time.time_ns()
    lab.calls.run_cron("edges")
    job = lab.succeeded(commit_of(lab.store, "edges_tick").id)
    (name,) = tree(lab.store, "edges_tick")
    assert tick_name(before) <= name[1:] <= tick_name(time.time_ns())
    assert (job.total, lab.output()) == (1, {name: f"{name[1:]}\n".encode()})


def test_overwriting_ticks_leave_one_file(lab: Lab) -> None:
    lab.pipeline(COPY, input={"cron": {"name": "tick", "spec": "@yearly", "overwrite": True}})
    start_ns = crons_of(lab)[0].last_ns
    for number in (1, 2):
        lab.store.write(lambda db, number=number: crons.tick(db, crons_of(lab)[0].row, start_ns + number * SECOND_NS))
    assert list(tree(lab.store, "edges_tick")) == [f"/{tick_name(start_ns + 2 * SECOND_NS)}"]


def crons_of(lab: Lab) -> list[crons.Ticking]:
    with lab.store.snapshot() as db:
        return crons.list_ticking(db)


def test_missed_ticks_are_made_up_for_one_by_one(lab: Lab) -> None:
    start_ns = time.time_ns() - 25 * 60 * SECOND_NS
    start = tick_name(start_ns)
    lab.pipeline(COPY, input={"cron": {"name": "tick", "spec": "@every 10m", "start": start, "repo": "times"}})
    names = [f"/{tick_name(start_ns + minutes * 60 * SECOND_NS)}" for minutes in (10, 20)]
    wait_until(lab.store, lambda _db: list(tree(lab.store, "times")) == names)
    with lab.store.snapshot() as db:
        assert len(list(commits.iter_ancestors(db, commit_of(lab.store, "times")))) == 3


def test_a_cron_repo_goes_with_its_pipeline_but_not_one_that_was_there(lab: Lab) -> None:
    create_repos(lab.store, "mine")
    put(lab.store, "mine", "/kept", b"1")
    inputs = [TICK, {"cron": {"name": "other", "spec": "@never", "repo": "mine"}}]
    lab.pipeline(COPY, input={"cross": inputs})
    lab.ended()
    lab.calls.delete_pipeline("edges")
    with lab.store.snapshot() as db:
        assert not repos.exists(db, "edges_tick")
    assert tree(lab.store, "mine") == {"/kept": b"1"}


def test_a_stopped_pipeline_does_not_tick(lab: Lab) -> None:
    lab.pipeline(COPY, input=TICK)
    lab.ended()
    lab.calls.stop_pipeline("edges")
    assert crons_of(lab) == []


def test_update_goes_on_from_the_newest_tick(lab: Lab) -> None:
    lab.pipeline(COPY, input=TICK)
    lab.calls.run_cron("edges")
    (before,) = crons_of(lab)
    lab.pipeline(COPY, update=True, input={"cron": {"name": "tick", "spec": "@hourly", "start": "2020-01-01T00:00:00Z"}})
    (after,) = crons_of(lab)
    assert (after.spec, after.last_ns) == ("@hourly", before.last_ns)


def test_only_a_pipeline_with_a_cron_input_can_be_run_so(lab: Lab) -> None:
    lab.pipeline(COPY)
    with pytest.raises(InvalidRequest, match=r"^pipeline doesn't have a cron input$"):
        lab.calls.run_cron("edges")


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ({"spec": "@sometimes"}, "error parsing cron-spec: "),
        ({"spec": "* * * *"}, "error parsing cron-spec: "),
        ({"spec": "@every 0s"}, "error parsing cron-spec: "),
        ({"spec": "@daily", "start": "yesterday"}, "cron input tick: start: "),
        ({"spec": "@daily", "start": "2020-01-01T00:00:00"}, "cron input tick: start: "),
    ],
)
def test_schedules_that_can_not_be_are_refused(lab: Lab, cron: dict[str, str], message: str) -> None:
    with pytest.raises(ApplianceError, match=f"^{message}"):
        lab.pipeline(COPY, input={"cron": {"name": "tick", **cron}})


def test_repo_of_any_member_has_to_be_there(lab: Lab) -> None:
    fork(lab.store, "images", "master")
    with pytest.raises(RepoNotFound):
        lab.pipeline(COPY, input={"union": [images("/*"), pfs("missing", "/*")]})
