"""What is wrong is refused in the dialect of whoever sent it, and changes nothing."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e.conftest import BIN, Appliance, s3_client

COPY = {"cmd": ["true"]}


def refused(call: Any, **arguments: Any) -> tuple[str, int]:
    """Return the code and status of an S3 error."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def before(appliance: Appliance) -> Appliance:
    """An appliance with one repo that has one file."""
    appliance.pachctl("create", "repo", "in")
    appliance.pachctl("put", "file", "in@master:/dir/file", "-f", "-", stdin="x")
    return appliance


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"input": {"pfs": {"repo": "in", "glob": "/*"}}, "imput": 1}, "unknown field `imput`"),
        ({"input": {"pfs": {"repo": "in", "glob": "/*", "s3": True}}}, "must also set 'glob', to \"/\""),
        (
            {"input": {"join": [{"pfs": {"repo": "in", "glob": "/", "s3": True, "join_on": "$1"}}]}},
            "S3 inputs in join expressions are not supported",
        ),
        ({"input": {"pfs": {"repo": "nowhere", "glob": "/*"}}}, "repo nowhere not found"),
        ({"input": {"pfs": {"repo": "in"}}}, "input must specify a glob"),
    ],
)
def test_bad_spec_is_one_line_and_makes_no_pipeline(before: Appliance, spec: dict[str, Any], text: str) -> None:
    document = json.dumps({"pipeline": {"name": "bad"}, "transform": COPY, **spec})
    done = before.run("sh", "-c", f'{BIN}/pachctl create pipeline -f - 2>&1; echo "status $?"', stdin=document)
    *message, status = done.splitlines()
    assert (len(message), status != "status 0") == (1, True)
    assert text in message[0]
    assert before.pachctl("list", "pipeline").count("\n") == 1
    assert "bad" not in before.pachctl("list", "repo")


def test_file_where_a_directory_is_needed(before: Appliance) -> None:
    assert "dir/file" in before.pachctl("put", "file", "in@master:/dir/file/below", "-f", "-", stdin="y", status=1)
    assert refused(before.s3.put_object, Bucket="master.in", Key="dir/file/below", Body=b"y") == ("InvalidFilePath", 400)
    assert refused(before.s3.put_object, Bucket="master.in", Key="dir", Body=b"y") == ("InvalidFilePath", 400)
    assert before.pachctl("list", "commit", "in@master").count("\n") == 2


def test_secret_that_is_not_the_key(before: Appliance) -> None:
    stranger = s3_client(before.facts["s3_endpoint"], secret="another")
    assert refused(stranger.list_buckets) == ("SignatureDoesNotMatch", 403)
    assert refused(stranger.put_object, Bucket="master.in", Key="new", Body=b"y") == ("SignatureDoesNotMatch", 403)


def test_write_to_an_output_branch(before: Appliance) -> None:
    before.create_pipeline(pipeline={"name": "out-of"}, input={"pfs": {"repo": "in", "glob": "/*"}}, transform=COPY)
    before.pachctl("wait", "commit", "out-of@master")
    code = refused(before.s3.put_object, Bucket="master.out-of", Key="new", Body=b"y")
    assert code == ("WriteToOutputBranch", 400)
    text = before.pachctl("put", "file", "out-of@master:/new", "-f", "-", stdin="y", status=1)
    assert "cannot start a commit on an output branch" in text


@pytest.mark.usefixtures("namespaces")
def test_write_to_an_input_bucket(before: Appliance) -> None:
    script = "import os, urllib.request as r\nq = r.Request(os.environ['S3_ENDPOINT'] + '/in/new', b'y', method='PUT')\n"
    script += "try: r.urlopen(q)\nexcept r.HTTPError as e: print(e.code, b'NotImplemented' in e.read())"
    before.create_pipeline(
        pipeline={"name": "writer"},
        input={"pfs": {"repo": "in", "glob": "/", "s3": True}},
        transform={"cmd": ["python3", "-c", script]},
    )
    before.pachctl("wait", "commit", "writer@master")
    assert before.pachctl("logs", "-p", "writer").strip() == "501 True"
    assert before.pachctl("list", "commit", "in@master").count("\n") == 2


def test_mount_is_not_writable(before: Appliance) -> None:
    if before.facts["mount"] is None:
        pytest.skip((before.directory / "stderr").read_text() or "no mount here")
    text = before.run("touch", str(before.mount / "in" / "new"), status=1)
    assert "Read-only file system" in text


def test_data_directory_in_use(appliance: Appliance) -> None:
    command = (str(BIN / "appliance"), "serve", "--s3-address", "127.0.0.1:0", "--no-mount")
    text = appliance.run(*command, status=1)
    assert text.count("\n") == 1
    assert f"data directory {appliance.data} is in use" in text


def test_port_in_use(appliance: Appliance, tmp_path: Path) -> None:
    port = appliance.facts["s3_endpoint"].rpartition(":")[2]
    other = ("--data", str(tmp_path / "other"), "--s3-address", f"127.0.0.1:{port}", "--no-mount")
    text = appliance.run(str(BIN / "appliance"), "serve", *other, status=1)
    assert text.count("\n") == 1
    assert f"can not listen on 127.0.0.1:{port}" in text


def test_data_directory_with_a_long_name_is_fine(stopped: Appliance) -> None:
    stopped.data = stopped.directory / ("x" * 120)
    stopped.environment["APPLIANCE_HOME"] = str(stopped.data)
    stopped.start("--durability", "fast")
    assert stopped.pachctl("list", "repo").count("\n") == 1


def test_nobody_there(stopped: Appliance) -> None:
    assert "no appliance is running" in stopped.pachctl("list", "repo", status=1)


def test_killed_appliance_is_no_obstacle_to_the_next(appliance: Appliance) -> None:
    appliance.stop(signal.SIGKILL)
    assert appliance.start().facts["s3_endpoint"]
