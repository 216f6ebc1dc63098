"""What `scripts/bench store` measures: that nothing in the store costs more for what is already there.

Everything is a ratio within one run: the same operation on a store with a million files and a hundred thousand commits, and
on one with next to nothing. It runs in `fast` durability, so that no fsync hides what grows; the rows about fsync say so.
"""

import argparse
import hashlib
import itertools
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.names import CommitId
from appliance.store import Db, Store, blobs, commits, diffs, files, history, listings, repos, snapshots, squash
from appliance.store.blobs import StagedBlob

REPO = "bench"
_SLOW_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int slow(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct timespec pause = {0, 10 * 1000 * 1000};
    nanosleep(&pause, 0);
    return real(fd);
}
int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
"""


@dataclass(frozen=True)
class Row:
    """A measured line: what, how much, and how much it may be."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def ok(self) -> bool:
        return self.value >= self.limit if self.unit == "x or more" else self.value <= self.limit


@dataclass(frozen=True)
class Scale:
    """How much there is of everything."""

    files: int = 1_000_000
    commits: int = 100_000
    change: int = 100_000
    tries: int = 400


QUICK = Scale(20_000, 2_000, 2_000, 60)


def stage(content: bytes) -> StagedBlob:
    digest, md5 = hashlib.sha256(content).digest(), hashlib.md5(content, usedforsecurity=False).digest()
    return StagedBlob(len(content), blobs.Digest(digest), md5, content, None)


def put_one(repo: str, path: str, content: bytes) -> Callable[[Db], CommitId]:
    """Return the write of one small put, as the gateway makes it."""
    staged = stage(content)

    def write(db: Db) -> CommitId:
        writing = history.begin_write(db, repo, "master")
        files.put_file(db, writing.commit, path, blobs.record(db, staged))
        history.end_write(db, writing)
        return writing.commit.id

    return write


def put_many(repo: str, paths: Iterator[str], content: Callable[[str], bytes]) -> Callable[[Db], CommitId]:
    """Return the write of many small puts in one commit."""

    def write(db: Db) -> CommitId:
        writing = history.begin_write(db, repo, "master")
        for path in paths:
            files.put_file(db, writing.commit, path, blobs.record(db, stage(content(path))))
        history.end_write(db, writing)
        return writing.commit.id

    return write


def million_paths(number: int) -> Iterator[str]:
    """Yield paths: half of all in one directory, the others in 999."""
    each = number // 2 // 999
    for directory in range(999):
        for name in range(each):
            yield f"/dir-{directory:03}/{name:06}"
    for name in range(number - each * 999):
        yield f"/huge/{name:06}"


