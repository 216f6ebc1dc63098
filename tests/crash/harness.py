"""Crashes an appliance while clients write to it, and looks whether it has kept its promises.

Kills: the process of `appliance serve` is killed at some point of the load; what it left is opened, compared and served
again.
Cuts: it keeps its data on a disk (`disk.server`) that can say what a power cut at this moment may leave; each such
image is opened and compared while the appliance goes on, so that one run gives many crashes.
Pipelines: as kills, while five pipelines run (`dag`).

What happens where in a request depends on the machine; the sequence of requests, the points of the crashes and what a cut
keeps come from the seed. An image that is wrong is kept.
"""

import argparse
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from crash.dag import run_pipelines
from crash.load import COMMITS, FINISHED, REPO, Line, Load, Tree
from crash.serving import Broken, Serving, serving
from disk.client import open_disk
from store.checks import check
from store.helpers import bytes_of

from appliance.control.client import Client as Control
from appliance.store import Db, Store, commits, snapshots
from appliance.store.collecting import collect

_CLIENTS = ("a", "b", "c", "d")
_PER_ROUND = 20
_IMAGES_PER_CUT = 10
_READY_S = 60


def new_lines() -> dict[str, Line]:
    """Return what the clients of a fresh appliance know; a new branch has a first, empty commit."""
    return {name: Line() for name in _CLIENTS} | {COMMITS: Line({FINISHED: b"1"})}


def prepare(data: Path) -> None:
    """Make the repos."""
    control = Control(data)
    for repo in (REPO, COMMITS):
        control.call("create_repo", repo=repo)
        control.call("create_branch", repo=repo, branch="master")


# -- what a directory holds, against what it may hold


def read_tree(store: Store, repo: str) -> Tree:
    """Return the files of the newest finished commit of a repo, and how many commits were finished."""
    with store.snapshot() as db:
        done = _list_finished(db, repo)
        entries = list(snapshots.iter_entries(db, snapshots.open_commit(db, done[0]))) if done else []
    tree = {entry.path: bytes_of(store, entry.content) for entry in entries}
    return tree | {FINISHED: str(len(done)).encode()} if repo == COMMITS and done else tree


def _list_finished(db: Db, repo: str) -> list[commits.Commit]:
    return [commit for commit in commits.iter_commits(db, repo) if not commit.is_open]


def compare(found: Mapping[str, Tree], lines: Mapping[str, Line], points: Mapping[str, tuple[int, int]]) -> None:
    """Compare each client's part with what it may be. Raises Broken."""
    for name, line in lines.items():
        repo = COMMITS if name == COMMITS else REPO
        part = {path: data for path, data in found[repo].items() if path.startswith((f"/{name}/", FINISHED))}
        states = line.states(*points[name])
        if part not in states:
            raise Broken(f"client {name}, requests {points[name]}: {_describe(part, states[0])}")
    strangers = [path for tree in found.values() for path in tree if path.split("/")[1] not in (*lines, FINISHED[1:])]
    if strangers:
        raise Broken(f"nobody wrote {strangers}")


def _describe(found: Tree, expected: Tree) -> str:
    paths = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    sizes = [(path, len(found.get(path, b"")), len(expected.get(path, b""))) for path in paths]
    return f"differs from what was acknowledged in (path, bytes found, bytes expected) {sizes}"


def open_and_compare(data: Path, lines: Mapping[str, Line], points: Mapping[str, tuple[int, int]]) -> dict[str, Tree]:
    """Open what a crash left as the appliance would, check it as a whole, and compare it. Raises Broken."""
    with closing(Store(data)) as store:
        if any((data / "staging").iterdir()):
            raise Broken("something is left in staging")
        check(store)
        found = {repo: read_tree(store, repo) for repo in (REPO, COMMITS)}
        compare(found, lines, points)
        collect(store)
        if garbage := check(store):
            raise Broken(f"nobody refers to {garbage}, and the collector leaves it")
    return found


def list_keys(endpoint: str, repo: str) -> set[str]:
    """Return the paths that the gateway lists."""
    query = urlencode({"list-type": "2"})
    with urlopen(f"{endpoint}/master.{repo}?{query}", timeout=_READY_S) as answer:
        return {f"/{key}" for key in re.findall("<Key>([^<]*)<", answer.read().decode())}


def compare_listing(served: Serving, found: Mapping[str, Tree]) -> None:
    """Compare what the gateway lists with what is there, once the commit that was open is gone."""
    _drop_open(Control(served.data))
    for repo, tree in found.items():
        expected = {path for path in tree if path != FINISHED}
        if (listed := list_keys(served.endpoint, repo)) != expected:
            raise Broken(f"{repo} lists {sorted(listed)} instead of {sorted(expected)}")


def _drop_open(control: Control) -> None:
    newest = control.call("inspect_commit", repo=COMMITS, revision="master")
    if newest["commit"]["finished_ns"] is None:
        control.call("drop_commit_set", commit_id=newest["commit"]["id"])


