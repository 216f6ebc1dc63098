"""What datums are given, as `/.jobs/<job>/<datum>/<input>` shows it."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from mount.helpers import names
from store.helpers import commit_of, create_pipeline, create_repos, put, put_all, waiting

from appliance.store import Store, datums, jobs, running

ONE, ALL = (hashlib.sha256(text).hexdigest() for text in (b"one", b"all"))


def given(name: str, repo: str, commit: str, path: str, **fields: object) -> dict[str, object]:
    return {"name": name, "repo": repo, "commit": commit, "path": path, "is_dir": path.endswith("/"), "s3": False, **fields}


def run_job(store: Store, pipeline: str, inputs: dict[str, list[dict[str, object]]]) -> jobs.Job:
    """Have the next job of a pipeline run with datums that are given these."""
    row = waiting(store, pipeline).row
    new = [
        datums.NewDatum(bytes.fromhex(datum), hashlib.sha256(datum.encode()).digest(), json.dumps(items).encode())
        for datum, items in inputs.items()
    ]

    def write(db) -> jobs.Job:
        job = running.begin_job(db, row)
        datums.add_datums(db, job, 0, new, skip=True)
        return running.run_job(db, row)

    return store.write(write)


@pytest.fixture
def job(store, mount) -> Path:
    """The directory of a job that is running, with a datum that is given two things and one that is given everything."""
    create_repos(store, "data", "more")
    put_all(store, "data", {"/dir/a": b"a", "/dir/sub/b": b"b", "/c": b"c"})
    put_all(store, "more", {"/x": b"x"})
    create_pipeline(store, "out", "data", "more")
    data, more = commit_of(store, "data").id, commit_of(store, "more").id
    put_all(store, "data", {"/dir/a": b"later"})
    one = [
        given("in", "data", data, "/dir/sub/"),
        given("again", "data", data, "/dir/a"),
        given("s3", "more", more, "/", s3=True),
    ]
    found = run_job(store, "out", {ONE: one, ALL: [given("data", "data", data, "/"), given("more", "more", more, "/x")]})
    return mount.path / ".jobs" / found.id


def test_running_jobs_are_listed_and_the_directory_of_them_is_not(mount, job):
    assert names(mount.path / ".jobs") == [job.name]
    assert ".jobs" not in names(mount.path)
    assert names(job) == sorted([ONE, ALL])


def test_a_datum_has_what_it_is_given_at_its_true_path_and_nothing_else(job):
    files = {str(path.relative_to(job / ONE)): path.read_bytes() for path in (job / ONE).rglob("*") if path.is_file()}
    assert files == {"in/dir/sub/b": b"b", "again/dir/a": b"a"}
    assert names(job / ONE / "in/dir") == ["sub"]
    assert not (job / ONE / "in/dir/a").exists()
    assert not (job / ONE / "s3").exists()


def test_a_whole_commit_is_a_directory_of_its_own(mount, job):
    assert names(job / ALL) == ["data", "more"]
    assert names(job / ALL / "data/dir") == ["a", "sub"]
    assert (job / ALL / "data").stat().st_ino != (mount.path / "data").stat().st_ino
    assert (job / ALL / "data/c").read_bytes() == b"c"


def test_a_job_that_has_ended_is_still_there_by_its_name(store, mount, job):
    found = job.name
    store.write(lambda db: running.fail_job(db, jobs.get_job(db, "out", found).row, "killed", "stopped"))
    assert names(mount.path / ".jobs") == []
    assert (job / ALL / "more/x").read_bytes() == b"x"


def test_what_is_not_there_is_not_found(mount, job):
    for path in (job.with_name("0" * 32), job.with_name("x"), job / ("0" * 64), job / "x", job / ONE / "none"):
        assert not path.exists()
    with pytest.raises(OSError, match="Read-only file system"):
        (job / ONE / "in/new").touch()


def test_a_job_that_is_deleted_is_gone_and_its_inputs_are_not(store, job):
    given, whole = (os.open(job / ALL / below, os.O_RDONLY) for below in ("", "data"))
    with store.snapshot() as db:
        row = jobs.get_job(db, "out", job.name).row
    store.write(lambda db: running.fail_job(db, row, "killed", "stopped"))
    store.write(lambda db: running.delete_job(db, row))
    assert not job.exists()
    with pytest.raises(OSError, match="Stale file handle"):
        names(Path(f"/proc/self/fd/{given}"))
    assert names(Path(f"/proc/self/fd/{whole}")) == ["c", "dir"]
    for descriptor in (given, whole):
        os.close(descriptor)


def test_many_look_at_once_while_heads_move(store, job):
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append((job / ONE / "again/dir/a").read_bytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
        put(store, "data", "/dir/a", b"moved")
    for thread in threads:
        thread.join()
    assert seen == [b"a"] * 8
