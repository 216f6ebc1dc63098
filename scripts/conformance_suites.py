"""Suites of file systems in a writable repo under /pfs and in a job's /pfs/out, beside a plain directory of this machine.

fsx and fsstress (of xfstests) and pjdfstest (the C version) are other people's programs: build them, and say where they are.
What the plain directory does is the measure: whatever passes there has to pass in the other two. In the repo that excludes
the groups below, each with its reason; a failure outside them is one, and so is a group that nothing belongs to any more.
Afterwards everything that the suites left is committed, and the store checked. Needs root: the suites change users.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance_mount import Wrong, ask, check, serving

PLACES = ("plain", "repo", "out")
FSX = {
    "fsx": [],
    "fsx without mmap": ["-W", "-R"],
    "fsx in pages": ["-r", "4096", "-w", "4096"],
}
LONG = re.compile(r"[0-9a-fx/]{100,}")
FAILED = re.compile(r"not ok (\d+)(?!.*# TODO)(.*)")
ENOUGH_S = 900


@dataclass(frozen=True)
class Group:
    """Tests of pjdfstest that do not pass in a writable repo: by file, and by what they say they tried."""

    name: str
    file: str
    tried: str
    reason: str
    below: bool = False
    """Whether it is only where the suites do not run at the top of the repo."""


GROUPS = (
    Group(
        "permission to open a pipe", r"open/06", r" open .*expected EACCES, got 0", "the kernel opens pipes, and asks nobody"
    ),
    Group(
        "links of a directory", r"rename/24", r" nlink'.*got 1$", "always 1, which means unknown: counting costs a listing"
    ),
    Group(
        "the longest paths",
        r"/03$|rename/02",
        r"got (ENAMETOOLONG|ENOENT)$",
        "below the top of the repo they are longer than a store keeps",
        below=True,
    ),
)


@dataclass(frozen=True)
class Failure:
    """A test that failed: where it stands, which one, and what it tried."""

    file: str
    number: int
    tried: str


def run_all(
    work: Path, pjdfstest: Path | None, xfstests: Path | None, only: str | None
) -> Iterator[tuple[str, int, list[Failure]]]:
    """Run the suites in a directory; yield a name, how many tests there were, and which failed."""
    if xfstests is not None:
        yield from run_xfstests(work, xfstests.absolute() / "ltp", only)
    for file in sorted((pjdfstest.absolute() / "tests").glob("*/*.t")) if pjdfstest is not None else ():
        name = f"{file.parent.name}/{file.stem}"
        if only is None or re.search(only, name):
            yield name, *run_pjdfstest(work, file, name)


def run_xfstests(work: Path, programs: Path, only: str | None) -> Iterator[tuple[str, int, list[Failure]]]:
    """Run fsx in several ways, each 20,000 operations, and fsstress."""
    for name, options in FSX.items():
        command = [str(programs / "fsx"), "-q", "-S", "7", "-N", "20000", "-l", "1048576", "-o", "65536", *options, "fsx"]
        if only is None or re.search(only, name):
            yield name, 1, run_one(name, command, work)
    if only is None or re.search(only, "fsstress"):
        (work / "stress").mkdir()
        command = [str(programs / "fsstress"), "-d", str(work / "stress"), "-n", "1500", "-p", "3", "-s", "11"]
        yield "fsstress", 1, run_one("fsstress", command, work)


def run_one(name: str, command: list[str], work: Path) -> list[Failure]:
    """Run a program that fails as a whole."""
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", timeout=ENOUGH_S, check=False)
    return [Failure(name, 1, (done.stdout + done.stderr)[-1000:])] if done.returncode != 0 else []


def run_pjdfstest(work: Path, file: Path, name: str) -> tuple[int, list[Failure]]:
    """Run a file of tests, which says how each went in the words of the Test Anything Protocol."""
    command = ["/bin/sh", str(file)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", timeout=ENOUGH_S, check=False)
    lines = done.stdout.splitlines()
    planned = [int(line[3:].split()[0]) for line in lines if line.startswith("1..")]
    failures = [Failure(name, int(found[1]), found[2].strip()) for line in lines if (found := FAILED.match(line))]
    count = sum(line.startswith(("ok ", "not ok ")) for line in lines)
    if planned != [count]:
        failures.append(Failure(name, 0, f"{planned} tests were planned, {count} were run: {done.stderr[-500:]}"))
    return count, failures


def run_here(directory: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run the suites in a directory of this machine and return what came out, as JSON has it."""
    work = Path(tempfile.mkdtemp(prefix="suites-", dir=directory)) if options.below else directory
    work.chmod(0o755)
    count, failures = 0, []
    for name, tests, failed in run_all(work, options.pjdfstest, options.xfstests, options.only):
        count += tests
        failures += [[one.file, one.number, one.tried] for one in failed]
        print(f"{directory}: {name}: {len(failed)} of {tests} failed", file=sys.stderr)
    return {"count": count, "failures": failures}


