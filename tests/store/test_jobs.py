"""Jobs and datums as rows: claimed, restarted, joined into an output commit."""

import pytest
from store.checks import check
from store.helpers import (
    claim,
    commit_of,
    create_pipeline,
    create_repos,
    datum,
    datums_of,
    entry_of,
    fork,
    job_of,
    keep,
    process,
    put,
    run_pipeline,
    tree,
    waiting,
    write_output,
)

from appliance.errors import (
    Conflict,
    DatumNotFound,
    FileNotFound,
    InvalidPath,
    InvalidRequest,
    JobNotFound,
    NotWritable,
    PathConflict,
)
from appliance.store import Store, blobs, completing, datums, jobs, logs, outputs, pipelines, running, snapshots, uploads
from appliance.store.collecting import collect


@pytest.fixture
def edges(store: Store) -> Store:
    """A pipeline `edges` over `images`, its first job not yet run."""
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    return store


def again(store: Store) -> None:
    """Give `edges` a next job."""
    put(store, "images", "/a", b"1")


def started(store: Store, name: str = "one") -> datums.StoredDatum:
    """Return a datum, the only one of the next job, in its first try."""
    (stored,) = datums_of(store, claim(store, "edges", [name]))
    store.write(lambda db: datums.start_try(db, stored.row))
    return stored


def test_begin_claims_a_created_job(edges: Store) -> None:
    job = edges.write(lambda db: running.begin_job(db, waiting(edges, "edges").row))
    assert (job.state, job.restarts, job.started_ns is not None) == ("starting", 0, True)


def test_job_counts_its_datums(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {}, "two": {}})
    again(edges)
    job = run_pipeline(edges, "edges", {"one": {}, "new": {}})
    assert (job.state, job.total, job.processed, job.skipped, job.failed) == ("success", 2, 1, 1, 0)


def test_datums_are_numbered_from_the_first(edges: Store) -> None:
    job = claim(edges, "edges", ["one"])
    edges.write(lambda db: datums.add_datums(db, job, 1, [datum("two")], skip=False))
    assert [stored.position for stored in datums_of(edges, job)] == [0, 1]


def test_datum_done_before_is_skipped_and_its_output_stays(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {"/one": b"1"}, "two": {"/two": b"2"}})
    again(edges)
    job = run_pipeline(edges, "edges", {"one": {}, "new": {"/new": b"3"}})
    assert [stored.state for stored in datums_of(edges, job)] == ["skipped", "success"]
    assert tree(edges, "edges") == {"/new": b"3", "/one": b"1"}


def test_output_of_a_datum_skipped_twice_stays(edges: Store) -> None:
    for _ in range(3):
        run_pipeline(edges, "edges", {"one": {"/one": b"1"}})
        again(edges)
    assert tree(edges, "edges") == {"/one": b"1"}


def test_without_skip_everything_runs(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {}})
    again(edges)
    row = waiting(edges, "edges").row
    job = edges.write(lambda db: running.begin_job(db, row))
    edges.write(lambda db: datums.add_datums(db, job, 0, [datum("one")], skip=False))
    assert [stored.state for stored in datums_of(edges, job)] == ["waiting"]


def test_datum_of_a_failed_job_is_not_skipped(edges: Store) -> None:
    job = claim(edges, "edges", ["one"])
    process(edges, job, {"one": {}})
    edges.write(lambda db: running.fail_job(db, job.row, "failure", "no"))
    again(edges)
    assert [stored.state for stored in datums_of(edges, claim(edges, "edges", ["one"]))] == ["waiting"]


def test_job_without_datums_empties_the_output(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {"/one": b"1"}})
    again(edges)
    job = run_pipeline(edges, "edges", {})
    assert (tree(edges, "edges"), job.reason) == ({}, "there were no datums to process")


def test_output_is_the_union_of_the_datums(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {"/a": b"1", "/d/x": b"2"}, "two": {"/d/y": b"33"}})
    assert tree(edges, "edges") == {"/a": b"1", "/d/x": b"2", "/d/y": b"33"}
    assert (commit_of(edges, "edges").size_bytes, commit_of(edges, "edges").file_count) == (4, 3)


def test_output_replaces_what_was_there(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {"/a": b"1", "/b/c": b"2", "/e": b"3"}})
    again(edges)
    run_pipeline(edges, "edges", {"new": {"/b": b"2", "/c": b"3", "/e": b"4"}})
    assert tree(edges, "edges") == {"/b": b"2", "/c": b"3", "/e": b"4"}
    assert tree(edges, "edges", "master^") == {"/a": b"1", "/b/c": b"2", "/e": b"3"}


