"""A job's own S3 gateway, as its user code meets it."""

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pipelines.helpers import Gate, Lab, Serving, images
from store.helpers import create_repos

from appliance.store import auth
from appliance.store.jobs import Job

PRELUDE = """
import json, os, re, subprocess, sys, urllib.error, urllib.request

def call(method, path, body=None):
    request = urllib.request.Request(os.environ["S3_ENDPOINT"] + "/" + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, (re.findall("<Code>(.*?)</Code>", text) or [text])[0]

def names(path, tag):
    return re.findall(f"<{tag}>(.*?)</{tag}>", call("GET", path)[1])

def say(*values):
    print(json.dumps(values))
"""
S3_IMAGES = {"pfs": {"repo": "images", "glob": "/", "s3": True}}
PLAIN = {"pfs": {"repo": "plain", "glob": "/*"}}


def start(lab: Lab, code: str, *, update: bool = False, **fields: Any) -> None:
    """Create a pipeline of Python code that has `call`, `names` and `say`; it reads `images` over S3 unless told else."""
    command = {"cmd": [sys.executable, "-I", "-c", PRELUDE + code]}
    fields.setdefault("input", S3_IMAGES)
    lab.pipeline("", transform=command, update=update, **fields)


def said(lab: Lab, job: Job) -> list[Any]:
    """Return what user code said."""
    assert job.state == "success", (job.reason, lab.logs(job, "stderr"))
    return [json.loads(line) for line in lab.logs(job)]


def ask(lab: Lab, code: str, **fields: Any) -> list[Any]:
    """Run code over an image `a` and return the one thing it said."""
    lab.put({"/a": b"1", "/dir/b": b"2"})
    start(lab, code, **fields)
    (values,) = said(lab, lab.ended())
    return values


def put_plain(lab: Lab, files: dict[str, bytes]) -> str:
    return lab.put(files, "plain")


@pytest.fixture
def plain(lab: Lab) -> Lab:
    """With a repo `plain` of two files beside the images."""
    create_repos(lab.store, "plain")
    put_plain(lab, {"/x": b"x", "/y": b"y"})
    return lab


# -- buckets


def test_buckets_are_the_inputs_by_their_names(lab: Lab) -> None:
    create_repos(lab.store, "other")
    renamed = {"pfs": {"repo": "images", "name": "pictures", "glob": "/", "s3": True}}
    code = 'say(names("", "Name"), names("pictures", "Key"), call("GET", "other")[1], call("GET", "out")[1])'
    assert ask(lab, code, input=renamed) == [["pictures"], ["a", "dir/b"], "NoSuchBucket", "NoSuchBucket"]


def test_buckets_with_s3_out_are_out_and_no_plain_input(plain: Lab) -> None:
    code = 'say(names("", "Name"), call("GET", "plain")[1])'
    assert ask(plain, code, input=images("/"), s3_out=True) == [["out"], "NoSuchBucket"]


def test_buckets_of_a_full_s3_pipeline(lab: Lab) -> None:
    assert ask(lab, 'say(names("", "Name"), names("out", "Key"))', s3_out=True) == [["images", "out"], []]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("path", ["images/a", "images/new", "images", "out", "new"])
def test_only_objects_of_out_are_written(lab: Lab, method: str, path: str) -> None:
    code = f'say(*call("{method}", "{path}", b"x" if "/" in "{path}" else None))'
    assert ask(lab, code, s3_out=True) == [501, "NotImplemented"]
    assert lab.output() == {}


def test_input_stays_at_its_commit_when_the_branch_moves(lab: Lab, gate: Gate) -> None:
    start(lab, f'os.system("""{gate.at()}"""); say(call("GET", "images/a")[1], names("images", "Key"))')
    first = lab.put({"/a": b"old"})
    gate.wait()
    second = lab.put({"/a": b"new", "/b": b""})
    gate.open(2)
    assert said(lab, lab.ended(first)) == [["old", ["a"]]]
    assert said(lab, lab.ended(second)) == [["new", ["a", "b"]]]


