"""What `scripts/bench mount` does in a directory: the same data everywhere, and each line of the tables as one function.

A rate is what one client reaches that waits for each answer. Lines of two rates are those of the first touch, after all
caches were emptied, and of doing it again at once.
"""

import hashlib
import mmap
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1024**2
BLOCK_BYTES = 4096
_LONGEST_S = 8.0
_HOT_BYTES = 32 * MIB
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.environ["PATH"]}


@dataclass(frozen=True)
class Shape:
    """How much there is to read, in a directory of each kind, and how much is written."""

    big_bytes: int
    small: int
    tree: int
    wide: int
    write_bytes: int
    create: int
    seconds: float = 1

    def directories(self, count: int) -> int:
        """Return among how many directories so many files are spread."""
        return min(100, max(1, count // 10))


FULL = Shape(1024 * MIB, 10_000, 100_000, 100_000, 512 * MIB, 5_000)
BESIDE = Shape(256 * MIB, 1_000, 3_000, 3_000, 64 * MIB, 300)
QUICK = Shape(4 * MIB, 30, 40, 40, 2 * MIB, 10, 0.02)


def small_content(path: str) -> bytes:
    """Return the content of a small file: 4 KiB that no other has."""
    return hashlib.shake_256(path.encode()).digest(BLOCK_BYTES)


def small_files(shape: Shape) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of everything but `/big.bin`."""
    for path in small_paths(shape):
        yield path, small_content(path)
    spread = shape.directories(shape.tree)
    for number in range(shape.tree):
        yield f"/tree/t{number % spread:03}/entry-{number:06}.txt", b"%d\n" % number
    for number in range(shape.wide):
        yield f"/wide/entry-{number:06}.txt", b"%d\n" % number


def small_paths(shape: Shape) -> list[str]:
    """Return the paths of the small files."""
    spread = shape.directories(shape.small)
    return [f"/small/d{number % spread:03}/f{number:06}" for number in range(shape.small)]


def write_big(file: Path, size_bytes: int) -> None:
    """Make a file that no two blocks of are equal."""
    made = random.Random(1)
    with file.open("wb") as target:
        for _ in range(size_bytes // MIB):
            target.write(made.randbytes(MIB))


def lay_down(directory: Path, shape: Shape) -> None:
    """Make all of it as ordinary files."""
    directory.mkdir()
    write_big(directory / "big.bin", shape.big_bytes)
    for path, content in small_files(shape):
        file = directory / path[1:]
        try:
            file.write_bytes(content)
        except FileNotFoundError:
            file.parent.mkdir(parents=True)
            file.write_bytes(content)


def empty_caches() -> bool:
    """Have the kernel forget all files and names that it remembers; False where that is forbidden."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def warm(place: Path) -> None:
    """Have the kernel know an ordinary file, or all that are in an ordinary directory."""
    buffer = bytearray(MIB)
    below = (os.path.join(root, name) for root, _, names in os.walk(place) for name in names)  # noqa: PTH118 - twice as fast
    for file in below if place.is_dir() else [str(place)]:
        descriptor = os.open(file, os.O_RDONLY)
        while os.readv(descriptor, [buffer]):
            pass
        os.close(descriptor)


class Clock:
    """Counts until enough time has gone by."""

    def __init__(self, longest_s: float = _LONGEST_S) -> None:
        self._begun = time.perf_counter()
        self._end = self._begun + longest_s

    @property
    def is_up(self) -> bool:
        return time.perf_counter() > self._end

    def rate(self, count: float) -> float:
        return count / (time.perf_counter() - self._begun)


def read_all(directory: Path, shape: Shape) -> float:
    """MB/s of the large file from beginning to end."""
    descriptor, buffer, total = os.open(directory / "big.bin", os.O_RDONLY), bytearray(MIB), 0
    clock = Clock()
    while (size := os.readv(descriptor, [buffer])) and not clock.is_up:
        total += size
    rate = clock.rate(total / 1e6)
    os.close(descriptor)
    return rate


def map_all(directory: Path, shape: Shape) -> float:
    """MB/s of the same, mapped into memory."""
    descriptor, total = os.open(directory / "big.bin", os.O_RDONLY), 0
    with mmap.mmap(descriptor, shape.big_bytes, prot=mmap.PROT_READ) as mapped:
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        clock = Clock()
        while total < shape.big_bytes and not clock.is_up:
            total += len(mapped[total : total + MIB])
        rate = clock.rate(total / 1e6)
    os.close(descriptor)
    return rate


def _read_blocks(directory: Path, flags: int, span: int, longest_s: float) -> float:
    descriptor = os.open(directory / "big.bin", os.O_RDONLY | flags)
    if not flags:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    buffer, chosen, count = mmap.mmap(-1, BLOCK_BYTES), random.Random(3), 0
    clock = Clock(longest_s)
    while not clock.is_up:
        for _ in range(16):
            os.preadv(descriptor, [buffer], chosen.randrange(span // BLOCK_BYTES) * BLOCK_BYTES)
        count += 16
    rate = clock.rate(count)
    os.close(descriptor)
    return rate


def read_blocks(directory: Path, shape: Shape) -> float:
    """Reads of 4 KiB anywhere, for a second."""
    return _read_blocks(directory, 0, shape.big_bytes, shape.seconds)


def read_hot_blocks(directory: Path, shape: Shape) -> float:
    """The same where everything was read before."""
    span = min(_HOT_BYTES, shape.big_bytes)
    with (directory / "big.bin").open("rb", buffering=0) as file:
        for _ in range(span // MIB):
            file.read(MIB)
    return _read_blocks(directory, 0, span, shape.seconds / 2)


def read_direct_blocks(directory: Path, shape: Shape) -> float:
    """The same past the kernel's cache: one question each."""
    return _read_blocks(directory, os.O_DIRECT, shape.big_bytes, shape.seconds)


def _each_small(directory: Path, shape: Shape, touch: Callable[[str], object]) -> float:
    paths = [f"{directory}{path}" for path in small_paths(shape)]
    random.Random(7).shuffle(paths)
    clock, count = Clock(), 0
    for path in paths:
        touch(path)
        count += 1
        if not count & 63 and clock.is_up:
            break
    return clock.rate(count)


def _read_whole(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 65536)
    os.close(descriptor)


def read_small(directory: Path, shape: Shape) -> float:
    """Small files opened, read and closed, in no order."""
    return _each_small(directory, shape, _read_whole)


def stat_small(directory: Path, shape: Shape) -> float:
    """The same files asked about."""
    return _each_small(directory, shape, os.stat)


def _count_lines(*command: str | Path) -> float:
    """Lines that a program prints, a second."""
    clock = Clock(_LONGEST_S * 3)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_ENVIRONMENT) as process:
        assert process.stdout is not None
        count = 0
        while (piece := process.stdout.read(MIB)) and not clock.is_up:
            count += piece.count(b"\n")
        rate = clock.rate(count)
        process.kill()
    if not count:
        raise OSError(f"{command[0]} printed nothing")
    return rate


def find_tree(directory: Path, shape: Shape) -> float:
    """Entries of the tree that `find -type f` prints."""
    return _count_lines("find", directory / "tree", "-type", "f")


def list_tree(directory: Path, shape: Shape) -> float:
    """Lines of `ls -lR` of it."""
    return _count_lines("ls", "-lnR", directory / "tree")


def list_wide(directory: Path, shape: Shape) -> float:
    """Lines of `ls -l` of one large directory."""
    return _count_lines("ls", "-ln", directory / "wide")


def _write(directory: Path, block_bytes: int, total: int, *, sync: bool) -> float:
    file, block, written = directory / "written", random.Random(2).randbytes(block_bytes), 0
    clock = Clock()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    while written < total and not clock.is_up:
        written += os.write(descriptor, block)
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)
    rate = clock.rate(written / 1e6)
    file.unlink()
    return rate


def write_large(directory: Path, shape: Shape) -> float:
    """MB/s in pieces of 1 MiB."""
    return _write(directory, MIB, shape.write_bytes, sync=False)


def write_synced(directory: Path, shape: Shape) -> float:
    """The same until it is on disk."""
    return _write(directory, MIB, shape.write_bytes, sync=True)


def write_blocks(directory: Path, shape: Shape) -> float:
    """MB/s in pieces of 4 KiB."""
    return _write(directory, BLOCK_BYTES, shape.write_bytes // 8, sync=False)


def create(directory: Path, shape: Shape) -> float:
    """Files of 4 KiB created, written and closed."""
    (directory / "made").mkdir(exist_ok=True)
    block, clock, count = bytes(BLOCK_BYTES), Clock(), 0
    for number in range(shape.create):
        descriptor = os.open(f"{directory}/made/{number:06}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, block)
        os.close(descriptor)
        count += 1
        if not count & 63 and clock.is_up:
            break
    return clock.rate(count)


def remove(directory: Path, shape: Shape) -> float:
    """Those files removed."""
    made = directory / "made"
    files = os.listdir(made)  # noqa: PTH208 - the names are all that is wanted
    clock = Clock(float("inf"))
    for name in files:
        os.unlink(f"{made}/{name}")  # noqa: PTH108 - what is timed is the call
    rate = clock.rate(len(files))
    made.rmdir()
    return rate
