"""Who looks at a branch while it is changed, below the mount and through S3, and compares."""

import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mount.doors import DIRECTORIES, PATHS, Bucket
from mount.timeline import State, Timeline, Wrong

_PIECE_BYTES = 20_000
_PAUSE_S = 0.02
_KEPT = 30


class Reader:
    """Looks at a branch below `place`, where its head shows, and compares.

    `commits` are those that can be asked for by id. Without a bucket it is a writable branch, which shows what nobody else
    has. Raises Wrong.
    """

    def __init__(
        self, place: Path, timeline: Timeline, bucket: Bucket | None, commits: Mapping[str, State], seed: int
    ) -> None:
        self._place, self._timeline, self._commits = place, timeline, commits
        self._random = random.Random(seed)
        self._looks = [self._stat, self._read, self._read, self._list, self._list, self._hold_file]
        if bucket is not None:
            self._bucket = bucket
            self._looks += [self._hold_directory, self._by_id, self._get, self._list_bucket]

    def step(self) -> str:
        """Look at something and return how."""
        look, removals = self._random.choice(self._looks), self._timeline.answered_removals
        try:
            look()
        except OSError as error:
            # The head was taken away between opening a directory and listing it, or twice on the way to a file.
            if error.errno != errno.ESTALE or self._timeline.removals < removals + (1 if look == self._list else 2):
                raise
            return "stale"
        return look.__name__.strip("_").replace("_", " ")

    def _expect(self, first: int, what: str, fits: Callable[[State], bool]) -> None:
        states = self._timeline.since(first)
        if not any(fits(state) for state in states):
            seen = "; ".join(str(dict(state.files)) for state in states)
            raise Wrong(f"{what}, but {self._place} was: {seen}")

    def _stat(self) -> None:
        path, first = self._random.choice(PATHS), self._timeline.answered
        try:
            size: int | None = (self._place / path).stat().st_size
        except FileNotFoundError:
            size = None
        self._expect(first, f"stat of {path} says {size}", lambda state: self._size(state, path) == size)

    def _size(self, state: State, path: str) -> int | None:
        return self._timeline.made.size(state.files[path]) if path in state.files else None

    def _content(self, state: State, path: str) -> bytes | None:
        return self._timeline.made.get(state.files[path]) if path in state.files else None

    def _read(self) -> None:
        path, first = self._random.choice(PATHS), self._timeline.answered
        data = _read(self._place / path)
        self._expect(first, f"{path} has {_brief(data)}", lambda state: self._content(state, path) == data)

    def _get(self) -> None:
        path, first = self._random.choice(PATHS), self._timeline.answered
        data = self._bucket.get(path)
        self._expect(first, f"GET of {path} gives {_brief(data)}", lambda state: self._content(state, path) == data)

    def _list_bucket(self) -> None:
        first = self._timeline.answered
        found = self._bucket.list()
        self._expect(first, f"the bucket lists {sorted(found)}", lambda state: set(state.files) == found)

    def _list(self) -> None:
        """Directories may be empty where one made them."""
        directory, first = self._random.choice(DIRECTORIES), self._timeline.answered
        names, empty = _list(self._place / directory)
        what = f"{directory} lists {sorted(names)}"
        self._expect(first, what, lambda state: names - empty <= state.names(directory) <= names)

    def _hold_file(self) -> None:
        """Whatever happens to the branch, an open file is one version from its beginning to its end."""
        path, first = self._random.choice(PATHS), self._timeline.answered
        try:
            with (self._place / path).open("rb", buffering=0) as file:
                opened = self._timeline.since(first)
                data = b"".join(self._read_slowly(file.read))
        except FileNotFoundError:
            return
        if not any(self._content(state, path) == data for state in opened):
            raise Wrong(f"{path} had {_brief(data)} while it was open")

    def _read_slowly(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        pauses = 3
        while piece := read(_PIECE_BYTES):
            yield piece
            if pauses:
                time.sleep(self._random.random() * _PAUSE_S)
                pauses -= 1

    def _hold_directory(self) -> None:
        """An open directory is one commit, whatever happens to the branch, until that commit is taken out of history."""
        first = self._timeline.answered
        with _opened(self._place) as descriptor:
            if descriptor is None:
                return
            opened = self._timeline.since(first)
            commit = _commit_of(descriptor)
            time.sleep(self._random.random() * _PAUSE_S)
            found = _walk(descriptor)
        is_open = any(state.is_open for state in self._timeline.since(first))
        if commit is None or commit in self._timeline.removed or is_open:
            return
        named = [state for state in opened if state.commit in (commit, None)]
        if not any({path: self._content(state, path) for path in state.files} == found for state in named):
            brief = {path: _brief(data) for path, data in found.items()}
            raise Wrong(f"commit {commit} of {self._place} has {brief}")

    def _by_id(self) -> None:
        """A commit by its id is always the same, until it is taken out of history: then it is gone."""
        ids = [*list(self._commits)[-_KEPT:], *list(self._timeline.gone)[-_KEPT // 3 :]]
        if not ids:
            return
        commit, path = self._random.choice(ids), self._random.choice(PATHS)
        state, gone = self._commits.get(commit), commit in self._timeline.gone
        place = self._place.with_name(f"{self._place.name.partition('@')[0]}@{commit}")
        data = _read(place / path)
        if gone and place.exists():
            raise Wrong(f"{place} is there, and was removed")
        if state is not None and commit not in self._timeline.removed and data != self._content(state, path):
            raise Wrong(f"{place}/{path} has {_brief(data)}")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _brief(data: bytes | None) -> str:
    return "nothing" if data is None else f"{len(data)} bytes {data[:8].hex()}…"


@contextmanager
def _opened(place: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _suppress_gone(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE, *numbers):
            raise


def _commit_of(descriptor: int) -> str | None:
    with _suppress_gone(errno.ENODATA):
        return os.getxattr(descriptor, "user.pfs.commit").decode()
    return None


def _list(directory: Path) -> tuple[set[str], set[str]]:
    """Return what is listed, but for hidden files, and of that what are directories."""
    try:
        with os.scandir(directory) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
            return {entry.name for entry in entries}, {entry.name for entry in entries if entry.is_dir()}
    except FileNotFoundError:
        return set(), set()


def _walk(descriptor: int) -> dict[str, bytes]:
    """Return all files below an open directory, those that are found."""
    found = {}
    with _suppress_gone():
        for directory, _, names, below in os.fwalk(".", dir_fd=descriptor):
            for name in names:
                with _suppress_gone(), os.fdopen(os.open(name, os.O_RDONLY, dir_fd=below), "rb") as file:
                    found[f"{directory}/{name}".removeprefix("./")] = file.read()
    return found
