"""What programs read below /pfs; the first ones are Pachyderm's own tests of its mount."""

import json
import os
import random
from pathlib import Path

import pytest
from mount.helpers import names, put_joined, run, sha256
from store.helpers import (
    LARGE,
    commit_of,
    create_pipeline,
    create_repos,
    derive,
    finish,
    fork,
    keep,
    put,
    put_all,
    run_pipeline,
    start,
)

from appliance.store import Store

MAP = """
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    print(hashlib.sha256(mapped).hexdigest())
"""


@pytest.fixture
def data(store, mount) -> Path:
    """The directory of a repo `data`, still empty."""
    create_repos(store, "data")
    return mount.path / "data"


def test_repos_directories_and_files_are_listed_and_read(store, mount, data):
    put_all(store, "data", {"/dir/file1": b"foo", "/dir/file2": b"foo"})
    mount.settle()
    assert names(mount.path) == ["data"]
    assert names(data) == ["dir"]
    assert names(data / "dir") == ["file1", "file2"]
    assert (data / "dir/file1").read_bytes() == b"foo"


def test_any_offset_can_be_read_from(store, mount, data):
    content = random.Random(1).randbytes(3 << 20)
    put(store, "data", "/foo", content)
    mount.settle()
    with (data / "foo").open("rb", buffering=0) as file:
        for offset in (0, 1 << 20, 2 << 20, 3 << 20, 5):
            file.seek(offset)
            assert file.readall() == content[offset:]


def test_branch_without_head_is_an_empty_directory(mount, data):
    assert names(data) == []


def test_writing_is_refused(store, mount, data):
    put(store, "data", "/foo", b"foo")
    mount.settle()
    with pytest.raises(OSError, match="Read-only file system"):
        (data / "foo").write_bytes(b"bar")


def test_old_commits_are_there_by_id(store, mount, data):
    first = put(store, "data", "/foo", b"foo")
    fork(store, "data", "dev", "master")
    second = put(store, "data", "/bar", b"bar", branch="dev")
    mount.settle()
    assert names(mount.path / f"data@{first}") == ["foo"]
    assert names(mount.path / f"data@{second}") == ["bar", "foo"]
    assert names(mount.path) == ["data"]


def test_branches_and_ancestors_are_there_by_name(store, mount, data):
    put(store, "data", "/foo", b"1")
    put(store, "data", "/foo", b"2")
    put(store, "data", "/foo", b"3", branch="dev")
    mount.settle()
    seen = [(mount.path / f"data@{name}" / "foo").read_bytes() for name in ("master", "master^", "master~1", "dev")]
    assert seen == [b"2", b"1", b"1", b"3"]


def test_open_commit_shows_what_was_written_and_its_output_nothing(store, mount):
    create_repos(store, "in", "out")
    derive(store, "out", "in")
    start(store, "in")
    put(store, "in", "/foo", b"foo")
    mount.settle()
    assert names(mount.path) == ["in", "out"]
    assert names(mount.path / "in") == ["foo"]
    assert names(mount.path / "out") == []


def test_commit_a_pipeline_works_on_is_busy(store, mount):
    create_repos(store, "in", "out")
    derive(store, "out", "in")
    commit = put(store, "in", "/foo", b"foo")
    with pytest.raises(OSError, match="busy"):
        names(mount.path / f"out@{commit}")


@pytest.mark.parametrize(
    "name",
    ["none", "none@master", "data@", "data@none", "data@master^^^^", "data@" + "0" * 32, "data@a b", "@", "data@master^~"],
)
def test_what_does_not_exist_is_not_found(store, mount, data, name):
    put(store, "data", "/foo", b"foo")
    assert not (mount.path / name).exists()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"none", b"x" * 255, b"new\nline"])
def test_names_no_file_has_are_not_found(store, mount, data, name):
    put(store, "data", "/foo", b"foo")
    mount.settle()
    with pytest.raises(FileNotFoundError):
        (data / os.fsdecode(name)).stat()


@pytest.mark.parametrize("name", ["ünïcødé", "*?[]{}!@+^", " ", "line\nbreak", "\x01", "x" * 255, "-rf", "日本"])
def test_any_name_can_be_listed_and_read(store, mount, data, name):
    put_all(store, "data", {f"/{name}": b"file", f"/d/{name}/inner": b"inner"})
    mount.settle()
    assert names(data) == sorted(["d", name])
    assert (data / name).read_bytes() == b"file"
    assert (data / "d" / name / "inner").read_bytes() == b"inner"


