"""Symbolic and hard links and special files in a writable branch, and what its commit makes of them."""

# The calls themselves are the subject.
# ruff: noqa: PTH101, PTH104, PTH105, PTH108, PTH115, PTH208, PTH211

import errno
import os
import stat
from pathlib import Path

import pytest
from mount.conftest import Mounted
from mount.helpers import run

from appliance.mount import committing
from appliance.mount.nodes import Place
from appliance.mount.tops import Top
from appliance.store import Store, snapshots
from appliance.store.blobs import list_extents, read_extents


@pytest.fixture
def data(writable: Mounted) -> Path:
    return writable.path / "data"


def new_files(store: Store, mounted: Mounted) -> dict[str, bytes]:
    """Commit, and return what is there and was not."""
    mounted.mount.commit("data", "master")
    with store.snapshot() as db:
        entries = list(snapshots.iter_entries(db, snapshots.open_branch(db, "data", "master")))
        return {
            entry.path: b"".join(read_extents(list_extents(db, store.blobs, entry.content)))
            for entry in entries
            if entry.path not in ("/foo", "/dir/bar", "/dir/sub/deep")
        }


def lost(store: Store, mounted: Mounted) -> list[object]:
    with store.snapshot() as db:
        staged = list(committing.iter_status(store, db, mounted.mount.list_roots))
    return [one["path"] for one in staged if one["what"] == "not kept"]


def test_a_link_is_a_link_until_the_commit_which_keeps_what_it_leads_to(store, writable, data):
    (data / "new").write_bytes(b"new")
    links = {"to-new": "../new", "to-foo": f"{data}/foo", "to-twice": "to-new", "to-round": "sub/../bar"}
    for name, target in links.items():
        os.symlink(target, data / "dir" / name)
    assert os.readlink(data / "dir/to-new") == "../new"
    assert [(data / "dir" / name).read_bytes() for name in ("to-new", "to-foo", "to-twice")] == [b"new", b"foo", b"new"]
    assert lost(store, writable) == []
    assert new_files(store, writable) == {
        "/new": b"new",
        "/dir/to-new": b"new",
        "/dir/to-foo": b"foo",
        "/dir/to-twice": b"new",
        "/dir/to-round": b"bar",
    }
    assert (data / "dir/to-new").lstat().st_mode == stat.S_IFREG | 0o644


def test_a_link_to_a_directory_becomes_what_is_in_it_once(store, writable, data):
    os.symlink("dir", data / "current")
    os.symlink("../foo", data / "dir/link")
    os.symlink("..", data / "dir/sub/round")
    (data / "dir/sub/new").write_bytes(b"new")
    made = new_files(store, writable)
    assert {path: made[path] for path in made if path.startswith("/current")} == {
        "/current/bar": b"bar",
        "/current/link": b"foo",
        "/current/sub/deep": b"deep",
        "/current/sub/new": b"new",
    }
    assert set(made) - {path for path in made if path.startswith("/current")} == {
        "/dir/link",
        "/dir/sub/new",
        "/dir/sub/round/bar",
        "/dir/sub/round/link",
        "/dir/sub/round/sub/deep",
        "/dir/sub/round/sub/new",
    }


def test_links_that_lead_out_of_the_branch_or_nowhere_are_never_followed(store, writable, data):
    (writable.path / "other/secret").write_bytes(b"secret")
    targets = ["/etc/passwd", "../other/secret", f"{writable.path}/other/secret", "missing", "loop", "foo/x", "../..", "pipe"]
    for number, target in enumerate(targets):
        os.symlink(target, data / f"to-{number}")
    os.symlink("loop", data / "loop")
    os.symlink(b"\xff", os.fsencode(data) + b"/to-bytes")
    os.mkfifo(data / "pipe")
    assert len(lost(store, writable)) == len(targets) + 3
    assert new_files(store, writable) == {}
    assert sorted(os.listdir(data)) == ["dir", "foo"]


def test_a_link_over_a_file_replaces_it(store, writable, data):
    os.symlink("foo", data / "dir/bar.new")
    os.symlink("../foo", data / "dir/link")
    os.replace(data / "dir/link", data / "dir/bar")
    os.unlink(data / "dir/bar.new")
    assert new_files(store, writable) == {}
    assert (data / "dir/bar").read_bytes() == b"foo"


