"""Putting, getting, listing and deleting files against a real appliance."""

import os
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, paths, write_tree


@pytest.fixture
def tree(here: Path) -> Path:
    """Two files and a directory with two more, in the working directory."""
    write_tree(here, ["one", "two", "dir/three", "dir/sub/four"])
    (here / "dir" / "empty").mkdir()
    return here


def all_paths(sh: Shell, directory: str, scratch: Path) -> list[str]:
    """Return every file of a repo, by way of the whole tree copied into a scratch directory."""
    copy = scratch / "copy"
    sh("get", "file", f"{directory}:/", "-r", "-o", copy)
    return sorted("/" + str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "sources", "expected"),
    [
        ("", "-f one", ["/one"]),
        (":", "-f one", ["/one"]),
        (":/p", "-f one", ["/p"]),
        (":p/q", "-f one", ["/p/q"]),
        (":/p/", "-f one", ["/p/one"]),
        ("", "-f ./dir/three", ["/three"]),
        ("", "-r -f dir", ["/dir/sub/four", "/dir/three"]),
        ("", "-r -f dir/", ["/dir/sub/four", "/dir/three"]),
        (":/p", "-r -f dir", ["/p/sub/four", "/p/three"]),
        (":/p/", "-r -f dir", ["/p/sub/four", "/p/three"]),
        (":/", "-r -f dir", ["/sub/four", "/three"]),
        ("", "-r -f .", ["/dir/sub/four", "/dir/three", "/one", "/two"]),
        ("", "-r -f one", ["/one"]),
        ("", "-f one -f two", ["/one", "/two"]),
        (":/p", "-f one -f two", ["/p/one", "/p/two"]),
        (":/p", "-r -f one -f dir", ["/p/dir/sub/four", "/p/dir/three", "/p/one"]),
        (":/p", "-i list", ["/p/one", "/p/two"]),
        (":/p", "-i list -f dir/three", ["/p/one", "/p/three", "/p/two"]),
    ],
)
def test_target(sh: Shell, repo: str, tree: Path, tmp_path: Path, path: str, sources: str, expected: list[str]) -> None:
    if "list" in sources:
        (tree / "list").write_text("one\n\n two\n")
    assert sh("put", "file", f"{repo}@master{path}", *sources.split()).out == ""
    assert all_paths(sh, f"{repo}@master", tmp_path) == expected
    assert len(sh("list", "commit", repo).rows) == 1


