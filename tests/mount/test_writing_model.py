"""Random changes in a writable branch and in a real directory at the same time: same results, errors and content.

At the end, and in between, everything is committed, and what the commit holds is compared too.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mount.conftest import Serving
from store.helpers import create_repos, put_all

from appliance.mount.session import Mount
from appliance.store import Db, Store, files, history, overlays, snapshots
from appliance.store.blobs import list_extents, read_extents

BEFORE = {"/a": b"first", "/d/a": b"second", "/d/e/b": b"third" * 10_000}

paths = st.lists(st.sampled_from("abde"), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from((b"", b"x", b"longer" * 7_000))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), paths, contents),
        st.tuples(st.just("append"), paths, contents),
        st.tuples(st.just("create"), paths),
        st.tuples(st.just("truncate"), paths, st.integers(0, 60_000)),
        st.tuples(st.just("unlink"), paths),
        st.tuples(st.just("mkdir"), paths),
        st.tuples(st.just("rmdir"), paths),
        st.tuples(st.just("rename"), paths, paths),
        st.tuples(st.just("commit")),
    ),
    max_size=40,
)


def _open(path: Path, flags: int, data: bytes = b"") -> None:
    descriptor = os.open(path, flags, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


DO: dict[str, Callable[..., None]] = {
    "write": lambda root, path, data: _open(root / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, data),
    "append": lambda root, path, data: _open(root / path, os.O_WRONLY | os.O_APPEND, data),
    "create": lambda root, path: _open(root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "truncate": lambda root, path, size_bytes: os.truncate(root / path, size_bytes),
    "unlink": lambda root, path: (root / path).unlink(),
    "mkdir": lambda root, path: (root / path).mkdir(),
    "rmdir": lambda root, path: (root / path).rmdir(),
    "rename": lambda root, path, new: (root / path).rename(root / new),
}


def result(root: Path, call: str, *arguments: object) -> str:
    """Do a step and return the name of its error."""
    try:
        DO[call](root, *arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "OK"


def tree(root: Path) -> dict[str, bytes | None]:
    """All files below a directory with their bytes, directories with None."""
    found: dict[str, bytes | None] = {}
    for directory, below, plain in os.walk(root):
        base = Path(directory).relative_to(root)
        found |= {str(base / name): None for name in below}
        found |= {str(base / name): (Path(directory) / name).read_bytes() for name in plain}
    return found


def committed(store: Store) -> dict[str, bytes | None]:
    """The same of the head."""
    found: dict[str, bytes | None] = {}
    with store.snapshot() as db:
        for entry in snapshots.iter_entries(db, overlays.open_head(db, "data", "master")):
            path = Path(entry.path.strip("/"))
            found |= {str(parent): None for parent in path.parents if parent != Path()}
            is_directory = entry.path.endswith("/")
            content = list_extents(db, store.blobs, entry.content) if not is_directory else []
            found[str(path)] = None if is_directory else b"".join(read_extents(content))
    return found


def fill(directory: Path) -> None:
    for path, data in BEFORE.items():
        file = directory / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@pytest.fixture
def mount(store: Store, place: Path, quiet: None) -> Iterator[Mount]:
    create_repos(store, "data")
    with Serving(store, place, "data") as mounted:
        yield mounted.mount


def reset(store: Store, mount: Mount) -> None:
    """Make the head what it was in the beginning."""
    mount.discard("data", "master")
    with store.snapshot() as db:
        left = [entry.path for entry in snapshots.iter_entries(db, overlays.open_head(db, "data", "master"))]
    for path in sorted(left, reverse=True):
        delete(store, path)
    put_all(store, "data", BEFORE)


def delete(store: Store, path: str) -> None:
    def write(db: Db) -> None:
        writing = history.begin_write(db, "data", "master")
        files.delete_path(db, writing.commit, path)
        history.end_write(db, writing)

    store.write(write)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_a_writable_branch_does_what_a_directory_does(store, place, mount, chosen):
    reset(store, mount)
    with tempfile.TemporaryDirectory() as native:
        fill(Path(native))
        for call, *arguments in chosen:
            if call == "commit":
                mount.commit("data", "master")
                continue
            assert result(place / "data", call, *arguments) == result(Path(native), call, *arguments), (call, arguments)
            assert tree(place / "data") == tree(Path(native))
        expected = tree(Path(native))
        mount.commit("data", "master")
        assert committed(store) == tree(place / "data") == expected
