"""Taking commits out of history: what the others show stays as it was, or becomes what was there before."""

from collections.abc import Callable

import pytest
from store.checks import check
from store.helpers import (
    LARGE,
    claim,
    commit_of,
    create_pipeline,
    create_repos,
    delete,
    derive,
    finish,
    fork,
    job_of,
    put,
    put_all,
    run_pipeline,
    start,
    tree,
)

from appliance.errors import CommitNotFound, Conflict, JobNotFound, NotWritable, RepoNotFound
from appliance.names import CommitId, new_commit_id
from appliance.store import Db, Store, commits, completing, jobs, squash


@pytest.fixture
def images(store: Store) -> Store:
    create_repos(store, "images")
    return store


def squash_set(store: Store, commit_id: str) -> None:
    store.write(lambda db: squash.squash_set(db, CommitId(commit_id)))
    check(store)


def drop_set(store: Store, commit_id: str) -> None:
    store.write(lambda db: squash.drop_set(db, CommitId(commit_id)))
    check(store)


def ids(store: Store, repo: str = "images", branch: str = "master") -> list[str]:
    with store.snapshot() as db:
        return [commit.id for commit in commits.iter_ancestors(db, commits.get_head(db, repo, branch))]


def is_gone(store: Store, repo: str, commit_id: str) -> bool:
    try:
        commit_of(store, repo, commit_id)
    except CommitNotFound:
        return True
    return False


# -- squash


