"""`put file`: which file of this machine becomes which path, and sending them.

    sources        path given   become
    stdin          /p           /p
    one file       –, /p, /p/   /name, /p, /p/name
    one directory  –, /p, /p/   /name/…, /p/…, /p/…
    several        –, /p        /name, /p/name each

Sources with `://` are fetched by the appliance itself. All sources of one call become one commit.
"""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from appliance.cli import verbs
from appliance.cli.connection import connect
from appliance.cli.progress import Progress
from appliance.errors import ApplianceError, InvalidRequest
from appliance.names import clean_path, parse_reference

if TYPE_CHECKING:
    from appliance.control.client import Client

_STDIN = "-"
_PIECE_BYTES = 1024 * 1024
_PARALLEL = 8  # what is made durable together costs one fsync


@dataclass(frozen=True, slots=True)
class Source:
    """A file of this machine, or `-` for stdin, and the path it becomes."""

    name: str
    target: str
    size_bytes: int | None = None


@verbs.put.command("file")
@click.argument("file", metavar="REPO@BRANCH-OR-COMMIT[:PATH]")
@click.option("-f", "--file", "named", multiple=True, metavar="FILE|URL|-", help="What to put; - is stdin. Repeatable.")
@click.option("-i", "--input-file", metavar="FILE|-", help="A file with one source on each line.")
@click.option("-r", "--recursive", is_flag=True, help="Put everything below a directory or URL.")
@click.option("-a", "--append", is_flag=True, help="Add to files that are there instead of replacing them.")
@click.option("--literal-prefix", "literal", is_flag=True, help="With -r, a URL is where keys begin, not a directory.")
@click.option("--skip-invalid", is_flag=True, help="Leave out objects whose keys can not be paths instead of failing.")
def put_file(
    file: str, named: tuple[str, ...], input_file: str | None, recursive: bool, append: bool, **of_urls: bool
) -> None:
    """Put files, standard input (the default), or objects of another store at a URL into a repo, all in one commit.

    Objects that are there from an earlier put of the same URL, and have not changed since, are not fetched again.
    """
    where = parse_reference(file)
    sources = [*named, *(_read_list(input_file) if input_file else ())] or [_STDIN]
    urls = [source for source in sources if "://" in source]
    local = list(expand([source for source in sources if "://" not in source], where.path, len(sources), recursive=recursive))
    client = connect()
    client.call("check_target", repo=where.repo, branch=where.revision)
    target: dict[str, Any] = {"repo": where.repo, "branch": where.revision, "append": append, "files": _send(client, local)}
    if urls:
        _fetch(client, path=where.path or "/", urls=urls, recursive=recursive, **target, **of_urls)
    else:
        client.call("put_files", **target)


# -- what becomes what


def expand(names: Sequence[str], path: str | None, count: int, *, recursive: bool) -> Iterator[Source]:
    """Yield the files behind some names, and the path of each, if `count` sources are put at `path` altogether.

    Raises InvalidRequest for what can not be put, OSError for what is not there.
    """
    for name in names:
        if name == _STDIN:
            yield _stdin(path, count, recursive=recursive)
            continue
        if recursive and not os.path.lexists(name):
            raise ApplianceError(f"{name} doesn't exist")
        if recursive and Path(name).is_dir():
            yield from _walk(name, path if path is not None and count == 1 else _below(path, Path(name).name))
        else:
            yield _one(name, choose_target(path, Path(name).name, single=count == 1))


def choose_target(path: str | None, name: str, *, single: bool) -> str:
    """Return the path of a file: the one that was given if it is meant for this file alone, else the name below it."""
    if single and path is not None and path != "/" and not path.endswith("/"):
        return path
    return _below(path, name)


def _below(path: str | None, name: str) -> str:
    return clean_path(f"{path or ''}/{name}")


def _stdin(path: str | None, count: int, *, recursive: bool) -> Source:
    if recursive:
        raise InvalidRequest("cannot set -r and read from stdin (must also set -f or -i)")
    if path is None or path.endswith("/"):
        raise InvalidRequest("must specify filename when reading data from stdin")
    if count > 1:
        raise InvalidRequest("cannot put stdin together with other sources")
    return Source(_STDIN, path)


def _one(name: str, target: str) -> Source:
    status = Path(name).stat()
    if stat.S_ISDIR(status.st_mode):
        raise InvalidRequest(f"read {name}: is a directory (-r puts everything below it)")
    return Source(name, target, status.st_size if stat.S_ISREG(status.st_mode) else None)


def _walk(directory: str, base: str) -> Iterator[Source]:
    """Yield every file below a directory. Symbolic links are the files behind them; empty directories do not count."""
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        target = f"{base.rstrip('/')}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, target)
        elif not stat.S_ISREG(Path(entry.path).stat().st_mode):
            raise InvalidRequest(f"read {entry.path}: is not a regular file")
        else:
            yield _one(entry.path, target)


def _read_list(name: str) -> list[str]:
    if "://" in name:
        raise InvalidRequest("the list of sources is a file of this machine, or - for stdin")
    text = sys.stdin.read() if name == _STDIN else Path(name).read_text()
    return [line.strip() for line in text.splitlines() if line.strip()]


# -- sending


def _fetch(client: "Client", **wanted: Any) -> None:
    """Let the appliance fetch what is at URLs, and say what it left out."""
    with Progress("put file") as progress:
        done = client.transfer("put_urls", lambda said: progress.reach(said.get("size_bytes", 0)), **wanted)
    for name in done["skipped_keys"]:
        click.echo(f"left out: {name}", err=True)
    if more := done["skipped"] - len(done["skipped_keys"]):
        click.echo(f"left out: {more} more", err=True)


def _send(client: "Client", sources: Sequence[Source]) -> list[dict[str, str]]:
    """Send the bytes of all sources and return what `put_files` wants to know of them."""
    from concurrent.futures import ThreadPoolExecutor

    sizes = [source.size_bytes for source in sources]
    total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
    with Progress("put file", total_bytes) as progress:
        if len(sources) == 1:  # on this thread, where an interrupt reaches the reading of stdin
            return [_send_one(client, sources[0], progress)]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            sending = [pool.submit(_send_one, client, source, progress) for source in sources]
            try:
                return [sent.result() for sent in sending]
            except BaseException:
                progress.stop()
                pool.shutdown(cancel_futures=True)
                raise


def _send_one(client: "Client", source: Source, progress: Progress) -> dict[str, str]:
    with _open(source.name) as file:
        return {"path": source.target, "digest": client.put_blob(_iter_pieces(source.name, file, progress))}


@contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    if name == _STDIN:
        yield sys.stdin.buffer
    else:
        with Path(name).open("rb") as file:
            yield file


def _iter_pieces(name: str, file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE_BYTES)
        except OSError as error:  # as our own error: the client takes an OSError for one of its connection
            raise ApplianceError(f"read {name}: {error.strerror}") from None
        if not piece:
            return
        progress.add(len(piece))
        yield piece