def test_identical_output_leaves_the_modified_time(edges: Store) -> None:
    run_pipeline(edges, "edges", {"one": {"/a": b"1", "/b": b"2", "/d/": b""}})
    before = [entry_of(edges, "edges", "master", path) for path in ("/a", "/b")]
    again(edges)
    run_pipeline(edges, "edges", {"new": {"/a": b"1", "/b": b"changed", "/d/": b""}})
    after = [entry_of(edges, "edges", "master", path) for path in ("/a", "/b")]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_identical_output_of_several_blobs_leaves_the_modified_time(edges: Store) -> None:
    entries = []
    for name in ("one", "new"):
        stored = started(edges, name)
        parts = [(keep(edges, part), 0, 3) for part in (b"abc", b"def")]
        content = edges.write(lambda db, parts=parts: blobs.join(db, parts, "etag-2"))
        edges.write(
            lambda db, row=stored.row, content=content: datums.put_datum_file(db, row, "/a", snapshots.Kind.FILE, content)
        )
        edges.write(lambda db, stored=stored: datums.finish_datum(db, stored, "success"))
        completing.complete_job(edges, stored.job_row)
        entries.append(entry_of(edges, "edges", "master", "/a"))
        again(edges)
    assert entries[0] == entries[1]


def test_directory_that_two_datums_make_is_no_collision(edges: Store) -> None:
    outputs = {"one": {"/d/": b"", "/d/x": b""}, "two": {"/d/": b"", "/d/y": b""}}
    assert run_pipeline(edges, "edges", outputs).state == "success"
    assert list(tree(edges, "edges")) == ["/d/", "/d/x", "/d/y"]


def test_directory_that_two_datums_make_is_listed_once(edges: Store) -> None:
    job = claim(edges, "edges", ["one", "two"])
    process(edges, job, {"one": {"/d/": b""}, "two": {"/d/": b""}})
    with edges.snapshot() as db:
        assert [entry.path for entry in outputs.iter_output(db, job.row)] == ["/d/"]


def test_path_of_two_datums_is_refused_with_both_named(edges: Store) -> None:
    job = claim(edges, "edges", ["one", "two"])
    process(edges, job, {"one": {"/a": b"1"}, "two": {"/a": b"1"}})
    with edges.snapshot() as db, pytest.raises(PathConflict, match="duplicate path output by different datums") as caught:
        outputs.check_output(db, job.row)
    first, second = sorted(datum(name).datum_id.hex() for name in ("one", "two"))
    assert f"(/a from {first} and /a from {second})" in str(caught.value)


@pytest.mark.parametrize("below", ["/a/b", "/a/"])
def test_file_of_one_datum_where_another_has_a_directory_is_refused(edges: Store, below: str) -> None:
    job = claim(edges, "edges", ["one", "two"])
    process(edges, job, {"one": {"/a": b"1", "/a-b": b""}, "two": {below: b""}})
    with pytest.raises(PathConflict, match=r"^file / directory path collision \(/a\)$"):
        completing.complete_job(edges, job.row)
    assert job_of(edges, job).state == "running"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/a", "/a-b", "/a/x"], "/a"),
        (["/a", "/ab", "/ab/c"], "/ab"),
        (["/a", "/a0", "/b/a"], None),
        (["/a/", "/a/b"], None),
        (["/a", "/a!", "/a!x", "/a/b/c"], "/a"),
    ],
)
def test_collisions_are_found_in_sorted_paths(paths: list[str], expected: str | None) -> None:
    assert outputs.find_collision(sorted(paths)) == expected


def test_failed_datum_drops_what_it_staged(edges: Store) -> None:
    stored = started(edges)
    write_output(edges, stored.row, "/a", b"1")
    edges.write(lambda db: datums.finish_datum(db, stored, "failed", "exit status 1"))
    with edges.snapshot() as db:
        assert list(outputs.iter_output(db, stored.job_row)) == []
        assert jobs.get_by_row(db, stored.job_row).failed == 1


def test_next_try_begins_with_nothing(edges: Store) -> None:
    stored = started(edges)
    write_output(edges, stored.row, "/a", b"1")
    edges.write(lambda db: uploads.create_upload(db, f"datum/{stored.row}", "/b", None))
    assert edges.write(lambda db: datums.start_try(db, stored.row)) == 2
    with edges.snapshot() as db:
        assert db.value("SELECT count(*) FROM datum_files") == db.value("SELECT count(*) FROM uploads") == 0


def test_staged_file_can_be_replaced_and_deleted(edges: Store) -> None:
    stored = started(edges)
    write_output(edges, stored.row, "/a", b"1")
    write_output(edges, stored.row, "/a", b"2")
    assert edges.write(lambda db: datums.delete_datum_file(db, stored.row, "/a"))
    assert not edges.write(lambda db: datums.delete_datum_file(db, stored.row, "/a"))


