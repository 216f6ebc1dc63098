"""Hostile input for the gateway: requests that are nearly right, by the hundred thousand, each on a connection of its own.

No answer may be a 5xx (but 501 and 505), broken XML or none in time; afterwards the appliance has as many connections as
before, has not grown, and finds nothing wrong with itself. What fails is kept in a directory, to become a test.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pool
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]

from gateway.fuzzing import exchange, make_input  # noqa: E402

APPLIANCE = [sys.executable, "-m", "appliance"]
_BATCH = 250
_GROWTH_BYTES = 64 * 2**20


@contextmanager
def serving(data: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run an appliance with something in it; give its process and port."""
    command = [*APPLIANCE, "serve", "--data", str(data), "--no-mount", "--durability", "fast", "--s3-address", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = next(int(line.rpartition(":")[2]) for line in process.stdout if line.startswith("S3 endpoint"))
        for path, content in (("master.data", b""), ("master.data/a", b"1"), ("master.data/dir/b", b"2"), ("dev.data", b"")):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", content or None, method="PUT")
            urllib.request.urlopen(request).close()
        yield process, port
    finally:
        process.terminate()
        process.wait()


def run_batch(job: tuple[int, int]) -> list[tuple[bytes, str]]:
    """Send the inputs of one seed; return those that something was wrong with."""
    seed, port = job
    source, found = random.Random(seed), []
    for _ in range(_BATCH):
        data = make_input(source)
        if problem := exchange(port, data):
            found.append((data, problem))
    return found


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def count_sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), metavar="DIR", help="where what fails is kept")
    options = parser.parse_args(arguments)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory, serving(Path(directory) / "data") as (process, port):
        jobs = [(options.seed * 1_000_003 + number, port) for number in range(-(-options.inputs // _BATCH))]
        problems += [problem for _, problem in run_batch(jobs[0])]  # and everything is imported now
        before, sockets, began = resident_bytes(process.pid), count_sockets(process.pid), time.monotonic()
        with Pool(2) as pool:
            for number, found in enumerate(pool.imap_unordered(run_batch, jobs[1:]), 2):
                for data, problem in found:
                    problems.append(problem)
                    options.keep.mkdir(exist_ok=True)
                    (options.keep / f"{len(problems):04}.bin").write_bytes(data)
                    print(f"{problem}\n  {data[:400]!r}", flush=True)
                if number % 100 == 0:
                    rate = number * _BATCH / (time.monotonic() - began)
                    print(f"{number * _BATCH:,} inputs, {rate:,.0f} a second, {len(problems)} wrong", flush=True)
        deadline = time.monotonic() + 90  # longer than an idle connection lives
        while count_sockets(process.pid) > sockets and time.monotonic() < deadline:
            time.sleep(0.5)
        if (left := count_sockets(process.pid)) > sockets:
            problems.append(f"{left - sockets} connections are left open")
        if (grown := resident_bytes(process.pid) - before) > _GROWTH_BYTES:
            problems.append(f"the appliance has grown by {grown / 2**20:.0f} MiB")
        environment = {**os.environ, "APPLIANCE_HOME": str(Path(directory) / "data")}
        checked = subprocess.run([*APPLIANCE, "fsck"], env=environment, capture_output=True, text=True, check=False)
        if checked.returncode:
            problems.append(f"fsck: {checked.stdout[-500:]}{checked.stderr[-500:]}")
        print(f"{len(jobs) * _BATCH:,} inputs, {len(problems)} wrong; grown by {grown / 2**20:.1f} MiB")
    for problem in problems[:20]:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
