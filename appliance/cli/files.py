"""Reading, listing and deleting files in repos; `put file` is in `put`."""

import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from appliance.cli import verbs
from appliance.cli.connection import call, connect, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one, size
from appliance.cli.progress import Progress
from appliance.cli.references import parse_file, parse_pattern
from appliance.errors import FileNotFound, InvalidRequest
from appliance.names import clean_path, parse_reference

if TYPE_CHECKING:
    from appliance.control.client import Client

HEADER = ("NAME", "TYPE", "SIZE")

_file = click.argument("file", metavar="REPO@BRANCH-OR-COMMIT:PATH")


@verbs.get.command("file")
@_file
@click.option("-o", "--output", metavar="FILE|DIR|URL", help="Where to write it; without, to standard output.")
@click.option("-r", "--recursive", is_flag=True, help="Write everything below the path into the directory -o.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out so many bytes at the beginning.")
def get_file(file: str, output: str | None, recursive: bool, offset: int) -> None:
    """Print a file, or write it, or a directory, to this machine or another object store.

    In the store at a URL it becomes `<URL>/<path>`; objects that are there and the same are left alone.
    """
    repo, revision, path = parse_file(file)
    if output is not None and "://" in output:
        _get_to_url((repo, revision, path), output, recursive=recursive, offset=offset)
        return
    if recursive and output is None:
        raise InvalidRequest("an output path needs to be specified when using the --recursive flag")
    if recursive and offset:
        raise InvalidRequest("cannot use --offset with --recursive")
    client = connect()
    with Progress("get file", quiet=output is None) as progress:
        if recursive:
            _get_tree(client, (repo, revision, path), Path(output or "."), progress)
        else:
            _copy(client.get_file(repo, revision, path, offset), _place(output, path), progress)


@verbs.inspect.command("file")
@_file
@styled
def inspect_file(file: str, style: Style) -> None:
    """Show a file or directory."""
    repo, revision, path = parse_file(file)
    print_one(style, call("inspect_file", repo=repo, revision=revision, path=path), lambda found: _describe(found, style))


@verbs.list_.command("file")
@click.argument("file", metavar="REPO@BRANCH-OR-COMMIT[:PATH]")
@styled
def list_file(file: str, style: Style) -> None:
    """List what is in a directory, or a file."""
    where = parse_reference(file)
    print_list(style, HEADER, iterate("list_file", repo=where.repo, revision=where.revision, path=where.path), cells)


@verbs.glob.command("file")
@click.argument("file", metavar='"REPO@BRANCH-OR-COMMIT:PATTERN"')
@styled
def glob_file(file: str, style: Style) -> None:
    """List the files and directories that a pattern matches; quote it, or the shell will look for files of its own."""
    repo, revision, pattern = parse_pattern(file)
    print_list(style, HEADER, iterate("glob_file", repo=repo, revision=revision, pattern=pattern), cells)


@verbs.copy.command("file")
@click.argument("source", metavar="REPO@BRANCH-OR-COMMIT:PATH")
@click.argument("target", metavar="REPO@BRANCH-OR-COMMIT:PATH")
@click.option("-a", "--append", is_flag=True, help="Add to files that are there instead of replacing them.")
def copy_file(source: str, target: str, append: bool) -> None:
    """Copy a file, or a directory with everything below it, in one commit. No bytes are moved."""
    repo, revision, path = parse_file(source)
    to_repo, to_branch, to_path = parse_file(target)
    where = {"repo": repo, "revision": revision, "path": path}
    call("copy_file", **where, to_repo=to_repo, to_branch=to_branch, to_path=to_path, append=append)


@verbs.create.command("directory")
@_file
def create_directory(file: str) -> None:
    """Make an empty directory; directories with files in them need none."""
    repo, branch, path = parse_file(file)
    call("make_directory", repo=repo, branch=branch, path=path)


@verbs.delete.command("file")
@_file
@click.option("-r", "--recursive", is_flag=True, help="Delete a directory with everything below it.")
def delete_file(file: str, recursive: bool) -> None:
    """Delete a file; one that is not there is no error."""
    repo, branch, path = parse_file(file)
    call("delete_file", repo=repo, branch=branch, path=path, recursive=recursive)


def cells(entry: Facts) -> tuple[str, ...]:
    """Return the cells of a file or directory in a listing."""
    return entry["path"], _type(entry), size(entry["size_bytes"])


def _type(entry: Facts) -> str:
    return "dir" if entry["is_dir"] else "file"


def _describe(entry: Facts, style: Style) -> dict[str, str | None]:
    return {
        "Path": entry["path"],
        "Type": _type(entry),
        "Size": size(entry["size_bytes"]),
        "Digest": entry["digest"],
        "Modified": style.when(entry["modified_ns"]) if entry["modified_ns"] else None,
        "Commit": entry["commit"],
    }


def _get_to_url(where: tuple[str, str, str], url: str, *, recursive: bool, offset: int) -> None:
    if offset:
        raise InvalidRequest("cannot use --offset with a URL")
    repo, revision, path = where
    with Progress("get file") as progress:
        wanted = {"repo": repo, "revision": revision, "path": path, "url": url, "recursive": recursive}
        connect().transfer("get_to_url", lambda said: progress.reach(said.get("size_bytes", 0)), **wanted)


def _place(output: str | None, path: str) -> Path | None:
    """Return the file to write; a directory takes the file under its own name."""
    if output is None:
        return None
    return Path(output, Path(path).name) if output.endswith("/") or Path(output).is_dir() else Path(output)


def _get_tree(client: "Client", where: tuple[str, str, str], directory: Path, progress: Progress) -> None:
    """Write what is at or below a path into a directory, without the path itself in front."""
    repo, revision, path = where
    commit = client.call("resolve_commit", repo=repo, revision=revision)  # the branch may move on while this takes its time
    base, empty = clean_path(path), True
    for entry in client.iterate("walk_file", repo=repo, revision=commit, path=base) if commit else ():
        empty = False
        below = directory / (posixpath.relpath(entry["path"], base) if entry["path"] != base else Path(base).name)
        (below if entry["is_dir"] else below.parent).mkdir(parents=True, exist_ok=True)
        if not entry["is_dir"]:
            _copy(client.get_file(repo, commit, entry["path"]), below, progress)
    if empty and base != "/":
        raise FileNotFound(f"file {base} not found in {repo}@{revision}")


def _copy(pieces: Iterator[bytes], place: Path | None, progress: Progress) -> None:
    """Write pieces to a file or standard output. Nothing is created if there is not even a first one to be had."""
    first = next(pieces, b"")
    if place is None:
        _write(sys.stdout.buffer, first, pieces, progress)
        return
    with place.open("wb") as file:
        _write(file, first, pieces, progress)


def _write(file: IO[bytes], first: bytes, pieces: Iterator[bytes], progress: Progress) -> None:
    file.write(first)
    progress.add(len(first))
    for piece in pieces:
        file.write(piece)
        progress.add(len(piece))