# -- output


def test_what_is_written_to_out_is_the_output(lab: Lab) -> None:
    ask(lab, 'say(call("PUT", "out/x/y", b"1")); call("PUT", "out/z", b""); call("DELETE", "out/z")', s3_out=True)
    assert lab.output() == {"/x/y": b"1"}


def test_out_can_be_read_by_its_own_job(lab: Lab) -> None:
    code = 'call("PUT", "out/x", b"1"); say(*call("GET", "out/x"), names("out", "Key"))'
    assert ask(lab, code, s3_out=True) == [200, "1", ["x"]]


def test_strict_out_is_write_only(tmp_path: Path, namespaces: None, quiet: None) -> None:
    with Serving(tmp_path / "data", strict=True) as app:
        lab = Lab(app)
        code = 'call("PUT", "out/x", b"1"); say(*call("GET", "out/x"), names("out", "Key"))'
        assert ask(lab, code, s3_out=True) == [404, "NoSuchKey", []]
        assert lab.output() == {"/x": b"1"}


def test_failed_try_leaves_nothing_in_out(lab: Lab, tmp_path: Path) -> None:
    code = f"""
say(names("out", "Key"))
call("PUT", "out/" + ("second" if os.path.exists("{tmp_path}/tried") else "first"), b"1")
if not os.path.exists("{tmp_path}/tried"):
    open("{tmp_path}/tried", "w").close()
    sys.exit(1)
"""
    lab.put({"/a": b"1"})
    start(lab, code, s3_out=True, datum_tries=2)
    assert said(lab, lab.ended()) == [[[]], [[]]]
    assert lab.output() == {"/second": b"1"}


def test_key_of_two_datums_fails_the_job(plain: Lab) -> None:
    start(plain, 'call("PUT", "out/same", b"1")', input=PLAIN, s3_out=True)
    job = plain.ended()
    assert job.state == "failure"
    assert re.match(r"duplicate path output by different datums \(/same from \w{64} and /same from \w{64}\)", job.reason)


def test_each_datum_has_an_out_of_its_own(plain: Lab) -> None:
    start(
        plain,
        'key = os.path.basename(os.environ["plain"]); call("PUT", "out/" + key, b"1"); say(names("out", "Key"))',
        input=PLAIN,
        s3_out=True,
        parallelism_spec={"constant": 2},
    )
    assert sorted(said(plain, plain.ended())) == [[["x"]], [["y"]]]
    assert plain.output() == {"/x": b"1", "/y": b"1"}


def test_next_job_starts_with_an_empty_out_and_skips_nothing(plain: Lab) -> None:
    code = 'say(names("out", "Key")); call("PUT", "out/" + os.path.basename(os.environ["plain"]), b"1")'
    start(plain, code, input=PLAIN, s3_out=True)
    plain.ended()
    job = plain.ended(put_plain(plain, {"/z": b"z"}))
    assert (job.processed, job.skipped, said(plain, job)) == (3, 0, [[[]], [[]], [[]]])
    assert sorted(plain.output()) == ["/x", "/y", "/z"]


# -- what else user code sees


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({"input": S3_IMAGES}, [".env", "out"]),
        ({"input": images("/"), "s3_out": True}, [".env", "images"]),
        ({"input": S3_IMAGES, "s3_out": True}, [".env"]),
    ],
)
def test_pfs_has_plain_inputs_and_plain_output_only(lab: Lab, fields: dict[str, Any], listed: list[str]) -> None:
    assert ask(lab, 'say(sorted(os.listdir("/pfs")))', **fields) == [listed]


def test_s3_input_has_its_variables_all_the_same(lab: Lab) -> None:
    commit = lab.put({"/a": b"1"})
    start(lab, 'say(os.environ["images"], os.environ["images_COMMIT"])')
    assert said(lab, lab.ended()) == [["/pfs/images", commit]]


