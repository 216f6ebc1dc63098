"""The two processes of `scripts/bench mount` that meet at the appliance: 16 S3 clients, and one that asks for files' status.

bench_mount_load.py clients ADDRESS      put, get, head and list until a line or the end of standard input
bench_mount_load.py stat COUNT           the paths on standard input, one after the other, COUNT times in all
"""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence

CLIENTS, KEYS = 16, 50


def run_clients(address: str) -> dict[str, float]:
    """Have 16 clients work on a repo of their own, each waiting for its answers, and count those."""
    from bench import SMALL_BYTES, Call, Connection, make_call

    done, counts = threading.Event(), [0] * CLIENTS

    def prepare(number: int) -> list[Call]:
        keys = [f"/master.load/{number:02}/{key:03}" for key in range(KEYS)]
        puts = [make_call(address, "PUT", key, [os.urandom(SMALL_BYTES)]) for key in keys]
        reads = [make_call(address, verb, key) for key in keys for verb in ("GET", "HEAD")]
        lists = [make_call(address, "GET", f"/master.load?list-type=2&prefix={number:02}%2F")] * 5
        return [*puts, *reads, *lists]

    def work(number: int, calls: Sequence[Call]) -> None:
        connection = Connection(address)
        for call in itertools.cycle(calls):
            if done.is_set() or connection.exchange(call).status != 200:
                return
            counts[number] += 1

    prepared = [prepare(number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=given) for given in enumerate(prepared)]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    print("working", flush=True)
    sys.stdin.readline()
    took = time.perf_counter() - begun
    failed = not all(thread.is_alive() for thread in threads)
    done.set()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit("a client has failed")
    return {"requests": sum(counts) / took}


def run_stat(count: int, paths: Sequence[str]) -> dict[str, float]:
    """Return what asking took, in µs."""
    took = []
    for path in itertools.islice(itertools.cycle(paths), count):
        begun = time.perf_counter_ns()
        os.stat(path)  # noqa: PTH116 - what is timed is the call
        took.append((time.perf_counter_ns() - begun) / 1000)
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "max": took[-1]}


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    print(json.dumps(run_clients(argument) if what == "clients" else run_stat(int(argument), sys.stdin.read().splitlines())))
