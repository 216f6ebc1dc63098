"""The history of single files: every version listed, and any of them forgotten for good."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from store.checks import check
from store.helpers import bytes_of, commit_of, create_repos, delete, derive, finish, fork, put, put_all, start, tree

from appliance.errors import Conflict
from appliance.names import CommitId
from appliance.store import Db, Store, forgetting, snapshots, versions
from appliance.store.versions import Version, VersionPage


def listed(store: Store, branch: str = "master", **options: object) -> VersionPage:
    settings = {"prefix": "/", "delimiter": "", "after": None, "after_id": None, "limit": 1000} | options
    with store.snapshot() as db:
        return versions.list_versions(db, snapshots.open_branch(db, "data", branch), **settings)  # type: ignore[arg-type]


def ids(page: VersionPage) -> list[tuple[str, str]]:
    """Return (path, version) of a page; delete markers have a `-` before their path."""
    found = [item for item in page.items if isinstance(item, Version)]
    return [(("" if item.entry else "-") + item.path, item.id) for item in found]


def forget(store: Store, path: str, version: str, branch: str = "master") -> Version | None:
    return store.write(lambda db: forgetting.forget_version(db, snapshots.open_branch(db, "data", branch), path, version))


def mark(store: Store, *paths: str, branch: str = "master") -> CommitId:
    """Delete what is not there."""

    def write(db: Db) -> CommitId:
        head = snapshots.open_branch(db, "data", branch).commit
        assert head is not None
        return versions.add_markers(db, head, paths)

    return store.write(write)


@pytest.fixture
def data(store: Store) -> Iterator[Store]:
    """A store with the repo `data`."""
    create_repos(store, "data")
    yield store
    check(store)


def test_versions_are_listed_by_path_and_newest_first(data: Store) -> None:
    one, two = put(data, "data", "/b", b"1"), put(data, "data", "/b", b"2")
    other = put(data, "data", "/a", b"3")
    gone = delete(data, "data", "/b")
    assert ids(listed(data)) == [("/a", other), ("-/b", gone), ("/b", two), ("/b", one)]


def test_only_the_newest_version_is_the_latest(data: Store) -> None:
    put(data, "data", "/a", b"1")
    put(data, "data", "/a", b"2")
    delete(data, "data", "/a")
    assert [item.is_latest for item in listed(data).items if isinstance(item, Version)] == [True, False, False]


def test_versions_go_through_forks_to_the_beginning(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    fork(data, "data", "dev", head="master")
    on_master = put(data, "data", "/a", b"2")
    on_dev = put(data, "data", "/a", b"3", branch="dev")
    gone = delete(data, "data", "/a", branch="dev")
    assert ids(listed(data, "dev")) == [("-/a", gone), ("/a", on_dev), ("/a", one)]
    assert ids(listed(data)) == [("/a", on_master), ("/a", one)]


def test_what_a_branch_has_not_reached_is_not_listed(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    put(data, "data", "/b", b"2")
    delete(data, "data", "/a")
    fork(data, "data", "old", head=one)
    assert ids(listed(data, "old")) == [("/a", one)]
    assert listed(data, "old", delimiter="/", prefix="/b").items == ()


def test_pages_meet_without_gap_or_double(data: Store) -> None:
    for number in range(12):
        put(data, "data", f"/{number % 3}", bytes([number]))
    delete(data, "data", "/1")
    whole, walked = ids(listed(data)), []
    page = listed(data, limit=2)
    while True:
        walked += ids(page)
        if not page.truncated:
            break
        path, version = walked[-1]
        page = listed(data, limit=2, after=path.removeprefix("-"), after_id=version)
    assert walked == whole
    assert len(whole) == 13


def test_a_page_goes_on_behind_a_version_that_is_gone(data: Store) -> None:
    made = [put(data, "data", "/a", bytes([number])) for number in range(4)]
    forget(data, "/a", made[2])
    rest = listed(data, after="/a", after_id=made[2])
    assert ids(rest) == [("/a", made[1]), ("/a", made[0])]
    assert not any(item.is_latest for item in rest.items if isinstance(item, Version))


def test_behind_a_newest_version_that_is_gone_comes_the_latest(data: Store) -> None:
    made = [put(data, "data", "/a", bytes([number])) for number in range(3)]
    forget(data, "/a", made[2])
    rest = [item for item in listed(data, after="/a", after_id=made[2]).items if isinstance(item, Version)]
    assert [(item.id, item.is_latest) for item in rest] == [(made[1], True), (made[0], False)]


def test_a_page_goes_on_behind_a_delete_of_nothing(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    marks = [mark(data, "/a"), mark(data, "/a")]
    assert ids(listed(data)) == [("-/a", marks[1]), ("-/a", marks[0]), ("-/a", gone), ("/a", one)]
    assert ids(listed(data, after="/a", after_id=marks[0])) == [("-/a", gone), ("/a", one)]
    assert ids(listed(data, after="/a", after_id=gone)) == [("/a", one)]
    forget(data, "/a", marks[1])
    assert ids(listed(data, after="/a", after_id=marks[1])) == ids(listed(data))


def test_a_marker_of_a_path_alone_is_behind_all_its_versions(data: Store) -> None:
    put(data, "data", "/a", b"1")
    put(data, "data", "/a", b"2")
    two = put(data, "data", "/b", b"2")
    assert ids(listed(data, after="/a")) == [("/b", two)]


def test_common_prefixes_stand_for_all_versions_below_them(data: Store) -> None:
    put(data, "data", "/d/a", b"1")
    put(data, "data", "/d/a", b"2")
    top = put(data, "data", "/e", b"3")
    delete(data, "data", "/d/a")
    page = listed(data, delimiter="/")
    assert page.items[0] == "/d/"
    assert ids(page) == [("/e", top)]
    assert ids(listed(data, delimiter="/", after="/d/")) == [("/e", top)]


def test_delete_of_nothing_is_a_marker_and_no_commit(data: Store) -> None:
    head = put(data, "data", "/b", b"")
    version = mark(data, "/a")
    assert ids(listed(data, prefix="/a")) == [("-/a", version)]
    assert commit_of(data, "data").id == head


def test_forgotten_version_gives_way_to_the_one_before(data: Store) -> None:
    one, two = put(data, "data", "/a", b"one"), put(data, "data", "/a", b"2")
    other = put(data, "data", "/b", b"other")
    forget(data, "/a", two)
    assert tree(data, "data") == {"/a": b"one", "/b": b"other"}
    assert tree(data, "data", two) == {"/a": b"one"}
    assert commit_of(data, "data", other).size_bytes == 8
    assert ids(listed(data)) == [("/a", one), ("/b", other)]


def test_forgotten_first_version_never_was(data: Store) -> None:
    one, two = put(data, "data", "/a", b"one"), put(data, "data", "/a", b"2")
    forget(data, "/a", one)
    assert tree(data, "data", one) == {}
    assert tree(data, "data", two) == {"/a": b"2"}
    assert commit_of(data, "data", one).file_count == 0


def test_forgotten_delete_brings_the_file_back(data: Store) -> None:
    put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    found = forget(data, "/a", gone)
    assert found is not None
    assert found.entry is None
    assert tree(data, "data") == tree(data, "data", gone) == {"/a": b"1"}


def test_delete_is_listed_still_when_what_it_deleted_is_forgotten(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    forget(data, "/a", one)
    assert ids(listed(data)) == [("-/a", gone)]
    forget(data, "/a", gone)
    assert ids(listed(data)) == []


def test_forgetting_a_delete_leaves_the_later_ones(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    first = mark(data, "/a")
    put(data, "data", "/b", b"")
    second = mark(data, "/a")
    forget(data, "/a", gone)
    assert ids(listed(data, prefix="/a")) == [("-/a", second), ("-/a", first), ("/a", one)]
    assert "/a" not in tree(data, "data", gone)
    forget(data, "/a", first)
    assert tree(data, "data", gone) == {"/a": b"1"}
    assert "/a" not in tree(data, "data")
    forget(data, "/a", second)
    assert tree(data, "data") == {"/a": b"1", "/b": b""}


def test_what_is_not_a_version_is_not_forgotten(data: Store) -> None:
    put(data, "data", "/a", b"1")
    other = put(data, "data", "/b", b"2")
    assert forget(data, "/a", other) is None
    assert forget(data, "/a", "0" * 32) is None
    assert forget(data, "/a", "no version") is None
    assert tree(data, "data") == {"/a": b"1", "/b": b"2"}


def test_fork_that_shares_a_version_forgets_it_too(data: Store) -> None:
    put(data, "data", "/a", b"1")
    two = put(data, "data", "/a", b"22")
    fork(data, "data", "dev", head="master")
    put(data, "data", "/a", b"333")
    put(data, "data", "/b", b"dev", branch="dev")
    forget(data, "/a", two)
    assert tree(data, "data", "dev") == {"/a": b"1", "/b": b"dev"}
    assert commit_of(data, "data", "dev").size_bytes == 4
    assert tree(data, "data") == {"/a": b"333"}


def test_fork_that_does_not_share_a_version_shows_what_it_did(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    two = put(data, "data", "/a", b"22")
    fork(data, "data", "old", head=one)
    fork(data, "data", "dev", head=two)
    put(data, "data", "/a", b"own", branch="dev")
    forget(data, "/a", two)
    assert tree(data, "data", "old") == {"/a": b"1"}
    assert tree(data, "data", "dev") == {"/a": b"own"}


def test_forgotten_version_of_a_fork_shows_the_base_again(data: Store) -> None:
    put(data, "data", "/a", b"base")
    fork(data, "data", "dev", head="master")
    put(data, "data", "/c", b"")
    own = put(data, "data", "/a", b"own", branch="dev")
    gone = delete(data, "data", "/a", branch="dev")
    forget(data, "/a", own, branch="dev")
    assert tree(data, "data", own) == {"/a": b"base"}
    assert tree(data, "data", "dev") == {}
    forget(data, "/a", gone, branch="dev")
    assert tree(data, "data", "dev") == {"/a": b"base"}


def test_version_that_other_commits_were_made_from_stays(data: Store) -> None:
    create_repos(data, "down")
    one = put(data, "data", "/a", b"1")
    derive(data, "down", "data")
    with pytest.raises(Conflict, match="was made from"):
        forget(data, "/a", one)
    assert tree(data, "data") == {"/a": b"1"}


def test_delete_that_other_commits_were_made_from_stays(data: Store) -> None:
    create_repos(data, "down")
    put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    derive(data, "down", "data")
    with pytest.raises(Conflict, match="was made from"):
        forget(data, "/a", gone)
    assert tree(data, "data") == {}


def test_version_before_those_that_others_were_made_from_can_go(data: Store) -> None:
    create_repos(data, "down")
    one = put(data, "data", "/a", b"1")
    put(data, "data", "/a", b"2")
    derive(data, "down", "data")
    forget(data, "/a", one)
    assert tree(data, "data", one) == {}


@pytest.mark.parametrize(("gone", "taken"), [("/a", "/a/b"), ("/a/b", "/a"), ("/a", "/a/"), ("/a/", "/a")])
def test_file_does_not_come_back_where_its_name_is_taken(data: Store, gone: str, taken: str) -> None:
    put(data, "data", gone, b"") if not gone.endswith("/") else put_all(data, "data", {gone: b""})
    deleted = delete(data, "data", gone.rstrip("/")) if not gone.endswith("/") else delete(data, "data", gone)
    put_all(data, "data", {taken: b""})
    with pytest.raises(Conflict, match="cannot come back"):
        forget(data, gone, deleted)
    assert set(tree(data, "data")) == {taken}


def test_file_does_not_come_back_where_a_fork_has_a_directory(data: Store) -> None:
    put(data, "data", "/a", b"1")
    gone = delete(data, "data", "/a")
    fork(data, "data", "dev", head="master")
    put(data, "data", "/a/b", b"2", branch="dev")
    with pytest.raises(Conflict, match="cannot come back"):
        forget(data, "/a", gone)
    assert tree(data, "data") == {}


def test_change_in_an_open_commit_is_forgotten(data: Store) -> None:
    put(data, "data", "/a", b"1")
    opened = start(data, "data")
    put(data, "data", "/a", b"2")
    forget(data, "/a", opened)
    finish(data, "data")
    assert tree(data, "data") == {"/a": b"1"}


def test_branches_that_change_are_announced(data: Store) -> None:
    one = put(data, "data", "/a", b"1")
    fork(data, "data", "dev", head="master")
    put(data, "data", "/b", b"2", branch="dev")
    heads: set[tuple[str, str]] = set()
    data.listen(lambda changes: heads.update(changes.heads))
    forget(data, "/a", one)
    assert heads == {("data", "master"), ("data", "dev")}


@dataclass
class Model:
    """Commits as what each changed: forgetting a version takes one change away."""

    changes: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def walk(self, commit: str | None) -> Iterator[str]:
        while commit is not None:
            yield commit
            commit = self.parents[commit]

    def versions(self, head: str, path: str) -> list[tuple[str, bytes | None]]:
        return [(commit, self.changes[commit][path]) for commit in self.walk(head) if path in self.changes[commit]]

    def tree(self, head: str) -> Mapping[str, bytes]:
        newest = {path: self.versions(head, path)[:1] for path in PATHS}
        return {path: found[0][1] for path, found in newest.items() if found and found[0][1] is not None}


PATHS = ("/a", "/b", "/c/d", "/c/e")
BRANCHES = ("master", "dev", "old")


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_agree_with_a_model(data: Store, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    first = put(data, "data", "/a", b"0")
    model.changes[first], model.parents[first] = {"/a": b"0"}, None
    heads = {"master": str(first)}
    steps: list[Callable[[], None]] = []

    def change() -> None:
        branch, path = chance.choice(sorted(heads)), chance.choice(PATHS)
        there = path in model.tree(heads[branch])
        data_bytes = chance.randbytes(chance.randrange(5))
        if there and chance.random() < 0.4:
            made, value = delete(data, "data", path, branch=branch), None
        else:
            made, value = put(data, "data", path, data_bytes, branch=branch), data_bytes
        model.changes[made], model.parents[made] = {path: value}, heads[branch]
        heads[branch] = made

    def split() -> None:
        branch = chance.choice(BRANCHES)
        head = chance.choice(list(model.changes))
        fork(data, "data", branch, head=head)
        heads[branch] = head

    def remove() -> None:
        branch, path = chance.choice(sorted(heads)), chance.choice(PATHS)
        known = model.versions(heads[branch], path)
        if known:
            version, value = chance.choice(known)
            found = forget(data, path, version, branch=branch)
            assert found is not None
            assert (found.entry is None) == (value is None)
            del model.changes[version][path]

    for _ in range(60):
        steps = [change, change, split, remove]
        chance.choice(steps)()
        for branch, head in heads.items():
            assert tree(data, "data", branch) == model.tree(head)
    for commit in model.changes:
        assert tree(data, "data", commit) == model.tree(commit)
    for branch, head in heads.items():
        for path in PATHS:
            page = listed(data, branch, prefix=path)
            found = [
                (item.id, None if item.entry is None else bytes_of(data, item.entry.content))
                for item in page.items
                if isinstance(item, Version)
            ]
            assert found == model.versions(head, path)