@pytest.mark.parametrize(("first", "second"), [("/a", "/a/b"), ("/a/b", "/a"), ("/a/", "/a"), ("/a", "/a/")])
def test_file_and_directory_of_one_name_are_refused_within_a_datum(edges: Store, first: str, second: str) -> None:
    stored = started(edges)
    write_output(edges, stored.row, first, b"")
    with pytest.raises(PathConflict):
        write_output(edges, stored.row, second, b"")


def test_file_with_a_slash_behind_it_is_refused(edges: Store) -> None:
    stored, content = started(edges), keep(edges, b"1")
    with pytest.raises(InvalidPath):
        edges.write(lambda db: datums.put_datum_file(db, stored.row, "/a/", snapshots.Kind.FILE, content))


def test_datum_that_has_ended_takes_no_more_output(edges: Store) -> None:
    stored = started(edges)
    edges.write(lambda db: datums.finish_datum(db, stored, "success"))
    with pytest.raises(NotWritable):
        write_output(edges, stored.row, "/late", b"1")


def test_job_killed_while_listing_datums_lists_them_again(edges: Store) -> None:
    row = waiting(edges, "edges").row
    job = edges.write(lambda db: running.begin_job(db, row))
    edges.write(lambda db: datums.add_datums(db, job, 0, [datum("half")], skip=True))
    job = edges.write(lambda db: running.begin_job(db, row))
    assert (job.state, job.restarts, datums_of(edges, job)) == ("starting", 1, [])


def test_job_killed_while_running_keeps_what_was_done(edges: Store) -> None:
    job = claim(edges, "edges", ["done", "half"])
    done, half = datums_of(edges, job)
    for stored in (done, half):
        edges.write(lambda db, stored=stored: datums.start_try(db, stored.row))
        write_output(edges, stored.row, f"/{stored.position}", b"1")
    edges.write(lambda db: datums.finish_datum(db, done, "success"))
    again = edges.write(lambda db: running.begin_job(db, job.row))
    assert (again.state, again.restarts, again.processed) == ("running", 1, 1)
    assert [(stored.state, stored.tries) for stored in datums_of(edges, job)] == [("success", 1), ("waiting", 1)]
    process(edges, job, {"done": {}, "half": {"/again": b"2"}})
    completing.complete_job(edges, job.row)
    assert tree(edges, "edges") == {"/0": b"1", "/again": b"2"}


def test_failed_job_shows_nothing_and_says_why(edges: Store) -> None:
    job = claim(edges, "edges", ["one"])
    process(edges, job, {"one": {"/a": b"1"}})
    edges.write(lambda db: running.fail_job(db, job.row, "failure", "exit status 1"))
    head = commit_of(edges, "edges")
    assert (tree(edges, "edges"), head.error, head.file_count) == ({}, "exit status 1", 0)
    assert (job_of(edges, job).state, job_of(edges, job).reason) == ("failure", "exit status 1")


def test_commit_after_a_killed_job_waits_for_the_one_before_it(edges: Store) -> None:
    """Else the output of the running job would take the place of what was put after it."""
    first = claim(edges, "edges", ["one"])
    again(edges)
    queued = commit_of(edges, "edges")
    with edges.snapshot() as db:
        row = jobs.get_job(db, "edges", queued.id).row
    edges.write(lambda db: running.fail_job(db, row, "killed", "stopped"))
    fork(edges, "edges", "tag", queued.id)
    with pytest.raises(Conflict, match=rf"^parent commit {first.id} has not been finished$"):
        put(edges, "edges", "/x", b"mine", "tag")


def test_ending_an_ended_job_changes_nothing(edges: Store) -> None:
    job = run_pipeline(edges, "edges", {"one": {"/a": b"1"}})
    edges.write(lambda db: running.fail_job(db, job.row, "killed", "too late"))
    completing.complete_job(edges, job.row)
    edges.write(lambda db: running.set_egressing(db, job.row))
    assert job_of(edges, job) == job


def test_job_killed_before_its_datums_were_known_stays_killed(edges: Store) -> None:
    job = edges.write(lambda db: running.begin_job(db, waiting(edges, "edges").row))
    edges.write(lambda db: running.fail_job(db, job.row, "killed", "stopped"))
    assert edges.write(lambda db: running.run_job(db, job.row)).state == "killed"


def test_claim_of_an_ended_job_does_not_count_as_a_restart(edges: Store) -> None:
    job = run_pipeline(edges, "edges", {"one": {}})
    assert edges.write(lambda db: running.begin_job(db, job.row)) == job


def test_job_is_found_by_pipeline_and_id(edges: Store) -> None:
    job = run_pipeline(edges, "edges", {"one": {}})
    with edges.snapshot() as db:
        assert jobs.get_job(db, "edges", job.id) == job
        assert jobs.list_jobs(db, pipeline="edges", job_id=job.id) == [job]
        assert jobs.list_jobs(db, pipeline="other") == []


