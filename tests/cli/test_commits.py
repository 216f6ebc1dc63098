"""Taking commits out of history, and finding those that touched a file, on the command line."""

from cli.helpers import Shell


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
