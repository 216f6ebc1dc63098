"""Large directories, and readers that go back and forth in them."""

import os
import threading

import pytest
from mount.helpers import names, run
from store.helpers import create_repos, delete, put, put_all, start

SEEK = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for call in (libc.readdir, libc.rewinddir, libc.telldir, libc.closedir):
    call.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

class Entry(ctypes.Structure):
    _fields_ = [("number", ctypes.c_ulong), ("place", ctypes.c_long), ("length", ctypes.c_ushort),
                ("kind", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]

def read(directory):
    found = libc.readdir(directory)
    return Entry.from_address(found).name.decode() if found else None

directory = libc.opendir(sys.argv[1].encode())
places, names = [], []
while True:
    places.append(libc.telldir(directory))
    name = read(directory)
    if name is None:
        break
    names.append(name)
assert names == sorted(names) and len(names) == 3000, len(names)
for index in (2999, 0, 1500, 1, 2998, 7, 1234):
    libc.seekdir(directory, places[index])
    assert read(directory) == names[index], index
libc.seekdir(directory, places[3000])
assert read(directory) is None
libc.rewinddir(directory)
assert [read(directory) for _ in names] == names
libc.closedir(directory)
print("ok")
"""

SMALL_BUFFER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
directory = os.open(sys.argv[1], os.O_RDONLY)
buffer = ctypes.create_string_buffer(100)
names = []
while (size := libc.syscall(217, directory, buffer, 100)) > 0:
    place = 0
    while place < size:
        length = int.from_bytes(buffer.raw[place + 16 : place + 18], "little")
        names.append(buffer.raw[place + 19 : place + length].split(b"\\0")[0].decode())
        place += length
print(len(names), names == sorted(set(names)))
"""


@pytest.fixture
def data(store, mount):
    """The directory of a repo `data`, still empty."""
    create_repos(store, "data")
    return mount.path / "data"


def test_directory_of_20_000_files_is_listed_whole(store, mount, data):
    expected = [f"file{number:05}" for number in range(20_000)]
    put_all(store, "data", {f"/many/{name}": b"" for name in expected})
    mount.settle()
    assert names(data / "many") == expected
    assert names(data / "many") == expected


def test_files_and_directories_that_sort_around_a_slash_are_all_listed(store, mount, data):
    paths = ["/a", "/a-b", "/a.b/x", "/ab", "/b!", "/b/x", "/b0", "/b1"]
    put_all(store, "data", dict.fromkeys(paths, b""))
    mount.settle()
    assert names(data) == ["a", "a-b", "a.b", "ab", "b", "b!", "b0", "b1"]


def test_any_place_in_a_listing_can_be_returned_to(store, mount, data):
    put_all(store, "data", {f"/many/{number:04}": b"" for number in range(3000)})
    mount.settle()
    assert run(SEEK, data / "many") == "ok"


def test_reader_with_a_tiny_buffer_gets_each_name_once(store, mount, data):
    put_all(store, "data", {f"/many/{number:04}": b"" for number in range(1000)})
    mount.settle()
    assert run(SMALL_BUFFER, data / "many") == "1000 True"


def test_two_hundred_repos_are_listed(store, mount):
    expected = [f"repo{number:03}" for number in range(200)]
    create_repos(store, *expected)
    assert names(mount.path) == expected


def test_listing_of_a_commit_is_whole_while_others_land(store, mount, data):
    expected = {f"{number:04}" for number in range(2000)}
    put_all(store, "data", {f"/many/{name}": b"" for name in expected})
    mount.settle()
    done = threading.Event()

    def write():
        for number in range(60):
            put(store, "data", f"/many/new{number}", b"")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        seen = set(names(data / "many"))
        assert seen >= expected
        extra = len(seen) - len(expected)
        assert seen - expected == {f"new{number}" for number in range(extra)}
    writer.join()


def test_listing_of_an_open_commit_goes_on_behind_the_last_name(store, mount, data):
    start(store, "data")
    put_all(store, "data", {f"/many/{number:04}": b"" for number in range(2000)})
    mount.settle()
    found = []
    with os.scandir(data / "many") as listing:
        for entry in listing:
            found.append(entry.name)
            if len(found) == 5:
                for number in range(3):
                    delete(store, "data", f"/many/{number:04}")
    assert found == [f"{number:04}" for number in range(2000)]
