"""Repos and branches: make, list, delete."""

import pytest
from store.helpers import (
    commit_of,
    create_pipeline,
    create_repos,
    derive,
    finish,
    fork,
    put,
    put_all,
    run_pipeline,
    start,
    tree,
)

from appliance.errors import (
    AlreadyExists,
    BranchNotFound,
    CommitNotFound,
    Conflict,
    InvalidName,
    OutputBranch,
    RepoNotFound,
)
from appliance.store import Store, repos, uploads
from appliance.store.collecting import collect


def test_repos_are_listed_newest_first(store: Store) -> None:
    create_repos(store, "old", "new")
    with store.snapshot() as db:
        assert [repo.name for repo in repos.iter_repos(db)] == ["new", "old"]


def test_repo_has_the_size_of_master_and_its_branches_by_age(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"123", "zoo")
    put(store, "images", "/a", b"12345")
    with store.snapshot() as db:
        repo = repos.get_repo(db, "images")
    assert (repo.size_bytes, repo.branches) == (5, ("zoo", "master"))


def test_repo_without_master_has_no_size(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"123", "dev")
    with store.snapshot() as db:
        assert repos.get_repo(db, "images").size_bytes == 0


def test_create_of_an_existing_repo_is_refused(store: Store) -> None:
    create_repos(store, "images")
    with pytest.raises(AlreadyExists, match=r"^repo images already exists$"):
        create_repos(store, "images")


def test_update_of_a_repo_changes_only_the_description(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    store.write(lambda db: repos.create_repo(db, "images", description="pictures", update=True))
    with store.snapshot() as db:
        assert repos.get_repo(db, "images").description == "pictures"
    assert tree(store, "images") == {"/a": b"1"}


def test_update_of_a_missing_repo_makes_it(store: Store) -> None:
    store.write(lambda db: repos.create_repo(db, "images", description="pictures", update=True))
    with store.snapshot() as db:
        assert repos.get_repo(db, "images").description == "pictures"


@pytest.mark.parametrize("name", ["", "a.b", "a b", "ä", "a/b", "a\n"])
def test_repo_with_a_wrong_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidName, match="only alphanumeric characters, underscores, and dashes are allowed"):
        create_repos(store, name)


def test_names_are_case_sensitive(store: Store) -> None:
    create_repos(store, "images", "Images")
    put(store, "images", "/a", b"1", "Dev")
    with pytest.raises(BranchNotFound, match=r'^branch "dev" not found in repo images$'):
        commit_of(store, "images", "dev")


def test_missing_repo_is_named(store: Store) -> None:
    with store.snapshot() as db, pytest.raises(RepoNotFound, match=r"^repo images not found$"):
        repos.get_repo(db, "images")


def test_deleted_repo_takes_its_history_along(store: Store) -> None:
    create_repos(store, "images")
    put_all(store, "images", {"/a": b"1", "/d/": b""})
    fork(store, "images", "dev", "master")
    put(store, "images", "/b", b"2")
    put(store, "images", "/c", b"3", "dev")
    store.write(lambda db: repos.delete_repo(db, "images"))
    collect(store)
    with store.snapshot() as db:
        left = [db.value(f"SELECT count(*) FROM {table}") for table in ("repos", "branches", "commits", "lines", "entries")]
    assert left == [0] * 5


