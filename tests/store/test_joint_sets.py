"""Requests that happen together: their commits share one id, and what follows downstream happens once."""

import pytest
from store.helpers import commit_of, create_repos, derive, put, tree

from appliance.errors import Conflict
from appliance.names import new_commit_id
from appliance.store import Db, Store, commits, history, pipelines, repos
from appliance.store.propagation import joint_set


@pytest.fixture
def two(store: Store) -> Store:
    """Repos `images` and `labels`, and `both`, which is made from them."""
    create_repos(store, "images", "labels", "both")
    put(store, "images", "/a", b"1")
    put(store, "labels", "/l", b"1")
    derive(store, "both", "images", "labels")
    return store


def test_commits_of_several_repos_share_one_id_and_propagate_once(two: Store) -> None:
    commit_id = new_commit_id()

    def run(db: Db) -> None:
        with joint_set(db, commit_id):
            for repo in ("images", "labels"):
                history.start_commit(db, repo, "master")

    two.write(run)
    head = commit_of(two, "both")
    assert head.id == commit_of(two, "images").id == commit_of(two, "labels").id == commit_id
    with two.snapshot() as db:
        assert {up.id for up in commits.list_direct_provenance(db, head.row)} == {commit_id}
        assert [c.repo for c in commits.list_set(db, commit_id)] == ["images", "labels", "both"]


def test_second_commit_of_a_repo_is_refused_and_nothing_happened(two: Store) -> None:
    head = commit_of(two, "images")

    def run(db: Db) -> None:
        with joint_set(db, new_commit_id()):
            history.start_commit(db, "images", "master")
            history.finish_user_commit(db, "images", "master")
            history.start_commit(db, "images", "master")

    with pytest.raises(
        Conflict, match=r"^inconsistent dependencies: cannot create commit from .*; repo \(images\) already has"
    ):
        two.write(run)
    assert commit_of(two, "images") == head


def test_repo_branch_and_commit_in_one(store: Store) -> None:
    commit_id = new_commit_id()

    def run(db: Db) -> None:
        with joint_set(db, commit_id):
            repos.create_repo(db, "images")
            repos.create_branch(db, "images", "master")
            history.start_commit(db, "images", "master")

    store.write(run)
    put(store, "images", "/a", b"1")
    assert (commit_of(store, "images").id, tree(store, "images")) == (commit_id, {"/a": b"1"})


def test_pipeline_and_its_input_get_one_job(store: Store) -> None:
    create_repos(store, "images")
    commit_id = new_commit_id()

    def run(db: Db) -> None:
        with joint_set(db, commit_id):
            history.start_commit(db, "images", "master")
            pipelines.create_pipeline(db, pipelines.NewPipeline("edges", b"{}", "", "master", [("images", "master")], "salt"))

    store.write(run)
    with store.snapshot() as db:
        assert [c.repo for c in commits.list_set(db, commit_id)] == ["images", "edges", "edges.meta"]
        assert db.value("SELECT count(*) FROM jobs") == 1


def test_writes_afterwards_have_ids_of_their_own(two: Store) -> None:
    commit_id = new_commit_id()

    def run(db: Db) -> None:
        with joint_set(db, commit_id):
            repos.create_repo(db, "new")

    two.write(run)
    assert put(two, "images", "/b", b"2") != commit_id
