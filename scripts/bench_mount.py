"""What `scripts/bench mount` measures: the mount beside an ordinary directory, and beside s3fs and rclone on moto's server.

Before a line of first touch the mounts are made anew, the kernel is made to forget what it knows (as root; otherwise it may
remember names), and what is stored is read once, so that no line is about the disk. The native directory is warm.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bench_mount_lines as lines
from bench_mount_lines import BESIDE, FULL, QUICK, Shape
from bench_mount_load import KEYS
from bench_mount_places import LOAD, SCRATCH, Appliance, MountFailed, Place, fill_store, native, peers, plain

PARTS = ("read", "write", "peers", "load")
_LOAD = Path(__file__).with_name("bench_mount_load.py")
_TIMES = 5  # how many times the better peer's rate a first touch has to reach


@dataclass(frozen=True)
class Line:
    """A line of a table. `share`: of the native rate, what we have to reach; where there is none, what pyfuse3 reaches with
    everything in memory (`bench_mount_plain`). `below` is what it reads. `again` is a line about the same that follows.
    """

    name: str
    unit: str
    run: Callable[[Path, Shape], float]
    share: float = 0
    below: str = ""
    again: "Line | None" = None
    first: bool = True

    @property
    def both(self) -> "tuple[Line, ...]":
        return (self, self.again) if self.again is not None else (self,)


def _pair(name: str, unit: str, run: Callable[[Path, Shape], float], below: str, share: float = 0) -> Line:
    return Line(f"{name}, first", unit, run, share, below, Line(f"{name}, again", unit, run, share, below, first=False))


READ = (
    _pair("read 1 MiB at a time", "MB/s", lines.read_all, "big.bin"),
    Line("read mapped, first", "MB/s", lines.map_all, below="big.bin"),
    Line("read 4 KiB anywhere, first", "op/s", lines.read_blocks, below="big.bin"),
    Line("read 4 KiB anywhere, again", "op/s", lines.read_hot_blocks, below="big.bin", first=False),
    Line("read 4 KiB, O_DIRECT", "op/s", lines.read_direct_blocks, below="big.bin", first=False),
    _pair("open, read, close", "op/s", lines.read_small, "small"),
    _pair("stat", "op/s", lines.stat_small, "small"),
    _pair("find", "op/s", lines.find_tree, "tree"),
    _pair("ls -lR", "op/s", lines.list_tree, "tree"),
    _pair("ls -l of one directory", "op/s", lines.list_wide, "wide", 0.5),
)
WRITE = (
    Line("write 1 MiB at a time", "MB/s", lines.write_large, 0.21, first=False),
    Line("write 1 MiB at a time, fsync", "MB/s", lines.write_synced, 0.36, first=False),
    Line("write 4 KiB at a time", "MB/s", lines.write_blocks, 0.09, first=False),
    Line(
        *("create, write 4 KiB, close", "op/s", lines.create, 0.06),
        again=Line("unlink", "op/s", lines.remove, 0.09, first=False),
        first=False,
    ),
)

Rates = dict[str, dict[str, list[float]]]


@dataclass
class Bench:
    """One run; what was measured is printed as soon as it is known."""

    scratch: Path
    kept: Path
    shapes: tuple[Shape, Shape]
    rounds: int
    forget: bool
    numbers: dict[str, Any] = field(default_factory=dict)

    def data(self, shape: Shape) -> tuple[Path, Path]:
        """Return the directory and the store that have the data, made if need be."""
        place = self.kept / f"shape-{hash(shape) & 0xFFFFFFFF:08x}"
        directory, store = place / "native", place / "store"
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            lines.lay_down(directory, shape)
            fill_store(store, shape)
            (place / "complete").touch()
        return directory, store

    @contextlib.contextmanager
    def appliance(self, name: str, shape: Shape) -> Iterator[Appliance]:
        """Have a place for the appliance, not mounted yet."""
        directory = self.scratch / name
        directory.mkdir()
        made = Appliance(directory, self.data(shape)[1])
        try:
            yield made
        finally:
            made.stop()

    def measure(self, places: Sequence[Place], line: Line, shape: Shape) -> Rates:
        """Return all rates of a line, and of the one that follows it; places take turns."""
        rates: Rates = {}
        for number in range(self.rounds):
            for place in [*places[number % len(places) :], *places[: number % len(places)]]:
                directory = place.read if line.below else place.write
                assert directory is not None
                if line.first and self.forget:
                    _begin(place, line)
                for each in line.both:
                    rates.setdefault(each.name, {}).setdefault(place.name, []).append(each.run(directory, shape))
        return rates

    # -- parts

    def read(self) -> None:
        """Reading, beside an ordinary directory."""
        shape = self.shapes[0]
        with self.appliance("reading", shape) as appliance:
            appliance.start()
            source = self.data(shape)[0]
            with plain(self.scratch, source) as pyfuse3:
                self._compare("Reading", [native(source), pyfuse3, appliance], READ, shape)

    def write(self) -> None:
        """Writing, beside an ordinary directory, and what the commit of it takes."""
        shape = self.shapes[0]
        with self.appliance("writing", shape) as appliance:
            appliance.start()
            places = [native(self.data(shape)[0]), appliance]
            self._compare("Writing", places, WRITE, shape)
            appliance.ask("discard", SCRATCH)
            self._commit(appliance, shape)

    def _commit(self, appliance: Appliance, shape: Shape) -> None:
        for name, fill in (("the large file", _fill_large), (f"{shape.create:,} files of 4 KiB", _fill_small)):
            assert appliance.write is not None
            took = _timed(lambda fill=fill: fill(appliance.write, shape))
            committed = _timed(lambda: appliance.ask("commit", SCRATCH))
            self._note("commit", name, {"write": took, "commit": committed})
            print(f"{name}: written through the mount in {took:.2f} s, committed in {committed:.2f} s", flush=True)

    def peers(self) -> None:
        """First touches, beside s3fs and rclone on moto's server."""
        shape, table = self.shapes[1], [replace(line, again=None) for line in READ if line.first]
        source, _ = self.data(shape)
        with self.appliance("beside", shape) as appliance, peers(self.scratch, source) as others:
            try:
                for place in (appliance, *others):
                    place.start()
                self._compare_peers([native(source), appliance, *others], table, shape)
            finally:
                for place in others:
                    place.stop()

    def load(self) -> None:
        """`stat` while 16 S3 clients work."""
        shape = self.shapes[0]
        with self.appliance("loaded", shape) as appliance:
            appliance.start()
            paths = [f"{appliance.read}{path}" for path in lines.small_paths(shape)]
            random.Random(5).shuffle(paths)
            self._ask(appliance, "nobody works", paths)
            with _clients(appliance) as stop:
                self._ask(appliance, "16 S3 clients work", paths)
                print(f"they had {stop()['requests']:,.0f} answers a second", flush=True)

    def _ask(self, appliance: Appliance, when: str, paths: Sequence[str]) -> None:
        assert appliance.mounted is not None
        moving = [f"{appliance.mounted}/{LOAD}/00/{key:03}" for key in range(KEYS)]
        often = 20_000 if self.forget else 200
        for what, chosen, count in (("cold", paths, len(paths)), ("warm", paths[:100], often), ("moving", moving, often)):
            if what == "cold" and self.forget:
                lines.empty_caches()
            command = [sys.executable, str(_LOAD), "stat", str(count)]
            done = subprocess.run(command, input="\n".join(chosen), capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            self._note("stat", f"{what}, {when}", found)
            mark = "ok  " if found["p99"] < 1000 else "MISS"
            said = f"stat, {what}, while {when}: p50 {found['p50']:.0f} µs, p99 {found['p99']:.0f} µs"
            print(f"{mark} {said}, longest {found['max']:.0f} µs (limit of p99 1000)", flush=True)

    # -- results

    def _note(self, part: str, name: str, found: object) -> None:
        self.numbers.setdefault(part, {})[name] = found

    def _compare(self, title: str, places: Sequence[Place], table: Sequence[Line], shape: Shape) -> None:
        names = [place.name for place in places]
        print(f"{title}: {', '.join(names)}, and its share of what counts: of pyfuse3's rate, or of the native one (n)")
        for line in table:
            rates = self.measure(places, line, shape)
            for each in line.both:
                self._note(title, each.name, rates[each.name])
                found = {name: statistics.median(rates[each.name][name]) for name in names}
                limit = each.share or 1
                share = found["appliance"] / (found["native"] if each.share else found["pyfuse3"])
                mark = "ok  " if share >= limit else "MISS"
                cells = " ".join(f"{found[name]:>12,.0f}" for name in names)
                said = f"{share:.2f}{' n' if each.share else ''} (limit {limit:g})"
                print(f"{mark} {each.name:32} {cells} {each.unit}  {said}", flush=True)
        print()

    def _compare_peers(self, places: Sequence[Place], table: Sequence[Line], shape: Shape) -> None:
        names = [place.name for place in places]
        print(f"First touch: {', '.join(names)}, and how many times the better of the last two the appliance is")
        for line in table:
            rates = self.measure(places, line, shape)[line.name]
            self._note("First touch", line.name, rates)
            found = {name: statistics.median(each) for name, each in rates.items()}
            times = found["appliance"] / max(found[name] for name in names[2:])
            cells = " ".join(f"{found[name]:>12,.0f}" for name in names)
            mark = "ok  " if times >= _TIMES else "MISS"
            print(f"{mark} {line.name:32} {cells} {line.unit}  {times:.1f} x (limit {_TIMES})", flush=True)
        print()


def _begin(place: Place, line: Line) -> None:
    """Have nobody remember anything but the native directory, which is warm, and what is below the others."""
    if place.process is None:
        lines.warm(place.read / line.below)
        return
    if place.remembers:
        place.renew()
    lines.empty_caches()
    for path in place.warm:
        lines.warm(path)


def _timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _fill_large(directory: Path, shape: Shape) -> None:
    lines.write_big(directory / "big.bin", shape.big_bytes)


def _fill_small(directory: Path, shape: Shape) -> None:
    (directory / "many").mkdir()
    for number in range(shape.create):
        (directory / f"many/{number:06}").write_bytes(lines.small_content(str(number)))


@contextlib.contextmanager
def _clients(appliance: Appliance) -> Iterator[Callable[[], dict[str, float]]]:
    """Have 16 S3 clients work until what this gives is called, which says how many answers they had a second."""
    command = [sys.executable, str(_LOAD), "clients", appliance.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "working\n":
            raise MountFailed("the S3 clients do not work")

        def stop() -> dict[str, float]:
            said, _ = process.communicate("\n")
            if process.returncode:
                raise MountFailed("one of the S3 clients has failed")
            found: dict[str, float] = json.loads(said)
            return found

        try:
            yield stop
        finally:
            process.kill()


def add_options(table: argparse.ArgumentParser) -> None:
    """Add what only this table has."""
    table.add_argument("--part", action="append", choices=PARTS, help="only this; may be repeated")
    table.add_argument("--keep", type=Path, metavar="DIR", help="keep the data in DIR, and take it from there the next time")


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run the parts, print their tables, and return the numbers."""
    if not Path("/dev/fuse").exists():
        raise MountFailed("there is no /dev/fuse here")
    if os.geteuid():
        print("not as root: the kernel may remember what should be a first touch\n")
    shapes = (QUICK, QUICK) if options.quick else (FULL, BESIDE)
    bench = Bench(scratch, options.keep or Path(tempfile.mkdtemp(dir=scratch)), shapes, options.rounds, not options.quick)
    for part in options.part or PARTS:
        getattr(bench, part)()
    return bench.numbers
