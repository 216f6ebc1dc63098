"""Every call that would change something answers EROFS, also for root."""

# The calls themselves are the subject.
# ruff: noqa: PTH101, PTH102, PTH104, PTH105, PTH106, PTH108, PTH208, PTH211

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mount.conftest import Serving
from store.helpers import create_pipeline, create_repos, put_all, run_pipeline

WRITABLE = (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT)

CHANGES: dict[str, Callable[[Path], object]] = {
    **{f"open {flags:#o}": lambda path, flags=flags: os.open(path / "foo", flags) for flags in WRITABLE},
    "create": lambda path: os.open(path / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "truncate": lambda path: os.truncate(path / "foo", 0),
    "mkdir": lambda path: os.mkdir(path / "new"),
    "rmdir": lambda path: os.rmdir(path / "dir"),
    "unlink": lambda path: os.unlink(path / "foo"),
    "rename": lambda path: os.rename(path / "foo", path / "new"),
    "replace": lambda path: os.replace(path / "foo", path / "dir/bar"),
    "rename directory": lambda path: os.rename(path / "dir", path / "new"),
    "link": lambda path: os.link(path / "foo", path / "new"),
    "symlink": lambda path: os.symlink("foo", path / "new"),
    "mknod": lambda path: os.mknod(path / "new"),
    "mkfifo": lambda path: os.mkfifo(path / "new"),
    "chmod": lambda path: os.chmod(path / "foo", 0o600),
    "chmod directory": lambda path: os.chmod(path / "dir", 0o700),
    "chown": lambda path: os.chown(path / "foo", 1, 1),
    "utime": lambda path: os.utime(path / "foo"),
    "utime directory": lambda path: os.utime(path / "dir", (1, 1)),
    "setxattr": lambda path: os.setxattr(path / "foo", "user.pfs.commit", b"x"),
    "setxattr new": lambda path: os.setxattr(path / "foo", "user.new", b"x", os.XATTR_CREATE),
    "removexattr": lambda path: os.removexattr(path / "foo", "user.pfs.commit"),
}

AT_THE_TOP: dict[str, Callable[[Path], object]] = {
    "mkdir": lambda path: os.mkdir(path / "new"),
    "create": lambda path: os.open(path / "new", os.O_WRONLY | os.O_CREAT),
    "rmdir": lambda path: os.rmdir(path / "data"),
    "rename": lambda path: os.rename(path / "data", path / "new"),
    "chmod": lambda path: os.chmod(path, 0o777),
    "utime": lambda path: os.utime(path / "data"),
}


@pytest.fixture
def data(store, mount):
    """The directory of a repo `data` with files `foo` and `dir/bar`."""
    create_repos(store, "data")
    put_all(store, "data", {"/foo": b"foo", "/dir/bar": b"bar"})
    mount.settle()
    yield mount.path / "data"
    assert (mount.path / "data/foo").read_bytes() == b"foo"
    assert sorted(os.listdir(mount.path / "data")) == ["dir", "foo"]


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_commit_is_refused(data, change):
    with pytest.raises(OSError) as raised:
        CHANGES[change](data)
    assert raised.value.errno == errno.EROFS


@pytest.mark.parametrize("change", AT_THE_TOP)
def test_change_of_the_top_is_refused(mount, data, change):
    with pytest.raises(OSError) as raised:
        AT_THE_TOP[change](mount.path)
    assert raised.value.errno == errno.EROFS


def test_reading_handle_can_not_be_changed(data):
    descriptor = os.open(data / "foo", os.O_RDONLY)
    try:
        os.fsync(descriptor)
        with pytest.raises(OSError, match="Read-only file system"):
            os.fchmod(descriptor, 0o777)
    finally:
        os.close(descriptor)


def test_nobody_may_write_and_everybody_may_read(data):
    assert not os.access(data / "foo", os.W_OK)
    assert os.access(data / "foo", os.R_OK)


@pytest.fixture(params=("commit", "output branch"))
def never(request, store, place, quiet):
    """What is never writable, in a mount where everything was asked for: a commit, and the output branch of a pipeline."""
    tree = {"/foo": b"foo", "/dir/bar": b"bar"}
    create_repos(store, "data")
    commit = put_all(store, "data", tree)
    create_pipeline(store, "out", "data")
    run_pipeline(store, "out", {"one": tree})
    top = {"commit": f"data@{commit}", "output branch": "out"}[request.param]
    with Serving(store, place, "*", top):
        yield place / top
        assert sorted(os.listdir(place / top)) == ["dir", "foo"]
        assert (place / top / "foo").read_bytes() == b"foo"


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_what_is_never_writable_is_refused_in_a_writable_mount(never, change):
    with pytest.raises(OSError) as raised:
        CHANGES[change](never)
    assert raised.value.errno == errno.EROFS
