"""The mount killed again and again while programs read, write and run as jobs.

What a kill must leave: a mount point that is free again, no process that hangs, every file that was closed before, and jobs
that are finished by the next appliance.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

APPLIANCE = [sys.executable, "-m", "appliance"]
SPEC = {
    "pipeline": {"name": "count"},
    "input": {"pfs": {"repo": "data", "glob": "/"}},
    "transform": {"cmd": ["sh"], "stdin": ["cat /pfs/data/* | wc -c > /pfs/out/size"]},
}
WRITER = """
import itertools, os, sys
for number in itertools.count(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/dir-{number % 7}-{number}", "wb") as file:
        file.write(f"{number}".encode() * 1000)
    os.rename(f"{sys.argv[1]}/dir-{number % 7}-{number}", f"{sys.argv[1]}/{number}")
    print(number, flush=True)
"""
READER = """
import os, sys
while True:
    for directory, _, names in os.walk(sys.argv[1], onerror=lambda error: sys.exit()):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                file.read()
"""
READY_S = 60
END_S = 20
STILL_S = 2


class Wrong(Exception):
    """Something is not as it has to be."""


def check(fact: object, text: str) -> None:
    """Raise Wrong unless something is so."""
    if not fact:
        raise Wrong(text)


def ask(data: Path, *arguments: str, text: str | None = None) -> str:
    """Run a command of the appliance and return what it says."""
    environment = {**os.environ, "APPLIANCE_HOME": str(data)}
    done = subprocess.run([*APPLIANCE, *arguments], env=environment, input=text, text=True, capture_output=True, check=False)
    check(done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}")
    return done.stdout


@contextmanager
def running(directory: Path, *write: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Run an appliance with a mount, writable as `write` says; give what it says of itself. It is stopped in the end."""
    options = ["--mount", str(directory / "pfs"), *write, "--s3-address", "127.0.0.1:0", "--durability", "fast"]
    ready = directory / "ready"
    ready.unlink(missing_ok=True)
    command = [*APPLIANCE, "serve", "--data", str(directory / "data"), "--ready-file", str(ready), *options]
    with (directory / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_S
        while not ready.exists():
            check(process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text())
            time.sleep(0.02)
        yield process, json.loads(ready.read_text())
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        process.wait()


@contextmanager
def serving(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an appliance that is mounted, all of it writable."""
    with running(directory, "--write") as (process, said):
        check(said["mount"], (directory / "log").read_text())
        yield process


def kill_again_and_again(directory: Path, kills: int) -> None:
    """Kill an appliance in the middle of reads, writes and jobs; see above."""
    (directory / "pfs").mkdir()
    data, place = directory / "data", directory / "pfs/data"
    with serving(directory):
        ask(data, "create", "repo", "data")
        ask(data, "create", "pipeline", "-f", "-", text=json.dumps(SPEC))
    written: list[int] = []
    for number in range(kills):
        with serving(directory) as process:
            check_written(place, written)
            ask(data, "commit")  # a new job, and it is killed too
            written += kill_in_the_middle(process, place, first=len(written) + number * 1000, files=20 + number % 7)
        print(f"kill {number + 1} of {kills}: {len(written)} files written", file=sys.stderr)
    with serving(directory):
        check_written(place, written)
        ask(data, "commit")
        ask(data, "wait", "commit", "count@master")
        size = int(ask(data, "get", "file", "count@master:/size"))
        check(size >= sum(len(str(number)) * 1000 for number in written), "the job has not seen every file")
        check("No errors found" in ask(data, "fsck"), "the store is damaged")


def kill_in_the_middle(process: subprocess.Popen[bytes], place: Path, *, first: int, files: int) -> list[int]:
    """Kill an appliance while programs read and write; return what was written and closed before."""
    reader = subprocess.Popen([sys.executable, "-c", READER, place], stderr=subprocess.DEVNULL)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, place, str(first)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert writer.stdout is not None
    written = [int(writer.stdout.readline()) for _ in range(files)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    written += [int(line) for line in writer.stdout if line.endswith("\n")]
    for program in (reader, writer):
        try:
            program.wait(END_S)
        except subprocess.TimeoutExpired:
            stack = Path(f"/proc/{program.pid}/stack").read_text()
            raise Wrong(f"a program hangs after the kill:\n{stack}") from None
    hung = find_hung()
    check(not hung, f"hang in the kernel, waiting for a mount: {hung}")
    return written


def find_hung() -> dict[str, str]:
    """Return the threads of this machine that wait for a FUSE file system and do not go on: what they are called and how
    often they were switched to, by where the kernel tells of them. Others may be waiting for theirs for a moment."""
    waiting = dict(iter_waiting())
    if waiting:
        time.sleep(STILL_S)
    return {task: found for task, found in iter_waiting() if waiting.get(task) == found}


def iter_waiting() -> Iterator[tuple[str, str]]:
    """Yield the threads that wait for an answer of a FUSE file system, see `find_hung`. Only root is told."""
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if "request_wait_answer" in (task / "stack").read_text():
                status = (task / "status").read_text().splitlines()
                yield str(task), " ".join(line for line in status if line.startswith(("Name", "voluntary")))


def check_written(place: Path, written: Sequence[int]) -> None:
    """Compare every file that was written before."""
    for number in written:
        content = (place / str(number)).read_bytes()
        check(content == f"{number}".encode() * 1000, f"{number} is not as it was written")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance mount", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="conformance-") as killed:
        try:
            kill_again_and_again(Path(killed), options.kills)
        except Wrong as wrong:
            print(f"conformance mount: {wrong}", file=sys.stderr)
            return 1
    print(f"killed {options.kills} times: nothing was lost, nothing hung")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
