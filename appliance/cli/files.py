"""Reading, listing and deleting files in repos; `put file` is in `put`."""

from pathlib import Path

import click

from appliance.cli import verbs
from appliance.cli.connection import call, connect, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one, size
from appliance.cli.progress import Progress
from appliance.cli.receiving import Getting, is_archive
from appliance.cli.references import parse_file, parse_pattern
from appliance.errors import InvalidRequest
from appliance.names import clean_path, parse_reference

HEADER = ("NAME", "TYPE", "SIZE")
_HISTORY_HEADER = ("COMMIT", "NAME", "TYPE", "COMMITTED", "SIZE")

_file = click.argument("file", metavar="REPO@BRANCH-OR-COMMIT:PATH")


@verbs.get.command("file")
@_file
@click.option("-o", "--output", metavar="FILE|DIR|URL|-", help="Where to write it; without, to standard output.")
@click.option("-r", "--recursive", is_flag=True, help="Everything below the path, into the directory or .tar, .tar.gz, .tgz.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out so many bytes at the beginning.")
@click.option("--retry", is_flag=True, help="Add what is missing to files that are there already.")
@click.option("--progress/--no-progress", default=True, help="Whether to show a bar on a terminal.")
def get_file(file: str, output: str | None, recursive: bool, offset: int, retry: bool, progress: bool) -> None:
    """Print a file, or write it, or a directory, to this machine or another object store. The path may be a pattern.

    Without -r a pattern must match one file. With -r, `-o -` prints a tar archive. In the store at a URL it becomes
    `<URL>/<path>`; objects that are there and the same are left alone.
    """
    repo, revision, path = parse_file(file)
    if output is not None and "://" in output:
        _get_to_url((repo, revision, path), output, recursive=recursive, offset=offset)
        return
    if recursive and output is None:
        raise InvalidRequest("an output path needs to be specified when using the --recursive flag")
    if recursive and offset:
        raise InvalidRequest("cannot use --offset with --recursive")
    with Progress("get file", quiet=output in (None, "-") or not progress) as shown:
        getting = Getting(connect(), repo, revision, clean_path(path), shown)
        if not recursive:
            getting.to_file(output, offset, retry=retry)
        elif is_archive(output or ""):
            getting.to_tar(output or "")
        else:
            getting.to_directory(Path(output or ""), retry=retry)


@verbs.inspect.command("file")
@_file
@styled
def inspect_file(file: str, style: Style) -> None:
    """Show a file or directory."""
    repo, revision, path = parse_file(file)
    print_one(style, call("inspect_file", repo=repo, revision=revision, path=path), lambda found: _describe(found, style))


@verbs.list_.command("file")
@click.argument("file", metavar="REPO@BRANCH-OR-COMMIT[:PATH]")
@click.option("--history", metavar="all|NUMBER", help="List the versions of a file instead, newest first.")
@styled
def list_file(file: str, history: str | None, style: Style) -> None:
    """List what is in a directory, or a file, or what a file was in earlier commits."""
    where = parse_reference(file)
    wanted = {"repo": where.repo, "revision": where.revision, "path": where.path}
    if history is None:
        print_list(style, HEADER, iterate("list_file", **wanted), cells)
        return
    if where.path is None or not (history == "all" or history.isdecimal()):
        raise InvalidRequest("--history takes all, or a number of versions, of one path")
    versions = iterate("find_commit", **wanted, limit=0 if history == "all" else int(history))
    print_list(style, _HISTORY_HEADER, versions, lambda version: _version_cells(version, where.path or "", style))


def _version_cells(version: Facts, path: str, style: Style) -> tuple[str, ...]:
    commit, size_bytes = version["commit"], version["size_bytes"]
    when = style.when(commit["finished_ns"])
    if size_bytes is None:
        return commit["id"], path, "deleted", when, "-"
    return commit["id"], path, "dir" if path.endswith("/") else "file", when, size(size_bytes)


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
