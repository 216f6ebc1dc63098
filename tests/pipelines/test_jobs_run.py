"""Jobs that run: what becomes a datum, what is skipped, what the next job makes of it, who waits for whom."""

import os
from pathlib import Path

import pytest
from pipelines.helpers import COPY, ENVIRONMENT, Gate, Lab, Serving, images
from store.helpers import commit_of, delete, entry_of

from appliance.store import logs, pipelines
from appliance.store.pipelines import NewPipeline


def test_each_file_is_a_datum(lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1", "/b": b"22", "/dir/c": b"333"})
    assert (job.state, job.total, job.processed, job.skipped) == ("success", 3, 3, 0)
    assert lab.output() == {"/a": b"1", "/b": b"22", "/dir/c": b"333"}


def test_datum_sees_its_own_file_only(lab: Lab) -> None:
    job = lab.run("cd /pfs; find images out -type f", {"/a": b"1", "/b": b"2"})
    assert sorted(lab.logs(job)) == ["images/a", "images/b"]


def test_nothing_in_the_input_is_success_without_datums(lab: Lab) -> None:
    lab.pipeline(COPY)
    job = lab.ended()
    assert (job.state, job.total, job.reason) == ("success", 0, "there were no datums to process")
    assert lab.output() == {}


def test_glob_of_the_root_is_one_datum(lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1", "/b": b"2"}, input=images("/"))
    assert (job.total, lab.output()) == (1, {"/a": b"1", "/b": b"2"})


def test_cross_pairs_everything_with_everything(lab: Lab) -> None:
    inputs = [{"pfs": {"repo": "images", "name": name, "glob": "/*"}} for name in ("left", "right")]
    job = lab.run("touch /pfs/out/$(basename $left)$(basename $right)", {"/a": b"", "/b": b""}, input={"cross": inputs})
    assert (job.total, sorted(lab.output())) == (4, ["/aa", "/ab", "/ba", "/bb"])


# -- the next job


def test_next_job_runs_only_what_is_new(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1", "/b": b"2"})
    job = lab.succeeded(lab.put({"/c": b"3"}))
    assert (job.total, job.processed, job.skipped) == (3, 1, 2)
    assert [(datum.state, datum.tries) for datum in lab.datums(job)] == [("skipped", 0), ("skipped", 0), ("success", 1)]
    assert lab.output() == {"/a": b"1", "/b": b"2", "/c": b"3"}


def test_changed_file_replaces_its_old_output(lab: Lab) -> None:
    lab.run("sha1sum < /pfs/images/* | cut -c1-4 > /pfs/out/$(cat /pfs/images/*)", {"/a": b"one", "/b": b"two"})
    job = lab.succeeded(lab.put({"/a": b"three"}))
    assert (job.processed, job.skipped, sorted(lab.output())) == (1, 1, ["/three", "/two"])


def test_output_of_a_removed_file_goes(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1", "/b": b"2"})
    job = lab.succeeded(delete(lab.store, "images", "/a"))
    assert (job.processed, job.skipped, lab.output()) == (0, 1, {"/b": b"2"})


def test_skipped_datum_stays_skipped(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"})
    lab.succeeded(lab.put({"/b": b"2"}))
    job = lab.succeeded(lab.put({"/c": b"3"}))
    assert (job.skipped, lab.output()) == (2, {"/a": b"1", "/b": b"2", "/c": b"3"})


def test_identical_output_keeps_its_modified_time(lab: Lab) -> None:
    lab.run("echo same > /pfs/out/same; cat /pfs/images/* > /pfs/out/other", {"/a": b"1"})
    before = [entry_of(lab.store, "edges", "master", path) for path in ("/same", "/other")]
    lab.succeeded(lab.put({"/a": b"2"}))
    after = [entry_of(lab.store, "edges", "master", path) for path in ("/same", "/other")]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_every_job_skips_nothing(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"}, reprocess_spec="every_job")
    job = lab.succeeded(lab.put({"/b": b"2"}))
    assert (job.processed, job.skipped) == (2, 0)


def test_new_spec_runs_only_what_is_new(lab: Lab) -> None:
    """As in Pachyderm, where only `--reprocess` says that the code matters."""
    lab.run(COPY, {"/a": b"1"})
    lab.pipeline("exit 1", update=True)
    assert (lab.succeeded().version, lab.newest().skipped) == (2, 1)


def test_failed_datum_runs_again_in_the_next_job(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bad").touch()
    assert lab.run(f"test ! -e {tmp_path}/bad; {COPY}", {"/a": b"1"}).state == "failure"
    (tmp_path / "bad").unlink()
    job = lab.succeeded(lab.put({"/b": b"2"}))
    assert (job.processed, lab.output()) == (2, {"/a": b"1", "/b": b"2"})


# -- pipelines below pipelines


def chain(lab: Lab, script: str = COPY) -> None:
    """`edges` copies images, `sizes` counts what edges has."""
    lab.pipeline(script)
    lab.pipeline("wc -c < $edges > /pfs/out/size", "sizes", input={"pfs": {"repo": "edges", "glob": "/*"}})


def test_chain_shares_one_global_id(lab: Lab) -> None:
    chain(lab)
    commit = lab.put({"/a": b"123"})
    assert lab.succeeded(commit, "sizes").id == lab.succeeded(commit).id == commit
    assert lab.output("sizes") == {"/size": b"3\n"}
    assert commit_of(lab.store, "sizes").id == commit_of(lab.store, "edges").id == commit


def test_failure_above_makes_a_job_unrunnable_and_the_next_recovers(lab: Lab) -> None:
    chain(lab, f"test $(cat $images) != bad; {COPY}")
    lab.succeeded(lab.put({"/a": b"good"}), "sizes")
    bad = lab.put({"/a": b"bad"})
    job = lab.ended(bad, "sizes")
    assert (job.state, job.reason) == ("unrunnable", "unrunnable because the following upstream pipelines failed: edges")
    assert lab.output() == {"/a": b"good"}
    lab.succeeded(lab.put({"/a": b"better"}), "sizes")
    assert lab.output("sizes") == {"/size": b"6\n"}


def test_job_reads_the_commit_it_was_made_from(lab: Lab, gate: Gate) -> None:
    lab.pipeline(f"{gate.at()}; cat $images; {COPY}")
    first = lab.put({"/a": b"old"})
    gate.wait()
    second = lab.put({"/a": b"new"})
    gate.open(2)
    assert [lab.logs(lab.succeeded(commit)) for commit in (first, second)] == [["old"], ["new"]]


# -- how datums run


def test_parallelism_runs_that_many_at_a_time(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b"", "/b": b"", "/c": b""})
    lab.pipeline(f"{gate.at('$(basename $images)')}", parallelism_spec={"constant": 2})
    assert gate.wait(2) == ["a", "b"]
    assert [datum.state for datum in lab.datums(lab.newest())] == ["running", "running", "waiting"]
    gate.open()
    assert gate.wait() == ["c"]
    gate.open(2)
    lab.succeeded()


def test_parallelism_without_measure_is_bounded_by_the_machine(lab: Lab) -> None:
    assert lab.run(COPY, {"/a": b"1"}, parallelism_spec={"constant": 2**31 - 1}).state == "success"


def test_stdin_is_lines(lab: Lab) -> None:
    job = lab.run("", {"/a": b""}, transform={"cmd": ["cat"], "stdin": ["one", "", "two"]})
    assert lab.logs(job) == ["one", "", "two"]


def test_working_dir_is_where_user_code_starts(lab: Lab) -> None:
    job = lab.run("pwd", {"/a": b""}, transform={"working_dir": "/pfs/out"})
    assert lab.logs(job) == ["/pfs/out"]


def test_environment_is_what_is_documented(lab: Lab) -> None:
    job = lab.run("", {"/dir/a": b""}, transform={"cmd": ["env"], "env": {"MINE": "1"}}, input=images("/dir/*"))
    (datum,) = lab.datums(job)
    assert dict(line.split("=", 1) for line in lab.logs(job)) == {
        **ENVIRONMENT,
        "MINE": "1",
        "images": "/pfs/images/dir/a",
        "images_COMMIT": commit_of(lab.store, "images").id,
        "PACH_DATUM_ID": datum.id,
        "PACH_JOB_ID": job.id,
        "PACH_OUTPUT_COMMIT_ID": job.id,
        "PPS_PIPELINE_NAME": "edges",
        "PPS_PROJECT_NAME": "default",
        "PPS_POD_NAME": "pipeline-edges-v1",
        "PPS_WORKER_IP": "127.0.0.1",
        "PPS_NAMESPACE": "default",
        "PACH_NAMESPACE": "default",
        "PACH_IN_WORKER": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_variables_of_the_datum_are_in_a_file_too(lab: Lab) -> None:
    job = lab.run("cat /pfs/.env", {"/a": b""})
    (datum,) = lab.datums(job)
    assert lab.logs(job) == [
        "images=/pfs/images/a",
        f"images_COMMIT={commit_of(lab.store, 'images').id}",
        f"PACH_DATUM_ID={datum.id}",
        f"PACH_JOB_ID={job.id}",
        f"PACH_OUTPUT_COMMIT_ID={job.id}",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_user_code_runs_as_the_user_of_the_spec(lab: Lab) -> None:
    job = lab.run(f"id -u; cat $images; {COPY}", {"/a": b"1"}, transform={"user": "65534"})
    assert (lab.logs(job), lab.output()) == (["65534", "1"], {"/a": b"1"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become anybody")
def test_user_code_can_not_run_as_somebody_else(lab: Lab) -> None:
    assert lab.run(COPY, {"/a": b"1"}, transform={"user": "0"}).reason.endswith("only root can")


def test_credentials_of_the_appliance_are_not_inherited(tmp_path: Path, namespaces: None, quiet: None) -> None:
    secrets = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "MC_HOST_minio")
    inherited = {**ENVIRONMENT, **dict.fromkeys(secrets, "secret"), "EDITOR": "ed"}
    with Serving(tmp_path / "data", inherited) as app:
        lab = Lab(app)
        job = lab.run("", {"/a": b""}, transform={"cmd": ["env"]})
        assert [line for line in lab.logs(job) if line == "EDITOR=ed" or "secret" in line] == ["EDITOR=ed"]


def test_user_code_reaches_its_own_gateway_around_a_proxy(tmp_path: Path, namespaces: None, quiet: None) -> None:
    inherited = {**ENVIRONMENT, "http_proxy": "http://proxy:3128", "NO_PROXY": "intranet"}
    with Serving(tmp_path / "data", inherited) as app:
        lab = Lab(app)
        assert lab.logs(lab.run("echo $no_proxy", {"/a": b""})) == ["intranet,127.0.0.1"]


def test_log_tells_streams_and_datums_apart(lab: Lab) -> None:
    job = lab.run("echo out $(basename $images); echo err >&2", {"/a": b"", "/b": b""})
    first, _ = lab.datums(job)
    with lab.store.snapshot() as db:
        lines = logs.list_log_lines(db, job.row, logs.Chosen(first.id))
    assert sorted((line.stream, line.message, line.datum) for line in lines) == [
        ("stderr", "err", first.id),
        ("stdout", "out a", first.id),
    ]


def test_log_is_complete_when_the_job_has_ended(lab: Lab) -> None:
    job = lab.run("seq 5000", {"/a": b""})
    assert lab.logs(job) == [str(number) for number in range(1, 5001)]


def test_spec_that_can_not_be_read_fails_its_job_and_no_other(lab: Lab) -> None:
    new = NewPipeline("damaged", b'"nonsense"', "", "master", [("images", "master")], "salt")
    lab.store.write(lambda db: pipelines.create_pipeline(db, new))
    assert lab.ended(pipeline="damaged").reason.startswith("stored pipeline spec can not be read")
    assert lab.run(COPY, {"/a": b"1"}).state == "success"


def test_more_log_than_is_kept_in_memory_is_complete(lab: Lab) -> None:
    job = lab.run("yes | head -n 100000", {"/a": b""})
    with lab.store.snapshot() as db:
        assert db.value("SELECT count(*) FROM log_lines WHERE job_id = ?", (job.row,)) == 100_000