def test_list_of_sources_from_stdin(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", repo, "-i", "-", stdin=b"one\ntwo\n")
    assert paths(sh("list", "file", repo)) == ["/one", "/two"]


def test_stdin_becomes_a_file(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"from stdin")
    sh("put", "file", f"{repo}@master:/b", "-f", "-", stdin=b"")
    assert sh("get", "file", f"{repo}@master:/a").out == "from stdin"
    assert sh("get", "file", f"{repo}@master:/b").out == ""


def test_put_replaces_and_appends_when_told(sh: Shell, repo: str, tree: Path) -> None:
    for word, options in ((b"first ", ()), (b"second ", ("-a",)), (b"third", ("--append",))):
        sh("put", "file", f"{repo}@master:/a", *options, stdin=word)
    assert sh("get", "file", f"{repo}@master:/a").out == "first second third"
    sh("put", "file", f"{repo}@master:/a", "-f", "one")
    assert sh("get", "file", f"{repo}@master:/a").out == "one"
    assert sh("get", "file", f"{repo}@master^:/a").out == "first second third"


def test_links_are_the_files_behind_them(sh: Shell, repo: str, here: Path) -> None:
    write_tree(here, ["dir/file", "elsewhere"])
    (here / "dir" / "link").symlink_to("../elsewhere")
    sh("put", "file", f"{repo}@master:/", "-r", "-f", "dir")
    assert sh("get", "file", f"{repo}@master:/link").out == "elsewhere"
    (here / "dir" / "broken").symlink_to("nowhere")
    assert sh.refused("put", "file", f"{repo}@master:/", "-r", "-f", "dir") == (1, "dir/broken: No such file or directory")
    assert len(sh("list", "commit", repo).rows) == 1


@pytest.mark.parametrize(
    ("sources", "status", "line"),
    [
        ("-f none", 1, "none: No such file or directory"),
        ("-r -f none", 1, "none doesn't exist"),
        ("-f one -f none", 1, "none: No such file or directory"),
        ("-f dir", 2, "read dir: is a directory (-r puts everything below it)"),
        ("-i none", 1, "none: No such file or directory"),
        ("-i http://127.0.0.1/list", 2, "the list of sources is a file of this machine, or - for stdin"),
    ],
)
def test_source_that_can_not_be_put(sh: Shell, repo: str, tree: Path, sources: str, status: int, line: str) -> None:
    assert sh.refused("put", "file", f"{repo}@master", *sources.split()) == (status, line)
    assert sh("list", "commit", repo).rows == []


def test_pipe_in_a_directory_is_refused(sh: Shell, repo: str, tree: Path) -> None:
    os.mkfifo("dir/pipe")
    assert sh.refused("put", "file", repo, "-r", "-f", "dir") == (2, "read dir/pipe: is not a regular file")


def test_target_is_checked_before_bytes_are_sent(sh: Shell, repo: str, tree: Path) -> None:
    assert sh.refused("put", "file", "none@master", "-f", "one") == (1, "repo none not found")
    sh("put", "file", f"{repo}@master:/a", "-f", "one")
    commit = sh("list", "commit", repo).rows[0][2]
    assert sh.refused("put", "file", f"{repo}@{commit}:/b", "-f", "one") == (1, f"commit {commit} has already finished")
    assert sh.refused("put", "file", f"{repo}@master^:/b", "-f", "one")[0] == 1


def test_file_below_a_file_is_refused_with_all_others(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/p/one", "-f", "one")
    status, line = sh.refused("put", "file", f"{repo}@master:/p/one", "-f", "one", "-f", "two")
    assert (status, "/p/one" in line) == (1, True)
    assert len(sh("list", "commit", repo).rows) == 1


@pytest.fixture
def url(sh: Shell, repo: str, appliance: Serving) -> str:
    """The address of an S3 bucket with /some/page and /other in it: a repo of the appliance itself, from outside."""
    source, endpoint = f"{repo}-source", appliance.said["S3 endpoint"]
    sh("create", "repo", source)
    for name in ("some/page", "other"):
        sh("put", "file", f"{source}@master:/{name}", stdin=name.encode())
    sh("deploy", "storage", "amazon", "us-east-1", "same", "same", "--endpoint", endpoint)
    return f"s3://master.{source}/{{}}?endpoint={endpoint}"


def test_url_is_fetched(sh: Shell, repo: str, url: str, tmp_path: Path) -> None:
    sh("put", "file", f"{repo}@master", "-f", url.format("some/page"))
    sh("put", "file", f"{repo}@master:/named", "-f", url.format("some/page"))
    sh("put", "file", f"{repo}@master:/all", "-r", "-f", url.format(""))
    assert all_paths(sh, repo, tmp_path) == ["/all/other", "/all/some/page", "/named", "/page"]
    assert sh("get", "file", f"{repo}:/page").out == "some/page"


def test_urls_and_files_are_one_commit(sh: Shell, repo: str, url: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/p", "-f", url.format("other"), "-f", "one", "-f", url.format("some/page"))
    assert paths(sh("list", "file", f"{repo}:/p")) == ["/p/one", "/p/other", "/p/page"]
    sh("put", "file", f"{repo}@master:/p/one", "-a", "-f", url.format("other"))
    assert sh("get", "file", f"{repo}:/p/one").out == "oneother"
    assert len(sh("list", "commit", repo).rows) == 2


def test_url_of_no_store_is_refused(sh: Shell, repo: str) -> None:
    assert sh.refused("put", "file", repo, "-f", "ftp://host/a") == (2, "unrecognized object store: ftp")
    assert sh.refused("put", "file", repo, "-f", "file:///etc/passwd")[0] == 1


# -- getting


def test_get_writes_a_file_or_into_a_directory(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/d/", "-f", "one")
    for output, place in (("copy", "copy"), ("dir", "dir/one"), ("dir/", "dir/one")):
        assert sh("get", "file", f"{repo}@master:/d/one", "-o", output).out == ""
        assert (tree / place).read_text() == "one"
        (tree / place).unlink()


def test_get_from_an_offset(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/a", stdin=b"0123456789")
    assert sh("get", "file", f"{repo}@master:/a", "--offset", "7").out == "789"
    assert sh("get", "file", f"{repo}@master:/a", "--offset", "10").out == ""
    assert sh.refused("get", "file", f"{repo}@master:/a", "--offset", "11")[0] == 2


def test_get_of_bytes_of_any_kind(sh: Shell, repo: str, here: Path) -> None:
    content = bytes(range(256)) * 20_000
    sh("put", "file", f"{repo}@master:/a", stdin=content)
    sh("get", "file", f"{repo}@master:/a", "-o", "a")
    assert (here / "a").read_bytes() == content


def test_get_tree_leaves_the_directory_itself_out(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/", "-r", "-f", "dir")
    sh("get", "file", f"{repo}@master:/sub", "-r", "-o", "out/deep")
    assert (tree / "out/deep/four").read_text() == "dir/sub/four"
    sh("get", "file", f"{repo}@master:/three", "-r", "-o", "out")
    assert (tree / "out/three").read_text() == "dir/three"


def test_get_tree_of_more_than_a_page(sh: Shell, repo: str, here: Path) -> None:
    names = [f"many/{number:04}" for number in range(1100)]
    write_tree(here, names)
    sh("put", "file", f"{repo}@master:/", "-r", "-f", "many")
    sh("get", "file", f"{repo}@master:/", "-r", "-o", "out")
    assert len(list((here / "out").iterdir())) == 1100


def test_get_of_what_is_not_there_makes_no_file(sh: Shell, repo: str, here: Path) -> None:
    sh("put", "file", f"{repo}@master:/d/a", stdin=b"x")
    assert sh.refused("get", "file", f"{repo}@master:/none", "-o", "none")[0] == 1
    assert sh.refused("get", "file", f"{repo}@master:/none", "-r", "-o", "none") == (
        1,
        f"file /none not found in {repo}@master",
    )
    _, line = sh.refused("get", "file", f"{repo}@master:/d", "-o", "none")
    assert line == "couldn't download /d: cannot get directory or non-regular file. Try again with the -r flag"
    assert not (here / "none").exists()
    assert sh.refused("get", "file", f"{repo}@master:/d/a", "-o", "s3://bucket/a")[0] == 1


# -- listing, inspecting, deleting


def test_files_are_listed(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/", "-r", "-f", ".")
    assert sh("list", "file", f"{repo}@master").rows == [
        ["/dir/", "dir", "21B"],
        ["/one", "file", "3B"],
        ["/two", "file", "3B"],
    ]
    assert paths(sh("list", "file", f"{repo}@master:/dir")) == ["/dir/sub/", "/dir/three"]
    assert sh("list", "file", f"{repo}@master:/one").rows == [["/one", "file", "3B"]]
    assert [found["path"] for found in sh("list", "file", repo, "--raw").objects] == ["/dir/", "/one", "/two"]


def test_file_is_inspected(sh: Shell, repo: str) -> None:
    sh("put", "file", f"{repo}@master:/d/a", stdin=b"x")
    assert sh("inspect", "file", f"{repo}@master:/d/a").out.startswith("Path: /d/a\nType: file\nSize: 1B\nDigest: ")
    assert sh("inspect", "file", f"{repo}@master:/d").out == "Path: /d/\nType: dir\nSize: 1B\n"
    assert sh.refused("inspect", "file", f"{repo}@master:/none")[0] == 1


def test_file_is_deleted(sh: Shell, repo: str, tree: Path) -> None:
    sh("put", "file", f"{repo}@master:/", "-r", "-f", ".")
    sh("delete", "file", f"{repo}@master:/one")
    assert sh.refused("delete", "file", f"{repo}@master:/dir")[0] == 2
    sh("delete", "file", f"{repo}@master:/dir", "-r")
    assert paths(sh("list", "file", repo)) == ["/two"]
