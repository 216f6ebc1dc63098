"""Taking commits out of history, and finding those that touched a file, on the command line."""

import os
import subprocess
import sys

from cli.helpers import Serving, Shell


def put(sh: Shell, repo: str, path: str, text: str = "x") -> str:
    """Put a file and return the id of the commit it made."""
    sh("put", "file", f"{repo}@master:{path}", stdin=text.encode())
    return head(sh, repo)


def head(sh: Shell, repo: str) -> str:
    found: str = sh("inspect", "commit", f"{repo}@master", "--raw").objects[0]["commit"]["id"]
    return found


def history(sh: Shell, repo: str) -> list[str]:
    return [commit["id"] for commit in sh("list", "commit", f"{repo}@master", "--raw").objects]


def test_squashed_commit_is_gone_and_its_files_are_not(sh: Shell, repo: str) -> None:
    first, second = put(sh, repo, "/a"), put(sh, repo, "/b")
    sh("squash", "commit", first)
    assert history(sh, repo) == [second]
    assert sh("get", "file", f"{repo}@master:/a").out == "x"


def test_squash_of_the_head_says_what_to_do_instead(sh: Shell, repo: str) -> None:
    first = put(sh, repo, "/a")
    status, line = sh.refused("squash", "commit", f"{repo}@master")
    assert (status, line.endswith(f"use the drop operation instead: {repo}@{first}")) == (1, True)


def test_deleted_commit_goes_with_its_files(sh: Shell, repo: str) -> None:
    first = put(sh, repo, "/a")
    put(sh, repo, "/b")
    sh("delete", "commit", f"{repo}@master")
    assert history(sh, repo) == [first]
    assert sh.refused("get", "file", f"{repo}@master:/b")[0] == 1


def test_deleted_set_by_its_id(sh: Shell, repo: str) -> None:
    first, second = put(sh, repo, "/a"), put(sh, repo, "/b")
    assert sh.refused("delete", "commit", first) == (1, f"cannot drop a commit that has children: {repo}@{first}")
    sh("delete", "commit", second)
    assert history(sh, repo) == [first]


def test_cleared_commit_is_as_it_was_started(sh: Shell, repo: str) -> None:
    put(sh, repo, "/a")
    sh("start", "commit", f"{repo}@master")
    sh("put", "file", f"{repo}@master:/b", stdin=b"y")
    sh("clear", "commit", f"{repo}@master")
    assert [entry["path"] for entry in sh("list", "file", f"{repo}@master", "--raw").objects] == ["/a"]
    sh("finish", "commit", f"{repo}@master")
    assert sh.refused("clear", "commit", f"{repo}@master") == (1, "cannot clear finished commit")


def test_commits_that_touched_a_file(sh: Shell, repo: str) -> None:
    first = put(sh, repo, "/a")
    put(sh, repo, "/b")
    third = put(sh, repo, "/a", "longer")
    found = sh("find", "commit", f"{repo}@master:/a")
    assert [(row[0], row[1], row[-1]) for row in found.rows] == [("*", third, "6B"), ("+", first, "1B")]
    assert len(sh("find", "commit", f"{repo}@master:/a", "--limit", "1").rows) == 1
    assert sh("find", "commit", f"{repo}@master:/nothing").out == "no commits found.\n"


# -- listing and following


def test_list_is_cut_at_a_commit_a_number_and_an_origin(sh: Shell, repo: str) -> None:
    first, second, third = (put(sh, repo, "/a", text) for text in "123")
    listed = sh("list", "commit", f"{repo}@master", "--from", first, "--raw").objects
    assert [commit["id"] for commit in listed] == [third, second]
    assert [row[2] for row in sh("list", "commit", repo, "-n", "1").rows] == [third]
    assert sh("list", "commit", repo, "--origin", "AUTO").rows == []
    assert sh.try_("list", "commit", repo, "--origin", "AUTO", "--all").status == 2


def test_sets_are_listed_with_what_became_of_them(sh: Shell, repo: str) -> None:
    first = put(sh, repo, "/a")
    sh("start", "commit", f"{repo}@master")
    unfinished, finished = sh("list", "commit", "-n", "2", "--raw").objects
    assert (finished["id"], finished["commits"], finished["unfinished"], finished["failed"]) == (first, 1, 0, 0)
    assert unfinished["unfinished"] == 1
    assert first in sh("list", "commit", "-x").out
    sh("finish", "commit", f"{repo}@master")


def test_subscription_has_what_was_there_and_what_comes(appliance: Serving, sh: Shell, repo: str) -> None:
    first = put(sh, repo, "/a")
    command = [sys.executable, "-m", "appliance", "subscribe", "commit", f"{repo}@master", "--raw"]
    environment = {**os.environ, "APPLIANCE_HOME": str(appliance.data)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = (line.split('"')[3] for line in process.stdout if line.startswith('  "id"'))
            assert next(found) == first
            second = put(sh, repo, "/a", "again")
            assert next(found) == second
        finally:
            process.terminate()


def test_subscription_to_what_is_not_there_is_refused(sh: Shell) -> None:
    assert sh.refused("subscribe", "commit", "nothing@master") == (1, "repo nothing not found")
