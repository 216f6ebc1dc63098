"""Commits: start, finish, one-off ones, and how they are named."""

import pytest
from store.helpers import (
    commit_of,
    create_pipeline,
    create_repos,
    delete,
    finish,
    fork,
    put,
    put_all,
    read,
    run_pipeline,
    start,
    tree,
)

from appliance.errors import (
    BranchNotFound,
    CommitNotFound,
    Conflict,
    InvalidRequest,
    NotWritable,
    OutputBranch,
    PathConflict,
    RepoNotFound,
)
from appliance.names import is_commit_id, new_commit_id
from appliance.store import Store, commits, history


@pytest.fixture
def images(store: Store) -> Store:
    """A store with one empty repo, `images`."""
    create_repos(store, "images")
    return store


def test_put_is_a_finished_commit_of_its_own(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    second = put(images, "images", "/b", b"2")
    head = commit_of(images, "images")
    assert (head.id, head.is_open, head.origin) == (second, False, "USER")
    assert commit_of(images, "images", "master^").id == first
    assert is_commit_id(first)


def test_put_makes_the_branch_but_not_the_repo(images: Store) -> None:
    put(images, "images", "/a", b"1", "dev")
    assert tree(images, "images", "dev") == {"/a": b"1"}
    with pytest.raises(RepoNotFound, match=r"^repo edges not found$"):
        put(images, "edges", "/a", b"1")


def test_first_commit_of_a_branch_has_no_parent(images: Store) -> None:
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2", "dev")
    assert tree(images, "images", "dev") == {"/b": b"2"}


def test_open_commit_collects_writes_that_readers_see(images: Store) -> None:
    started = start(images, "images")
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2", started)
    assert tree(images, "images") == tree(images, "images", started) == {"/a": b"1", "/b": b"2"}
    assert finish(images, "images") == started


def test_start_on_an_open_head_is_refused(images: Store) -> None:
    started = start(images, "images")
    with pytest.raises(Conflict, match=rf"^parent commit {started} has not been finished$"):
        start(images, "images")


def test_start_after_an_open_parent_is_refused(images: Store) -> None:
    """Else what the parent still takes would end versions that its child began."""
    started = start(images, "images")
    with pytest.raises(Conflict, match=rf"^parent commit {started} has not been finished$"):
        start(images, "images", "dev", parent=started)


def test_start_with_a_parent_forks_there_and_moves_the_branch(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2")
    started = start(images, "images", parent=first)
    finish(images, "images", started)
    assert commit_of(images, "images").id == started
    assert tree(images, "images") == {"/a": b"1"}


def test_finish_twice_is_refused(images: Store) -> None:
    started = start(images, "images")
    finish(images, "images")
    with pytest.raises(NotWritable, match=rf"^commit {started} has already finished$"):
        finish(images, "images")


def test_write_to_a_finished_commit_is_refused(images: Store) -> None:
    head = put(images, "images", "/a", b"1")
    with pytest.raises(NotWritable, match=rf"^commit {head} has already finished$"):
        put(images, "images", "/b", b"2", head)


def test_write_to_an_ancestor_is_refused(images: Store) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(NotWritable, match=r"images@master\^ is not a branch"):
        put(images, "images", "/b", b"2", "master^")


def test_write_that_fails_leaves_no_commit(images: Store) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(PathConflict):
        put_all(images, "images", {"/new": b"", "/a/b": b"2"})
    with images.snapshot() as db:
        assert len(list(commits.iter_commits(db, "images"))) == 1


def test_description_is_kept_from_start_unless_finish_brings_one(images: Store) -> None:
    def write(branch: str, finally_: str) -> str:
        images.write(lambda db: history.start_commit(db, "images", branch, description="first"))
        done = images.write(lambda db: history.finish_user_commit(db, "images", branch, description=finally_))
        return done.description

    assert (write("one", ""), write("two", "last")) == ("first", "last")


def test_old_commits_never_change(images: Store) -> None:
    first = put_all(images, "images", {"/a": b"1", "/b": b"1"})
    second = put(images, "images", "/a", b"2")
    third = delete(images, "images", "/b")
    trees = [tree(images, "images", commit) for commit in (first, second, third)]
    assert trees == [{"/a": b"1", "/b": b"1"}, {"/a": b"2", "/b": b"1"}, {"/a": b"2"}]


def test_counts_are_of_the_whole_tree(images: Store) -> None:
    put_all(images, "images", {"/a": b"12", "/b": b"345", "/d/": b""})
    put(images, "images", "/a", b"1")
    head = commit_of(images, "images")
    assert (head.size_bytes, head.file_count) == (4, 2)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("master", b"4"),
        ("master^", b"3"),
        ("master~", b"3"),
        ("master^^", b"2"),
        ("master~2", b"2"),
        ("master^3", b"1"),
        ("master^0", b"4"),
        ("master.1", b"1"),
        ("master.3", b"3"),
        ("master.3^", b"2"),
    ],
)
def test_ancestry(images: Store, revision: str, expected: bytes) -> None:
    for number in b"1234":
        put(images, "images", "/a", bytes([number]))
    assert read(images, "images", revision, "/a") == expected


