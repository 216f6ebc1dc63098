"""Patterns, archives, what is there already, and what a file was before, on the command line."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cli.helpers import Shell, paths


@pytest.fixture
def tree(sh: Shell, repo: str) -> str:
    """A commit with `/a/1`, `/a/2`, `/b/3`, the empty directory `/c` and a file whose name is a pattern."""
    sh("start", "commit", f"{repo}@master")
    for path in ("/a/1", "/a/2", "/b/3", "/odd[1]"):
        sh("put", "file", f"{repo}@master:{path}", stdin=path.encode())
    sh("create", "directory", f"{repo}@master:/c")
    sh("finish", "commit", f"{repo}@master")
    return f"{repo}@master"


def below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_pattern_that_matches_one_file(sh: Shell, tree: str) -> None:
    assert sh("get", "file", f"{tree}:/b/*").out == "/b/3"
    assert sh("get", "file", f"{tree}:**[2]").out == "/a/2"


def test_name_that_looks_like_a_pattern_is_a_name_first(sh: Shell, tree: str) -> None:
    assert sh("get", "file", f"{tree}:/odd[1]").out == "/odd[1]"
    assert sh("get", "file", f"{tree}:/odd\\[1\\]").out == "/odd[1]"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("/a/*", "couldn't download /a/*: matched multiple files. Try again with the -r flag"),
        ("/[ab]", "couldn't download /[ab]: matched multiple files. Try again with the -r flag"),
        ("/[b]", "couldn't download /[b]: cannot get directory or non-regular file. Try again with the -r flag"),
    ],
)
def test_pattern_that_matches_no_single_file(sh: Shell, tree: str, pattern: str, line: str) -> None:
    assert sh.refused("get", "file", f"{tree}:{pattern}") == (2, line)


def test_pattern_that_matches_nothing(sh: Shell, tree: str, here: Path) -> None:
    for words in ([], ["-r", "-o", "out"], ["-r", "-o", "out.tar"]):
        assert sh.refused("get", "file", f"{tree}:/x*", *words)[0] == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/*", ["a", "a/1", "a/2", "b", "b/3", "c", "odd[1]"]),
        ("/a/[12]", ["1", "2"]),
        ("**", ["a", "a/1", "a/2", "b", "b/3", "c", "odd[1]"]),
        ("/{a,b}", ["a", "a/1", "a/2", "b", "b/3"]),
        ("/odd[1]", ["odd[1]"]),
    ],
)
def test_everything_a_pattern_matches(sh: Shell, tree: str, here: Path, path: str, expected: list[str]) -> None:
    sh("get", "file", f"{tree}:{path}", "-r", "-o", "out")
    assert below(here / "out") == expected


def test_only_what_is_special_in_a_pattern_ends_the_directory_that_is_left_out(sh: Shell, repo: str, here: Path) -> None:
    sh("put", "file", f"{repo}@master:/a+b/c@d/1", stdin=b"1")
    sh("get", "file", f"{repo}@master:/a+b/c@d/*", "-r", "-o", "out")
    assert below(here / "out") == ["1"]


@pytest.mark.parametrize("name", ["out.tar", "out.tar.gz", "out.tgz"])
def test_archive_of_a_commit(sh: Shell, repo: str, tree: str, here: Path, name: str) -> None:
    sh("get", "file", f"{tree}:/", "-r", "-o", name)
    with tarfile.open(here / name) as archive:
        assert [(member.name, member.isdir()) for member in archive] == [
            *[("a/1", False), ("a/2", False), ("b/3", False), ("c", True), ("odd[1]", False)]
        ]
    sh("put", "file", f"{repo}@again", "--untar", "-f", name)
    assert sh("diff", "file", f"{repo}@again", tree, "--name-only").rows == []


def test_archive_to_standard_output(sh: Shell, repo: str, here: Path) -> None:
    content = bytes(range(256)) * 9000
    sh("put", "file", f"{repo}@master:/d/large", stdin=content)
    command = [sys.executable, "-m", "appliance", "get", "file", f"{repo}@master:/d", "-r", "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        found = archive.extractfile("large")
        assert found is not None
        assert found.read() == content


def test_directory_that_is_called_like_an_archive(sh: Shell, tree: str, here: Path) -> None:
    (here / "out.tar").mkdir()
    sh("get", "file", f"{tree}:/a", "-r", "-o", "out.tar")
    assert below(here / "out.tar") == ["1", "2"]


def test_retry_adds_what_is_missing(sh: Shell, repo: str, here: Path) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"0123456789")
    for words in (["-o", "out/a"], ["-r", "-o", "out/"]):
        (here / "out").mkdir(exist_ok=True)
        (here / "out/a").write_text("here-")
        sh("get", "file", f"{repo}@master:/a", *words, "--retry", "--no-progress")
        assert (here / "out/a").read_text() == "here-56789"
        sh("get", "file", f"{repo}@master:/a", *words)
        assert (here / "out/a").read_text() == "0123456789"
    (here / "out/a").unlink()
    sh("get", "file", f"{repo}@master:/a", "-o", "out/a", "--retry")
    assert (here / "out/a").read_text() == "0123456789"


def test_versions_of_a_file(sh: Shell, repo: str) -> None:
    for text in ("1", "22"):
        sh("put", "file", f"{repo}@master:/a", stdin=text.encode())
    sh("put", "file", f"{repo}@master:/other", stdin=b"x")
    sh("delete", "file", f"{repo}@master:/a")
    ids = [commit["id"] for commit in sh("list", "commit", repo, "--raw").objects]
    listed = sh("list", "file", f"{repo}@master:/a", "--history", "all")
    assert listed.out.split()[:5] == ["COMMIT", "NAME", "TYPE", "COMMITTED", "SIZE"]
    assert [(row[0], row[1], row[2], row[-1]) for row in listed.rows] == [
        (ids[0], "/a", "deleted", "-"),
        (ids[2], "/a", "file", "2B"),
        (ids[3], "/a", "file", "1B"),
    ]
    assert paths(sh("list", "file", f"{repo}@master:/a", "--history", "1")) == ids[:1]
    for words in ([f"{repo}@master", "--history", "all"], [f"{repo}@master:/a", "--history", "some"]):
        assert sh.refused("list", "file", *words)[0] == 2