def median_s(run: Callable[[], object], times: int) -> float:
    """Return the median time of a call."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def compare(big: Callable[[], object], small: Callable[[], object], rounds: int, times: int) -> float:
    """Return how many times longer one call takes than another; they take turns."""
    pairs = [(median_s(big, times), median_s(small, times)) for _ in range(rounds)]
    return statistics.median(one for one, _ in pairs) / statistics.median(other for _, other in pairs)


class Bench:
    """The stores of one run: `big`, and a few small ones in a directory of their own."""

    def __init__(self, directory: Path, scale: Scale, rounds: int) -> None:
        self.scale, self.rounds = scale, rounds
        self.big = Store(directory / "big", "fast")
        self.small = Store(directory / "small", "fast")
        self.rows: list[Row] = []
        self.counter = itertools.count()
        self.big.write(lambda db: repos.create_repo(db, REPO))
        for name in (REPO, "flat", "deep"):
            self.small.write(lambda db, name=name: repos.create_repo(db, name))

    def add(self, what: str, value: float, limit: float, unit: str = "x") -> None:
        row = Row(what, value, limit, unit)
        self.rows.append(row)
        print(f"{'ok  ' if row.ok else 'MISS'} {what}: {value:.3g} {unit} (limit {limit:g})", flush=True)

    def fill(self) -> None:
        """Make the million files in ten commits, and the hundred thousand commits: one file overwritten."""
        paths = million_paths(self.scale.files)
        for _ in range(10):
            some = list(itertools.islice(paths, self.scale.files // 10))
            self.big.write(put_many(REPO, iter(some), str.encode))
        self.small.write(put_many("flat", (f"/d/{n:06}" for n in range(1000)), str.encode))
        self.small.write(put_many("deep", (f"/dir-{n:03}/x" for n in range(1000)), str.encode))
        self.big.write(put_one(REPO, "/again", b"first"))
        self.small.write(put_one(REPO, "/again", b"first"))

    def overwrite(self) -> None:
        """Overwrite one file in as many commits, and see what the database takes for each."""
        before = self._database_bytes(self.big)
        pending = [self.big.submit(self._again(n)) for n in range(2000)]
        for number in range(2000, self.scale.commits):
            pending[number % 2000].result()
            pending[number % 2000] = self.big.submit(self._again(number))
        for future in pending:
            future.result()
        grown = self._database_bytes(self.big) - before
        self.add("database bytes for each version, a commit each, beyond content", grown / self.scale.commits - 32, 400, "B")
        self.add(
            "put of a file overwritten that often, against the first time",
            compare(
                lambda: self._put(self.big, "/again"), lambda: self._put(self.small, "/again"), self.rounds, self.scale.tries
            ),
            1.5,
        )

    def _again(self, number: int) -> Callable[[Db], CommitId]:
        return put_one(REPO, "/again", hashlib.md5(str(number).encode()).hexdigest().encode())

    def _put(self, store: Store, path: str | None = None) -> None:
        number = next(self.counter)
        store.write(put_one(REPO, path or f"/new/{number:09}", str(number).encode()))

    def _database_bytes(self, store: Store) -> int:
        with store.snapshot() as db:
            return int(db.value("PRAGMA page_count")) * int(db.value("PRAGMA page_size"))

    def puts(self) -> None:
        ratio = compare(lambda: self._put(self.big), lambda: self._put(self.small), self.rounds, self.scale.tries)
        self.add("put of a new file, against an empty repo", ratio, 1.2)

    def pages(self) -> None:
        flat = self._page(self.small, "flat", "/")
        deep = self._page(self.small, "deep", "/", delimiter="/")
        middle, end = self._paths_at(0.5), self._paths_at(0.998)
        for what, call, base in (
            ("at the start", self._page(self.big, REPO, "/"), flat),
            ("in the middle", self._page(self.big, REPO, "/", after=middle), flat),
            ("at the end", self._page(self.big, REPO, "/", after=end), flat),
            ("with a prefix", self._page(self.big, REPO, "/huge/0001"), self._page(self.small, "flat", "/d/0000")),
            ("with a delimiter", self._page(self.big, REPO, "/", delimiter="/"), deep),
        ):
            self.add(f"page of up to 1,000 keys {what}, for each item", self._per_item(call, base), 1.5)
        huge = self._page(self.big, REPO, "/", delimiter="/")
        self.add("page with a directory of half the files rolled up, against plain keys", self._per_item(huge, flat), 2)

    def _per_item(self, call: Callable[[], int], base: Callable[[], int]) -> float:
        return compare(call, base, self.rounds, 15) / (call() / base())

    def _paths_at(self, share: float) -> str:
        return next(itertools.islice(million_paths(self.scale.files), int(self.scale.files * share), None))

    def _page(
        self, store: Store, repo: str, prefix: str, *, delimiter: str = "", after: str | None = None
    ) -> Callable[[], int]:
        def page() -> int:
            with store.snapshot() as db:
                snapshot = snapshots.open_branch(db, repo, "master")
                found = listings.list_page(db, snapshot, prefix=prefix, delimiter=delimiter, after=after, limit=1000)
            return len(found.items)

        return page

    def history(self) -> None:
        with self.big.snapshot() as db:
            head = commits.get_head(db, REPO, "master")
            sql = "SELECT id FROM commits WHERE line_id = ? ORDER BY seq LIMIT 1 OFFSET 10"
            oldest = commits.get_by_row(db, db.value(sql, (head.line,))).id
        ratio = compare(lambda: self._head(oldest), lambda: self._head(head.id), self.rounds, self.scale.tries)
        self.add("head of a file in the oldest commit, against the newest", ratio, 2)
        ratio = compare(lambda: self._head("master"), self._head_small, self.rounds, self.scale.tries)
        self.add("head of a file overwritten that often, against the first time", ratio, 1.5)
        page, base = self._page(self.big, REPO, "/again"), self._page(self.small, REPO, "/again")
        self.add("list of a file overwritten that often, against the first time", compare(page, base, self.rounds, 100), 1.5)

    def _head(self, revision: str) -> None:
        with self.big.snapshot() as db:
            snapshots.get_file(db, snapshots.open_revision(db, REPO, revision), "/again")

    def _head_small(self) -> None:
        with self.small.snapshot() as db:
            snapshots.get_file(db, snapshots.open_revision(db, REPO, "master"), "/again")

    def differences(self) -> None:
        paths = random.Random(1).sample(list(million_paths(self.scale.files)), 10)
        self.big.write(put_many(REPO, iter(paths), lambda path: path.encode() + b" changed"))

        def diff() -> None:
            with self.big.snapshot() as db:
                head = commits.get_head(db, REPO, "master")
                assert head.parent is not None
                before = snapshots.open_commit(db, commits.get_by_row(db, head.parent))
                found = list(diffs.iter_diff(db, before, snapshots.open_commit(db, head)))
            assert len(found) == 10

        self.add("diff of two commits that differ in 10 files", median_s(diff, 50) * 1000, 5, "ms")

    def large_change(self) -> None:
        paths = list(itertools.islice(million_paths(self.scale.files), self.scale.change))
        begun = time.perf_counter()
        self.big.write(put_many(REPO, iter(paths), lambda path: path.encode() + b" again"))
        each = (time.perf_counter() - begun) / len(paths)
        durable = Store(self.big.directory.parent / "durable", "durable")
        durable.write(lambda db: repos.create_repo(db, REPO))
        single = median_s(lambda: self._put(durable), self.scale.tries)
        durable.close()
        self.add("each file of one commit that changes many, against a single durable put", each / single, 0.2)
        print(f"     ({each * 1e6:.0f} µs against {single * 1e6:.0f} µs)")

    def removals(self) -> None:
        with self.big.snapshot() as db:
            history_ids = [
                commit.id for commit in itertools.islice(commits.iter_ancestors(db, commits.get_head(db, REPO, "master")), 60)
            ]
        squashed = self._removal(squash.squash_set, history_ids[10:30])
        self.add("squash of a commit in that branch", squashed * 1000, 50, "ms")
        dropped = self._removal(squash.drop_set, history_ids[:1] + history_ids[1:8])
        self.add("drop of a commit in that branch", dropped * 1000, 50, "ms")

    def _removal(self, remove: Callable[[Db, CommitId], None], ids: list[CommitId]) -> float:
        waiting = iter(ids)
        return median_s(lambda: self.big.write(lambda db: remove(db, next(waiting))), min(7, len(ids)))

    def close(self) -> None:
        self.big.close()
        self.small.close()


def group_commit(directory: Path, seconds: float) -> float | None:
    """Return how many times as much 16 writers get done as one where an fsync takes 10 ms; None without a compiler."""
    source, library = directory / "slow.c", directory / "slow.so"
    source.write_text(_SLOW_FSYNC)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    counts = []
    for writers in (1, 16):
        command = [sys.executable, __file__, str(directory / f"writers-{writers}"), str(writers), str(seconds)]
        run = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": str(library)}
        )
        counts.append(int(run.stdout))
    return counts[1] / counts[0]


def put_for_a_while(directory: Path, writers: int, seconds: float) -> int:
    """Put from so many threads into a durable store and return how many puts were acknowledged in time."""
    store = Store(directory, "durable")
    store.write(lambda db: repos.create_repo(db, REPO))
    ends, counts = time.monotonic() + seconds, [0] * writers

    def work(worker: int) -> None:
        while time.monotonic() < ends:
            store.write(put_one(REPO, f"/{worker}/{counts[worker]}", f"{worker} {counts[worker]}".encode()))
            counts[worker] += 1

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return sum(counts)


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run everything, print the table, and return it."""
    scale = QUICK if options.quick else Scale()
    bench = Bench(scratch, scale, options.rounds)
    print(f"a branch with {scale.files:,} files and {scale.commits:,} commits; a small one beside it")
    bench.fill()
    bench.overwrite()
    for step in (bench.puts, bench.pages, bench.history, bench.differences, bench.large_change, bench.removals):
        step()
    bench.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bench.add("resident memory during all of it", peak, 200, "MiB")
    ratio = group_commit(scratch, 1 if options.quick else 5)
    if ratio is not None:
        bench.add("16 writers against one, an fsync taking 10 ms", ratio, 10, "x or more")
    return {"rows": [vars(row) | {"ok": row.ok} for row in bench.rows]}


if __name__ == "__main__":
    print(put_for_a_while(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
