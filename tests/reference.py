"""The model: repos as dictionaries of branches to commits to `{path: bytes}`. Slow, obvious, and what the store must equal.

An explicit directory is a path with a slash behind it and no bytes. Errors are the appliance's own classes, so that a
random sequence can be compared in what it refuses as well as in what it gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.errors import (
    AlreadyExists,
    BranchNotFound,
    CommitNotFound,
    Conflict,
    InvalidPath,
    NotWritable,
    PathConflict,
    PathTooLong,
    RepoNotFound,
)

Tree = dict[str, bytes]


@dataclass(eq=False)
class Commit:
    """A snapshot of files; `id` is the store's, filled in by whoever compares."""

    parent: Commit | None
    tree: Tree
    finished: bool = False
    id: str = ""


@dataclass
class Repo:
    """Branches by name, and every commit ever made."""

    branches: dict[str, Commit] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)

    def append(self, parent: Commit | None) -> Commit:
        self.commits.append(Commit(parent, dict(parent.tree) if parent else {}))
        return self.commits[-1]


class Model:
    """All repos."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}

    def create_repo(self, name: str) -> None:
        if name in self.repos:
            raise AlreadyExists
        self.repos[name] = Repo()

    def delete_repo(self, name: str) -> None:
        del self._repos_having(name)[name]

    def create_branch(self, repo: str, name: str, head: str | Commit | None) -> Commit:
        """Fork at `head`; without one make an empty branch, or leave the one there is."""
        found = self._repo(repo)
        if head is not None:
            commit = self.resolve(repo, head)
        elif name in found.branches:
            commit = found.branches[name]
        else:
            commit = found.append(None)
            commit.finished = True
        found.branches[name] = commit
        return commit

    def delete_branch(self, repo: str, name: str) -> None:
        self.resolve(repo, name)
        del self._repo(repo).branches[name]

    def start(self, repo: str, branch: str, parent: Commit | None = None) -> Commit:
        found = self._repo(repo)
        head = found.branches.get(branch)
        if head and not head.finished:
            raise Conflict
        if parent and not parent.finished:
            raise Conflict
        found.branches[branch] = found.append(parent or head)
        return found.branches[branch]

    def finish(self, repo: str, revision: str | Commit) -> Commit:
        commit = self.resolve(repo, revision)
        if commit.finished:
            raise NotWritable
        commit.finished = True
        return commit

    def write(self, repo: str, target: str | Commit, puts: Tree, deletes: list[str]) -> Commit:
        """Delete, then put, all or nothing: into the open commit, else as a one-off commit of the branch."""
        found = self._repo(repo)
        head = target if isinstance(target, Commit) else found.branches.get(target)
        if isinstance(target, Commit) and target.finished:
            raise NotWritable
        result = dict(head.tree) if head else {}
        for path in deletes:
            remove(result, path)
        for path, data in puts.items():
            insert(result, path, data)
        if head is None or head.finished:
            assert isinstance(target, str)
            head = found.branches[target] = found.append(head)
            head.finished = True
        head.tree = result
        return head

    def squash(self, repo: str, commit: Commit) -> None:
        """Take a commit out; what it brought stays in its children."""
        children = self._children(repo, commit)
        if not children or not all(child.finished for child in children):
            raise Conflict
        self._take_out(repo, commit)

    def drop(self, repo: str, commit: Commit) -> None:
        """Take the last commit of some history out with what it brought."""
        if self._children(repo, commit):
            raise Conflict
        self._take_out(repo, commit)

    def clear(self, repo: str, commit: Commit) -> None:
        """Undo what was written into an open commit."""
        if commit.finished:
            raise NotWritable
        commit.tree = dict(commit.parent.tree) if commit.parent else {}

    def _children(self, repo: str, commit: Commit) -> list[Commit]:
        return [other for other in self._repo(repo).commits if other.parent is commit]

    def _take_out(self, repo: str, commit: Commit) -> None:
        found = self._repo(repo)
        for child in self._children(repo, commit):
            child.parent = commit.parent
        for name in [name for name, head in found.branches.items() if head is commit]:
            found.branches[name] = commit.parent or found.append(None)
            found.branches[name].finished = True
        found.commits.remove(commit)

    def resolve(self, repo: str, revision: str | Commit) -> Commit:
        """Return the commit that `branch` or `branch^^` names."""
        branches = self._repo(repo).branches
        if isinstance(revision, Commit):
            return revision
        name = revision.rstrip("^")
        if name not in branches:
            raise BranchNotFound
        commit = branches[name]
        for _ in range(len(revision) - len(name)):
            if commit.parent is None:
                raise CommitNotFound
            commit = commit.parent
        return commit

    def _repo(self, name: str) -> Repo:
        return self._repos_having(name)[name]

    def _repos_having(self, name: str) -> dict[str, Repo]:
        if name not in self.repos:
            raise RepoNotFound
        return self.repos


def insert(tree: Tree, path: str, data: bytes) -> None:
    """Put a file, or with a slash behind the path a directory, unless one of the other kind is in the way."""
    segments = path.removesuffix("/").split("/")[1:]
    if not segments or {"", ".", ".."} & set(segments):
        raise InvalidPath
    if any(len(segment.encode()) > 255 for segment in segments):
        raise PathTooLong
    above = ["/" + "/".join(segments[:depth]) for depth in range(1, len(segments) + path.endswith("/"))]
    if any(parent in tree for parent in above) or (not path.endswith("/") and is_directory(tree, path)):
        raise PathConflict
    tree[path] = b"" if path.endswith("/") else data


def remove(tree: Tree, path: str) -> None:
    """Delete a file, or with a slash behind the path everything below it; nothing there is fine."""
    gone = [other for other in tree if other.startswith(path)] if path.endswith("/") else [path]
    for other in gone:
        tree.pop(other, None)


def is_directory(tree: Tree, path: str) -> bool:
    return path == "/" or any(other.startswith(path + "/") for other in tree)


def list_items(tree: Tree, prefix: str, delimiter: str, after: str) -> list[str]:
    """Return paths and common prefixes behind `after`, in bytewise order."""
    items = {_rolled_up(path, prefix, delimiter) for path in tree if path.startswith(prefix)}
    return sorted((item for item in items if item > after), key=str.encode)


def _rolled_up(path: str, prefix: str, delimiter: str) -> str:
    head, found, _ = path[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + head + found if found else path


def list_children(tree: Tree, path: str) -> list[str]:
    """Return the names in a directory, those of directories with their slash."""
    base = path.rstrip("/") + "/"
    return [item.removeprefix(base) for item in list_items(tree, base, "/", base)]
