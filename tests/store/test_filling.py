"""Puts of many files into a directory that is not there yet: the same as one after the other."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.checks import check
from store.helpers import commit_of, create_repos, delete, fork, keep, put_all, tree

from appliance.errors import ApplianceError
from appliance.store import Db, Store, commits, files, filling, history, staging
from appliance.store.blobs import Content

PATHS = ["/a", "/a/b", "/a/b/c", "/a/b/d", "/a/c", "/a-b", "/b/c/d", "/b/c/e", "/ä/x", "/d/", "/a/d/"]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples: each has repos of its own."""
    store = Store(tmp_path_factory.mktemp("shared"), "fast")
    yield store
    check(store)
    store.close()


def make_repo(store: Store, before: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return a new repo and the branch at the end of what happened in it before."""
    repo, branch = f"data{next(_numbers)}", "master"
    create_repos(store, repo)
    put_all(store, repo, {})
    for what, path in before:
        if what == "fork":  # the other one goes on, so that this one has to begin a line of its own
            fork(store, repo, f"{branch}x", head=branch)
            put_all(store, repo, {"/other": b""}, branch)
            branch = f"{branch}x"
            continue
        try:
            put_all(store, repo, {path: b"old"}, branch) if what == "put" else delete(store, repo, path, branch)
        except ApplianceError:
            continue
    return repo, branch


def one_by_one(staged: Sequence[tuple[str, Content]], db: Db, commit: commits.Commit) -> None:
    for path, content in staged:
        if path.endswith("/"):
            files.make_directory(db, commit, path)
        else:
            files.put_file(db, commit, path, content)


def together(staged: Sequence[tuple[str, Content]], db: Db, commit: commits.Commit) -> None:
    put_id = staging.begin_put(db)
    for path, content in staged:
        staging.add_files(db, put_id, [(path, content, None)])
    staging.put_staged(db, put_id, commit)
    staging.discard_put(db, put_id)


def outcome(store: Store, repo: str, branch: str, put: Callable[[Db, commits.Commit], None]) -> object:
    def write(db: Db) -> None:
        writing = history.begin_write(db, repo, branch)
        put(db, writing.commit)
        history.end_write(db, writing)

    try:
        store.write(write)
    except ApplianceError as error:
        return type(error), str(error), tree(store, repo, branch)
    head = commit_of(store, repo, branch)
    return tree(store, repo, branch), head.size_bytes, head.file_count


@given(
    before=st.lists(st.tuples(st.sampled_from(["put", "put", "delete", "fork"]), st.sampled_from(PATHS)), max_size=4),
    paths=st.lists(st.sampled_from(PATHS), max_size=4),
)
def test_what_is_staged_comes_as_if_put_one_by_one(shared: Store, before: list[tuple[str, str]], paths: list[str]) -> None:
    staged = [(path, keep(shared, f"{path}{number}".encode())) for number, path in enumerate(paths)]
    outcomes = []
    for way in (one_by_one, together):
        repo, branch = make_repo(shared, before)
        outcomes.append(outcome(shared, repo, branch, lambda db, commit, way=way: way(staged, db, commit)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("before", "paths", "filled"),
    [
        ([], ["/a", "/b/c"], True),
        ([("put", "/a")], ["/b/c", "/b/d"], True),
        ([("put", "/b/c"), ("delete", "/b/c")], ["/b/c", "/b/d"], True),
        ([("put", "/b/c")], ["/b/d"], False),
        ([("put", "/b")], ["/b/d"], False),
        ([("put", "/b/c"), ("fork", ""), ("delete", "/b/c")], ["/b/d"], False),
        ([], ["/a", "/a"], False),
        ([], ["/a", "/a-b", "/a/b"], False),
        ([], ["/a/"], False),
        ([], [], False),
    ],
)
def test_only_untouched_directories_are_filled(
    shared: Store, before: list[tuple[str, str]], paths: list[str], filled: bool
) -> None:
    repo, branch = make_repo(shared, before)
    content = keep(shared, b"x")

    def write(db: Db) -> bool:
        put_id = staging.begin_put(db)
        staging.add_files(db, put_id, [(path, content, None) for path in paths])
        writing = history.begin_write(db, repo, branch)
        done = filling.fill(db, put_id, writing.commit)
        history.end_write(db, writing)
        return done

    assert shared.write(write) == filled
