"""Three doors at the same time: programs change branches through S3, the commands and the mount, and others read beside them.

Whatever is read below the mount or through S3 must be what a branch was at one moment between the last answer to its writer
and the end of the reading: never a mixture, never an old head behind the answer to a write, never an error but that nothing
is there. In the end the mount must answer, the log must be without errors, and the store must be without damage.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import Process, Queue
from pathlib import Path
from queue import Empty
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]

from conformance_mount import READY_S, Wrong, ask, check, running  # noqa: E402
from mount.doors import Bucket, run_threads  # noqa: E402
from mount.readers import Reader  # noqa: E402
from mount.writers import Editor, Writer  # noqa: E402

from appliance.client import Appliance  # noqa: E402

READERS = 4
EDITED = "edited"
_LOG_CHARACTERS = 4000


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """Run an appliance whose mount has one writable repo; give its endpoint."""
    with running(directory, "--write", EDITED) as (process, said):
        yield said["s3_endpoint"]
        check(process.poll() is None, "the appliance has ended")


def check_log(log: Path) -> None:
    """Raise Wrong unless the log has only notices, and that the machine was too busy: readers see what comes of that."""
    text = log.read_text()
    lines = [line for line in text.splitlines() if " INFO " not in line and "has not taken back names" not in line]
    check(not lines, f"the log says:\n{text[-_LOG_CHARACTERS:]}")


def list_steps(directory: Path, endpoint: str, repo: str, seed: int) -> list[Callable[[], str]]:
    """Return what the threads of one process do again and again: one writes, the others read."""
    place = directory / "pfs" / repo
    appliance, seeds = Appliance(directory / "data"), random.Random(seed)
    if repo == EDITED:
        editor = Editor(appliance, endpoint, place, seed)
        shown = Reader(place, editor.shown, None, {}, seeds.randrange(2**32))
        readers, branch = [shown], place.with_name(f"{repo}@master")
        timeline, commits, step = editor.timeline, {}, editor.step
    else:
        writer = Writer(appliance, endpoint, repo, seed)
        readers, branch = [], place
        timeline, commits, step = writer.timeline, writer.commits, writer.step
    while len(readers) < READERS:
        bucket = Bucket(endpoint, f"master.{repo}")
        readers.append(Reader(branch, timeline, bucket, commits, seeds.randrange(2**32)))
    return [step, *(reader.step for reader in readers)]


def run_repo(directory: Path, endpoint: str, repo: str, seed: int, seconds: float, answers: "Queue[Any]") -> None:
    """Write to a repo and read it; answer what was done how often, and what was wrong."""
    counts: dict[str, int] = {}
    raised = run_threads(list_steps(directory, endpoint, repo, seed), seconds, counts)
    answers.put((repo, counts, [f"{type(error).__name__}: {error}" for error in raised]))


def run(directory: Path, seconds: float, seed: int, repos: Sequence[str]) -> dict[str, int]:
    """Run everything and return what was done how often. Raises Wrong."""
    answers: Queue[Any] = Queue()
    (directory / "pfs").mkdir()
    with serving(directory) as endpoint:
        work = partial(run_repo, directory, endpoint, seconds=seconds, answers=answers)
        processes = [Process(target=work, kwargs={"repo": repo, "seed": seed * 100 + n}) for n, repo in enumerate(repos)]
        for process in processes:
            process.start()
        counts = gather(answers, processes, seconds)
        check(
            sorted(path.name for path in (directory / "pfs").iterdir()) == sorted(repos), "the mount does not list its repos"
        )
        check("No errors found" in ask(directory / "data", "fsck"), "the store is damaged")
    check_log(directory / "data/log")
    return counts


def gather(answers: "Queue[Any]", processes: Sequence[Process], seconds: float) -> dict[str, int]:
    """Wait for the answers of all processes, and add them up. Raises Wrong."""
    total: dict[str, int] = {}
    try:
        for _ in processes:
            try:
                repo, counts, wrong = answers.get(timeout=seconds + READY_S)
            except Empty:
                raise Wrong("a reader or writer hangs, or has died") from None
            check(not wrong, f"{repo}: {'; '.join(wrong)}")
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance doors", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repos", type=int, default=2, metavar="N", help="how many are written to through S3")
    options = parser.parse_args(arguments)
    repos = [*(f"repo-{number}" for number in range(options.repos)), EDITED]
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        try:
            counts = run(Path(directory), options.seconds, options.seed, repos)
        except Wrong as wrong:
            print((Path(directory) / "data/log").read_text()[-_LOG_CHARACTERS:], file=sys.stderr)
            print(f"conformance doors, seed {options.seed}: {wrong}", file=sys.stderr)
            return 1
    print(f"{sum(counts.values()):,} steps in {options.seconds:g} s, seed {options.seed}, nothing wrong: ", end="")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
