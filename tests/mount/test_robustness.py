"""What must not disturb others: readers that stand still, files of any size, other users."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import is_mounted, names, put_joined, run
from store.helpers import LARGE, create_repos, keep, put, put_all

from appliance.mount import mountpoint
from appliance.store import Store

TIB = 2**40
BLOB = 2**27

# Reads half of a file and says so, at the same time holds the top directory open in the middle of its listing, and waits.
STAND_STILL = """
import os, sys
os.chdir(sys.argv[1])
listing = os.scandir("..")
next(listing)
file = open("large", "rb", buffering=0)
half = file.read(1000)
print("standing", flush=True)
sys.stdin.readline()
print(len(half + file.read()), flush=True)
"""

MAP_END = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(file).st_size
with mmap.mmap(file, 4096, prot=mmap.PROT_READ, offset=size - 4096) as mapped:
    print(size, bytes(mapped[-4:]))
"""


def test_a_reader_that_stands_still_stops_nobody(store, mount):
    """Neither others nor writes: a head moves, and the kernel takes the old one back."""
    create_repos(store, "data", "other")
    put(store, "data", "/large", LARGE)
    command = [sys.executable, "-c", STAND_STILL, str(mount.path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"standing\n"
        process.send_signal(signal.SIGSTOP)
        for number in range(10):
            put(store, "data", "/small", str(number).encode())
            assert (mount.path / "data/small").read_text() == str(number)
            assert names(mount.path) == ["data", "other"]
        process.send_signal(signal.SIGCONT)
        assert process.communicate(b"\n", timeout=20)[0] == f"{len(LARGE)}\n".encode()


def test_a_file_of_a_tebibyte_is_read_anywhere(store, mount):
    create_repos(store, "data")
    zeros, end = keep(store, bytes(BLOB)), keep(store, b"x" * (BLOB - 3) + b"end")
    put_joined(store, "data", "/huge", [*[(zeros, 0, BLOB)] * (TIB // BLOB - 1), (end, 0, BLOB)])
    path = mount.path / "data/huge"
    assert (path.stat().st_size, path.stat().st_blocks) == (TIB, TIB // 512)
    with path.open("rb") as file:
        for offset, expected in (
            (0, b"\0\0\0\0"),
            (TIB // 2 + 12345, b"\0\0\0\0"),
            (TIB - BLOB - 2, b"\0\0xx"),
            (TIB - 3, b"end"),
        ):
            file.seek(offset)
            assert file.read(4) == expected
    assert run(MAP_END, path) == f"{TIB} {b'xend'}"


def test_a_file_of_a_tebibyte_with_one_byte_can_be_staged_and_takes_its_space_only(store, place, quiet):
    create_repos(store, "data")
    with Serving(store, place, "data") as mounted:
        path = place / "data/sparse"
        with path.open("wb") as file:
            file.seek(TIB - 1)
            file.write(b"x")
        assert path.stat().st_size == TIB
        with path.open("rb") as file:
            file.seek(TIB - 4)
            assert file.read() == b"\0\0\0x"
        path.unlink()
        mounted.mount.discard("data", "master")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A place that other users can get to."""
    with tempfile.TemporaryDirectory(prefix="mount-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        if problem := mountpoint.find_problem(place):
            pytest.skip(problem)
        yield place
        while is_mounted(place):
            assert mountpoint.detach(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="what an ordinary user mounts, nobody else sees")
def test_other_users_read_what_root_has_mounted_and_change_nothing(store: Store, open_place: Path, quiet: None) -> None:
    create_repos(store, "data", "written")
    put_all(store, "data", {"/dir/foo": b"foo"})
    put_all(store, "written", {"/foo": b"foo"})
    look = "cat data/dir/foo written/foo; ls data; id -u; stat -c %u data"
    change = "touch data/new written/new; rm -f data/dir/foo written/foo"
    with Serving(store, open_place, "written"):
        command = ["setpriv", "--reuid", "54321", "--clear-groups", "sh", "-c", f"{look}; {change}"]
        done = subprocess.run(command, cwd=open_place, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["foofoodir", "54321", "0"]
        assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
            "Read-only file system",
            "Permission denied",
            "Read-only file system",
            "Permission denied",
        ]
        assert (open_place / "written/foo").read_bytes() == b"foo"