def run_in_job(data: Path, results: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run the suites as the command of a pipeline, in its /pfs/out, and return the same."""
    ask(data, "create", "repo", "input")
    ask(data, "put", "file", "input@master:/file", "-f", "-", text="x")
    inside = [sys.executable, __file__, "--in", "/pfs/out", "--results", str(results), *list_options(options)]
    spec = {
        "pipeline": {"name": "suites-out"},
        "input": {"pfs": {"repo": "input", "glob": "/"}},
        # What the suites leave would be the output: pipes are refused there.
        "transform": {"cmd": ["sh", "-e"], "stdin": [shlex.join(inside), "rm -rf /pfs/out/*"]},
        "datum_tries": 1,
    }
    ask(data, "create", "pipeline", "-f", "-", text=json.dumps(spec))
    try:
        ask(data, "wait", "commit", "suites-out@master")
    except Wrong as wrong:
        raise Wrong(f"{wrong}\n{ask(data, 'logs', '--pipeline', 'suites-out')[-2000:]}") from None
    found: dict[str, object] = json.loads(results.read_text())
    return found


def list_options(options: argparse.Namespace) -> list[str]:
    """Return the options that say what to run, as they were given."""
    given = {"--pjdfstest": options.pjdfstest, "--xfstests": options.xfstests, "--only": options.only}
    below = ["--below"] if options.below else []
    return [*below, *(text for name, value in given.items() if value is not None for text in (name, str(value)))]


def run_places(directory: Path, options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Run the suites in every place that is wanted; the plain directory always."""
    plain = directory / "plain"
    plain.mkdir()
    found = {"plain": run_here(plain, options)}
    (directory / "pfs").mkdir()
    with serving(directory):
        data = directory / "data"
        if "repo" in options.places:
            ask(data, "create", "repo", "suites")
            found["repo"] = run_here(directory / "pfs/suites", options)
            check((directory / "pfs/suites").is_dir(), "the mount is dead")
            ask(data, "commit", "suites")
        if "out" in options.places:
            found["out"] = run_in_job(data, directory / "results", options)
        check("No errors found" in ask(data, "fsck"), "the store is damaged")
    return found


def judge(place: str, found: dict[str, object], plain: dict[str, object], options: argparse.Namespace) -> bool:
    """Print what came out in a place, and tell whether all is as it has to be."""
    complete = options.pjdfstest is not None and options.only is None
    groups = [group for group in GROUPS if options.below or not group.below]
    ours, native = list_failures(found), {(one.file, one.number) for one in list_failures(plain)}
    unexpected = [one for one in ours if (one.file, one.number) not in native]
    print(f"{place}: {found['count']} tests, {len(ours)} fail; on the plain directory {len(native)}")
    if found["count"] != plain["count"]:
        print(f"  {plain['count']} there: pjdfstest asks less of file systems that it does not know by name")
    unneeded = []
    for group in groups if place == "repo" else ():
        members = [one for one in unexpected if re.search(group.file, one.file) and re.search(group.tried, one.tried)]
        unexpected = [one for one in unexpected if one not in members]
        print(f"  {len(members)} of {group.name}: {group.reason}")
        unneeded += [] if members or not complete else [group.name]
    for one in unexpected:
        print(f"  FAILED {one.file} {one.number}: {LONG.sub('…', one.tried)}")
    for name in unneeded:
        print(f"  FAILED nothing belongs to the group of {name} any more")
    return not unexpected and not unneeded


def list_failures(found: dict[str, object]) -> list[Failure]:
    failures = found["failures"]
    assert isinstance(failures, list)
    return [Failure(*one) for one in failures]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance suites", description=__doc__)
    parser.add_argument("--xfstests", type=Path, metavar="DIR", help="where ltp/fsx and ltp/fsstress are built")
    parser.add_argument("--pjdfstest", type=Path, metavar="DIR", help="where pjdfstest is built, the C version")
    parser.add_argument("--only", metavar="REGEX", help="tests to run, by name: `fsx`, `rename/24`")
    parser.add_argument("--places", nargs="+", choices=PLACES[1:], default=PLACES[1:], help="where to run them")
    parser.add_argument("--below", action="store_true", help="in a directory of each place, not at its top")
    parser.add_argument("--in", type=Path, dest="directory", metavar="DIR", help="only run them in this directory")
    parser.add_argument("--results", type=Path, metavar="FILE", help="where to write what came out of --in")
    options = parser.parse_args(arguments)
    if options.xfstests is None and options.pjdfstest is None:
        parser.error("--xfstests DIR or --pjdfstest DIR: where is a suite?")
    if options.directory is not None:
        options.results.write_text(json.dumps(run_here(options.directory, options)))
        return 0
    if os.geteuid() != 0:
        parser.error("only root can change users")
    try:
        with tempfile.TemporaryDirectory(prefix="suites-") as directory:
            Path(directory).chmod(0o755)
            found = run_places(Path(directory), options)
        passed = [judge(place, found[place], found["plain"], options) for place in PLACES[1:] if place in found]
    except Wrong as wrong:
        print(f"conformance suites: {wrong}", file=sys.stderr)
        return 1
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
