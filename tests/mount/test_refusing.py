"""Every call that would change something answers EROFS, also for root."""

# The calls themselves are the subject.
# ruff: noqa: PTH101, PTH102, PTH104, PTH105, PTH106, PTH108, PTH208, PTH211

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import run
from store.helpers import create_pipeline, create_repos, put_all, run_pipeline

WRITABLE = (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT)


def opened(change: Callable[[int], object]) -> Callable[[Path], object]:
    """Return a change of the file `foo` that is made through a descriptor which is open for reading."""

    def through(path: Path) -> object:
        descriptor = os.open(path / "foo", os.O_RDONLY)
        try:
            return change(descriptor)
        finally:
            os.close(descriptor)

    return through


def bind(path: Path) -> None:
    """Make a socket; its name has to be short."""
    with socket.socket(socket.AF_UNIX) as made:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            made.bind("new" if path == Path() else f"/proc/self/fd/{directory}/new")
        finally:
            os.close(directory)


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
    "rename into": lambda path: os.rename(path / "foo", path / "dir/new"),
    "rename out of": lambda path: os.rename(path / "dir/bar", path / "new"),
    "link": lambda path: os.link(path / "foo", path / "new"),
    "symlink": lambda path: os.symlink("foo", path / "new"),
    "mknod": lambda path: os.mknod(path / "new"),
    "mkfifo": lambda path: os.mkfifo(path / "new"),
    "bind": bind,
    "chmod": lambda path: os.chmod(path / "foo", 0o600),
    "chmod directory": lambda path: os.chmod(path / "dir", 0o700),
    "chown": lambda path: os.chown(path / "foo", 1, 1),
    "chown to the owner": lambda path: os.chown(path / "foo", (path / "foo").stat().st_uid, -1),
    "lchown": lambda path: os.lchown(path / "dir", -1, 1),
    "fchmod": opened(lambda descriptor: os.fchmod(descriptor, 0o777)),
    "fchown": opened(lambda descriptor: os.fchown(descriptor, 1, 1)),
    "futimens": opened(lambda descriptor: os.utime(descriptor, ns=(1, 1))),
    "fsetxattr": opened(lambda descriptor: os.setxattr(descriptor, "user.new", b"x")),
    "fremovexattr": opened(lambda descriptor: os.removexattr(descriptor, "user.pfs.commit")),
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


def test_what_needs_a_descriptor_for_writing_gets_none(data):
    """These calls can not reach the mount: a descriptor that is open for reading is refused before."""
    (data.parent.parent / "more").write_bytes(b"more")
    with (data / "foo").open("rb") as reading, (data.parent.parent / "more").open("rb") as more:
        for call, number in (
            (lambda: os.ftruncate(reading.fileno(), 0), errno.EINVAL),
            (lambda: os.posix_fallocate(reading.fileno(), 0, 10), errno.EBADF),
            (lambda: os.copy_file_range(more.fileno(), reading.fileno(), 4), errno.EBADF),
            (lambda: os.write(reading.fileno(), b"x"), errno.EBADF),
        ):
            with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
                call()


def test_a_file_without_a_name_can_not_be_made(data):
    """The library that we mount with does not know that call, and the kernel says so instead of us."""
    with pytest.raises(OSError, match=rf"\[Errno {errno.EOPNOTSUPP}\]"):
        os.open(data, os.O_TMPFILE | os.O_WRONLY)


AS_SOMEBODY = """
import errno, os, sys
from pathlib import Path
from mount.test_refusing import CHANGES
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for name, change in CHANGES.items():
    try:
        change(Path())
    except OSError as error:
        if error.errno != errno.EROFS:
            print(name, error)
    else:
        print(name, "was done")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be others")
def test_changes_are_refused_to_others_in_the_same_words(data, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    assert run(AS_SOMEBODY, data) == ""


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
