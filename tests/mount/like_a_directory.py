"""Random calls of several users in two directories, and of one process in two files that are also mapped into memory.

Prints where the two differ: nothing, if they are alike. Run as root with two empty directories and a seed.
"""

# The calls themselves are the subject.
# ruff: noqa: PTH208, T201

import errno
import mmap
import os
import random
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

ROOT, ALICE, BOB = (0, 0, []), (65534, 65534, [65532]), (65533, 65533, [])
NAMES = ("a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "link", "d/link", "x" * 256, "a/x", "d/" + "y" * 255)
# None is another without the bits that lend rights: to drop just those looks as if the kernel did, which may.
MODES = (0o000, 0o444, 0o222, 0o111, 0o644, 0o700, 0o755, 0o777, 0o1777, 0o2775, 0o4751, 0o6773)
OWNERS = (-1, 0, 65534, 65533, 65532)
FLAGS = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_TRUNC)
# What the kernel finds wrong with a call before it asks who may make it; on a disk it does it the other way round.
ONE_NAME = ("EISDIR", "ENOTDIR", "EEXIST")
TWO_NAMES = (*ONE_NAME, "ENOENT", "ENAMETOOLONG", "ELOOP", "EPERM")
STEPS = 400
SIZE = 300_000


def choose(chance: random.Random) -> Callable[[int], object]:
    """Return a random call, to be made relative to the descriptor of a directory."""
    name, other = chance.choice(NAMES), chance.choice(NAMES)
    mode, flags = chance.choice(MODES), chance.choice(FLAGS)
    uid, gid, times = chance.choice(OWNERS), chance.choice(OWNERS[1:]), chance.choice(({}, {"ns": (5, 6 * 10**9)}))
    calls: list[Callable[[int], object]] = [
        lambda at: use(name, at, flags, mode, b""),
        lambda at: use(name, at, os.O_WRONLY, mode, b"written"),
        lambda at: os.mkdir(name, mode, dir_fd=at),
        lambda at: os.mkfifo(name, mode, dir_fd=at),
        lambda at: os.symlink(other, name, dir_fd=at),
        lambda at: os.link(name, other, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False),
        lambda at: os.rename(name, other, src_dir_fd=at, dst_dir_fd=at),
        lambda at: os.unlink(name, dir_fd=at),
        lambda at: os.rmdir(name, dir_fd=at),
        lambda at: os.chmod(name, mode, dir_fd=at),
        lambda at: os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False),
        lambda at: os.utime(name, **times, dir_fd=at, follow_symlinks=False),
        lambda at: describe(name, at),
        lambda at: os.readlink(name, dir_fd=at),
        lambda at: os.access(name, mode & 7, dir_fd=at, effective_ids=True),
        lambda at: list_names(name, at),
    ]
    return chance.choice(calls)


def use(name: str, at: int, flags: int, mode: int, piece: bytes) -> None:
    """Open a file and write to it, unless it is a pipe: those the kernel opens, and asks nobody."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.stat(name, dir_fd=at).st_mode):
            return
    descriptor = os.open(name, flags | os.O_NONBLOCK, mode, dir_fd=at)
    try:
        os.write(descriptor, piece)
    finally:
        os.close(descriptor)


def list_names(name: str, at: int) -> list[str]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def describe(name: str, at: int) -> tuple[object, ...]:
    """What must be the same of a thing; links of directories are not counted, nor are times of now."""
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    links = 0 if stat.S_ISDIR(found.st_mode) else found.st_nlink
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    then = found.st_mtime_ns if found.st_mtime_ns < 10**18 else 0
    return found.st_mode, found.st_uid, found.st_gid, links, size, then


def outcome(call: Callable[[int], object], at: int) -> object:
    try:
        return call(at)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def compare_calls(chance: random.Random, directories: list[int]) -> None:
    """Make calls as several users in both directories."""
    os.umask(0)
    for step in range(STEPS):
        call, user = choose(chance), chance.choice((ROOT, ALICE, ALICE, BOB))
        become(user)
        results = [outcome(call, at) for at in directories]
        become(ROOT)
        earlier = TWO_NAMES if {"rename", "link"} & set(call.__code__.co_names) else ONE_NAME
        if results[0] != results[1] and not (results[0] in earlier and results[1] in ("EACCES", "EPERM")):
            given = [cell.cell_contents for cell in call.__closure__ or ()]
            print(f"step {step} of user {user[0]}: {call.__code__.co_names} of {given}: {results}")
            return


def become(user: tuple[int, int, list[int]]) -> None:
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(user[2])
    os.setegid(user[1])
    os.seteuid(user[0])


def compare_bytes(chance: random.Random, directory: int) -> None:
    """Write, read, shorten and lengthen a file, through calls and through memory, and compare with what it has to be."""
    descriptor = os.open("bytes", os.O_RDWR | os.O_CREAT, dir_fd=directory)
    expected = bytearray()
    for step in range(STEPS):
        start, size = chance.randrange(SIZE), chance.randrange(1, SIZE // 4)
        piece = chance.randbytes(size)
        what = chance.choice(("write", "read", "truncate", "map", "reopen"))
        if what == "write" or not expected:
            expected.extend(bytes(max(0, start + size - len(expected))))
            expected[start : start + size] = piece
            os.pwrite(descriptor, piece, start)
        elif what == "truncate":
            os.ftruncate(descriptor, start)
            expected = expected[:start] + bytes(max(0, start - len(expected)))
        elif what == "map":
            end = min(len(expected), start + size)
            with mmap.mmap(descriptor, 0) as mapped:
                mapped[start:end] = piece[: max(0, end - start)]
                expected[start:end] = piece[: max(0, end - start)]
        elif what == "reopen":
            os.close(descriptor)
            descriptor = os.open("bytes", os.O_RDWR, dir_fd=directory)
        read = os.pread(descriptor, size, start), os.fstat(descriptor).st_size
        if read != (expected[start : start + size], len(expected)):
            print(f"step {step}, {what} at {start}: not the bytes that were written")
            return


def main() -> None:
    chance = random.Random(int(sys.argv[3]))
    directories = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in sys.argv[1:3]]
    for at in directories:
        os.fchmod(at, 0o777)
    compare_calls(chance, directories)
    compare_bytes(chance, directories[0])


main()
