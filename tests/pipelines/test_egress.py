"""A job's output, copied to somebody else's object store."""

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from external.servers import Remote, Scripted, a_profile, open_bucket_at, served
from pipelines.helpers import COPY, Lab, Serving, spec_text, wait_until
from store.helpers import claim, commit_of, create_repos, process, put

from appliance.errors import Unsupported
from appliance.external.credentials import Profiles
from appliance.pipelines.spec import parse_specs, to_json
from appliance.store import Store, jobs, pipelines, running
from appliance.store.pipelines import NewPipeline


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials but a test's own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def moto_endpoint() -> Iterator[str]:
    program = Path(sys.executable).with_name("moto_server")
    with served([str(program), "-H", "127.0.0.1", "-p", "0"]) as endpoint:
        yield endpoint


@pytest.fixture
def moto(moto_endpoint: str, tmp_path: Path) -> Iterator[Remote]:
    """A bucket at a server that the appliance in `tmp_path / "data"` has credentials for."""
    with open_bucket_at(moto_endpoint, Profiles(tmp_path / "data")) as remote:
        yield remote


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted() as server:
        Profiles(tmp_path / "data").put(a_profile(server.endpoint))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def to(remote: Remote, bucket: str | None = None) -> dict[str, Any]:
    return {"egress": {"URL": f"s3://{bucket or remote.bucket}/results?endpoint={remote.endpoint}"}}


def keys(remote: Remote) -> list[str]:
    return [item["Key"] for item in remote.client.list_objects_v2(Bucket=remote.bucket).get("Contents", [])]


def test_output_is_copied_before_anybody_sees_it(moto: Remote, lab: Lab) -> None:
    seen: list[str] = []

    def note(_changes: object) -> None:
        with lab.store.snapshot() as db:
            seen.extend(job.state for job in jobs.list_jobs(db) if job.state not in seen)

    forget = lab.store.listen(note)
    job = lab.run(COPY, {"/a": b"1", "/dir/b": bytes(100_000)}, **to(moto))
    forget()
    assert (job.state, seen) == ("success", ["created", "starting", "running", "egressing", "success"])
    assert (moto.get("results/a"), moto.get("results/dir/b")) == (b"1", bytes(100_000))
    assert keys(moto) == ["results/a", "results/dir/b"]


def test_object_storage_of_2x_is_the_same(moto: Remote, lab: Lab) -> None:
    url = to(moto)["egress"]["URL"]
    assert lab.run(COPY, {"/a": b"1"}, egress={"object_storage": {"url": url}}).state == "success"
    assert keys(moto) == ["results/a"]


@pytest.mark.parametrize("url", ["https://host/dir", "file:///dir"])
def test_egress_to_what_is_for_reading_is_refused_at_once(lab: Lab, url: str) -> None:
    with pytest.raises(Unsupported, match="is for reading"):
        lab.pipeline(COPY, egress={"URL": url})


def test_each_job_copies_what_is_new(moto: Remote, lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"}, **to(moto))
    before = moto.client.head_object(Bucket=moto.bucket, Key="results/a")["LastModified"]
    lab.succeeded(lab.put({"/b": b"2"}))
    assert keys(moto) == ["results/a", "results/b"]
    assert moto.client.head_object(Bucket=moto.bucket, Key="results/a")["LastModified"] == before


def test_failed_egress_fails_the_job(moto: Remote, lab: Lab) -> None:
    job = lab.run(COPY, {"/a": b"1"}, **to(moto, "no-such-bucket"))
    assert (job.state, job.processed) == ("failure", 1)
    assert job.reason.startswith("egress error: s3://no-such-bucket/results/a: ")
    assert (commit_of(lab.store, "edges").error, lab.output()) == (job.reason, {})


def test_failed_job_copies_nothing(moto: Remote, lab: Lab) -> None:
    job = lab.run(f"{COPY}; test $(basename $images) != bad", {"/good": b"", "/bad": b""}, **to(moto))
    assert (job.state, keys(moto)) == ("failure", [])


def test_stopped_job_stops_copying(scripted: Scripted, lab: Lab) -> None:
    scripted.script = [503] * 1000
    lab.put({"/a": b"1"})
    lab.pipeline(COPY, egress={"URL": f"s3://bucket/x?endpoint={scripted.endpoint}"})
    wait_until(lab.store, lambda db: jobs.list_jobs(db)[0].state == "egressing")
    lab.stop_job(lab.newest().id)
    assert lab.ended().reason == "job stopped"
    assert lab.output() == {}


def test_output_through_s3_is_copied_as_any_other(moto: Remote, lab: Lab) -> None:
    code = """
import os, urllib.request
headers = {"Content-Type": "text/plain"}  # its own default is a form's, whose body moto's server takes for fields
request = urllib.request.Request(os.environ["S3_ENDPOINT"] + "/out/dir/b", b"1", headers, method="PUT")
urllib.request.urlopen(request).close()
"""
    job = lab.run("", {"/a": b"1"}, transform={"cmd": [sys.executable, "-I", "-c", code]}, s3_out=True, **to(moto))
    assert (job.state, lab.output()) == ("success", {"/dir/b": b"1"})
    assert (keys(moto), moto.get("results/dir/b")) == (["results/dir/b"], b"1")


def test_skipped_datums_are_copied_with_the_others(moto: Remote, lab: Lab) -> None:
    lab.run(COPY, {"/a": b"1"}, **to(moto, "no-such-bucket"))
    lab.pipeline(COPY, update=True, **to(moto))
    lab.succeeded()
    job = lab.succeeded(lab.put({"/b": b"2"}))
    assert (job.processed, job.skipped, keys(moto)) == (1, 1, ["results/a", "results/b"])


def test_egress_is_part_of_the_time_of_a_job(scripted: Scripted, lab: Lab) -> None:
    scripted.script = [503] * 1000
    job = lab.run(COPY, {"/a": b"1"}, egress={"URL": f"s3://bucket/x?endpoint={scripted.endpoint}"}, job_timeout="1s")
    assert (job.state, job.reason, lab.output()) == ("killed", "job timed out", {})


def test_downstream_of_a_failed_egress_does_not_run(moto: Remote, lab: Lab) -> None:
    lab.put({"/a": b"1"})
    lab.pipeline(COPY, **to(moto, "no-such-bucket"))
    lab.pipeline("exit 1", name="below", input={"pfs": {"repo": "edges", "glob": "/"}})
    assert lab.ended().state == "failure"
    assert lab.ended(pipeline="below").state == "unrunnable"


def test_job_killed_while_it_copied_is_taken_up_again(moto: Remote, tmp_path: Path, namespaces: None, quiet: None) -> None:
    """Nothing runs again; what was copied already is left alone."""
    (spec,) = parse_specs(spec_text("exit 1", **to(moto)))
    new = NewPipeline("edges", to_json(spec), "", "master", [("images", "master")], "salt")
    with closing(Store(tmp_path / "data", "fast")) as store:
        create_repos(store, "images")
        put(store, "images", "/a", b"1")
        store.write(lambda db: pipelines.create_pipeline(db, new))
        _do_everything_but_copy(store)
    with Serving(tmp_path / "data") as app:
        job = Lab(app).succeeded()
    assert (job.restarts, job.processed, keys(moto), moto.get("results/x")) == (1, 1, ["results/x"], b"1")


def _do_everything_but_copy(store: Store) -> None:
    job = claim(store, "edges", ["one"])
    process(store, job, {"one": {"/x": b"1"}})
    store.write(lambda db: running.set_egressing(db, job.row))
