"""Putting what is in tar archives, and the flags of `put file` about names."""

import io
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell, paths, write_tree


def make_tar(place: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> None:
    """Write an archive; a name with a slash behind it is a directory."""
    with tarfile.open(place, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            if member[0].endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(member[1]))


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def files(sh: Shell, where: str) -> list[str]:
    return paths(sh("glob", "file", f"{where}:**"))


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_archive_becomes_its_files_below_the_path(sh: Shell, repo: str, here: Path, name: str, mode: str) -> None:
    large = bytes(range(256)) * 4096
    make_tar(here / name, ("./one", b"1"), ("/d/two", b"22"), ("d/large", large), ("empty/", b""), mode=mode)
    sh("put", "file", f"{repo}@master:/p", "--untar", "-f", name)
    assert files(sh, f"{repo}@master") == ["/p/", "/p/d/", "/p/d/large", "/p/d/two", "/p/empty/", "/p/one"]
    assert sh("inspect", "file", f"{repo}@master:/p/d/large", "--raw").objects[0]["size_bytes"] == len(large)
    assert sh("get", "file", f"{repo}@master:/p/d/two").out == "22"
    sh("put", "file", f"{repo}@root", "--untar", "-f", name)
    assert files(sh, f"{repo}@root") == ["/d/", "/d/large", "/d/two", "/empty/", "/one"]
    assert len(sh("list", "commit", repo).rows) == 2


def test_archive_on_stdin(sh: Shell, repo: str, here: Path) -> None:
    make_tar(here / "a.tar", ("one", b"1"))
    sh("put", "file", f"{repo}@master:/p/", "--untar", stdin=(here / "a.tar").read_bytes())
    assert files(sh, f"{repo}@master") == ["/p/", "/p/one"]


def test_archive_without_untar_and_a_file_with_it_are_files(sh: Shell, repo: str, here: Path) -> None:
    make_tar(here / "a.tar", ("one", b"1"))
    write_tree(here, ["b.txt"])
    sh("put", "file", f"{repo}@master", "-f", "a.tar")
    sh("put", "file", f"{repo}@master", "--untar", "-f", "b.txt")
    assert files(sh, f"{repo}@master") == ["/a.tar", "/b.txt"]


@pytest.mark.parametrize(
    ("member", "line"),
    [
        (("../out", b"x"), "path (../out) invalid: relative file paths are not allowed"),
        (("a/../../out", b"x"), "path (a/../../out) invalid: relative file paths are not allowed"),
        (link("a", "/etc/passwd"), "'a' is neither a file nor a directory"),
        (link("a", "first", tarfile.LNKTYPE), "'a' is neither a file nor a directory"),
        (link("a", "", tarfile.CHRTYPE), "'a' is neither a file nor a directory"),
        (link("a", "", tarfile.GNUTYPE_SPARSE), "'a' is a sparse file"),
    ],
)
def test_archive_with_something_hostile_is_refused_as_a_whole(
    sh: Shell, repo: str, here: Path, member: tarfile.TarInfo | tuple[str, bytes], line: str
) -> None:
    make_tar(here / "a.tar", ("first", b"1"), member)
    assert sh.refused("put", "file", f"{repo}@master", "--untar", "-f", "a.tar") == (1, f"read a.tar: {line}")
    assert sh("list", "commit", repo).rows == []


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archive_that_is_cut_off_anywhere_is_refused(sh: Shell, repo: str, here: Path, mode: str) -> None:
    make_tar(here / "whole.tar", ("one", b"1"), ("two", random.Random(0).randbytes(4096)), mode=mode)
    whole = (here / "whole.tar").read_bytes()
    end = 4096 if mode == "w:gz" else 512 * 11  # some of the second file is missing, or just what says that it was the last
    for length in range(0, end + 1, 256):
        (here / "a.tar").write_bytes(whole[:length])
        status, line = sh.refused("put", "file", f"{repo}@master", "--untar", "-f", "a.tar")
        assert (status, line[:11]) == (1, "read a.tar:"), length
    assert sh("list", "commit", repo).rows == []


def test_header_of_any_length_is_not_believed(sh: Shell, repo: str, here: Path) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (here / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    line = "read a.tar: a header is larger than 1 MiB"
    assert sh.refused("put", "file", f"{repo}@master", "--untar", "-f", "a.tar") == (1, line)


def test_url_is_not_unpacked(sh: Shell, repo: str) -> None:
    words = ("put", "file", f"{repo}@master", "--untar", "-f", "s3://bucket/a.tar")
    assert sh.refused(*words) == (2, "cannot use --untar with a URL")


# -- names


@pytest.mark.parametrize(
    ("path", "sources", "expected"),
    [
        ("", "-f dir/three", ["/dir/three"]),
        ("", "-f ./dir/../dir/three", ["/dir/three"]),
        ("", "-f ../here/one", ["/here/one"]),
        (":/p", "-f dir/three", ["/p"]),
        (":/p/", "-f dir/three", ["/p/dir/three"]),
        (":/p", "-f one -f dir/three", ["/p/dir/three", "/p/one"]),
        ("", "-r -f dir/sub", ["/dir/sub/four"]),
        (":/p", "-r -f dir/sub", ["/p/four"]),
        (":/p/", "-r -f dir/sub", ["/p/dir/sub/four"]),
        (":/", "-r -f dir/sub", ["/dir/sub/four"]),
        (":/", "-r -f dir/sub -f one", ["/dir/sub/four", "/one"]),
    ],
)
def test_full_path(sh: Shell, repo: str, here: Path, path: str, sources: str, expected: list[str]) -> None:
    write_tree(here, ["one", "dir/three", "dir/sub/four"])
    sh("put", "file", f"{repo}@master{path}", "--full-path", *sources.split())
    assert [
        found["path"] for found in sh("glob", "file", f"{repo}@master:**", "--raw").objects if not found["is_dir"]
    ] == expected


def test_absolute_name_is_kept_below_the_root(sh: Shell, repo: str, here: Path) -> None:
    write_tree(here, ["one"])
    sh("put", "file", f"{repo}@master", "--full-path", "-f", str(here / "one"))
    assert sh("get", "file", f"{repo}@master:{here}/one").out == "one"


def test_the_last_of_two_sources_with_one_path_wins(sh: Shell, repo: str, here: Path) -> None:
    write_tree(here, [f"{number:02}/same" for number in range(40)])
    sources = [word for number in range(40) for word in ("-f", f"{number:02}/same")]
    sh("put", "file", f"{repo}@master:/", *sources, "-p", "16")
    assert sh("get", "file", f"{repo}@master:/same").out == "39/same"
    sh("put", "file", f"{repo}@other:/", "-a", *sources[:6], "--compress", "--no-progress")
    assert sh("get", "file", f"{repo}@other:/same").out == "00/same01/same02/same"


def test_nothing_stays_of_a_put_that_fails(sh: Shell, repo: str, here: Path) -> None:
    write_tree(here, ["one"])
    sh.refused("put", "file", f"{repo}@master", "-f", "one", "-f", "none")
    assert sh("list", "commit", repo).rows == []
    assert sh("fsck", "--deep").out == "No errors found.\n"


def test_interrupted_put_leaves_nothing(appliance: Serving, sh: Shell, repo: str) -> None:
    # Where the tests run in the background of a shell, interrupts are ignored from the start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from appliance.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "put", "file", f"{repo}@master:/a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(4 << 20))  # more than a pipe holds: when this is done, it is being read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""  # a line end, behind the ^C of a terminal
    assert sh("list", "commit", repo).rows == []
    with closing(sqlite3.connect(f"file:{appliance.data}/appliance.db?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM staged_puts").fetchone() == (0,)