def test_hard_links_are_one_file_with_one_number(data):
    os.link(data / "foo", data / "one")
    os.link(data / "one", data / "dir/two")
    assert len({(data / name).stat().st_ino for name in ("foo", "one", "dir/two")}) == 1
    assert (data / "foo").stat().st_nlink == 3
    os.rename(data / "foo", data / "one")  # nothing: they are the same
    assert (data / "foo").exists()
    os.unlink(data / "foo")
    with (data / "dir/two").open("ab") as file:
        file.write(b" more")
        file.flush()
        assert (os.fstat(file.fileno()).st_nlink, (data / "one").read_bytes()) == (2, b"foo more")


def test_hard_links_of_what_nobody_wrote_to_are_committed_without_their_bytes(store, writable, data):
    os.link(data / "foo", data / "one")
    os.unlink(data / "foo")
    os.rename(data / "one", data / "foo")
    os.link(data / "foo", data / "two")
    assert new_files(store, writable) == {"/two": b"foo"}
    assert (data / "foo").read_bytes() == b"foo"


def test_pipes_and_sockets_work_until_the_commit(store, writable, data):
    os.mkfifo(data / "pipe")
    reader = "import sys; print(open(sys.argv[1]).read())"
    writer = f'import os, sys; os.fork() or exec(\'open(sys.argv[1], "w").write("through"); os._exit(0)\'); {reader[12:]}'
    assert run(writer, data / "pipe") == "through"
    run("import socket, os, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind('socket')", data)
    assert stat.S_ISSOCK((data / "socket").stat().st_mode)
    assert lost(store, writable) == ["/pipe", "/socket"]
    assert new_files(store, writable) == {}
    assert not (data / "pipe").exists()


def test_changing_attributes_copies_nothing(store, writable, data):
    os.chmod(data / "foo", 0o640)
    os.utime(data / "foo", ns=(1, 2))
    [hollow] = (path for path in (store.directory / "mount").iterdir() if path.is_file())
    assert (hollow.stat().st_size, hollow.read_bytes()) == (3, bytes(3))
    assert (data / "foo").read_bytes() == b"foo"
    with (data / "foo").open("ab") as file:
        file.write(b"!")
    found = (data / "foo").stat()
    assert (found.st_mode, found.st_size, (data / "foo").read_bytes()) == (stat.S_IFREG | 0o640, 4, b"foo!")


def test_attributes_alone_make_no_commit_of_files(store, writable, data):
    os.chmod(data / "foo", 0o600)
    with store.snapshot() as db:
        assert list(committing.iter_status(store, db)) == []
    with store.snapshot() as db:
        before = snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/foo")
    assert new_files(store, writable) == {}
    with store.snapshot() as db:
        assert snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/foo") == before


def test_attributes_of_a_link_are_never_those_of_what_it_leads_to(data, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    outside.chmod(0o600)
    before = outside.stat()
    os.symlink(outside, data / "link")
    descriptor = os.open(data / "link", os.O_PATH | os.O_NOFOLLOW)
    try:
        with pytest.raises(OSError, match=rf"\[Errno {errno.EOPNOTSUPP}\]"):
            os.chmod(f"/proc/self/fd/{descriptor}", 0o777)
    finally:
        os.close(descriptor)
    os.utime(data / "link", ns=(1, 2), follow_symlinks=False)
    assert (data / "link").lstat().st_mtime_ns == 2
    if os.geteuid() == 0:
        os.chown(data / "link", 1, 1, follow_symlinks=False)
        assert (data / "link").lstat().st_uid == 1
    assert outside.stat() == before


def test_a_link_has_no_mode_and_no_size_to_change():
    pyfuse3 = pytest.importorskip("pyfuse3")
    from appliance.mount.permissions import Caller, Change, check_change
    from appliance.mount.places import Shown

    link = Shown(Place(Top("data"), 1, is_directory=False), stat.S_IFLNK | 0o777, 3, (0, 0, 0), 0, 0)
    for change in (Change(mode=0o777), Change(size_bytes=0)):
        with pytest.raises(pyfuse3.FUSEError) as raised:
            check_change(Caller(0, 0, set), link, change)
        assert raised.value.errno == errno.EOPNOTSUPP


def test_only_root_makes_devices(data):
    data.chmod(0o777)
    program = """
import errno, os, sys
os.chdir(sys.argv[1]); os.setuid(65534)
for kind in (0o020000, 0o060000):
    try:
        os.mknod("device", kind | 0o666, os.makedev(1, 3))
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    if os.geteuid() == 0:
        assert run(program, data).split() == ["EPERM", "EPERM"]
    with pytest.raises(OSError, match=rf"\[Errno {errno.EPERM}\]"):
        os.link(data / "dir", data / "linked")
