"""Commands against a real appliance: repos, branches, commits, pipelines and jobs, credentials, and what goes wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, job_of, paths

from appliance import __version__

NO_ID = "00000000000040008000000000000000"


# -- repos and branches


def test_repo_is_made_and_shown(sh: Shell) -> None:
    assert sh("create", "repo", "shown", "-d", "for the test").out == ""
    listed = sh("list", "repo")
    assert listed.out.splitlines()[0].split("  ")[0].startswith("NAME")
    assert next(row for row in listed.rows if row[0] == "shown")[-3:] == ["for", "the", "test"]
    assert sh("inspect", "repo", "shown").out.startswith("Name: shown\nDescription: for the test\nCreated: ")


def test_raw_is_json_or_yaml(sh: Shell, repo: str) -> None:
    [found] = sh("inspect", "repo", repo, "--raw").objects
    assert (found["name"], found["size_bytes"], found["created"][-1]) == (repo, 0, "Z")
    assert sh("inspect", "repo", repo, "--raw", "-o", "json").objects == [found]
    assert sh("inspect", "repo", repo, "--raw", "-o", "yaml").out.startswith(f"---\nname: {repo}\n")
    assert found in sh("list", "repo", "--raw").objects


def test_full_timestamps(sh: Shell, repo: str) -> None:
    assert "Created: Less than a second ago" in sh("inspect", "repo", repo).out
    assert f"Created: {time.strftime('%Y-')}" in sh("inspect", "repo", repo, "--full-timestamps").out


def test_repo_is_changed_and_deleted(sh: Shell, repo: str) -> None:
    sh("update", "repo", repo, "-d", "new words")
    assert "Description: new words" in sh("inspect", "repo", repo).out
    assert sh("delete", "repo", repo).out == ""
    assert sh.refused("inspect", "repo", repo) == (1, f"repo {repo} not found")


def test_error_is_one_line_and_its_status(sh: Shell, repo: str) -> None:
    assert sh.refused("create", "repo", repo) == (1, f"repo {repo} already exists")
    status, line = sh.refused("create", "repo", "no spaces")
    assert (status, line[:31]) == (2, "repo name (no spaces) invalid: ")


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 0), (b"\n", 0), (b"", 1)])
def test_all_repos_stay_without_a_yes(sh: Shell, repo: str, answer: bytes, status: int) -> None:
    ran = sh.try_("delete", "repo", "--all", stdin=answer)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.startswith("Are you sure you want to do this? (y/N): ")
    assert repo in paths(sh("list", "repo"))


def test_branch(sh: Shell, repo: str) -> None:
    sh("create", "repo", f"{repo}-up")
    sh("create", "branch", f"{repo}@made", "-p", f"{repo}-up@master")
    assert paths(sh("list", "branch", repo)) == ["made"]
    assert f"Provenance: {repo}-up@master\n" in sh("inspect", "branch", f"{repo}@made").out
    [raw] = sh("inspect", "branch", f"{repo}@made", "--raw").objects
    assert sh("list", "branch", repo).rows[0][1] == raw["head"]["id"]
    sh("delete", "branch", f"{repo}@made")
    assert sh.refused("inspect", "branch", f"{repo}@made") == (1, f'branch "made" not found in repo {repo}')


def test_branch_is_pointed_at_a_commit(sh: Shell, repo: str) -> None:
    first = sh("start", "commit", f"{repo}@master").out.strip()
    sh("finish", "commit", f"{repo}@master")
    sh("put", "file", f"{repo}@master:/later", stdin=b"x")
    sh("create", "branch", f"{repo}@then", "--head", f"{repo}@{first}")
    assert sh("list", "file", f"{repo}@then").rows == []
    assert sh.refused("create", "branch", f"{repo}@then", "--head", "other@master")[0] == 2


# -- commits


def test_commit_is_started_filled_and_finished(sh: Shell, repo: str) -> None:
    commit = sh("start", "commit", f"{repo}@master", "-m", "two files").out.strip()
    sh("put", "file", f"{repo}@master:/a", stdin=b"a")
    sh("put", "file", f"{repo}@{commit}:/b", stdin=b"b")
    assert sh("list", "commit", repo).rows == [[repo, "master", commit, "-", "2B", "USER", "two", "files"]]
    assert sh("finish", "commit", f"{repo}@{commit}").out == ""
    assert sh.refused("finish", "commit", f"{repo}@{commit}") == (1, f"commit {commit} has already finished")
    assert f"Commit: {repo}@{commit}\nOriginal Branch: master\nDescription: two files\n" in sh("inspect", "commit", repo).out


def test_commits_are_listed_by_repo_branch_and_id(sh: Shell, repo: str) -> None:
    for name in ("a", "b", "c"):
        sh("put", "file", f"{repo}@master:/{name}", stdin=b"x")
    sh("put", "file", f"{repo}@other:/d", stdin=b"x")
    ids = [row[2] for row in sh("list", "commit", f"{repo}@master").rows]
    assert len(ids) == 3
    assert [row[2] for row in sh("list", "commit", f"{repo}@master^").rows] == ids[1:]
    assert len(sh("list", "commit", repo).rows) == 4
    assert [row[2] for row in sh("list", "commit", f"{repo}@master", "-n", "2").rows] == ids[:2]
    assert [row[:3] for row in sh("list", "commit", ids[0]).rows] == [[repo, "master", ids[0]]]
    assert sh("inspect", "commit", ids[0]).out == sh("list", "commit", ids[0]).out


def test_commit_knows_its_parent(sh: Shell, repo: str) -> None:
    for name in ("a", "b"):
        sh("put", "file", f"{repo}@master:/{name}", stdin=b"x")
    child, parent = (row[2] for row in sh("list", "commit", repo).rows)
    assert f"Parent: {parent}\n" in sh("inspect", "commit", f"{repo}@{child}").out
    forked = sh("start", "commit", f"{repo}@fork", "-p", parent).out.strip()
    assert f"Parent: {parent}\n" in sh("inspect", "commit", f"{repo}@{forked}").out


def test_sets_are_listed_without_a_repo(sh: Shell, repo: str) -> None:
    sh("create", "repo", f"{repo}-down")
    sh("create", "branch", f"{repo}-down@master", "-p", f"{repo}@master")
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    [row] = sh("list", "commit", "-n", "1").rows
    assert row[1:3] == ["2", "▇▇▇▇░░░░"]
    assert len(sh("list", "commit", row[0]).rows) == 2
    down = sh("inspect", "commit", f"{repo}-down@master").out
    assert f"Provenance: {repo}@{row[0]}\n" in down


def test_wait_for_a_finished_commit(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    [[*_, commit]] = [row[:3] for row in sh("list", "commit", repo).rows]
    assert sh("wait", "commit", f"{repo}@master").out.startswith(f"Commit: {repo}@{commit}\n")
    assert sh("wait", "commit", commit).rows[0][2] == commit


def test_interrupted_wait(sh: Shell, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_pause_s: float) -> None:
        raise KeyboardInterrupt

    sh("start", "commit", f"{repo}@master")
    monkeypatch.setattr(time, "sleep", interrupt)
    assert sh.try_("wait", "commit", f"{repo}@master").status == 130


def test_commit_that_is_not_there(sh: Shell, repo: str) -> None:
    assert sh.refused("inspect", "commit", f"{repo}@{NO_ID}") == (1, f"commit {repo}@{NO_ID} not found")
    assert sh.refused("wait", "commit", NO_ID) == (1, f"commit set {NO_ID} not found")


# -- pipelines, jobs, datums, logs


def spec_of(name: str, repo: str, *stdin: str) -> bytes:
    """Return the spec of a pipeline that runs shell lines with its input behind S3."""
    pfs = {"repo": repo, "name": "in", "glob": "/", "s3": True}
    transform = {"cmd": ["sh"], "stdin": list(stdin)}
    return json.dumps({"pipeline": {"name": name}, "input": {"pfs": pfs}, "transform": transform, "s3_out": True}).encode()


@pytest.fixture
def pipeline(sh: Shell, repo: str) -> str:
    """A pipeline that says hello, with one file to work on; its first job has succeeded."""
    name = f"{repo}-out"
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    sh("create", "pipeline", "-f", "-", stdin=spec_of(name, repo, "echo hello; echo world >&2"))
    sh("wait", "job", f"{name}@{job_of(sh, name)}")
    return name


def test_pipeline_is_shown(sh: Shell, repo: str, pipeline: str) -> None:
    [row] = [row for row in sh("list", "pipeline").rows if row[0] == pipeline]
    assert row[1:3] == ["1", f"{repo}:/"]
    assert row[-3:] == ["running", "/", "success"]
    assert sh("list", "pipeline", pipeline).rows[0][:3] == row[:3]
    shown = sh("inspect", "pipeline", pipeline).out
    assert shown.startswith(f"Name: {pipeline}\nVersion: 1\n")
    assert f'"repo": "{repo}"' in shown


def test_printed_spec_makes_the_same_pipeline(sh: Shell, pipeline: str) -> None:
    spec = sh("list", "pipeline", pipeline, "--spec").out
    sh("delete", "pipeline", pipeline)
    sh("create", "pipeline", "-f", "-", stdin=spec.encode())
    assert sh("list", "pipeline", pipeline, "--spec").out == spec


def test_several_specs_in_a_yaml_file(sh: Shell, repo: str, here: Path) -> None:
    document = "pipeline: {{name: {name}}}\ninput: {{pfs: {{repo: {repo}, glob: /}}}}\ntransform: {{cmd: ['true']}}\n"
    names = [f"{repo}-1", f"{repo}-2"]
    (here / "specs.yaml").write_text("---\n".join(document.format(name=name, repo=repo) for name in names))
    sh("create", "pipelines", "-f", "specs.yaml")
    assert {*names} <= {*paths(sh("list", "pipelines"))}
    for name in names:
        sh.try_("wait", "job", f"{name}@{job_of(sh, name)}")
        sh("delete", "pipeline", name)


def test_notice_about_a_field_without_effect(sh: Shell, repo: str) -> None:
    spec = json.loads(spec_of(f"{repo}-out", repo, "true")) | {"standby": True}
    ran = sh.try_("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == f"pipeline {repo}-out: no effect on a workstation: `standby`\n"


def test_bad_spec_is_wrong_usage(sh: Shell, here: Path) -> None:
    line = "unknown field `pipelin` in pipeline spec, did you mean `pipeline`?"
    assert sh.refused("create", "pipeline", "-f", "-", stdin=b'{"pipelin": {}}') == (2, line)
    assert sh.refused("create", "pipeline", "-f", "-", stdin=b"\xff")[0] == 2
    assert sh.refused("create", "pipeline", "-f", "none.json") == (1, "none.json: No such file or directory")


def test_pipeline_is_updated(sh: Shell, repo: str, pipeline: str) -> None:
    sh("update", "pipeline", "-f", "-", "--reprocess", stdin=spec_of(pipeline, repo, "echo again"))
    job = job_of(sh, pipeline)
    [found] = sh("wait", "job", f"{pipeline}@{job}", "--raw").objects
    assert (found["version"], found["processed"], found["state"]) == (2, 1, "success")
    assert sh("logs", "-j", f"{pipeline}@{job}").out == "again\n"


def test_pipeline_is_stopped_and_started(sh: Shell, pipeline: str) -> None:
    sh("stop", "pipeline", pipeline)
    assert "State: paused\n" in sh("inspect", "pipeline", pipeline).out
    sh("start", "pipeline", pipeline)
    assert "State: running\n" in sh("inspect", "pipeline", pipeline).out


def test_pipeline_is_deleted_without_its_repo(sh: Shell, pipeline: str) -> None:
    sh("delete", "pipeline", pipeline, "--keep-repo")
    assert sh.refused("inspect", "pipeline", pipeline) == (1, f'pipeline "{pipeline}" not found')
    assert pipeline in paths(sh("list", "repo"))


def test_job_is_shown(sh: Shell, pipeline: str) -> None:
    job = job_of(sh, pipeline)
    for words in (["-p", pipeline], [job]):
        listed = sh("list", "job", *words)
        assert " ".join(listed.out.splitlines()[0].split()) == "PIPELINE ID STARTED DURATION RESTART PROGRESS DL UL STATE"
        assert listed.rows[0][:2] == [pipeline, job]
        assert listed.rows[0][-8:] == ["1", "+", "0", "/", "1", "0B", "0B", "success"]
    assert sh("inspect", "job", job).out == sh("list", "job", job).out
    assert sh("inspect", "job", f"{pipeline}@{job}").out.startswith(f"ID: {job}\nPipeline: {pipeline}\n")
    assert pipeline in paths(sh("list", "job", "--expand"))


def test_ids_of_jobs_are_listed(sh: Shell, repo: str, pipeline: str) -> None:
    sh("wait", "job", f"{pipeline}@{(job := job_of(sh, pipeline))}")
    listed = sh("list", "job")
    assert listed.out.splitlines()[0].split() == ["ID", "SUBJOBS", "PROGRESS", "CREATED", "MODIFIED"]
    assert [job, "1", "▇" * 8] in [row[:3] for row in listed.rows]


def test_jobs_are_listed_by_what_they_read_and_by_version(sh: Shell, repo: str, pipeline: str) -> None:
    first = job_of(sh, pipeline)
    read = sh("list", "commit", repo).rows[0][2]
    sh("update", "pipeline", "-f", "-", stdin=spec_of(pipeline, repo, "true"))
    second = job_of(sh, pipeline)
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    third = job_of(sh, pipeline)
    assert [row[1] for row in sh("list", "job", "-i", f"{repo}@{read}").rows] == [second, first]
    assert [row[1] for row in sh("list", "job", "-p", pipeline, "--history", "none").rows] == [third, second]
    assert [row[1] for row in sh("list", "job", "-p", pipeline, "--history", "1").rows] == [third, second, first]
    for words in (["-p", pipeline], ["-p", pipeline, "--history", "all"]):
        assert [row[1] for row in sh("list", "job", *words).rows] == [third, second, first]
    assert sh.refused("list", "job", "-i", f"{repo}@master^^^^")[0] == 1


def test_job_is_waited_for_as_pachyderm_1_does(sh: Shell, repo: str, pipeline: str) -> None:
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    job = job_of(sh, pipeline)
    assert "State: success\n" in sh("inspect", "job", "--block", f"{pipeline}@{job}").out
    assert [row[:2] for row in sh("flush", "job", f"{repo}@master").rows] == [[pipeline, job]]
    assert [row[0] for row in sh("flush", "commit", f"{repo}@{job}").rows] == [pipeline, f"{pipeline}.meta"]
    assert [row[0] for row in sh("flush", "commit", f"{repo}@{job}", "-r", pipeline).rows] == [pipeline]


def test_what_a_datum_came_to_is_listed_and_read(sh: Shell, repo: str, pipeline: str) -> None:
    job = job_of(sh, pipeline)
    sh("wait", "job", f"{pipeline}@{job}")
    (datum,) = paths(sh("list", "datum", f"{pipeline}@{job}"))
    assert [row[0] for row in sh("list", "file", f"{pipeline}.meta@{job}:/").rows] == ["/meta/"]  # no file was laid out
    account = json.loads(sh("get", "file", f"{pipeline}.meta@master:/meta/{datum}/meta").out)
    assert (account["job"]["id"], account["state"], account["inputs"][0]["s3"]) == (job, "PROCESSED", True)
    assert f"{pipeline}.meta" in paths(sh("list", "repo", "--type", "meta"))
    assert f"{pipeline}.meta" not in paths(sh("list", "repo"))
    assert sh.refused("put", "file", f"{pipeline}.meta@master:/a", stdin=b"x")[1].startswith(f"repo {pipeline}.meta can not")
    assert sh.refused("create", "repo", f"{repo}.meta")[0] == 2


def test_wait_for_a_set_of_jobs(sh: Shell, repo: str, pipeline: str) -> None:
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    job = sh("list", "commit", repo).rows[0][2]
    assert [row[:2] for row in sh("wait", "job", job).rows] == [[pipeline, job]]
    waited = [row[:2] for row in sh("wait", "commit", job).rows]
    assert waited == [[name, "master"] for name in (repo, pipeline, f"{pipeline}.meta")]


def test_wait_for_what_fails_says_so(sh: Shell, repo: str) -> None:
    sh("create", "pipeline", "-f", "-", stdin=spec_of(f"{repo}-out", repo, "exit 3"))
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    job = job_of(sh, f"{repo}-out")
    ran = sh.try_("wait", "job", f"{repo}-out@{job}")
    assert (ran.status, ran.err) == (1, "")
    assert "State: failure\n" in ran.out
    for words in (["wait", "job", job], ["wait", "commit", job], ["wait", "commit", f"{repo}-out@master"]):
        assert sh.try_(*words).status == 1
    assert "failure: " in sh("list", "job", job).out


def test_job_is_stopped(sh: Shell, repo: str, pipeline: str) -> None:
    sh("update", "pipeline", "-f", "-", stdin=spec_of(pipeline, repo, "echo up; exec sleep 60"))
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    for job in {row[1] for row in sh("list", "job", "-p", pipeline).rows if row[-1] != "success"}:
        sh("stop", "job", f"{pipeline}@{job}")
        ran = sh.try_("wait", "job", f"{pipeline}@{job}", "--raw")
        assert (ran.status, ran.objects[0]["state"]) == (1, "killed")
        assert sh.refused("stop", "job", f"{pipeline}@{job}")[1].endswith("has already finished")


def test_datum_is_shown(sh: Shell, pipeline: str) -> None:
    job = job_of(sh, pipeline)
    [row] = sh("list", "datum", f"{pipeline}@{job}").rows
    assert row[2] == "success"
    shown = sh("inspect", "datum", f"{pipeline}@{job}", row[0]).out
    assert shown.startswith(f"ID: {row[0]}\nJob ID: {job}\nState: success\n")
    assert f"Files: {row[1]}\n" in shown
    assert sh.refused("inspect", "datum", f"{pipeline}@{job}", "00")[0] == 1


def test_logs_are_the_lines_of_user_code(sh: Shell, pipeline: str) -> None:
    job = job_of(sh, pipeline)
    [datum] = sh("list", "datum", f"{pipeline}@{job}").rows
    for words in (["-p", pipeline], ["-j", f"{pipeline}@{job}", "-f"], ["-p", pipeline, "--datum", datum[0]]):
        assert sorted(sh("logs", *words).out.split()) == ["hello", "world"]
    assert sh("logs", "-p", pipeline, "--datum", "00").out == ""
    streams = {line["message"]: line["stream"] for line in sh("logs", "-p", pipeline, "--raw").objects}
    assert (streams["hello"], streams["world"]) == ("stdout", "stderr")


def test_logs_of_nothing(sh: Shell) -> None:
    assert sh.refused("logs")[0] == 2
    assert sh.refused("inspect", "job", f"none@{NO_ID}") == (1, f"job none@{NO_ID} not found")
    assert sh.refused("wait", "job", NO_ID) == (1, f"job set {NO_ID} not found")


# -- credentials


def test_credentials_are_kept_listed_and_forgotten(sh: Shell, here: Path) -> None:
    (here / "google.json").write_text('{"type": "service_account", "client_email": "me", "private_key": "secret"}')
    sh("deploy", "storage", "amazon", "eu-west-1", "id-1", "secret-1", "token-1", "--endpoint", "http://127.0.0.1:9")
    sh("deploy", "storage", "google", "google.json")
    sh("deploy", "storage", "microsoft", "account", "c2VjcmV0", "--name", "theirs", "--bucket", "results")
    listed = sh("deploy", "storage", "list")
    assert sorted(listed.rows) == [
        ["amazon-127.0.0.1-9", "amazon", "eu-west-1", "http://127.0.0.1:9", "-"],
        ["google", "google", "-", "-", "-"],
        ["theirs", "microsoft", "-", "-", "results"],
    ]
    for name in paths(listed):
        sh("deploy", "storage", "delete", name)
    assert sh("deploy", "storage", "list").rows == []
    assert sh.refused("deploy", "storage", "delete", "theirs") == (1, "credential profile theirs not found")


def test_dry_run_keeps_nothing_and_shows_no_secret(sh: Shell) -> None:
    shown = sh("deploy", "storage", "amazon", "us-east-1", "id-1", "secret-1", "--dry-run").out
    assert shown == "Profile: amazon\nProvider: amazon\nRegion: us-east-1\n"
    assert sh("deploy", "storage", "list").rows == []


@pytest.mark.parametrize(("given", "stdin"), [("-", b"from-stdin\n"), ("@key", b"")])
def test_secret_need_not_be_an_argument(sh: Shell, appliance: Serving, here: Path, given: str, stdin: bytes) -> None:
    (here / "key").write_text("from-file\n")
    sh("deploy", "storage", "amazon", "us-east-1", "id-1", given, stdin=stdin)
    kept = (appliance.data / "credentials.json").read_text()
    sh("deploy", "storage", "delete", "amazon")
    assert '"secret_access_key": "from-' in kept


def test_credentials_that_can_not_be_used_are_refused(sh: Shell, here: Path) -> None:
    (here / "user.json").write_text('{"type": "authorized_user", "refresh_token": "secret"}')
    status, line = sh.refused("deploy", "storage", "google", "user.json")
    assert (status, "'authorized_user'" in line, "secret" in line) == (2, True, False)
    assert sh.refused("deploy", "storage", "microsoft", "account", "no-base64!") == (2, "an Azure account key is base64")


def test_missing_credentials_file(sh: Shell, here: Path) -> None:
    assert sh.refused("deploy", "storage", "google", "none.json") == (2, "error reading credentials file none.json")


# -- the appliance itself


def test_appliance_is_shown(sh: Shell, appliance: Serving) -> None:
    shown = sh("inspect", "appliance").out
    endpoint = appliance.said["S3 endpoint"]
    assert shown.startswith(f"Data: {appliance.data}\nS3 endpoint: {endpoint}\nMount: none\nDurability: fast\n")
    [raw] = sh("inspect", "appliance", "--raw").objects
    assert (raw["s3_endpoint"], raw["version"], raw["mount"]) == (endpoint, __version__, None)


def test_wait_for_the_appliance(sh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sh("wait", "appliance").out == ""
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    status, line = sh.refused("wait", "appliance", "--timeout", "0")
    assert (status, line.startswith("no appliance is running on ")) == (1, True)


def test_env_is_for_a_shell(sh: Shell, appliance: Serving) -> None:
    script = sh("env").out + 'echo "$AWS_ENDPOINT_URL $AWS_REGION"; test "$AWS_ACCESS_KEY_ID" = "$AWS_SECRET_ACCESS_KEY"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{appliance.said['S3 endpoint']} us-east-1\n"


def test_version(sh: Shell) -> None:
    assert sh("version").rows == [["pachctl", __version__], ["pachd", __version__]]
    assert sh("version", "--client-only").rows == [["pachctl", __version__]]


def test_pipe_that_nobody_reads_is_no_trouble(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/large", stdin=bytes(4 << 20))
    command = [sys.executable, "-m", "appliance", "get", "file", f"{repo}@master:/large"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), complaint) == (1, b"")


def test_nothing_running_is_said_in_one_line(sh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    line = f"no appliance is running on {tmp_path} (start one with `appliance serve`)"
    for words in (
        ["list", "repo"],
        ["get", "file", "data@master:/a"],
        ["logs", "-p", "x"],
        ["env"],
        ["wait", "commit", NO_ID],
    ):
        assert sh.refused(*words) == (1, line)
    ran = sh.try_("version")
    assert (ran.status, ran.rows, ran.err) == (1, [["pachctl", __version__]], line + "\n")