def test_real_client_needs_nothing_but_its_environment(lab: Lab) -> None:
    code = """
import boto3
s3 = boto3.client("s3")
s3.upload_file("/proc/version", "out", "version")
say(s3.get_object(Bucket="images", Key="a")["Body"].read().decode())
"""
    assert ask(lab, code, s3_out=True) == ["1"]
    assert list(lab.output()) == ["/version"]


def test_endpoint_is_gone_after_the_job(lab: Lab) -> None:
    (endpoint,) = ask(lab, 'say(os.environ["S3_ENDPOINT"])')
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", endpoint)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(endpoint)


def test_pipeline_without_s3_has_no_endpoint(lab: Lab) -> None:
    assert ask(lab, 'say([name for name in os.environ if name.startswith("S3")])', input=images("/")) == [[]]


def test_failure_beside_a_gateway_is_told_as_any_other(lab: Lab) -> None:
    lab.run("", {"/a": b"1"}, input=S3_IMAGES, transform={"cmd": ["no-such-command"]})
    (datum,) = lab.datums(lab.newest())
    assert datum.reason == "user code could not be started: cannot execute no-such-command: No such file or directory"


def test_chain_of_s3_pipelines(lab: Lab) -> None:
    above = "images"
    for name in ("first", "second", "third"):
        source = {"pfs": {"repo": above, "glob": "/", "s3": True}}
        start(
            lab, f'call("PUT", "out/a", (call("GET", "{above}/a")[1] + "+").encode())', name=name, input=source, s3_out=True
        )
        above = name
    lab.succeeded(lab.put({"/a": b"1"}), "third")
    assert lab.output("third") == {"/a": b"1+++"}


# -- with plain inputs beside


BOTH = {"input": {"cross": [S3_IMAGES, PLAIN]}}
READ_BOTH = """
name = os.path.basename(os.environ["plain"])
open("/pfs/out/" + name, "w").write(open("/pfs/plain/" + name).read() + call("GET", "images/a")[1])
"""


def test_cross_with_a_plain_input_has_a_datum_for_each_file(plain: Lab) -> None:
    plain.put({"/a": b"1"})
    start(plain, READ_BOTH, **BOTH)
    assert plain.succeeded().total == 2
    assert plain.output() == {"/x": b"x1", "/y": b"y1"}


def test_plain_files_are_skipped_while_the_s3_input_is_unchanged(plain: Lab) -> None:
    plain.put({"/a": b"1"})
    start(plain, READ_BOTH, **BOTH)
    job = plain.succeeded(put_plain(plain, {"/z": b"z"}))
    assert (job.processed, job.skipped) == (1, 2)
    job = plain.succeeded(plain.put({"/a": b"2"}))
    assert (job.processed, job.skipped, plain.output()) == (3, 0, {"/x": b"x2", "/y": b"y2", "/z": b"z2"})


# -- with authentication on

BOTO = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def keys(access_key, bucket):
    s3 = boto3.client("s3", aws_access_key_id=access_key, aws_secret_access_key=access_key, config=Config(
        retries={"total_max_attempts": 1}))
    try:
        return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
    except ClientError as error:
        return error.response["Error"]["Code"]
"""


def test_job_has_a_key_of_its_own_and_nobody_else_gets_in(lab: Lab) -> None:
    root = lab.store.write(auth.activate)
    code = f"""{BOTO}
own = os.environ["AWS_ACCESS_KEY_ID"]
say(os.environ["AWS_SECRET_ACCESS_KEY"] == own, keys(own, "images"), keys("default", "images"), keys("{root}", "images"),
    call("GET", "images")[1])
"""
    refused = "InvalidAccessKeyId"
    assert ask(lab, code, s3_out=True) == [True, ["a", "dir/b"], refused, refused, "AccessDenied"]
