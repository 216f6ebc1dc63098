"""`diff file`: what differs between two commits, as a list or as the difference of their contents."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from appliance.cli import verbs
from appliance.cli.connection import connect, iterate
from appliance.cli.files import HEADER, cells
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list
from appliance.errors import InvalidRequest
from appliance.names import parse_reference

_NOTHING = "/dev/null"


@verbs.diff.command("file")
@click.argument("new", metavar="REPO@BRANCH-OR-COMMIT[:PATH]")
@click.argument("old", metavar="[REPO@BRANCH-OR-COMMIT[:PATH]]", required=False)
@click.option("--name-only", is_flag=True, help="List what differs; do not look into it.")
@click.option("-s", "--shallow", is_flag=True, help="List only what is directly in the directory (with --name-only).")
@click.option("--diff-command", metavar="COMMAND", help="Compares two files; by default git diff --no-index, or diff -u.")
@styled
def diff_file(new: str, old: str | None, name_only: bool, shallow: bool, diff_command: str | None, style: Style) -> None:
    """Show what differs between a commit and another one, by default the one before it."""
    left, right = parse_reference(new), parse_reference(old) if old is not None else None
    found = iterate(
        "diff_file",
        repo=left.repo,
        revision=left.revision,
        path=left.path or "/",
        old_repo=right.repo if right else None,
        old_revision=right.revision if right else None,
        old_path=right.path if right else None,
    )
    if style.raw or name_only or shallow:
        sides = _sides(found)
        shown = _rolled_up(sides, left.path or "/") if shallow else sides
        print_list(style, ("OP", *HEADER), shown, lambda side: (side["op"], *cells(side)))
    else:
        _print_contents(found, left.repo, right.repo if right else left.repo, choose_diff(diff_command))


def _sides(found: Iterable[Facts]) -> Iterator[Facts]:
    """Yield what was and what is, each as a line of its own."""
    for difference in found:
        for op, side in (("-", difference["old"]), ("+", difference["new"])):
            if side is not None:
                yield {"op": op, **side}


def _rolled_up(sides: Iterable[Facts], path: str) -> Iterator[Facts]:
    """Yield what is directly in a directory; everything below one of its directories stands for that directory, once."""
    base, seen = path.rstrip("/") + "/", set()
    for side in sides:
        name, slash, _ = side["path"].removeprefix(base).partition("/")
        if not slash:
            yield side
        elif (side["op"], name) not in seen:
            seen.add((side["op"], name))
            yield {**side, "path": f"{base}{name}/", "is_dir": True, "size_bytes": 0, "digest": None, "etag": None}


def choose_diff(command: str | None) -> list[str]:
    """Return the command that compares two files: what was asked for, else what is there. Raises InvalidRequest."""
    if command is not None:
        chosen = shlex.split(command)
    else:
        chosen = ["git", "diff", "--no-index", "--"] if shutil.which("git") else ["diff", "-u"]
    if not chosen or not shutil.which(chosen[0]):
        raise InvalidRequest(f"cannot compare: {command or 'neither git nor diff'} is not a program here")
    return chosen


def _print_contents(found: Iterable[Facts], new_repo: str, old_repo: str, command: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="appliance-diff-") as directory:
        place = Path(directory)
        for difference in found:
            pair = [_fetch(place / "old", old_repo, difference["old"]), _fetch(place / "new", new_repo, difference["new"])]
            subprocess.run([*command, *pair], cwd=place, check=False, stdin=subprocess.DEVNULL)
            for name in pair:
                if name != _NOTHING:
                    (place / name).unlink()


def _fetch(directory: Path, repo: str, side: Facts | None) -> str:
    """Write one side of a difference to a file below a directory and return its name, seen from the directory above.

    Read from the commit that made this version of the file: a branch may move on.
    """
    if side is None or side["is_dir"]:
        return _NOTHING
    place = directory / side["path"].removeprefix("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        for piece in connect().get_file(repo, side["commit"], side["path"]):
            file.write(piece)
    return str(place.relative_to(directory.parent))