def test_explicit_directories_are_there_without_files(store, mount, data):
    put_all(store, "data", {"/empty/": b"", "/full/": b"", "/full/file": b"x"})
    mount.settle()
    assert names(data) == ["empty", "full"]
    assert names(data / "empty") == []
    assert names(data / "full") == ["file"]


def test_empty_file_is_empty(store, mount, data):
    put(store, "data", "/nothing", b"")
    mount.settle()
    assert (data / "nothing").stat().st_size == 0
    assert (data / "nothing").read_bytes() == b""


def test_file_of_many_extents_reads_as_one(store, mount, data):
    small, large = keep(store, b"0123456789"), keep(store, LARGE)
    ranges = [(small, 2, 5), (large, 100, 40_000), (small, 0, 10), (large, 0, len(LARGE))]
    put_joined(store, "data", "/joined", ranges)
    mount.settle()
    expected = b"23456" + LARGE[100:40_100] + b"0123456789" + LARGE
    assert (data / "joined").read_bytes() == expected
    with (data / "joined").open("rb", buffering=0) as file:
        for offset in (0, 4, 5, 40_004, 40_010, 40_015, len(expected) - 1, len(expected)):
            assert os.pread(file.fileno(), 20, offset) == expected[offset : offset + 20]


def test_large_file_of_thousands_of_extents_has_its_bytes(store, mount, data):
    parts = [random.Random(seed).randbytes(40_000) for seed in range(40)]
    contents = [keep(store, part) for part in parts]
    order = random.Random(1).choices(range(40), k=2000)
    put_joined(store, "data", "/joined", [(contents[index], 0, 40_000) for index in order])
    mount.settle()
    assert sha256((data / "joined").read_bytes()) == sha256(b"".join(parts[index] for index in order))


def test_files_can_be_mapped(store, mount, data):
    content = random.Random(1).randbytes(1 << 20)
    put(store, "data", "/foo", content)
    mount.settle()
    assert run(MAP, data / "foo") == sha256(content)


def test_reads_at_random_places_agree_with_the_bytes(store, mount, data):
    chance = random.Random(1)
    content = chance.randbytes(700_001)
    put(store, "data", "/foo", content)
    mount.settle()
    with (data / "foo").open("rb", buffering=0) as file:
        for _ in range(300):
            offset, size = chance.randrange(710_000), chance.randrange(200_000)
            assert os.pread(file.fileno(), size, offset) == content[offset : offset + size]


def test_finished_commits_of_every_kind_show_the_same_tree(store: Store, mount, data):
    start(store, "data")
    put_all(store, "data", {"/a/b/c": b"1", "/a/d": LARGE})
    commit = finish(store, "data")
    mount.settle()
    for top in ("data", "data@master", f"data@{commit}"):
        assert names(mount.path / top / "a") == ["b", "d"]
        assert (mount.path / top / "a/d").read_bytes() == LARGE


def test_what_datums_saw_is_read_through_the_mount(store, mount):
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    run_pipeline(store, "edges", {"one": {"/a": b"made"}})
    mount.settle()
    (datum,) = names(mount.path / "edges.meta/meta")
    account = json.loads((mount.path / f"edges.meta/meta/{datum}/meta").read_text())
    assert (account["state"], (mount.path / f"edges.meta/pfs/{datum}/out/a").read_bytes()) == ("PROCESSED", b"made")
    assert "edges.meta" not in names(mount.path)


def test_what_a_jobs_datums_saw_and_wrote_is_told_apart(store, mount):
    """None of it has a row of its own."""
    create_repos(store, "data")
    put(store, "data", "/foo", b"foo")
    create_pipeline(store, "out", "data")
    outputs = {"one": {"/a": b"1", "/b": b"22"}, "two": {"/c": b"333", "/d": b"4444"}}
    run_pipeline(store, "out", outputs)
    found = {path.name: path for path in (mount.path / "out.meta").rglob("*") if path.is_file() and path.name in "abcd"}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name.strip("/"): data for files in outputs.values() for name, data in files.items()
    }
    accounts = [path.read_bytes() for path in (mount.path / "out.meta/meta").glob("*/meta")]
    assert len(set(accounts)) == 2
    meta_commit = commit_of(store, "out.meta").id
    assert {os.getxattr(path, "user.pfs.commit").decode() for path in found.values()} == {meta_commit}
