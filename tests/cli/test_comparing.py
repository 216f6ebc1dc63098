"""Patterns, copies and differences on the command line."""

from pathlib import Path

import pytest
from cli.helpers import Shell, paths


@pytest.fixture
def tree(sh: Shell, repo: str) -> str:
    """A repo with `/a/1`, `/a/2` and `/b`, and a second commit that changed, added and deleted."""
    for path in ("/a/1", "/a/2", "/b"):
        sh("put", "file", f"{repo}@master:{path}", stdin=b"old\n")
    sh("start", "commit", f"{repo}@master")
    sh("put", "file", f"{repo}@master:/a/1", stdin=b"new\n")
    sh("put", "file", f"{repo}@master:/c", stdin=b"c\n")
    sh("delete", "file", f"{repo}@master:/b")
    sh("finish", "commit", f"{repo}@master")
    return repo


def test_glob_lists_files_and_directories(sh: Shell, tree: str) -> None:
    assert paths(sh("glob", "file", f"{tree}@master:/*")) == ["/a/", "/c"]
    assert paths(sh("glob", "file", f"{tree}@master:**[12]")) == ["/a/1", "/a/2"]
    assert sh("glob", "file", f"{tree}@master:/x*").rows == []
    assert sh.refused("glob", "file", f"{tree}@master:/[")[0] == 2


def test_copied_file_and_directory(sh: Shell, tree: str) -> None:
    sh("copy", "file", f"{tree}@master:/c", f"{tree}@master:/d")
    sh("copy", "file", f"{tree}@master:/a", f"{tree}@dev:/x/y")
    assert sh("get", "file", f"{tree}@master:/d").out == "c\n"
    assert paths(sh("list", "file", f"{tree}@dev:/x/y")) == ["/x/y/1", "/x/y/2"]


def test_copy_can_append(sh: Shell, tree: str) -> None:
    sh("copy", "file", f"{tree}@master:/c", f"{tree}@master:/a/1", "--append")
    assert sh("get", "file", f"{tree}@master:/a/1").out == "new\nc\n"


def test_directory_is_copied_below_itself(sh: Shell, tree: str) -> None:
    sh("copy", "file", f"{tree}@master:/a", f"{tree}@master:/a/copy")
    assert paths(sh("glob", "file", f"{tree}@master:/a/**")) == ["/a/1", "/a/2", "/a/copy/", "/a/copy/1", "/a/copy/2"]


def test_copy_of_what_is_not_there_makes_no_commit(sh: Shell, tree: str) -> None:
    before = sh("list", "commit", tree).out
    assert sh.refused("copy", "file", f"{tree}@master:/x", f"{tree}@master:/y")[0] == 1
    assert len(sh("list", "commit", tree).out.splitlines()) == len(before.splitlines())


def test_names_that_differ_from_the_parent(sh: Shell, tree: str) -> None:
    found = sh("diff", "file", f"{tree}@master", "--name-only").rows
    assert [row[:2] for row in found] == [["-", "/a/1"], ["+", "/a/1"], ["-", "/b"], ["+", "/c"]]
    shallow = sh("diff", "file", f"{tree}@master", "-s").rows
    assert [row[:2] for row in shallow] == [["-", "/a/"], ["+", "/a/"], ["-", "/b"], ["+", "/c"]]


def test_names_that_differ_from_another_commit(sh: Shell, tree: str) -> None:
    found = sh("diff", "file", f"{tree}@master:/a", f"{tree}@master~3:/a", "--name-only").rows
    assert [row[:2] for row in found] == [["-", "/a/1"], ["+", "/a/1"], ["+", "/a/2"]]


def test_difference_of_contents(sh: Shell, tree: str, here: Path) -> None:
    """The program gets two files; this one keeps what it was given."""
    (here / "keep").write_text(f'#!/bin/sh\ncat "$1" "$2" >> {here}/seen\n')
    (here / "keep").chmod(0o755)
    sh("diff", "file", f"{tree}@master", "--diff-command", str(here / "keep"))
    assert (here / "seen").read_text() == "old\nnew\nold\nc\n"
    assert sh.refused("diff", "file", f"{tree}@master", "--diff-command", "no-such-program")[0] == 2


def test_created_directory_is_listed(sh: Shell, repo: str) -> None:
    sh("create", "directory", f"{repo}@master:/empty/below")
    assert paths(sh("glob", "file", f"{repo}@master:**")) == ["/empty/", "/empty/below/"]
