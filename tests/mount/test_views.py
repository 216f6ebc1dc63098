"""Further mount points: what they show, follow and take, and how they end."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount.conftest import Mounted, Serving
from mount.helpers import is_mounted, names, serve_and_die
from store.helpers import create_pipeline, create_repos, put_all, run_pipeline

from appliance.errors import Conflict, NotFound
from appliance.mount import mountpoint
from appliance.mount.session import MountUnavailable
from appliance.mount.tops import parse_specs
from appliance.store import Store, repos, snapshots
from appliance.store.commits import get_head

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make bind mounts")


@pytest.fixture
def further(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "further"
    directory.mkdir()
    try:
        yield directory
    finally:
        while is_mounted(directory):
            assert mountpoint.detach(directory)


@pytest.fixture
def data(store: Store, mount: Mounted) -> Mounted:
    """A mount of `data`, with two commits, and of `other`, empty."""
    create_repos(store, "data", "other")
    put_all(store, "data", {"/foo": b"one", "/dir/foo/x": b"x", "/dir/bar": b"bar"})
    put_all(store, "data", {"/foo": b"two"})
    return mount


def show(mounted: Mounted, directory: Path, *specs: str, writable: bool = False) -> None:
    mounted.mount.show(directory, parse_specs(specs), writable=writable)


def paths(store: Store, repo: str, branch: str = "master") -> list[str]:
    with store.snapshot() as db:
        return [entry.path for entry in snapshots.iter_entries(db, snapshots.open_branch(db, repo, branch))]


def test_without_specs_all_repos_are_shown(data, further):
    show(data, further)
    assert (names(further), names(further / "other")) == (["data", "other"], [])
    assert (further / "data/foo").read_bytes() == b"two"
    assert not (further / "data@master").exists()


def test_only_what_was_asked_for_is_shown(data, further):
    show(data, further, "data@master^")
    assert names(further) == ["data"]
    assert (further / "data/foo").read_bytes() == b"one"
    assert not (further / "other").exists()


def test_a_branch_without_commits_and_one_that_is_not_there_are_empty(store, data, further):
    show(data, further, "other", "data@none")
    assert (names(further / "other"), names(further / "data")) == ([], [])
    put_all(store, "other", {"/new": b"new"})
    data.settle()
    assert names(further / "other") == ["new"]


def test_a_commit_is_what_is_shown_also_with_its_branch(store, data, further):
    with store.snapshot() as db:
        head = get_head(db, "data", "master").id
    put_all(store, "data", {"/foo": b"three"})
    show(data, further, f"data@master={head}")
    assert (further / "data/foo").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        ("/dir/foo", ["dir", "dir/foo", "dir/foo/x"]),
        ("/dir/bar", ["dir", "dir/bar"]),
        ("/dir", ["dir", "dir/bar", "dir/foo", "dir/foo/x"]),
        ("/foo", ["foo"]),
        ("/none", []),
    ],
)
def test_of_a_path_only_it_and_the_directories_above_it_are_shown(data, further, path, tree):
    show(data, further, f"data:{path}")
    assert sorted(str(found.relative_to(further / "data")) for found in (further / "data").rglob("*")) == tree
    assert not (further / "data/foo/none").exists()


def test_a_view_follows_the_head(store, data, further):
    show(data, further, "data")
    assert (further / "data/foo").read_bytes() == b"two"
    put_all(store, "data", {"/foo": b"three"})
    data.settle()
    assert (further / "data/foo").read_bytes() == b"three"


def test_new_repos_are_in_a_view_of_all(store, data, further):
    show(data, further)
    create_repos(store, "new")
    data.settle()
    assert names(further) == ["data", "new", "other"]


def test_a_view_is_read_only_unless_asked(data, further):
    show(data, further, "data+r")
    with pytest.raises(OSError) as raised:
        (further / "data/new").write_bytes(b"")
    assert raised.value.errno == errno.EROFS


def test_changes_in_a_view_are_committed_when_it_is_unmounted(store, data, further):
    show(data, further, "data@staging+rw", "other+w")
    (further / "data/new").write_bytes(b"new")
    (further / "other/dir").mkdir()
    (further / "other/dir/new").write_bytes(b"new")
    made = data.mount.hide(further)
    assert [(repo, branch) for repo, branch, _ in made] == [("data", "staging"), ("other", "master")]
    assert (paths(store, "data", "staging"), paths(store, "other")) == (["/new"], ["/dir/new"])
    assert "/new" not in paths(store, "data")
    assert not is_mounted(further)


def test_a_view_of_all_that_is_writable_leaves_output_branches_alone(store, data, further):
    create_pipeline(store, "out", "data")
    run_pipeline(store, "out", {"one": {"/foo": b"foo"}})
    show(data, further, writable=True)
    (further / "other/new").write_bytes(b"new")
    with pytest.raises(OSError) as raised:
        (further / "out/new").write_bytes(b"")
    assert raised.value.errno == errno.EROFS
    data.mount.hide(further)
    assert paths(store, "other") == ["/new"]


def test_an_output_branch_can_not_be_mounted_for_writing(store, data, further):
    create_pipeline(store, "out", "data")
    error = "can't mount branch out@master as out in Write mode because it's an output branch"
    with pytest.raises(MountUnavailable, match=error):
        show(data, further, "out+w")
    assert not is_mounted(further)


def test_a_view_stays_while_a_file_is_open_for_writing(store, data, further):
    show(data, further, "other+w")
    with (further / "other/new").open("wb") as file:
        with pytest.raises(Conflict, match="other@master: /new is open for writing"):
            data.mount.hide(further)
        file.write(b"new")
    data.mount.hide(further)
    assert paths(store, "other") == ["/new"]


def test_two_views_of_a_branch_see_each_others_changes(store, data, further, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    show(data, further, "other+w")
    show(data, second, "other+w")
    (further / "other/new").write_bytes(b"new")
    assert (second / "other/new").read_bytes() == b"new"
    (second / "other/new").write_bytes(b"newer")
    assert (further / "other/new").read_bytes() == b"newer"
    data.mount.hide(second)
    assert (further / "other/new").read_bytes() == b"newer"


def test_unknown_repo_commit_and_place_are_refused(data, further, tmp_path):
    with pytest.raises(NotFound, match="repo none not found"):
        show(data, further, "none")
    with pytest.raises(NotFound):
        show(data, further, "data@master~9")
    with pytest.raises(MountUnavailable, match="does not exist"):
        show(data, tmp_path / "none")
    with pytest.raises(MountUnavailable, match="in the mount itself"):
        show(data, data.path / "data")
    with pytest.raises(NotFound, match="no further mount"):
        data.mount.hide(further)


def test_a_place_is_taken_once(data, further):
    show(data, further)
    with pytest.raises(MountUnavailable, match="another appliance is mounted"):
        show(data, further)


def test_views_end_with_the_mount_and_their_changes_are_committed(store, place, further, quiet):
    create_repos(store, "data")
    with Serving(store, place) as mounted:
        show(mounted, further, "data+w")
        (further / "data/new").write_bytes(b"new")
    assert not is_mounted(further)
    assert paths(store, "data") == ["/new"]


def test_a_stale_view_is_replaced(store, data, further, tmp_path):
    dead = tmp_path / "dead"
    place = tmp_path / "stale"
    place.mkdir()

    def bind() -> None:
        mountpoint.bind(place, further)

    serve_and_die(dead, place, {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/nonexistent"}, meanwhile=bind)
    assert mountpoint.is_stale(further)
    show(data, further, "data")
    assert names(further) == ["data"]
    assert mountpoint.detach(place)


def test_a_branch_that_is_deleted_leaves_its_view_empty(store, data, further):
    store.write(lambda db: repos.create_branch(db, "data", "dev", head="master"))
    show(data, further, "data@dev")
    assert names(further / "data") == ["dir", "foo"]
    store.write(lambda db: repos.delete_branch(db, "data", "dev"))
    data.settle()
    assert names(further / "data") == []