def test_repo_made_again_is_empty(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    store.write(lambda db: repos.delete_repo(db, "images"))
    create_repos(store, "images")
    fork(store, "images", "master")
    assert tree(store, "images") == {}


def test_repo_that_a_branch_depends_on_is_kept(store: Store) -> None:
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    with pytest.raises(Conflict, match="branch edges@master depends on it"):
        store.write(lambda db: repos.delete_repo(db, "images"))


def test_repo_that_commits_were_made_from_is_kept(store: Store) -> None:
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    put(store, "images", "/a", b"1")
    store.write(lambda db: repos.delete_branch(db, "edges", "master"))
    with pytest.raises(Conflict, match="was made from it"):
        store.write(lambda db: repos.delete_repo(db, "images"))


def test_output_repo_is_not_deleted_without_its_pipeline(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    with pytest.raises(Conflict, match="cannot delete a repo associated with a pipeline - delete the pipeline instead"):
        store.write(lambda db: repos.delete_repo(db, "edges"))


def test_new_branch_has_an_empty_finished_commit(store: Store) -> None:
    create_repos(store, "images")
    fork(store, "images", "dev")
    head = commit_of(store, "images", "dev")
    assert (head.is_open, head.origin, head.parent, tree(store, "images", "dev")) == (False, "AUTO", None, {})


def test_create_of_an_existing_branch_changes_nothing(store: Store) -> None:
    create_repos(store, "images")
    head = put(store, "images", "/a", b"1")
    fork(store, "images", "master")
    assert commit_of(store, "images").id == head


def test_branch_is_repointed_at_an_ancestor(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    put(store, "images", "/a", b"2")
    fork(store, "images", "master", "master^")
    assert tree(store, "images") == {"/a": b"1"}


def test_branch_at_a_missing_commit_is_refused(store: Store) -> None:
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    with pytest.raises(CommitNotFound, match=r"^commit images@master\^ not found$"):
        fork(store, "images", "dev", "master^")


def test_refused_branch_leaves_nothing_behind(store: Store) -> None:
    create_repos(store, "images", "edges")
    sources = [("images", "dev"), ("missing", "master")]
    with pytest.raises(RepoNotFound):
        store.write(lambda db: repos.create_branch(db, "edges", "master", provenance=sources))
    with store.snapshot() as db:
        assert repos.list_all_branches(db) == []


def test_branch_with_a_wrong_name_is_refused(store: Store) -> None:
    create_repos(store, "images")
    with pytest.raises(InvalidName):
        fork(store, "images", "a.b")


def test_deleted_branch_leaves_its_commits(store: Store) -> None:
    create_repos(store, "images")
    head = put(store, "images", "/a", b"1", "dev")
    store.write(lambda db: repos.delete_branch(db, "images", "dev"))
    assert tree(store, "images", head) == {"/a": b"1"}


def test_delete_of_a_missing_branch_is_refused(store: Store) -> None:
    create_repos(store, "images")
    with pytest.raises(BranchNotFound):
        store.write(lambda db: repos.delete_branch(db, "images", "dev"))


def test_branch_that_others_depend_on_is_kept(store: Store) -> None:
    create_repos(store, "images", "edges")
    derive(store, "edges", "images")
    with pytest.raises(Conflict, match="images@master is in the provenance of other branches"):
        store.write(lambda db: repos.delete_branch(db, "images", "master"))


def test_output_branch_of_a_pipeline_is_kept(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    with pytest.raises(Conflict, match="output branch of pipeline edges"):
        store.write(lambda db: repos.delete_branch(db, "edges", "master"))


def test_output_branch_is_not_repointed(store: Store) -> None:
    create_repos(store, "images")
    create_pipeline(store, "edges", "images")
    run_pipeline(store, "edges", {"one": {"/a": b"1"}})
    with pytest.raises(OutputBranch):
        fork(store, "edges", "master", "master^")


def test_branch_as_listed_knows_what_it_is_made_from(store: Store) -> None:
    create_repos(store, "images", "labels", "edges")
    derive(store, "edges", "labels", "images")
    with store.snapshot() as db:
        branch = repos.get_branch(db, "edges", "master")
        assert (branch.provenance, branch.is_output) == ((("images", "master"), ("labels", "master")), True)
        assert not repos.get_branch(db, "images", "master").is_output


def test_all_branches_are_listed_in_the_order_of_buckets(store: Store) -> None:
    create_repos(store, "b", "a")
    for repo, branch in [("b", "master"), ("a", "master"), ("a", "dev"), ("b", "Dev")]:
        fork(store, repo, branch)
    with store.snapshot() as db:
        names = [f"{branch}.{repo}" for repo, branch, _ in repos.list_all_branches(db)]
    assert names == ["Dev.b", "dev.a", "master.a", "master.b"]


def test_deleting_the_last_empty_branch_deletes_the_repo(store: Store) -> None:
    create_repos(store, "images")
    fork(store, "images", "dev")
    fork(store, "images", "master")
    assert store.write(lambda db: repos.delete_empty_branch(db, "images", "dev"))
    assert store.write(lambda db: repos.delete_empty_branch(db, "images", "master"))
    with store.snapshot() as db:
        assert list(repos.iter_repos(db)) == []


@pytest.mark.parametrize("path", ["/a", "/dir/"])
def test_branch_that_shows_anything_is_not_empty(store: Store, path: str) -> None:
    create_repos(store, "images")
    put(store, "images", path, b"")
    assert not store.write(lambda db: repos.delete_empty_branch(db, "images", "master"))
    assert list(tree(store, "images")) == [path]


def test_branch_with_files_in_an_open_commit_is_not_empty(store: Store) -> None:
    create_repos(store, "images")
    start(store, "images")
    put(store, "images", "/a", b"1")
    assert not store.write(lambda db: repos.delete_empty_branch(db, "images", "master"))
    finish(store, "images")


def test_repo_stays_without_branches_while_others_were_made_from_it(store: Store) -> None:
    create_repos(store, "images", "edges")
    fork(store, "images", "master")
    derive(store, "edges", "images")
    put_and_remove = put(store, "images", "/a", b"1")
    store.write(lambda db: repos.delete_branch(db, "edges", "master"))
    store.write(lambda db: repos.create_branch(db, "images", "master", head=f"{put_and_remove}^"))
    assert store.write(lambda db: repos.delete_empty_branch(db, "images", "master"))
    with store.snapshot() as db:
        assert repos.get_repo(db, "images").branches == ()


@pytest.mark.parametrize("delete", [repos.delete_branch, repos.delete_empty_branch])
def test_uploads_go_with_their_branch(store: Store, delete: object) -> None:
    create_repos(store, "images")
    fork(store, "images", "master")
    with store.snapshot() as db:
        target = f"branch/{repos.find_branch_id(db, 'images', 'master')}"
    store.write(lambda db: uploads.create_upload(db, target, "/a", None))
    store.write(lambda db: delete(db, "images", "master"))  # type: ignore[operator]
    with store.snapshot() as db:
        assert uploads.list_uploads(db, target).items == ()


def test_number_of_a_deleted_branch_is_never_given_again(store: Store) -> None:
    create_repos(store, "images")
    fork(store, "images", "one")
    with store.snapshot() as db:
        before = repos.find_branch_id(db, "images", "one")
    store.write(lambda db: repos.delete_branch(db, "images", "one"))
    fork(store, "images", "two")
    with store.snapshot() as db:
        assert repos.find_branch_id(db, "images", "two") != before


def test_listeners_hear_of_repos_and_heads(store: Store) -> None:
    heard: list[tuple[bool, set[tuple[str, str]]]] = []
    store.listen(lambda changes: heard.append((changes.repos, changes.heads)))
    create_repos(store, "images")
    put(store, "images", "/a", b"1", "dev")
    store.write(lambda db: repos.delete_repo(db, "images"))
    store.write(lambda db: None)  # begins when the listeners have heard of those before
    assert heard == [(True, set()), (False, {("images", "dev")}), (True, {("images", "dev")})]
