"""Repos and branches on the command line: forced deletion, triggers, everything at once."""

from pathlib import Path

import pytest
from cli.helpers import Shell, paths, serving


def test_one_repo_is_listed(sh: Shell, repo: str) -> None:
    assert paths(sh("list", "repo", repo)) == [repo]
    assert sh("list", "repo", repo, "--type", "meta").rows == []
    assert repo in paths(sh("list", "repos", "--all"))
    assert sh.refused("list", "repo", "none") == (1, "repo none not found")


def test_reserved_name_is_refused(sh: Shell) -> None:
    assert sh.refused("create", "repo", "__filesets__") == (2, "__filesets__ is a reserved name")


def test_repo_that_others_were_made_from_goes_when_forced(sh: Shell, repo: str) -> None:
    sh("create", "repo", f"{repo}-down")
    sh("create", "branch", f"{repo}-down@master", "-p", f"{repo}@master")
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    assert sh.refused("delete", "repo", repo)[0] == 1
    sh("delete", "repo", repo, "--force")
    assert repo not in paths(sh("list", "repo"))
    assert "Provenance" not in sh("inspect", "branch", f"{repo}-down@master").out
    assert "Provenance" not in sh("inspect", "commit", f"{repo}-down@master").out
    assert sh("fsck").out == "No errors found.\n"


def test_branch_that_others_are_made_from_goes_when_forced(sh: Shell, repo: str) -> None:
    sh("create", "repo", f"{repo}-down")
    sh("create", "branch", f"{repo}-down@master", "-p", f"{repo}@master")
    assert sh.refused("delete", "branch", f"{repo}@master")[0] == 1
    sh("delete", "branch", f"{repo}@master", "-f")
    assert sh("list", "branch", repo).rows == []
    assert "Provenance" not in sh("inspect", "branch", f"{repo}-down@master").out


def test_input_of_a_pipeline_stays_also_when_forced(sh: Shell, repo: str) -> None:
    spec = f"pipeline: {{name: {repo}-out}}\ninput: {{pfs: {{repo: {repo}, glob: /}}}}\ntransform: {{cmd: ['true']}}\n"
    sh("create", "pipeline", "-f", "-", stdin=spec.encode())
    line = f"branch {repo}@master is an input of pipeline {repo}-out - delete the pipeline first"
    assert sh.refused("delete", "repo", repo, "-f") == (1, line)
    assert sh.refused("delete", "branch", f"{repo}@master", "-f") == (1, line)
    sh("delete", "pipeline", f"{repo}-out")
    sh("delete", "repo", repo, "-f")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("--trigger-commits 2", "master on Commits(2)"),
        ("--trigger-size 100M --trigger-commits 3", "master on Size(100M) or Commits(3)"),
        ("--trigger-size 1K --trigger-commits 3 --trigger-all", "master on Size(1K) and Commits(3)"),
        ("--trigger-cron @daily", "master on Cron(@daily)"),
        ("--trigger-rate-limit @hourly", "master on RateLimit(@hourly)"),
    ],
)
def test_trigger_is_shown(sh: Shell, repo: str, options: str, shown: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    sh("create", "branch", f"{repo}@stable", "-t", "master", *options.split())
    assert f"Trigger: {shown}\n" in sh("inspect", "branch", f"{repo}@stable").out
    assert [" ".join(row[2:]) for row in sh("list", "branch", repo).rows] == ["-", shown]


def test_trigger_takes_the_head_over(sh: Shell, repo: str) -> None:
    sh("create", "branch", f"{repo}@stable", "--trigger", "master", "--trigger-commits", "2")
    for path, found in (("/a", []), ("/b", ["/a", "/b"]), ("/c", ["/a", "/b"])):
        sh("put", "file", f"{repo}@master:{path}", stdin=b"x")
        assert paths(sh("list", "file", f"{repo}@stable")) == found


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--trigger-commits 2", "triggers must specify a branch to trigger on"),
        ("-t master --trigger-size much", "invalid trigger size: "),
        ("-t master --trigger-cron sometimes", "invalid trigger cron spec: "),
        ("-t stable --trigger-commits 1", "triggers cannot form a loop"),
        ("-t master --trigger-commits 1 -p {repo}-up@master", "a branch cannot have both provenance and a trigger"),
    ],
)
def test_trigger_that_makes_no_sense(sh: Shell, repo: str, options: str, line: str) -> None:
    sh("create", "repo", f"{repo}-up")
    status, said = sh.refused("create", "branch", f"{repo}@stable", *options.format(repo=repo).split())
    assert (status, said.startswith(line)) == (2, True), said


def test_everything_is_deleted_after_a_yes(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as running:
        sh = Shell(capsysbinary, monkeypatch, running.data)
        sh("create", "repo", "data")
        spec = "pipeline: {name: out}\ninput: {pfs: {repo: data, glob: /}}\ntransform: {cmd: ['true']}\n"
        sh("create", "pipeline", "-f", "-", stdin=spec.encode())
        asked = sh.try_("delete", "all", stdin=b"n\n")
        assert (asked.status, asked.err.splitlines()[:3]) == (0, ["repo out", "repo data", "pipeline out"])
        assert paths(sh("list", "repo")) == ["out", "data"]
        sh("start", "transaction")
        sh("delete", "all", "--yes")
        for noun in ("repo", "pipeline", "transaction", "commit", "job"):
            assert sh("list", noun).rows == []
        sh("create", "repo", "data")
        assert sh("fsck").out == "No errors found.\n"