def test_squashed_commit_is_gone_and_its_child_keeps_what_it_brought(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    second = put(images, "images", "/b", LARGE)
    third = put(images, "images", "/c", b"3")
    squash_set(images, second)
    assert ids(images) == [third, first]
    assert tree(images, "images", third) == {"/a": b"1", "/b": LARGE, "/c": b"3"}
    assert tree(images, "images", first) == {"/a": b"1"}
    assert is_gone(images, "images", second)


def test_what_a_squashed_commit_deleted_stays_deleted(images: Store) -> None:
    first = put_all(images, "images", {"/a": b"1", "/b": b"2"})
    second = delete(images, "images", "/a")
    third = put(images, "images", "/c", b"3")
    squash_set(images, second)
    assert tree(images, "images", third) == {"/b": b"2", "/c": b"3"}
    assert tree(images, "images", first) == {"/a": b"1", "/b": b"2"}


def test_squashing_all_but_the_head_leaves_one_commit(images: Store) -> None:
    made = [put(images, "images", f"/{n % 3}", str(n).encode()) for n in range(7)]
    for commit_id in made[:-1]:
        squash_set(images, commit_id)
    assert ids(images) == made[-1:]
    assert tree(images, "images") == {"/0": b"6", "/1": b"4", "/2": b"5"}


def test_forks_keep_what_a_squashed_commit_brought_and_deleted(images: Store) -> None:
    put_all(images, "images", {"/kept": b"k", "/deleted": b"d", "/deleted-back": b"b"})
    second = put_all(images, "images", {"/brought": b"1", "/replaced": b"2", "/later": b"3"})
    third = start(images, "images")
    for path in ("/deleted", "/deleted-back"):
        delete(images, "images", path)
    put(images, "images", "/brought", b"11")
    finish(images, "images")
    fork(images, "images", "dev", third)
    put(images, "images", "/replaced", b"22", "dev")
    put_all(images, "images", {"/later": b"33", "/deleted-back": b"again"}, "dev")
    put(images, "images", "/own", b"m")
    before = {revision: tree(images, "images", revision) for revision in ("dev", "dev^", "master", second)}
    squash_set(images, third)
    assert {revision: tree(images, "images", revision) for revision in before} == before
    assert "/deleted" not in before["dev"]


def test_forks_of_the_last_commit_of_a_line_take_it_over(images: Store) -> None:
    first = put_all(images, "images", {"/a": b"1", "/b": b"2"})
    second = put(images, "images", "/a", b"11")
    put(images, "images", "/c", b"3")
    for name in ("one", "two"):
        fork(images, "images", name, second)
        put(images, "images", f"/{name}", b"", name)
    drop_set(images, commit_of(images, "images").id)
    before = {name: tree(images, "images", name) for name in ("one", "two")}
    squash_set(images, second)
    assert {name: tree(images, "images", name) for name in before} == before
    assert ids(images) == [first]
    assert tree(images, "images") == {"/a": b"1", "/b": b"2"}


def test_fork_of_the_first_commit_stands_alone_afterwards(images: Store) -> None:
    first = put_all(images, "images", {"/a": b"1", "/b": b"2"})
    put(images, "images", "/c", b"3")
    fork(images, "images", "dev", first)
    put(images, "images", "/a", b"x", "dev")
    squash_set(images, first)
    assert tree(images, "images", "dev") == {"/a": b"x", "/b": b"2"}
    assert tree(images, "images") == {"/a": b"1", "/b": b"2", "/c": b"3"}
    assert len(ids(images, branch="dev")) == len(ids(images)) == 1


def test_branch_whose_head_is_squashed_steps_back(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    second = put(images, "images", "/b", b"2")
    fork(images, "images", "tag", second)
    put(images, "images", "/c", b"3")
    squash_set(images, second)
    assert ids(images, branch="tag") == [first]
    assert tree(images, "images", "tag") == {"/a": b"1"}


def test_squash_without_children_would_lose_data(images: Store) -> None:
    head = put(images, "images", "/a", b"1")
    with pytest.raises(Conflict, match=rf"^cannot squash a commit that has no children .* use the drop operation .*@{head}$"):
        squash_set(images, head)


def test_squash_waits_for_an_open_child(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    child = start(images, "images")
    with pytest.raises(Conflict, match=rf"^cannot squash until child commit images@{child} is finished"):
        squash_set(images, first)


# -- drop


def test_drop_removes_the_head_with_its_data(images: Store) -> None:
    first = put_all(images, "images", {"/a": b"1", "/b": b"2"})
    start(images, "images")
    put_all(images, "images", {"/a": b"11", "/c": b"3"})
    delete(images, "images", "/b")
    finish(images, "images")
    drop_set(images, commit_of(images, "images").id)
    assert ids(images) == [first]
    assert tree(images, "images") == {"/a": b"1", "/b": b"2"}


def test_history_goes_on_after_a_drop(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    drop_set(images, put(images, "images", "/a", b"2"))
    third = put(images, "images", "/a", b"3")
    assert ids(images) == [third, first]
    assert (tree(images, "images"), tree(images, "images", first)) == ({"/a": b"3"}, {"/a": b"1"})


def test_drop_of_the_only_commit_leaves_an_empty_branch(images: Store) -> None:
    drop_set(images, put(images, "images", "/a", b"1"))
    assert tree(images, "images") == {}
    assert put(images, "images", "/b", b"2") == ids(images)[0]


def test_drop_of_an_open_commit_undoes_its_writes(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    opened = start(images, "images")
    put(images, "images", "/a", b"2")
    drop_set(images, opened)
    assert (ids(images), tree(images, "images")) == ([first], {"/a": b"1"})


def test_drop_of_a_commit_with_children_is_refused(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2")
    with pytest.raises(Conflict, match=rf"^cannot drop a commit that has children: images@{first}$"):
        drop_set(images, first)


@pytest.mark.parametrize("remove", [squash.squash_set, squash.drop_set])
def test_unknown_set_is_said(images: Store, remove: Callable[[Db, CommitId], None]) -> None:
    with pytest.raises(CommitNotFound):
        images.write(lambda db: remove(db, new_commit_id()))


# -- sets and provenance


@pytest.fixture
def edges(images: Store) -> Store:
    """`images` with one file, and a pipeline over it that has run."""
    put(images, "images", "/a", b"1")
    create_pipeline(images, "edges", "images")
    run_pipeline(images, "edges", {"one": {"/x": b"x"}})
    return images


def test_set_goes_with_everything_made_in_it(edges: Store) -> None:
    before = tree(edges, "edges")
    second = put(edges, "images", "/b", b"2")
    job = run_pipeline(edges, "edges", {"one": {"/x": b"x"}, "two": {"/y": b"y"}})
    drop_set(edges, second)
    assert (tree(edges, "images"), tree(edges, "edges")) == ({"/a": b"1"}, before)
    with pytest.raises(JobNotFound), edges.snapshot() as db:
        jobs.get_job(db, "edges", job.id)


def test_skipped_datums_keep_the_output_of_a_squashed_job(edges: Store) -> None:
    second = put(edges, "images", "/b", b"2")
    run_pipeline(edges, "edges", {"one": {"/x": b"x"}, "two": {"/y": b"y"}})
    third = put(edges, "images", "/c", b"3")
    job = run_pipeline(edges, "edges", {"one": {}, "two": {}})
    assert job.skipped == 2
    squash_set(edges, second)
    assert tree(edges, "edges", third) == {"/x": b"x", "/y": b"y"}
    put(edges, "images", "/d", b"4")
    assert run_pipeline(edges, "edges", {"one": {}, "two": {}}).skipped == 2
    assert tree(edges, "edges") == {"/x": b"x", "/y": b"y"}


def test_drop_kills_the_running_job_of_the_set(edges: Store) -> None:
    second = put(edges, "images", "/b", b"2")
    job = claim(edges, "edges", ["new"])
    drop_set(edges, second)
    completing.complete_job(edges, job.row)
    with pytest.raises(JobNotFound):
        job_of(edges, job)
    assert tree(edges, "edges") == {"/x": b"x"}


def test_set_that_another_set_was_made_from_stays(images: Store) -> None:
    create_repos(images, "labels", "both")
    first = put(images, "images", "/a", b"1")
    put(images, "labels", "/l", b"1")
    derive(images, "both", "images", "labels")
    put(images, "images", "/b", b"2")
    with pytest.raises(Conflict, match=rf'^commit set "{first}" cannot be dropped because it has subvenant commit sets: '):
        squash_set(images, first)


def test_single_commit_with_subvenance_goes_only_recursively(edges: Store) -> None:
    put(edges, "images", "/b", b"2")
    run_pipeline(edges, "edges", {"one": {}, "two": {"/y": b"y"}})
    head = ids(edges)[0]
    with pytest.raises(Conflict, match=rf"^cannot drop commit \(images@{head}\) with subvenance without recursive$"):
        edges.write(lambda db: squash.drop_commit(db, "images", "master"))
    edges.write(lambda db: squash.drop_commit(db, "images", "master", recursive=True))
    assert (tree(edges, "images"), tree(edges, "edges")) == ({"/a": b"1"}, {"/x": b"x"})


def test_single_commit_without_subvenance_is_squashed(images: Store) -> None:
    put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2")
    images.write(lambda db: squash.squash_commit(db, "images", "master^"))
    assert (len(ids(images)), tree(images, "images")) == (1, {"/a": b"1", "/b": b"2"})


def test_downstream_runs_again_when_its_input_steps_back_to_something_new(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    create_pipeline(images, "edges", "images")
    run_pipeline(images, "edges", {"one": {"/x": b"x"}})
    images.write(lambda db: squash.drop_commit(db, "images", first, recursive=True))
    assert tree(images, "images") == {}
    assert run_pipeline(images, "edges", {}).total == 0


def test_a_fork_whose_whole_base_was_squashed_takes_files_again_that_it_had_deleted(images: Store) -> None:
    first = put(images, "images", "/a", b"1")
    put(images, "images", "/b", b"2")
    fork(images, "images", "dev", first)
    delete(images, "images", "/a", branch="dev")
    images.write(lambda db: squash.squash_commit(db, "images", first))
    put(images, "images", "/a", b"3", branch="dev")
    assert tree(images, "images", "dev") == {"/a": b"3"}


# -- clear


def test_clear_empties_an_open_commit_of_what_was_written_into_it(images: Store) -> None:
    put_all(images, "images", {"/a": b"1", "/b": b"2"})
    start(images, "images")
    put(images, "images", "/a", b"11")
    delete(images, "images", "/b")
    images.write(lambda db: squash.clear_commit(db, "images", "master"))
    assert tree(images, "images") == {"/a": b"1", "/b": b"2"}
    check(images)


def test_finished_commit_can_not_be_cleared(images: Store) -> None:
    put(images, "images", "/a", b"1")
    with pytest.raises(NotWritable, match=r"^cannot clear finished commit$"):
        images.write(lambda db: squash.clear_commit(db, "images", "master"))


def test_output_commit_can_not_be_cleared(edges: Store) -> None:
    put(edges, "images", "/b", b"2")
    with pytest.raises(NotWritable):
        edges.write(lambda db: squash.clear_commit(db, "edges", "master"))


def test_clear_of_a_missing_repo_is_said(store: Store) -> None:
    with pytest.raises(RepoNotFound):
        store.write(lambda db: squash.clear_commit(db, "nothing", "master"))