def now(lines: Mapping[str, Line]) -> dict[str, tuple[int, int]]:
    """Return how many requests each client has had answered, and has made."""
    return {name: (line.acknowledged, len(line.changes)) for name, line in lines.items()}


def start_again(lines: Mapping[str, Line], found: Mapping[str, Tree]) -> None:
    """Let the clients go on from what a crash left."""
    for name, line in lines.items():
        tree = found[COMMITS if name == COMMITS else REPO]
        line.base = {path: data for path, data in tree.items() if path.startswith((f"/{name}/", FINISHED))}
        line.changes, line.acknowledged = [], 0


# -- crashes


@contextmanager
def loaded(served: Serving, lines: dict[str, Line], seed: str) -> Iterator[Load]:
    """Let clients write while the context is open; none of them may be refused."""
    load = Load(served.endpoint, served.data, lines, seed)
    load.start()
    try:
        yield load
    finally:
        load.stop()
    if load.problems:
        raise Broken("\n".join(load.problems))


def wait_for(load: Load, requests: int) -> None:
    """Wait until so many requests were answered."""
    for _ in range(requests):
        assert load.acknowledged.acquire(timeout=_READY_S), "nothing is answered"


def run_kills(directory: Path, seed: str, count: int) -> Iterator[None]:
    """Kill one appliance again and again; yields after each kill that left nothing wrong."""
    chance, data, lines = random.Random(seed), directory / "data", new_lines()
    found: dict[str, Tree] = {}
    for number in range(count):
        with serving(data, directory / "log", chance.choice(("durable", "fast"))) as served:
            if number == 0:
                prepare(data)
            else:
                compare_listing(served, found)
                start_again(lines, found)
            with loaded(served, lines, f"{seed} {number}") as load:
                wait_for(load, chance.randint(1, 30))
                time.sleep(chance.random() * 0.02)  # somewhere in the middle of requests
                served.end(signal.SIGKILL)
        found = open_and_compare(data, lines, now(lines))
        yield


def run_cuts(directory: Path, seed: str, count: int) -> Iterator[None]:
    """Cut the power of one appliance's disk again and again; yields after each image in which nothing is wrong."""
    chance, lines, found = random.Random(seed), new_lines(), {}
    with open_disk(directory) as disk, serving(disk.path / "data", directory / "log") as served:
        prepare(served.data)
        disk_fsynced(disk.path)
        with loaded(served, lines, seed) as load:
            for number in range(0, count, _IMAGES_PER_CUT):
                wait_for(load, chance.randint(1, 20))
                images = [directory / f"image-{number + i}" for i in range(min(_IMAGES_PER_CUT, count - number))]
                before = now(lines)
                disk.cut(images, [chance.randrange(2**32) for _ in images], after=chance.randrange(200))
                asked = now(lines)
                points = {name: (before[name][0], asked[name][1]) for name in lines}
                for image in images:
                    found = open_and_compare(image / "data", lines, points)
                    last = image is images[-1]
                    if last:
                        with serving(image / "data", directory / "log") as again:
                            compare_listing(again, found)
                    shutil.rmtree(image)
                    yield
        served.end(signal.SIGTERM)


def disk_fsynced(directory: Path) -> None:
    """Make the name of the data directory safe."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def campaign(place: Path, kind: str, seed: int, count: int) -> Iterator[int]:
    """Crash in rounds, each with an appliance of its own; yields how many crashes there were."""
    run = {"kills": run_kills, "cuts": run_cuts, "pipelines": run_pipelines}[kind]
    done = 0
    for number in itertools.count():
        directory = place / f"{kind}-{number}"
        directory.mkdir(parents=True)
        for _ in run(directory, f"{seed} {kind} {number}", min(_PER_ROUND, count - done)):
            done += 1
            yield done
        shutil.rmtree(directory)
        if done >= count:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and report; the exit status says whether everything was kept."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description="crash an appliance under load and look what is left")
    parser.add_argument("--kills", type=int, default=300, help="how often the process is killed (default: 300)")
    parser.add_argument("--cuts", type=int, default=300, help="how many images of power cuts are opened (default: 300)")
    parser.add_argument("--pipelines", type=int, default=100, help="how often while pipelines run (default: 100)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--place", type=Path, default=None, help="where to work (default: a temporary directory)")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.randrange(2**32)
    place = Path(tempfile.mkdtemp(prefix="crash-", dir=given.place))
    print(f"seed {seed}, in {place}", flush=True)
    for kind, count in (("kills", given.kills), ("cuts", given.cuts), ("pipelines", given.pipelines)):
        begun, done = time.monotonic(), 0
        try:
            for done in campaign(place, kind, seed, count) if count else ():
                if done % _PER_ROUND == 0 or done == count:
                    print(f"{kind}: {done} of {count}, {done / (time.monotonic() - begun) * 60:.0f} per minute", flush=True)
        except Exception:
            traceback.print_exc()
            print(f"FAILED after {done} {kind} with --seed {seed}; what was left is in {place}", flush=True)
            return 1
    shutil.rmtree(place)
    print("everything acknowledged was there, nothing else was")
    return 0


if __name__ == "__main__":
    sys.exit(main())
