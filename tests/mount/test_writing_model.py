"""Random changes in a writable branch and in a real directory at the same time: same results, errors, content and modes.

Files stay open meanwhile, so what is written to them after they were renamed or removed counts too. At the end, and in
between, everything is committed, and what the commit holds is read back through S3.
"""

# The calls themselves are the subject.
# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH113, PTH114, PTH115, PTH116, PTH118
# ruff: noqa: PTH120, PTH208, PTH211

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from gateway.helpers import client, serving
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from mount.conftest import Serving
from mount.helpers import EXCHANGE, KEEP, rename
from store.helpers import create_repos, put_all

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.mount.session import Mount
from appliance.store import Store

# As many every time, the same ones; for an evening ask for more, which are others each time.
FEW = 5
EXAMPLES = int(os.environ.get("APPLIANCE_EXAMPLES", FEW))
BEFORE = {"/a": b"first", "/d/a": b"second", "/d/e/b": b"third" * 10_000}
FLAGS = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_TRUNC)

paths = st.lists(st.sampled_from("abde"), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from((b"", b"x", b"longer" * 7_000))
sizes = st.integers(0, 60_000)
Entries = dict[str, tuple[object, ...]]


@dataclass
class World:
    """What all examples share: one mount and one gateway over one store, a repo for each example."""

    store: Store
    place: Path
    mount: Mount
    s3: Any
    numbers: "count[int]"


def outcome(call: Callable[..., object], *arguments: object) -> object:
    """Do something and return what it returned, or the name of its error."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def look(root: str) -> Entries:
    """Everything below a directory: kind and mode, links and bytes of a file, where a link leads."""
    found: Entries = {}
    for directory, below, plain in os.walk(root):
        for name in (*below, *plain):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            what: tuple[object, ...] = (os.readlink(path),) if stat.S_ISLNK(status.st_mode) else ()
            if stat.S_ISREG(status.st_mode):
                what = (status.st_nlink, status.st_size)
            found[os.path.relpath(path, root)] = (stat.filemode(status.st_mode), *what)
    return found


def read_all(root: str) -> dict[str, bytes]:
    """The bytes of every file below a directory, whatever leads to it inside."""
    found = {}
    for directory, _, plain in os.walk(root):
        for name in plain:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found[os.path.relpath(path, root)] = Path(path).read_bytes()
    return found


def list_kept(root: str) -> dict[str, bytes | None]:
    """What a commit of a directory holds: files, directories (None), and what links lead to."""
    kept: dict[str, bytes | None] = {}
    for directory, below, plain in os.walk(root):
        for name in (*below, *plain):
            path = os.path.join(directory, name)
            there = os.path.relpath(path, root)
            if os.path.islink(path) and os.path.isdir(path):
                kept |= {os.path.join(there, name): data for name, data in list_linked(path).items()}
            elif os.path.isdir(path):
                kept[there] = None
            elif os.path.exists(path):
                kept[there] = Path(path).read_bytes()
    for there in list(kept):
        kept |= {str(parent): None for parent in Path(there).parents if parent != Path()}
    return kept


def list_linked(root: str) -> dict[str, bytes]:
    """The files in a directory that a link leads to, with links to files in it, and without those to directories."""
    found = {}
    for directory, _, plain in os.walk(os.path.realpath(root)):
        for name in plain:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                found[os.path.relpath(path, os.path.realpath(root))] = Path(path).read_bytes()
    return found


class Tree(RuleBasedStateMachine):
    """Every rule is done in both places. `open` are descriptors there and here."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.repo = f"data-{next(world.numbers)}"
        self.ours = str(world.place / self.repo)
        self.native = tempfile.mkdtemp(prefix="native-")
        self.open: list[tuple[int, int]] = []

    @initialize()
    def begin(self) -> None:
        create_repos(self.world.store, self.repo)
        put_all(self.world.store, self.repo, BEFORE)
        for path, data in BEFORE.items():
            os.makedirs(os.path.dirname(self.native + path), exist_ok=True)
            Path(self.native + path).write_bytes(data)

    def both(self, call: Callable[..., object], *arguments: object) -> None:
        """Do the same in both places; arguments that are functions make a path of a root."""
        ours, native = (
            outcome(call, *(one(root) if callable(one) else one for one in arguments)) for root in (self.ours, self.native)
        )
        assert ours == native, (call, ours, native)

    def at(self, path: str) -> Callable[[str], str]:
        return lambda root: os.path.join(root, path)

    @rule(path=paths, flags=st.sampled_from(FLAGS))
    def open_file(self, path, flags):
        ours, native = (outcome(os.open, os.path.join(root, path), flags, 0o640) for root in (self.ours, self.native))
        if isinstance(ours, int) and isinstance(native, int):
            self.open.append((ours, native))
        else:
            assert ours == native, (path, flags, ours, native)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), what=st.sampled_from(("write", "read", "truncate", "stat", "close")), at=sizes, piece=contents)
    def use_open_file(self, data, what, at, piece):
        chosen = data.draw(st.integers(0, len(self.open) - 1))
        do = {
            "write": lambda one: os.pwrite(one, piece, at),
            "read": lambda one: os.pread(one, 20_000, at),
            "truncate": lambda one: os.ftruncate(one, at),
            "stat": lambda one: os.fstat(one)[:1] + os.fstat(one)[3:4] + os.fstat(one)[6:7],
            "close": os.close,
        }[what]
        ours, native = (outcome(do, one) for one in self.open[chosen])
        if what == "close":
            del self.open[chosen]
        if what != "stat" or not stat.S_ISDIR(native[0]):  # links of a directory are not counted
            assert ours == native, (what, ours, native)

    @rule(path=paths, size=sizes)
    def truncate(self, path, size):
        self.both(os.truncate, self.at(path), size)

    @rule(path=paths)
    def unlink(self, path):
        self.both(os.unlink, self.at(path))

    @rule(path=paths)
    def mkdir(self, path):
        self.both(os.mkdir, self.at(path), 0o750)

    @rule(path=paths)
    def rmdir(self, path):
        self.both(os.rmdir, self.at(path))

    @rule(path=paths, new=paths)
    def rename(self, path, new):
        self.both(os.rename, self.at(path), self.at(new))

    @rule(path=paths, new=paths, flags=st.sampled_from((KEEP, EXCHANGE)))
    def rename_otherwise(self, path, new, flags):
        self.both(rename, self.at(path), self.at(new), flags)

    @rule(path=paths, new=paths)
    def link(self, path, new):
        self.both(os.link, self.at(path), self.at(new))

    @rule(path=paths, leads_to=paths)
    def symlink(self, path, leads_to):
        self.both(lambda place: os.symlink(leads_to, place), self.at(path))

    @rule(path=paths, mode=st.sampled_from((0o600, 0o755, 0o4711)))
    def chmod(self, path, mode):
        self.both(os.chmod, self.at(path), mode)

    @rule(path=paths)
    def look_up(self, path):
        self.both(lambda place: os.stat(place).st_mode, self.at(path))

    @rule(path=paths)
    def list_names(self, path):
        self.both(lambda place: sorted(os.listdir(place)), self.at(path))

    @invariant()
    def same_names_and_attributes(self):
        assert look(self.ours) == look(self.native)

    @rule()
    def commit(self):
        self.close_all()
        assert read_all(self.ours) == read_all(self.native)
        expected = list_kept(self.native)
        self.world.mount.commit(self.repo, "master")
        assert self.read_through_s3() == expected
        shutil.rmtree(self.native)
        os.mkdir(self.native)
        for path, data in sorted(expected.items()):
            if data is None:
                os.makedirs(os.path.join(self.native, path), exist_ok=True)
            else:
                Path(self.native, path).write_bytes(data)

    def read_through_s3(self) -> dict[str, bytes | None]:
        bucket = f"master.{self.repo}"
        keys = [one["Key"] for one in self.world.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        found: dict[str, bytes | None] = {key.rstrip("/"): None for key in keys if key.endswith("/")}
        for key in keys:
            if not key.endswith("/"):
                found[key] = self.world.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            found |= {str(parent): None for parent in Path(key).parents if parent != Path()}
        return found

    def close_all(self) -> None:
        for pair in self.open:
            for one in pair:
                os.close(one)
        self.open.clear()

    def teardown(self) -> None:
        try:
            if os.path.isdir(self.ours):
                self.commit()
        finally:
            self.close_all()
            shutil.rmtree(self.native)


def test_a_writable_branch_does_what_a_directory_does(store, place, quiet):
    wanted = settings(max_examples=EXAMPLES, stateful_step_count=25, derandomize=EXAMPLES == FEW)
    with Serving(store, place, "*") as mounted, serving(store, RepoBuckets()) as served, client(served.url) as s3:
        world = World(store, place, mounted.mount, s3, count(1))
        run_state_machine_as_test(lambda: Tree(world), settings=wanted)