def test_ancestry_of_a_commit_id(images: Store) -> None:
    put(images, "images", "/a", b"1")
    head = put(images, "images", "/a", b"2")
    assert read(images, "images", f"{head}^", "/a") == b"1"


@pytest.mark.parametrize("revision", ["master^", "master.0", "master.2", "master^999999999999", "master." + "9" * 5000])
def test_ancestor_too_far_away_is_not_found(images: Store, revision: str) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(CommitNotFound):
        commit_of(images, "images", revision)


def test_mixed_ancestry_is_refused(images: Store) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(InvalidRequest, match=r"cannot mix \^ and ~ characters"):
        commit_of(images, "images", "master^~")


def test_unknown_commit_and_branch_are_named(images: Store) -> None:
    unknown = new_commit_id()
    with pytest.raises(CommitNotFound, match=rf"^commit images@{unknown} not found$"):
        commit_of(images, "images", unknown)
    with pytest.raises(BranchNotFound, match=r'^branch "dev" not found in repo images$'):
        commit_of(images, "images", "dev")


def test_commit_of_an_unrelated_repo_is_not_found(images: Store) -> None:
    create_repos(images, "edges")
    head = put(images, "images", "/a", b"1")
    with pytest.raises(CommitNotFound):
        commit_of(images, "edges", head)


def test_history_is_listed_newest_first(images: Store) -> None:
    made = [put(images, "images", "/a", bytes([number])) for number in b"123"]
    with images.snapshot() as db:
        assert [commit.id for commit in commits.iter_commits(db, "images")] == made[::-1]
        assert [commit.id for commit in commits.iter_commits(db)] == made[::-1]


def test_fork_shares_history_and_goes_its_own_way(images: Store) -> None:
    put_all(images, "images", {"/a": b"1", "/b": b"1"})
    fork(images, "images", "dev", "master")
    put(images, "images", "/a", b"master")
    put(images, "images", "/c", b"dev", "dev")
    delete(images, "images", "/b", "dev")
    assert tree(images, "images") == {"/a": b"master", "/b": b"1"}
    assert tree(images, "images", "dev") == {"/a": b"1", "/c": b"dev"}


def test_file_deleted_on_a_fork_can_come_back(images: Store) -> None:
    put_all(images, "images", {"/a": b"1", "/z": b"1"})
    fork(images, "images", "dev", "master")
    put(images, "images", "/z", b"2")
    delete(images, "images", "/a", "dev")
    put(images, "images", "/a", b"3", "dev")
    assert tree(images, "images", "dev^") == {"/z": b"1"}
    assert tree(images, "images", "dev") == {"/a": b"3", "/z": b"1"}


def test_fork_of_a_fork_of_the_past_sees_all_three(images: Store) -> None:
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"1")
    fork(images, "images", "dev", "master^")
    put(images, "images", "/c", b"2", "dev")
    put(images, "images", "/d", b"2", "dev")
    fork(images, "images", "tag", "dev^")
    put(images, "images", "/e", b"3", "tag")
    assert list(tree(images, "images", "tag")) == ["/a", "/c", "/e"]


def test_finish_of_a_pipelines_commit_is_refused(images: Store) -> None:
    create_pipeline(images, "edges", "images")
    with pytest.raises(OutputBranch, match="cannot finish a pipeline output or meta commit, use 'stop job' instead"):
        finish(images, "edges")


@pytest.mark.parametrize("write", [lambda store: start(store, "edges"), lambda store: put(store, "edges", "/a", b"1")])
def test_write_to_an_output_branch_is_refused(images: Store, write: object) -> None:
    create_pipeline(images, "edges", "images")
    with pytest.raises(OutputBranch, match="cannot start a commit on an output branch"):
        write(images)  # type: ignore[operator]


def test_write_to_a_running_output_commit_by_its_id_is_refused(images: Store) -> None:
    create_pipeline(images, "edges", "images")
    with pytest.raises(OutputBranch):
        put(images, "edges", "/a", b"1", commit_of(images, "edges").id)


def test_write_to_a_running_output_commit_through_another_branch_is_refused(images: Store) -> None:
    create_pipeline(images, "edges", "images")
    fork(images, "edges", "tag", "master")
    with pytest.raises(OutputBranch):
        put(images, "edges", "/a", b"1", "tag")


def test_user_branch_may_go_on_from_a_finished_output_commit(images: Store) -> None:
    create_pipeline(images, "edges", "images")
    run_pipeline(images, "edges", {"one": {"/out": b"1"}})
    fork(images, "edges", "tag", "master")
    put(images, "edges", "/mine", b"2", "tag")
    assert tree(images, "edges", "tag") == {"/mine": b"2", "/out": b"1"}
    assert tree(images, "edges") == {"/out": b"1"}
