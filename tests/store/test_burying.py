"""Deleted pipelines and jobs: gone for everybody at once, removed step by step, whatever happens in between."""

import io
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import (
    bytes_of,
    claim,
    create_pipeline,
    create_repos,
    datums_of,
    job_of,
    keep,
    process,
    put,
    run_pipeline,
    tree,
)

from appliance.errors import JobNotFound, PipelineNotFound
from appliance.store import (
    Store,
    burying,
    completing,
    datums,
    exporting,
    importing,
    jobs,
    logs,
    outputs,
    pipelines,
    repos,
    running,
    squash,
)
from appliance.store.collecting import collect
from appliance.store.snapshots import Entry, Kind

OUTPUTS = {"one": {"/one": b"1"}, "two": {"/two": b"2", "/too": b"2"}}


@pytest.fixture
def edges(store: Store) -> Store:
    """A pipeline whose second job has processed one datum and skipped two."""
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    run_pipeline(store, "edges", OUTPUTS)
    put(store, "images", "/a", b"1")
    run_pipeline(store, "edges", OUTPUTS | {"new": {"/new": b"3"}})
    return store


def first(store: Store) -> jobs.Job:
    with store.snapshot() as db:
        return jobs.list_jobs(db)[-1]


def newest(store: Store) -> jobs.Job:
    with store.snapshot() as db:
        return jobs.list_jobs(db)[0]


def delete_first(store: Store) -> None:
    row = first(store).row
    store.write(lambda db: running.delete_job(db, row))


def step(store: Store) -> bool:
    """Remove one row or so of what is buried; tell whether there is more."""
    return store.write(lambda db: burying.remove_buried(db, 1))


def written(store: Store, job: jobs.Job) -> dict[str, bytes]:
    with store.snapshot() as db:
        found: list[Entry] = list(outputs.iter_output(db, job.row))
    return {entry.path: bytes_of(store, entry.content) for entry in found}


def count(store: Store, table: str) -> int:
    with store.snapshot() as db:
        return int(db.value(f"SELECT count(*) FROM {table}"))


def test_deleted_pipeline_is_gone_before_its_rows_are(edges: Store) -> None:
    job = first(edges)
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    with edges.snapshot() as db:
        assert (pipelines.list_pipelines(db), jobs.list_jobs(db), jobs.list_waiting(db)) == ([], [], [])
        assert not repos.exists(db, "edges")
        for name in ("edges", f"edges@{job.row}"):
            with pytest.raises(PipelineNotFound):
                pipelines.get_pipeline(db, name)
        with pytest.raises(JobNotFound):
            jobs.get_by_row(db, job.row)
    assert count(edges, "datums") == 5


def test_every_step_leaves_a_store_in_order(edges: Store) -> None:
    edges.write(lambda db: logs.add_log_lines(db, newest(edges).row, [(None, 1, "job", "x")] * 3))
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    while step(edges):
        check(edges)
    assert [count(edges, table) for table in ("pipelines", "jobs", "datums", "datum_files", "log_lines")] == [0] * 5


def test_collector_leaves_nothing_of_a_deleted_pipeline(edges: Store) -> None:
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    collect(edges)
    assert [count(edges, table) for table in ("pipelines", "jobs", "datums", "repos")] == [0, 0, 0, 1]


def test_pipeline_of_the_same_name_is_another_one(edges: Store) -> None:
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    create_pipeline(edges, "edges", "images")
    job = run_pipeline(edges, "edges", OUTPUTS)
    assert (job.processed, job.skipped) == (2, 0)
    collect(edges)
    assert written(edges, job) == tree(edges, "edges") == {"/one": b"1", "/two": b"2", "/too": b"2"}


def test_repo_that_was_kept_can_be_deleted_before_the_rows_are_gone(edges: Store) -> None:
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges", keep_repo=True))
    assert tree(edges, "edges") == {"/one": b"1", "/two": b"2", "/too": b"2", "/new": b"3"}
    edges.write(lambda db: repos.delete_repo(db, "edges"))
    collect(edges)
    assert [count(edges, table) for table in ("jobs", "datums", "repos")] == [0, 0, 1]


def test_output_that_a_later_job_shares_is_whole_after_each_step(edges: Store) -> None:
    job = newest(edges)
    expected = tree(edges, "edges")
    delete_first(edges)
    while step(edges):
        assert written(edges, job) == expected
        assert [stored.state for stored in datums_of(edges, job)] == ["skipped", "skipped", "success"]
    check(edges)
    assert count(edges, "jobs") == 1


def test_job_that_goes_on_skips_what_a_deleted_one_processed(edges: Store) -> None:
    delete_first(edges)
    step(edges)
    put(edges, "images", "/b", b"1")
    job = claim(edges, "edges", list(OUTPUTS))
    collect(edges)
    process(edges, job, {})
    completing.complete_job(edges, job.row)
    assert (job_of(edges, job).skipped, tree(edges, "edges")) == (2, {"/one": b"1", "/two": b"2", "/too": b"2"})


def test_commit_of_a_deleted_job_can_be_squashed(edges: Store) -> None:
    commit = first(edges).id
    delete_first(edges)
    edges.write(lambda db: squash.squash_set(db, commit))
    collect(edges)
    assert tree(edges, "edges") == {"/one": b"1", "/two": b"2", "/too": b"2", "/new": b"3"}


def test_export_has_nothing_of_what_was_deleted(edges: Store, tmp_path: Path) -> None:
    delete_first(edges)
    archive = io.BytesIO(b"".join(exporting.iter_export(edges)))
    other = Store(tmp_path / "other", "fast")
    importing.import_all(other, archive.read, {})
    assert written(other, newest(other)) == tree(edges, "edges")
    check(other)
    other.close()


def test_export_has_nothing_of_what_a_killed_job_had_written(edges: Store, tmp_path: Path) -> None:
    put(edges, "images", "/b", b"1")
    (*_, stored) = datums_of(edges, claim(edges, "edges", ["another"]))
    content = keep(edges, b"1")
    edges.write(lambda db: datums.start_try(db, stored.row))
    edges.write(lambda db: [datums.put_datum_file(db, stored.row, f"/{n}", Kind.FILE, content) for n in range(1500)])
    edges.write(lambda db: running.fail_job(db, stored.job_row, "killed", "stopped"))
    archive = io.BytesIO(b"".join(exporting.iter_export(edges)))
    other = Store(tmp_path / "other", "fast")
    importing.import_all(other, archive.read, {})
    check(other)
    other.close()
