"""Who changes a branch: through S3 and the commands, or through the mount."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mount.doors import PATHS, Bucket
from mount.timeline import Bytes, Files, State, Timeline, Wrong

from appliance.client import Appliance, ControlError


class Writer:
    """Changes `master` of a repo of its own through S3 and the commands, one change after the other."""

    def __init__(self, appliance: Appliance, endpoint: str, repo: str, seed: int) -> None:
        self._appliance, self.repo = appliance, repo
        self._bucket = Bucket(endpoint, f"master.{repo}")
        self._random = random.Random(seed)
        self.timeline = Timeline(Bytes(seed))
        self.commits: dict[str, State] = {}
        self._is_open = False
        self._call("create_repo")
        self._call("create_branch", branch="master")

    def step(self) -> str:
        """Make some change and return its name."""
        name, change = self._random.choices(*zip(*self._changes(), strict=True))[0]
        change()
        return name

    def _changes(self) -> Iterator[tuple[tuple[str, Callable[[], None]], int]]:
        yield ("put", self._put), 40
        yield ("append", self._append), 6
        yield ("delete", self._delete), 12
        yield ("copy", self._copy), 5
        if self._is_open:
            yield ("finish", self._finish), 20
            return
        yield ("delete many", self._delete_many), 5
        yield ("start", self._start), 6
        if self.commits:
            yield ("move", self._move), 8
            yield ("squash", self._squash), 8
            yield ("drop", self._drop), 5
        yield ("delete branch", self._delete_branch), 2
        yield ("delete repo", self._delete_repo), 1
        yield ("collect", self._collect), 1

    def _change(self, files: Files, ask: Callable[[], object], *, is_open: bool | None = None) -> bool:
        """Ask for something, and tell whether it was done; `is_open` says what the head is then."""
        self.timeline.begin(files, is_open=self._is_open or bool(is_open))
        try:
            ask()
        except ControlError:
            self.timeline.undo()
            return False
        self._is_open = self._is_open if is_open is None else is_open
        self._note()
        return True

    def _note(self) -> None:
        """Note that what was begun was answered, and check that the head is what it is taken for."""
        if self._is_open:
            self.timeline.end(is_open=True)
            return
        try:
            commit = self._call("inspect_commit", revision="master")["commit"]["id"]
        except ControlError:  # no branch
            self.timeline.end()
            return
        known = self.commits.get(commit)
        if known is not None and dict(known.files) != dict(self.timeline.now.files):
            raise Wrong(f"the head of {self.repo} is {commit}, which is something else")
        self.timeline.end(commit)
        self.commits[commit] = self.timeline.now

    def _some_path(self) -> str:
        return self._random.choice(PATHS)

    def _some_file(self) -> str | None:
        return self._random.choice(sorted(self.timeline.now.files)) if self.timeline.now.files else None

    def _put(self) -> None:
        path, version = self._some_path(), self.timeline.made.make()
        data = self.timeline.made.get((version,))
        self._change({**self.timeline.now.files, path: (version,)}, lambda: self._bucket.put(path, data))

    def _append(self) -> None:
        path, version = self._some_path(), self.timeline.made.make()
        data, before = self.timeline.made.get((version,)), self.timeline.now.files.get(path, ())
        where = f"{self.repo}@master:/{path}"
        files = {**self.timeline.now.files, path: (*before, version)}
        self._change(files, lambda: self._appliance.put_file(where, data, append=True))

    def _delete(self) -> None:
        path = self._some_file()
        if path is not None:
            self._change(_without(self.timeline.now.files, path), lambda: self._bucket.delete(path))

    def _delete_many(self) -> None:
        paths = self._random.sample(PATHS, 3)
        self._change(_without(self.timeline.now.files, *paths), lambda: self._bucket.delete_all(paths))

    def _copy(self) -> None:
        source, path = self._some_file(), self._some_path()
        if source is not None and source != path:
            files = self.timeline.now.files
            self._change({**files, path: files[source]}, lambda: self._bucket.copy(source, path))

    def _start(self) -> None:
        files = self.timeline.now.files
        self._change(files, lambda: self._call("start_commit", branch="master"), is_open=True)

    def _finish(self) -> None:
        files = self.timeline.now.files
        self._change(files, lambda: self._call("finish_commit", revision="master"), is_open=False)

    def _move(self) -> None:
        commit = self._random.choice(sorted(self.commits))
        files = self.commits[commit].files
        self._change(files, lambda: self._call("create_branch", branch="master", head=commit))

    def _squash(self) -> None:
        commit = self._random.choice(sorted(self.commits))
        if commit != self.timeline.now.commit:
            self._remove("squash_commit", commit, self.timeline.now.files)

    def _drop(self) -> None:
        head = self.timeline.now.commit
        if head is None:
            return
        parent = self._call("inspect_commit", revision="master")["parent_id"]
        if parent is None or parent in self.commits:
            self._remove("drop_commit", head, self.commits[parent].files if parent is not None else {})

    def _remove(self, call: str, commit: str, files: Files) -> None:
        self.timeline.remove(commit)  # from here on it may be there or not
        if self._change(files, lambda: self._call(call, revision=commit)):
            del self.commits[commit]
            self.timeline.gone.add(commit)
        else:
            self.timeline.removed.discard(commit)

    def _delete_branch(self) -> None:
        """Nobody keeps count of the commits that are left, so they are taken for removed."""
        self.timeline.remove(*self.commits)
        self._change({}, lambda: self._call("delete_branch", branch="master"))
        self.commits.clear()
        self._change({}, lambda: self._call("create_branch", branch="master"))

    def _delete_repo(self) -> None:
        self.timeline.remove(*self.commits)
        self._change({}, lambda: self._call("delete_repo"))
        self.timeline.gone.update(self.commits)
        self.commits.clear()
        self._change({}, lambda: self._call("create_repo"))
        self._change({}, lambda: self._call("create_branch", branch="master"))

    def _collect(self) -> None:
        for _ in self._appliance.iterate("garbage_collect"):
            pass

    def _call(self, name: str, **arguments: str) -> Any:
        return self._appliance.call(name, repo=self.repo, **arguments)


def _without(files: Files, *paths: str) -> Files:
    return {path: versions for path, versions in files.items() if path not in paths}


class Editor:
    """Changes a branch through the mount and commits it, while somebody else writes to it through S3.

    `shown` is what the writable branch shows, `timeline` what is committed.
    """

    def __init__(self, appliance: Appliance, endpoint: str, place: Path, seed: int) -> None:
        self._appliance, self._place, self._repo = appliance, place, place.name
        self._bucket = Bucket(endpoint, f"master.{self._repo}")
        self._random = random.Random(seed)
        self.timeline = Timeline(Bytes(seed))
        self.shown = Timeline(self.timeline.made)
        self._staged: dict[str, tuple[int, ...] | None] = {}
        self._is_staged = False
        self._count = 0
        self._appliance.call("create_repo", repo=self._repo)
        self._appliance.call("create_branch", repo=self._repo, branch="master")

    def step(self) -> str:
        """Make some change and return its name."""
        changes = [self._save, self._save, self._remove, self._rename, self._commit, self._put, self._discard]
        change = self._random.choices(changes, [8, 8, 5, 5, 6, 5, 1])[0]
        change()
        return change.__name__.strip("_")

    def _show(self, changed: dict[str, tuple[int, ...] | None], act: Callable[[], object]) -> None:
        self.shown.begin(_apply(self.shown.now.files, changed))
        act()
        self.shown.end()
        self._staged |= changed
        self._is_staged = True

    def _save(self) -> None:
        """Write a file as editors do."""
        path, version = self._random.choice(PATHS), self.timeline.made.make()
        self._count += 1
        aside = self._place / f".saved-{self._count}"
        aside.write_bytes(self.timeline.made.get((version,)))
        (self._place / path).parent.mkdir(parents=True, exist_ok=True)
        self._show({path: (version,)}, lambda: aside.rename(self._place / path))

    def _remove(self) -> None:
        path = self._some_file()
        if path is not None:
            self._show({path: None}, (self._place / path).unlink)

    def _rename(self) -> None:
        source, path = self._some_file(), self._random.choice(PATHS)
        if source is not None and source != path:
            (self._place / path).parent.mkdir(parents=True, exist_ok=True)
            versions = self.shown.now.files[source]
            self._show({source: None, path: versions}, lambda: (self._place / source).rename(self._place / path))

    def _some_file(self) -> str | None:
        here = sorted(path for path in self.shown.now.files if path in PATHS)
        return self._random.choice(here) if here else None

    def _put(self) -> None:
        """Somebody else writes to the same branch: what is staged stays as it is over what it was begun on."""
        path, version = f"other/{self._random.randrange(5)}", self.timeline.made.make()
        changed: dict[str, tuple[int, ...] | None] = {path: (version,)}
        self.timeline.begin(_apply(self.timeline.now.files, changed))
        if not self._is_staged:
            self.shown.begin(_apply(self.shown.now.files, changed))
        self._bucket.put(path, self.timeline.made.get((version,)))
        self.timeline.end()
        if not self._is_staged:
            self.shown.end()

    def _commit(self) -> None:
        files = _apply(self.timeline.now.files, self._staged)
        self.timeline.begin(files)
        self.shown.begin(files)
        self._appliance.call("commit_staged", target=self._repo)
        self.timeline.end()
        self.shown.end()
        self._forget()

    def _discard(self) -> None:
        self.shown.begin(self.timeline.now.files)
        self._appliance.call("discard_staged", target=self._repo)
        self.shown.end()
        self._forget()

    def _forget(self) -> None:
        self._staged.clear()
        self._is_staged = False


def _apply(files: Files, changed: dict[str, tuple[int, ...] | None]) -> Files:
    return {path: versions for path, versions in {**files, **changed}.items() if versions is not None}
