"""Mounting, unmounting, and what is left when something goes wrong."""

import errno
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import is_mounted, names, serve_and_die, wait_unmounted
from store.helpers import LARGE, create_repos, entry_of, put

from appliance.mount import mountpoint
from appliance.mount.session import MountUnavailable, find_problem
from appliance.store import Store, blobs
from appliance.store.checking import check
from appliance.store.findings import Step

ROOT = Path(__file__).parents[2]
# A place without any program to unmount, so that nobody does it for the dead.
ALONE = {"PYTHONPATH": str(ROOT), "PATH": "/nonexistent"}
GUARDED = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}

HOLD = """
import os, sys
os.chdir(sys.argv[1])
file = open("foo", "rb")
print("held", flush=True)
sys.stdin.readline()
try:
    file.read()
except OSError as error:
    print(error.errno in (103, 107), flush=True)
"""


def test_mount_is_named_pfs(mount):
    line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(mount.path) in line)
    assert line.startswith("pfs ")
    assert " fuse.pfs " in line


def test_store_can_be_mounted_again_and_again_in_one_process(store, place, quiet):
    create_repos(store, "data")
    for number in range(5):
        with Serving(store, place) as mounted:
            put(store, "data", "/foo", str(number).encode())
            mounted.settle()
            assert (place / "data/foo").read_text() == str(number)
            put(store, "data", "/foo", b"moved")
            mounted.settle()
            assert (place / "data/foo").read_bytes() == b"moved"
        assert names(place) == []


def test_unmounting_leaves_no_process_descriptor_or_thread(store, place):
    with Serving(store, place):
        pass
    before = _sockets(), threading.active_count(), _children()
    with Serving(store, place):
        names(place)
    assert (_sockets(), threading.active_count(), _children()) == before


def _sockets() -> int:
    return sum(path.is_socket() or path.is_char_device() for path in Path("/proc/self/fd").iterdir())


def _children() -> list[str]:
    return [path.read_text() for path in Path("/proc/self/task").glob("*/children") if path.read_text()]


def test_second_mount_in_a_process_is_refused(store, mount, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(MountUnavailable, match="has a mount already"), Serving(store, other):
        pass
    assert names(mount.path) == []


def test_mounting_over_another_appliance_is_refused(store, place, tmp_path):
    def mount_over() -> None:
        with pytest.raises(MountUnavailable, match="another appliance"), Serving(store, place):
            pass

    serve_and_die(tmp_path / "other", place, GUARDED, meanwhile=mount_over)


def test_mount_goes_away_while_in_use(store, place):
    create_repos(store, "data")
    put(store, "data", "/foo", LARGE)
    with Serving(store, place):
        command = [sys.executable, "-c", HOLD, str(place / "data")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
    assert not is_mounted(place)
    assert process.communicate(b"\n", timeout=10)[0] == b"True\n"


def test_stale_mounts_are_removed_before_mounting(store, place, tmp_path, quiet):
    if os.geteuid() != 0:
        pytest.skip("only root can mount without fusermount3")
    serve_and_die(tmp_path / "dead", place, ALONE)
    with pytest.raises(OSError, match="not connected"):
        names(place)
    create_repos(store, "data")
    with Serving(store, place):
        assert names(place) == ["data"]
    assert names(place) == []


def test_killed_process_leaves_no_mount(place, tmp_path):
    serve_and_die(tmp_path / "dead", place, GUARDED)
    wait_unmounted(place)
    assert names(place) == []


def test_a_restart_right_after_a_kill_keeps_its_mount(place, tmp_path):
    data = tmp_path / "again"
    for _ in range(3):
        serve_and_die(data, place, GUARDED)
    with closing(Store(data, "fast")) as store, Serving(store, place):
        create_repos(store, "data")
        assert names(place) == ["data"]


def test_mount_taken_away_by_somebody_else_ends_quietly(store, place, quiet):
    with Serving(store, place):
        assert mountpoint.detach(place)
        assert names(place) == []
    with Serving(store, place):
        create_repos(store, "data")
        assert names(place) == ["data"]


def test_problems_are_found_without_mounting(tmp_path, place):
    file = tmp_path / "file"
    file.touch()
    assert find_problem(place) is None
    assert find_problem(tmp_path / "none") == f"{tmp_path / 'none'} does not exist"
    assert find_problem(file) == f"{file} is not a directory"
    assert not is_mounted(place)


def test_failed_mount_says_why(store, place):
    place.rmdir()
    with pytest.raises(MountUnavailable, match="does not exist"), Serving(store, place):
        pass
    place.mkdir()
    with Serving(store, place):
        assert names(place) == []


def test_damaged_blob_is_an_error_of_its_file_only(store, mount, caplog):
    file = _blob_file(store)
    aside = file.with_suffix(".aside")
    file.rename(aside)
    with pytest.raises(OSError) as raised:
        (mount.path / "data/foo").read_bytes()
    aside.rename(file)
    assert raised.value.errno == errno.EIO
    assert "is missing" in caplog.text
    assert (mount.path / "data/foo").read_bytes() == LARGE
    caplog.clear()


def test_bytes_that_a_check_found_wrong_are_an_error(store, mount, caplog):
    file = _blob_file(store)
    file.chmod(0o644)
    file.write_bytes(bytes([LARGE[0] ^ 1]) + LARGE[1:])
    assert not all(isinstance(found, Step) for found in check(store, deep=True))
    with pytest.raises(OSError) as raised:
        (mount.path / "data/foo").read_bytes()
    assert raised.value.errno == errno.EIO
    put(store, "data", "/again", LARGE)
    assert (mount.path / "data/foo").read_bytes() == LARGE
    caplog.clear()


def test_failure_of_ours_is_logged_and_the_mount_lives_on(store, mount, caplog):
    file = _blob_file(store)
    aside = file.with_suffix(".aside")
    file.rename(aside)
    file.symlink_to(file)  # the kernel's own error, which is none of ours
    with pytest.raises(OSError) as raised:
        (mount.path / "data/foo").read_bytes()
    file.unlink()
    aside.rename(file)
    assert raised.value.errno == errno.EIO
    assert "Traceback" in caplog.text
    assert (mount.path / "data/foo").read_bytes() == LARGE
    caplog.clear()


def _blob_file(store: Store) -> Path:
    create_repos(store, "data")
    put(store, "data", "/foo", LARGE)
    with store.snapshot() as db:
        content = entry_of(store, "data", "master", "/foo").content
        return store.blobs.path(blobs.get_digest(db, content))
