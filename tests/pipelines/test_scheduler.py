"""What should run now: a function of the rows, and of what is running here."""

from store.helpers import claim, create_pipeline, create_repos, put, run_pipeline

from appliance.pipelines.scheduler import Plan, plan
from appliance.store import Store, jobs
from appliance.store.jobs import Waiting


def a_job(row: int, *, open_inputs: int = 0, failed: tuple[str, ...] = ()) -> Waiting:
    return Waiting(row, f"pipeline-{row}", open_inputs, failed)


def plan_of(store: Store, *running: int) -> Plan:
    with store.snapshot() as db:
        return plan(jobs.list_waiting(db), running)


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert plan([], []) == Plan((), (), ())


def test_jobs_of_different_pipelines_start_together() -> None:
    assert plan([a_job(1), a_job(2)], []).start == (1, 2)


def test_running_job_is_not_started_again() -> None:
    assert plan([a_job(1), a_job(2)], [1]) == Plan((2,), (), ())


def test_job_waits_for_its_inputs() -> None:
    assert plan([a_job(1, open_inputs=2)], []) == Plan((), (), ())


def test_job_below_a_failed_one_is_given_up_with_all_that_failed() -> None:
    reason = "unrunnable because the following upstream pipelines failed: edges, sizes"
    assert plan([a_job(1, failed=("edges", "sizes"))], []) == Plan((), ((1, reason),), ())


def test_job_with_failed_inputs_waits_for_the_others_to_end() -> None:
    """So that its reason names them all."""
    assert plan([a_job(1, open_inputs=1, failed=("edges",))], []) == Plan((), (), ())


def test_running_job_that_has_ended_is_stopped() -> None:
    assert plan([a_job(2)], [1, 2]) == Plan((), (), (1,))


def test_same_rows_give_the_same_plan(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    assert plan_of(store) == plan_of(store)


def test_claimed_job_of_a_killed_process_is_started_again(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    before = plan_of(store)
    job = claim(store, "edges", ["half"])
    assert (plan_of(store), plan_of(store).start) == (before, (job.row,))


def test_jobs_of_a_pipeline_start_one_after_the_other(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    put(store, "images", "/a", b"1")
    (first,) = plan_of(store).start
    assert plan_of(store, first).start == ()
    run_pipeline(store, "edges", {})
    (second,) = plan_of(store, first).start
    assert (second > first, plan_of(store, first).stop) == (True, (first,))


def test_job_starts_when_the_one_above_has_ended(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    create_pipeline(store, "sizes", "edges")
    (above,) = plan_of(store).start
    run_pipeline(store, "edges", {})
    (below,) = plan_of(store).start
    assert below > above
