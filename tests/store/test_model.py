"""Random sequences of operations: the store gives and refuses what the model in `reference.py` does.

A failing sequence prints itself as it was found. With SHRINK=1 in the environment hypothesis takes some minutes to find the
shortest one.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reference import Commit, Model, list_children, list_items
from store.checks import check
from store.helpers import LARGE, stage, tree

from appliance.errors import ApplianceError
from appliance.names import CommitId
from appliance.store import Db, Store, blobs, commits, diffs, files, history, listings, repos, snapshots, squash

T = TypeVar("T")
Words = dict[str, str]

NAMES = ["/a", "/a/b", "/a/b/c", "/a-b", "/a/", "/a0", "/b", "/b/", "/b/c/", "/ä/x", "/a/\U0010ffff", "/a/b-", "/B/b"]
WRONG = ["/", "//a", "/a/../b", "/" + "x" * 256]
REPOS = st.sampled_from(["images"] * 5 + ["edges"])
BRANCHES = st.sampled_from(["master", "dev", "tag"])
PATHS = st.sampled_from(["/a/b", "/b/c", "/a-b"] * 12 + NAMES * 4 + WRONG)
CONTENTS = {"empty": b"", "one": b"one", "two": b"two", "large": LARGE}
PUTS = st.dictionaries(PATHS, st.sampled_from(sorted(CONTENTS)), min_size=1, max_size=2)
PREFIXES = st.sampled_from(["/", "/a", "/a/", "/a/b", "/b", "/ä", "/x", ""])
DELIMITERS = st.sampled_from(["", "/", "b", "/b", "-"])
AFTERS = st.sampled_from(["", "/", "/a", "/a/", "/a/b", "/a/b/", "/a/\U0010ffff", "/b/c/", "/z"])


class StoreAgainstModel(RuleBasedStateMachine):
    """Every rule does one thing to both and compares content or error."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.directory.name), "fast")
        self.model = Model()
        self.steps = 0  # rules that undo much take part now and then

    @initialize()
    def begin_with_a_repo(self) -> None:
        self.create_repo("images")
        self.write("images", "master", {"/a/b": "one", "/b/c": "two"}, [])

    @precondition(lambda self: self.steps % 6 == 0)
    @rule(repo=st.sampled_from(["images", "edges"]))
    def create_repo(self, repo: str) -> None:
        self.both(lambda: self.model.create_repo(repo), lambda db: repos.create_repo(db, repo))

    @precondition(lambda self: len(self.model.repos) > 1 and self.steps % 9 == 0)
    @rule(repo=REPOS)
    def delete_repo(self, repo: str) -> None:
        self.both(lambda: self.model.delete_repo(repo), lambda db: repos.delete_repo(db, repo))

    @rule(repo=REPOS, name=BRANCHES)
    def create_branch(self, repo: str, name: str) -> None:
        self.fork(repo, name, None)

    @rule(repo=REPOS, name=BRANCHES, head=BRANCHES, back=st.integers(0, 3))
    def fork_at_an_ancestor(self, repo: str, name: str, head: str, back: int) -> None:
        self.fork(repo, name, head + "^" * back)

    @rule(data=st.data(), repo=REPOS, name=BRANCHES)
    def fork_at_any_commit(self, data: st.DataObject, repo: str, name: str) -> None:
        if commit := self.any_commit(data, repo):
            self.fork(repo, name, commit)

    @precondition(lambda self: self.steps % 5 == 0)
    @rule(repo=REPOS, name=BRANCHES)
    def delete_branch(self, repo: str, name: str) -> None:
        self.both(lambda: self.model.delete_branch(repo, name), lambda db: repos.delete_branch(db, repo, name))

    @rule(repo=REPOS, branch=BRANCHES)
    def start_commit(self, repo: str, branch: str) -> None:
        self.start(repo, branch, None)

    @rule(data=st.data(), repo=REPOS, branch=BRANCHES)
    def start_commit_after_any_other(self, data: st.DataObject, repo: str, branch: str) -> None:
        if parent := self.any_commit(data, repo):
            self.start(repo, branch, parent)

    @rule(repo=REPOS, branch=BRANCHES)
    def finish_commit(self, repo: str, branch: str) -> None:
        self.both(lambda: self.model.finish(repo, branch), lambda db: history.finish_user_commit(db, repo, branch))

    @rule(data=st.data(), repo=REPOS)
    def finish_any_commit(self, data: st.DataObject, repo: str) -> None:
        if commit := self.any_commit(data, repo):
            self.both(lambda: self.model.finish(repo, commit), lambda db: history.finish_user_commit(db, repo, commit.id))

    @rule(repo=REPOS, branch=BRANCHES, puts=PUTS)
    def put(self, repo: str, branch: str, puts: Words) -> None:
        self.write(repo, branch, puts, [])

    @rule(repo=REPOS, branch=BRANCHES, deletes=st.lists(PATHS, max_size=2))
    def delete(self, repo: str, branch: str, deletes: list[str]) -> None:
        self.write(repo, branch, {}, deletes)

    @rule(repo=REPOS, branch=BRANCHES, path=st.sampled_from(["/a/b", "/b/c", "/a-b"]), word=st.sampled_from(sorted(CONTENTS)))
    def overwrite(self, repo: str, branch: str, path: str, word: str) -> None:
        self.write(repo, branch, {path: word}, [])

    @rule(repo=REPOS, branch=BRANCHES, puts=PUTS, deletes=st.lists(PATHS, max_size=2))
    def delete_and_put(self, repo: str, branch: str, puts: Words, deletes: list[str]) -> None:
        self.write(repo, branch, puts, deletes)

    @rule(data=st.data(), repo=REPOS, puts=PUTS, deletes=st.lists(PATHS, max_size=1))
    def write_to_any_commit(self, data: st.DataObject, repo: str, puts: Words, deletes: list[str]) -> None:
        if commit := self.any_commit(data, repo):
            self.write(repo, commit, puts, deletes)

    @rule(data=st.data(), repo=REPOS)
    def squash_any_commit(self, data: st.DataObject, repo: str) -> None:
        self.take_out(data, repo, self.model.squash, squash.squash_set)

    @rule(data=st.data(), repo=REPOS)
    def drop_any_commit(self, data: st.DataObject, repo: str) -> None:
        self.take_out(data, repo, self.model.drop, squash.drop_set)

    @rule(data=st.data(), repo=REPOS)
    def clear_any_commit(self, data: st.DataObject, repo: str) -> None:
        if commit := self.any_commit(data, repo):
            self.both(lambda: self.model.clear(repo, commit), lambda db: squash.clear_commit(db, repo, commit.id))

    @rule(data=st.data(), repo=REPOS)
    def diff_any_two_commits(self, data: st.DataObject, repo: str) -> None:
        old, new = self.any_commit(data, repo), self.any_commit(data, repo)
        if old and new:
            expected = sorted(path for path in old.tree.keys() | new.tree.keys() if old.tree.get(path) != new.tree.get(path))
            with self.store.snapshot() as db:
                pair = [snapshots.open_revision(db, repo, commit.id) for commit in (old, new)]
                found = [(before or after) for before, after in diffs.iter_diff(db, *pair)]
            assert [entry.path for entry in found if entry] == expected

    @rule(repo=REPOS, branch=BRANCHES, back=st.integers(0, 3))
    def read_an_ancestor(self, repo: str, branch: str, back: int) -> None:
        revision = branch + "^" * back
        expected = outcome(lambda: self.model.resolve(repo, revision).tree)
        assert outcome(lambda: tree(self.store, repo, revision)) == expected

    @rule(
        data=st.data(),
        repo=REPOS,
        prefix=PREFIXES,
        delimiter=DELIMITERS,
        after=AFTERS,
        limit=st.integers(1, 4),
    )
    def page_through(self, data: st.DataObject, repo: str, prefix: str, delimiter: str, after: str, limit: int) -> None:
        if commit := self.any_commit(data, repo):
            expected = list_items(commit.tree, prefix, delimiter, after)
            assert self.pages(repo, commit.id, prefix, delimiter, after, limit) == expected

    @rule(data=st.data(), repo=REPOS, path=st.sampled_from(["/", "/a", "/a/b", "/b", "/x"]))
    def list_a_directory(self, data: st.DataObject, repo: str, path: str) -> None:
        if commit := self.any_commit(data, repo):
            with self.store.snapshot() as db:
                children = list(listings.iter_children(db, snapshots.open_revision(db, repo, commit.id), path))
            names = [child.name if child.entry else child.name + "/" for child in children]
            assert names == list_children(commit.tree, path)

    @invariant()
    def branches_agree(self) -> None:
        self.steps += 1
        with self.store.snapshot() as db:
            found = {(repo, branch) for repo, branch, _ in repos.list_all_branches(db)}
        assert found == {(name, branch) for name, repo in self.model.repos.items() for branch in repo.branches}

    def teardown(self) -> None:
        try:
            for name, repo in self.model.repos.items():
                for commit in repo.commits:
                    assert tree(self.store, name, commit.id) == commit.tree
            check(self.store)
        finally:
            self.store.close()
            self.directory.cleanup()

    def take_out(
        self,
        data: st.DataObject,
        repo: str,
        on_model: Callable[[str, Commit], None],
        on_store: Callable[[Db, CommitId], None],
    ) -> None:
        commit = self.any_commit(data, repo)
        if commit is None:
            return
        self.both(lambda: on_model(repo, commit), lambda db: on_store(db, CommitId(commit.id)))
        for name, head in self.model.repos[repo].branches.items():
            self.name(head, self.head(repo, name))

    def any_commit(self, data: st.DataObject, repo: str) -> Commit | None:
        known = self.model.repos[repo].commits if repo in self.model.repos else []
        return known[data.draw(st.integers(0, len(known) - 1))] if known else None

    def fork(self, repo: str, name: str, head: str | Commit | None) -> None:
        revision = head.id if isinstance(head, Commit) else head
        made = self.both(
            lambda: self.model.create_branch(repo, name, head),
            lambda db: repos.create_branch(db, repo, name, head=revision),
        )
        if made is not None:
            self.name(made, self.head(repo, name))

    def start(self, repo: str, branch: str, parent: Commit | None) -> None:
        made = self.both(
            lambda: self.model.start(repo, branch, parent),
            lambda db: history.start_commit(db, repo, branch, parent=parent.id if parent else None),
        )
        if made is not None:
            self.name(made, self.head(repo, branch))

    def write(self, repo: str, target: str | Commit, puts: Words, deletes: list[str]) -> None:
        revision = target.id if isinstance(target, Commit) else target
        tree_of = {path: CONTENTS[word] for path, word in puts.items()}
        staged = {path: stage(self.store, data) for path, data in tree_of.items()}
        for blob in staged.values():
            self.store.blobs.publish(blob)

        def run(db: Db) -> None:
            writing = history.begin_write(db, repo, revision)
            for path in deletes:
                (files.delete_tree if path.endswith("/") else files.delete_path)(db, writing.commit, path)
            for path, blob in staged.items():
                if path.endswith("/"):
                    files.make_directory(db, writing.commit, path)
                else:
                    files.put_file(db, writing.commit, path, blobs.record(db, blob))
            history.end_write(db, writing)

        made = self.both(lambda: self.model.write(repo, target, tree_of, deletes), run)
        if made is not None and not made.id:
            self.name(made, self.head(repo, revision))

    def pages(self, repo: str, revision: str, prefix: str, delimiter: str, after: str, limit: int) -> list[str]:
        found: list[str] = []
        last: str | None = after
        with self.store.snapshot() as db:
            snapshot = snapshots.open_revision(db, repo, revision)
            while last is not None:
                page = listings.list_page(db, snapshot, prefix=prefix, delimiter=delimiter, after=last or None, limit=limit)
                found += [item if isinstance(item, str) else item.path for item in page.items]
                assert page.truncated == (page.last is not None)
                assert len(page.items) <= limit
                last = page.last
        return found

    def both(self, on_model: Callable[[], T], on_store: Callable[[Db], object]) -> T | None:
        """Do one thing to both; both succeed, or both raise the same class. Return the model's result."""
        expected = outcome(on_model)
        found = outcome(lambda: self.store.write(on_store))
        if isinstance(expected, type) or isinstance(found, type):
            assert found == expected
            return None
        return expected

    def head(self, repo: str, branch: str) -> str:
        with self.store.snapshot() as db:
            return commits.get_head(db, repo, branch).id

    def name(self, commit: Commit, found: str) -> None:
        assert commit.id in ("", found)
        commit.id = found


def outcome(run: Callable[[], T]) -> T | type[ApplianceError]:
    """Return a result, or the class of the error that came instead."""
    try:
        return run()
    except ApplianceError as error:
        return type(error)


PHASES = (Phase.generate, Phase.shrink) if os.environ.get("SHRINK") else (Phase.generate,)
StoreAgainstModel.TestCase.settings = settings(max_examples=120, stateful_step_count=50, phases=PHASES)
TestStoreAgainstModel = StoreAgainstModel.TestCase
