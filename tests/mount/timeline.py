"""What a branch was, moment after moment: the model that readers of the mount and of S3 are compared with.

One writer goes through the *states* of a branch one by one: it appends a state before it asks for the change, and notes
that it was answered afterwards. So who looks may see any state between the one that was answered when it began and the
last one there is when it ends, and nothing else.
"""

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_SIZES = (0, 1, 700, 32_768, 32_769, 200_000, 1_500_000)
_WEIGHTS = (1, 2, 8, 1, 1, 3, 1)
_KEPT = 3000

Files = Mapping[str, tuple[int, ...]]
"""Path to the versions that its bytes are made of, one behind the other."""


class Wrong(Exception):
    """Somebody saw what cannot be."""


class Bytes:
    """Versions by number, each with bytes that no other has."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._sizes: list[int] = []

    def make(self) -> int:
        """Return a new version."""
        self._sizes.append(self._random.choices(_SIZES, _WEIGHTS)[0])
        return len(self._sizes) - 1

    def size(self, versions: Iterable[int]) -> int:
        """Return how many bytes these have together."""
        return sum(self._sizes[version] for version in versions)

    def get(self, versions: Iterable[int]) -> bytes:
        """Return the bytes of these together."""
        return b"".join(self._get(version) for version in versions)

    def _get(self, version: int) -> bytes:
        size_bytes = self._sizes[version]
        pattern = hashlib.blake2b(str(version).encode()).digest()
        return (pattern * (size_bytes // len(pattern) + 1))[:size_bytes]


@dataclass(frozen=True)
class State:
    """A branch at one moment. `commit` is None as long as nobody has asked; `is_open` while others may write to it."""

    files: Files
    commit: str | None = None
    is_open: bool = False

    def names(self, directory: str) -> set[str]:
        """What stands in a directory, "" or with a slash behind it."""
        below = (path.removeprefix(directory) for path in self.files if path.startswith(directory))
        return {path.partition("/")[0] for path in below}


@dataclass
class Timeline:
    """The states of a branch by number, the last few thousand.

    `removed` are commits that somebody was asked to take out of history, which was asked for `removals` times, and answered
    `answered_removals` times; `gone` are those of which it was answered that they are.
    """

    made: Bytes
    states: dict[int, State] = field(default_factory=lambda: {0: State({})})
    answered: int = 0
    removed: set[str] = field(default_factory=set)
    removals: int = 0
    answered_removals: int = 0
    gone: set[str] = field(default_factory=set)

    @property
    def last(self) -> int:
        """The number of the last state."""
        return next(reversed(self.states))

    @property
    def now(self) -> State:
        """The last state."""
        return self.states[self.last]

    def begin(self, files: Files, *, is_open: bool = False) -> None:
        """Append what is about to be asked for."""
        self._append(State(dict(files), is_open=is_open))

    def end(self, commit: str | None = None, *, is_open: bool = False) -> None:
        """Note that it was answered."""
        number = self.last
        self.states[number] = State(self.states[number].files, commit, is_open)
        self.answered, self.answered_removals = number, self.removals

    def remove(self, *commits: str) -> None:
        """Note that commits are about to be taken out of history."""
        self.removed.update(commits)
        self.removals += 1

    def undo(self) -> None:
        """Note that it was refused."""
        self._append(self.states[self.last - 1])
        self.answered, self.answered_removals = self.last, self.removals

    def since(self, first: int) -> list[State]:
        """Return what may have been seen by who began when `first` was the state that was answered."""
        return [self.states[number] for number in range(first, self.last + 1)]

    def _append(self, state: State) -> None:
        number = self.last + 1
        self.states[number] = state
        self.states.pop(number - _KEPT, None)
