"""What the tests of Pachyderm's mount server assert of files (`server_test.go`, named in each docstring).

There a mount has a name of its own; here a view stands where one likes, and shows each repo by its name.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mount.conftest import Mounted, Serving
from mount.helpers import is_mounted, names
from store.helpers import create_repos, put, put_all

from appliance.mount import mountpoint
from appliance.mount.tops import parse_specs
from appliance.store import Store, commits, repos

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make bind mounts")

MakePlace = Callable[[str], Path]


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[MakePlace]:
    """Makes further places; nothing is left mounted there."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path / name)
        made[-1].mkdir()
        return made[-1]

    yield make
    for place in made:
        while is_mounted(place):
            assert mountpoint.detach(place)


def show(mounted: Mounted, place: Path, *specs: str) -> Path:
    mounted.mount.show(place, parse_specs(specs))
    return place


def count_commits(store: Store, repo: str, branch: str = "master") -> int:
    """How many commits a branch has; 0 if there is none."""
    with store.snapshot() as db:
        if repos.find_branch_id(db, repo, branch) is None:
            return 0
        return sum(1 for _ in commits.iter_ancestors(db, commits.get_head(db, repo, branch)))


def test_two_repos_and_another_branch_are_shown_with_their_content(store, mount, make_place):
    """TestBasicServerSameNames, NonMasterBranch, DifferingNames."""
    create_repos(store, "one", "two")
    put_all(store, "one", {"/dir/file1": b"foo", "/dir/file2": b"foo"})
    put_all(store, "two", {"/file": b"dev"}, branch="dev")
    place = show(mount, make_place("other"), "one", "two@dev")
    assert (names(place), names(place / "one/dir")) == (["one", "two"], ["file1", "file2"])
    assert [(place / path).read_bytes() for path in ("one/dir/file1", "two/file")] == [b"foo", b"dev"]


def test_all_can_be_unmounted(store, mount, make_place):
    """TestUnmountAll."""
    create_repos(store, "data")
    put(store, "data", "/file", b"file")
    places = [show(mount, make_place(name), "data") for name in ("one", "two")]
    assert mount.mount.list_views() == places
    for place in places:
        mount.mount.hide(place)
    assert (mount.mount.list_views(), [names(place) for place in places]) == ([], [[], []])


def test_a_repo_can_be_shown_twice_and_one_can_go(store, mount, make_place):
    """TestMultipleMount, and of its wishes: two versions of a repo that do not disturb each other's caches."""
    create_repos(store, "data")
    put(store, "data", "/file", b"old")
    put(store, "data", "/file", b"newer")
    new, old = show(mount, make_place("new"), "data"), show(mount, make_place("old"), "data@master^")
    for _ in range(2):
        assert [(place / "data/file").read_bytes() for place in (new, old)] == [b"newer", b"old"]
        assert [(place / "data/file").stat().st_size for place in (new, old)] == [5, 3]
    mount.mount.hide(new)
    assert (names(new), (old / "data/file").read_bytes()) == ([], b"old")


@pytest.mark.parametrize(
    ("ends", "made"), [(["unmount"], 1), (["commit"], 1), (["commit", "commit"], 2), (["commit", "unmount"], 2)]
)
def test_a_commit_and_an_unmount_make_a_commit_each(store, mount, make_place, ends, made):
    """TestRwUnmountCreatesCommit, TestRwCommitCreatesCommit, TestRwCommitTwice…, TestRwCommitUnmountCreatesTwoCommits."""
    create_repos(store, "data")
    place = show(mount, make_place("place"), "data+rw")
    for number, end in enumerate(ends):
        (place / f"data/{number}").write_bytes(b"text")
        assert count_commits(store, "data") == number
        if end == "commit":
            mount.mount.commit("data", "master")
        else:
            mount.mount.hide(place)
    assert count_commits(store, "data") == made


def test_an_unmount_without_changes_makes_no_commit(store, mount, make_place):
    create_repos(store, "data")
    place = show(mount, make_place("place"), "data+rw")
    names(place / "data")
    mount.mount.hide(place)
    assert count_commits(store, "data") == 0


def test_a_branch_that_is_not_there_can_be_written_and_is_there_then(store, mount, make_place):
    """TestRwMountNonexistentBranch."""
    create_repos(store, "data")
    place = show(mount, make_place("place"), "data@new+w")
    (place / "data/file").write_bytes(b"text")
    mount.mount.hide(place)
    assert (count_commits(store, "data", "new"), count_commits(store, "data")) == (1, 0)


def test_a_repo_that_is_deleted_is_gone_from_every_view(store, mount, make_place):
    """TestDeletingMountedRepo."""
    create_repos(store, "data", "other")
    put(store, "data", "/file", b"file")
    by_name, everything = show(mount, make_place("one"), "data", "other"), show(mount, make_place("all"))
    assert [names(place) for place in (by_name, everything)] == [["data", "other"]] * 2
    store.write(lambda db: repos.delete_repo(db, "data"))
    assert [names(place) for place in (by_name, everything)] == [["other"]] * 2
    assert not (by_name / "data").exists()


def test_files_copied_in_and_out_are_the_same_and_are_there_after_mounting_again(store, place, tmp_path, quiet):
    """Of its wishes: `cp` works, and mounting again keeps the data."""
    create_repos(store, "data")
    source = tmp_path / "source"
    source.mkdir()
    for name, size_bytes in (("empty", 0), ("small", 100), ("large", 300_000)):
        (source / name).write_bytes(os.urandom(size_bytes))
    with Serving(store, place, "data"):
        subprocess.run(["cp", "-r", source, place / "data/copied"], check=True)
    with Serving(store, place):
        shutil.copytree(place / "data/copied", tmp_path / "back")
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
