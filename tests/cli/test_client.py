"""The Python API, against an appliance in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell
from external.servers import Remote, open_bucket_at, served
from external.web_server import WebServer, page, serving_pages

from appliance.client import Appliance, ApplianceError, Copied, NotRunning
from appliance.external.credentials import Profiles


@pytest.fixture
def api(appliance: Serving) -> Appliance:
    return Appliance(appliance.data)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving_pages() as server:
        yield server


@pytest.fixture(scope="module")
def moto(appliance: Serving) -> Iterator[Remote]:
    program = Path(sys.executable).with_name("moto_server")
    with (
        served([str(program), "-H", "127.0.0.1", "-p", "0"]) as endpoint,
        open_bucket_at(endpoint, Profiles(appliance.data)) as remote,
    ):
        yield remote


def test_pages_are_put_in_one_commit(api: Appliance, sh: Shell, repo: str, web: WebServer) -> None:
    web.pages["/a"], web.pages["/b"] = page(b"aa"), page(b"bbb")
    done = api.put_url(f"{repo}@master:/in", f"{web.url}/a", f"{web.url}/b")
    assert (done.files, done.unchanged, done.size_bytes) == (2, 0, 5)
    assert [row[2] for row in sh("list", "commit", repo).rows] == [done.commit]
    assert b"".join(api.get_file(f"{repo}@master:/in/b")) == b"bbb"


def test_files_go_out_and_are_left_alone_the_next_time(api: Appliance, repo: str, moto: Remote) -> None:
    api.put_file(f"{repo}@master:/dir/a", b"content")
    assert api.get_to_url(f"{repo}@master:/dir", moto.text("out"), recursive=True) == Copied(1, 0, 7)
    assert moto.get("out/dir/a") == b"content"
    assert api.get_to_url(f"{repo}@master:/dir", moto.text("out"), recursive=True) == Copied(0, 1, 0)


def test_key_that_can_not_be_a_path_is_left_out_on_request(api: Appliance, repo: str, moto: Remote) -> None:
    moto.put("odd/good")
    moto.put("odd/../bad")
    with pytest.raises(ApplianceError, match=r"odd/\.\./bad"):
        api.put_url(repo, moto.text("odd"), recursive=True)
    done = api.put_url(repo, moto.text("odd"), recursive=True, skip_invalid=True)
    assert (done.files, done.skipped) == (1, 1)
    assert done.skipped_keys[0].endswith("odd/../bad")


def test_refused_put_leaves_nothing_and_says_why(api: Appliance, repo: str, web: WebServer) -> None:
    web.pages["/a"] = page(b"a")
    with pytest.raises(ApplianceError, match="404"):
        api.put_url(f"{repo}@master:/", f"{web.url}/a", f"{web.url}/missing")
    assert list(api.iterate("list_commit", repo=repo)) == []


def test_progress_ends_with_what_was_moved(api: Appliance, repo: str, web: WebServer) -> None:
    web.pages["/large"] = page(bytes(20_000_000))
    told: list[int] = []
    done = api.put_url(repo, f"{web.url}/large", progress=told.append)
    assert done.size_bytes == 20_000_000
    assert told == sorted(told)


def test_calls_of_the_command_line_can_be_made(api: Appliance, sh: Shell, repo: str) -> None:
    api.call("create_repo", repo=f"{repo}-2")
    assert sh("inspect", "repo", f"{repo}-2").out
    assert api.s3_endpoint.startswith("http://127.0.0.1:")


def test_example_of_the_readme_runs(sh: Shell, appliance: Serving, moto: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "appliance.client" in block]
    for printed, there in (("s3://bucket/prefix", moto.text("prefix")), ("gs://bucket/results", moto.text("results"))):
        example = example.replace(printed, there)
    moto.put("prefix/a", b"content")
    sh("create", "repo", "images")
    monkeypatch.setenv("APPLIANCE_HOME", str(appliance.data))
    exec(example, {})
    assert (moto.get("results/incoming/a"), sh("get", "file", "images@master:/cat.txt").out) == (b"content", "a cat")


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no appliance is running"):
        Appliance(tmp_path).call("inspect_appliance")


def test_importing_it_imports_no_part_of_the_appliance_itself() -> None:
    script = "import sys, appliance.client; print(*(n for n in ('trio', 'moto', 'obstore', 'click') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