@pytest.mark.parametrize("job_id", ["", "master", "0" * 32])
def test_unknown_job_is_not_found(edges: Store, job_id: str) -> None:
    with edges.snapshot() as db, pytest.raises(JobNotFound, match=rf"^job edges@{job_id} not found$"):
        jobs.get_job(db, "edges", job_id)


def test_list_of_jobs_under_no_id_is_refused(edges: Store) -> None:
    with edges.snapshot() as db, pytest.raises(InvalidRequest):
        jobs.list_jobs(db, job_id="master")


def test_number_of_a_deleted_job_is_never_given_again(edges: Store) -> None:
    """Whoever still runs the old one must not end the new one."""
    row = waiting(edges, "edges").row
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    create_pipeline(edges, "edges", "images")
    with edges.snapshot() as db, pytest.raises(JobNotFound):
        jobs.get_by_row(db, row)


def test_uploads_of_a_datum_go_with_its_pipeline(edges: Store) -> None:
    stored = started(edges)
    edges.write(lambda db: uploads.create_upload(db, f"datum/{stored.row}", "/a", None))
    edges.write(lambda db: pipelines.delete_pipeline(db, "edges"))
    with edges.snapshot() as db:
        assert uploads.list_uploads(db, f"datum/{stored.row}").items == ()


def test_failed_job_keeps_nothing_of_a_datum_in_the_middle(edges: Store) -> None:
    stored = started(edges)
    write_output(edges, stored.row, "/half", b"1")
    edges.write(lambda db: running.fail_job(db, stored.job_row, "killed", "stopped"))
    with edges.snapshot() as db:
        assert db.value("SELECT count(*) FROM datum_files") == 0


def stage_many(store: Store, row: int) -> None:
    """Stage more than is removed at once."""
    content = keep(store, b"1")
    paths = [f"/{number}" for number in range(2500)]
    store.write(lambda db: [datums.put_datum_file(db, row, path, snapshots.Kind.FILE, content) for path in paths])


def count_staged(store: Store) -> int:
    with store.snapshot() as db:
        return int(db.value("SELECT count(*) FROM datum_files"))


def test_of_much_that_a_killed_job_had_written_the_collector_removes_the_rest(edges: Store) -> None:
    stored = started(edges)
    stage_many(edges, stored.row)
    edges.write(lambda db: running.fail_job(db, stored.job_row, "killed", "stopped"))
    assert 0 < count_staged(edges) < 2500
    check(edges)
    collect(edges)
    assert count_staged(edges) == 0


def test_next_try_begins_with_nothing_however_much_there_was(edges: Store) -> None:
    stored = started(edges)
    stage_many(edges, stored.row)
    edges.write(lambda db: running.begin_job(db, stored.job_row))
    assert 0 < count_staged(edges) < 2500
    edges.write(lambda db: datums.start_try(db, stored.row))
    collect(edges)
    assert count_staged(edges) == 0
    stage_many(edges, stored.row)
    collect(edges)
    assert count_staged(edges) == 2500


def test_datum_is_found_by_its_id(edges: Store) -> None:
    job = claim(edges, "edges", ["one", "two"])
    with edges.snapshot() as db:
        assert datums.get_datum(db, job, datum("two").datum_id.hex()).position == 1
        assert [stored.position for stored in datums.iter_datums(db, job.row, state="waiting", after=0)] == [1]


@pytest.mark.parametrize("datum_id", ["", "zz", "00" * 32])
def test_unknown_datum_is_not_found(edges: Store, datum_id: str) -> None:
    job = claim(edges, "edges", ["one"])
    with edges.snapshot() as db, pytest.raises(DatumNotFound):
        datums.get_datum(db, job, datum_id)


def test_log_lines_come_in_order_and_by_datum(edges: Store) -> None:
    stored = started(edges)
    lines = [(None, 1, "job", "begin"), (stored.row, 2, "stdout", "hello"), (stored.row, 3, "stderr", "ä")]
    edges.write(lambda db: logs.add_log_lines(db, stored.job_row, lines))
    with edges.snapshot() as db:
        every = logs.list_log_lines(db, stored.job_row)
        of_datum = logs.list_log_lines(db, stored.job_row, logs.Chosen(stored.id), after=every[1].row)
    assert [(line.datum, line.message) for line in every] == [("", "begin"), (stored.id, "hello"), (stored.id, "ä")]
    assert of_datum == every[2:]


def test_content_that_was_collected_meanwhile_is_not_written(edges: Store) -> None:
    stored = started(edges)
    lost = keep(edges, b"nobody refers to this")
    collect(edges)
    with pytest.raises(FileNotFound, match="deleted meanwhile"):
        edges.write(lambda db: datums.put_datum_file(db, stored.row, "/a", snapshots.Kind.FILE, lost))
