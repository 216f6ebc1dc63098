"""Large outputs become commits in steps, and nobody sees any of them."""

import io
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import claim, create_pipeline, create_repos, datums_of, job_of, keep, process, put, tree

from appliance.store import Store, completing, datums, exporting, importing, jobs, running
from appliance.store.snapshots import Kind

BEFORE = {f"/{number:04}": b"before" for number in range(3000)}
AFTER = {f"/{number:04}": b"after" for number in range(1500, 4500)}


def stage_all(store: Store, job: jobs.Job, files: dict[str, bytes]) -> None:
    """Let the only datum of a claimed job have written files that have one content."""
    (stored,) = datums_of(store, job)
    content = keep(store, next(iter(files.values())))
    store.write(lambda db: datums.start_try(db, stored.row))
    store.write(lambda db: [datums.put_datum_file(db, stored.row, path, Kind.FILE, content) for path in files])
    store.write(lambda db: datums.finish_datum(db, stored, "success"))


@pytest.fixture
def edges(store: Store) -> Store:
    """A pipeline with a large output, whose next job has run and will change all of it."""
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    first = claim(store, "edges", ["one"])
    stage_all(store, first, BEFORE)
    completing.complete_job(store, first.row)
    put(store, "images", "/a", b"1")
    stage_all(store, claim(store, "edges", ["two"]), AFTER)
    return store


def newest(store: Store) -> jobs.Job:
    with store.snapshot() as db:
        return jobs.list_jobs(db)[0]


def write_some(store: Store) -> None:
    """Complete the job as far as one step goes."""
    steps = iter([False, True])
    completing.complete_job(store, newest(store).row, lambda: next(steps))
    assert newest(store).state == "finishing"


def test_nothing_is_seen_before_the_last_step(edges: Store) -> None:
    write_some(edges)
    assert tree(edges, "edges") == BEFORE
    check(edges)


def test_what_was_interrupted_goes_on(edges: Store) -> None:
    write_some(edges)
    completing.complete_job(edges, newest(edges).row)
    assert (newest(edges).state, tree(edges, "edges")) == ("success", AFTER)
    assert tree(edges, "edges", "master^") == BEFORE
    check(edges)


def test_job_that_is_killed_meanwhile_leaves_nothing(edges: Store) -> None:
    write_some(edges)
    edges.write(lambda db: running.fail_job(db, newest(edges).row, "killed", "stopped"))
    assert tree(edges, "edges") == BEFORE
    check(edges)
    put(edges, "images", "/a", b"2")
    job = claim(edges, "edges", ["one"])
    process(edges, job, {})
    completing.complete_job(edges, job.row)
    assert (job_of(edges, job).skipped, tree(edges, "edges")) == (1, BEFORE)


def test_export_of_the_repo_has_none_of_it(edges: Store, tmp_path: Path) -> None:
    write_some(edges)
    archive = io.BytesIO(b"".join(exporting.iter_export(edges, ["edges"])))
    other = Store(tmp_path / "other", "fast")
    importing.import_all(other, archive.read, {})
    assert tree(other, "edges") == BEFORE
    check(other)
    other.close()


def test_export_of_everything_goes_on_elsewhere(edges: Store, tmp_path: Path) -> None:
    write_some(edges)
    archive = io.BytesIO(b"".join(exporting.iter_export(edges)))
    other = Store(tmp_path / "other", "fast")
    importing.import_all(other, archive.read, {})
    completing.complete_job(other, newest(other).row)
    assert tree(other, "edges") == AFTER
    check(other)
    other.close()
