"""`put file`: which file of this machine becomes which path.

    sources        path given   become
    stdin          /p           /p
    one file       –, /p, /p/   /name, /p, /p/name
    one directory  –, /p, /p/   /name/…, /p/…, /p/…
    several        –, /p        /name, /p/name each
    tar, --untar   –, /p        /…, /p/… for what is in it

With `--full-path` a name is the whole source path as it was typed, and one directory at /p/ becomes /p/name/…. Sources with
`://` are fetched by the appliance itself. All sources of one call become one commit.
"""

import os
import posixpath
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from appliance.cli import verbs
from appliance.cli.connection import connect
from appliance.cli.progress import Progress
from appliance.cli.sending import Source, send_all
from appliance.cli.tars import SUFFIXES, Readable, iter_members
from appliance.errors import ApplianceError, InvalidRequest
from appliance.names import clean_path, parse_reference

if TYPE_CHECKING:
    from appliance.control.client import Client

_STDIN = "-"
_PARALLEL = 10
_SMALL_BYTES = 256 * 1024  # what is read from an archive to be sent beside others


@verbs.put.command("file")
@click.argument("file", metavar="REPO@BRANCH-OR-COMMIT[:PATH]")
@click.option("-f", "--file", "named", multiple=True, metavar="FILE|URL|-", help="What to put; - is stdin. Repeatable.")
@click.option("-i", "--input-file", metavar="FILE|-", help="A file with one source on each line.")
@click.option("-r", "--recursive", is_flag=True, help="Put everything below a directory or URL.")
@click.option("-a", "--append", is_flag=True, help="Add to files that are there instead of replacing them.")
@click.option("--literal-prefix", "literal", is_flag=True, help="With -r, a URL is where keys begin, not a directory.")
@click.option("--skip-invalid", is_flag=True, help="Leave out objects whose keys can not be paths instead of failing.")
@click.option("--full-path", is_flag=True, help="Keep the whole path of a source, not only its name.")
@click.option("--untar", is_flag=True, help="Put what is in .tar, .tar.gz and .tgz files, or in the archive on stdin.")
@click.option(
    "-p", "--parallelism", type=click.IntRange(1, 64), default=_PARALLEL, show_default=True, help="So many at once."
)
@click.option("--progress/--no-progress", default=True, help="Whether to show a bar on a terminal.")
@click.option("--compress", is_flag=True, help="Has no effect: the bytes do not leave this machine.")
def put_file(
    file: str,
    named: tuple[str, ...],
    input_file: str | None,
    append: bool,
    parallelism: int,
    progress: bool,
    compress: bool,
    literal: bool,
    skip_invalid: bool,
    **how: bool,
) -> None:
    """Put files, standard input (the default), or objects of another store at a URL into a repo, all in one commit.

    Objects that are there from an earlier put of the same URL, and have not changed since, are not fetched again.
    """
    where = parse_reference(file)
    sources = [*named, *(_read_list(input_file) if input_file else ())] or [_STDIN]
    urls = [source for source in sources if "://" in source]
    rules = Rules(where.path, count=len(sources), **how)
    local = [source for source in sources if "://" not in source]
    rules.check(local, urls)
    client = connect()
    target: dict[str, Any] = {"repo": where.repo, "branch": where.revision, "append": append}
    with client.open_put(where.repo, where.revision) as put:
        with Progress("put file", _count_bytes(local), quiet=not progress) as shown:
            send_all(client, put, rules.expand(local), shown, parallel=parallelism)
        if urls:
            chosen = {"recursive": rules.recursive, "literal": literal, "skip_invalid": skip_invalid}
            _fetch(client, quiet=not progress, **target, put=put, path=where.path or "/", urls=urls, **chosen)
        else:
            client.call("put_staged", **target, put=put)


# -- what becomes what


@dataclass(frozen=True, slots=True)
class Rules:
    """How sources become paths: `count` of them altogether are put at `path`."""

    path: str | None
    count: int = 1
    recursive: bool = False
    full_path: bool = False
    untar: bool = False

    def check(self, names: Sequence[str], urls: Sequence[str]) -> None:
        """Raise InvalidRequest for what can not be put whatever is there."""
        if self.untar and urls:
            raise InvalidRequest("cannot use --untar with a URL")
        if _STDIN not in names:
            return
        if self.recursive:
            raise InvalidRequest("cannot set -r and read from stdin (must also set -f or -i)")
        if not self.untar and (self.path is None or self.path.endswith("/")):
            raise InvalidRequest("must specify filename when reading data from stdin")
        if self.count > 1:
            raise InvalidRequest("cannot put stdin together with other sources")

    def expand(self, names: Iterable[str]) -> Iterator[Source]:
        """Yield the files behind some names. Raises InvalidRequest for what can not be put, OSError for what is not there."""
        for name in names:
            if self.recursive and not os.path.lexists(name):
                raise ApplianceError(f"{name} doesn't exist")
            if self.untar and (name == _STDIN or name.endswith(SUFFIXES)):
                yield from _unpack(name, self.path or "/")
            elif name == _STDIN:
                yield Source(name, self.path or "", partial(_open, name), in_turn=True)
            elif self.recursive and Path(name).is_dir():
                yield from _walk(name, self._directory(name))
            else:
                yield _one(name, choose_target(self.path, self._name(name), single=self.count == 1))

    def _directory(self, name: str) -> str:
        """Return the path of a directory: the one that was given is for its contents."""
        is_own = self.path is not None and self.count == 1 and not (self.full_path and self.path.endswith("/"))
        return self.path or "/" if is_own else _below(self.path, self._name(name))

    def _name(self, source: str) -> str:
        return posixpath.normpath(f"/{source.lstrip('/')}")[1:] if self.full_path else Path(source).name


def choose_target(path: str | None, name: str, *, single: bool) -> str:
    """Return the path of a file: the one that was given if it is meant for this file alone, else the name below it."""
    if single and path is not None and path != "/" and not path.endswith("/"):
        return path
    return _below(path, name)


def _below(path: str | None, name: str) -> str:
    return clean_path(f"{path or ''}/{name}")


def _one(name: str, target: str) -> Source:
    if stat.S_ISDIR(Path(name).stat().st_mode):
        raise InvalidRequest(f"read {name}: is a directory (-r puts everything below it)")
    return Source(name, target, partial(_open, name))


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


def _given(content: Readable) -> Callable[[], AbstractContextManager[Readable]]:
    return lambda: nullcontext(content)


def _unpack(name: str, base: str) -> Iterator[Source]:
    """Yield what is in an archive, below a path."""
    with _open(name) as file:
        for member in iter_members(name, file):
            is_small = member.size_bytes <= _SMALL_BYTES
            content = BytesIO(member.content.read(_SMALL_BYTES)) if is_small else member.content
            target = base.rstrip("/") + member.path
            yield Source(f"{name}: {member.path}", target, _given(content), in_turn=not is_small)


def _read_list(name: str) -> list[str]:
    if "://" in name:
        raise InvalidRequest("the list of sources is a file of this machine, or - for stdin")
    text = sys.stdin.read() if name == _STDIN else Path(name).read_text()
    return [line.strip() for line in text.splitlines() if line.strip()]


def _count_bytes(names: Sequence[str]) -> int | None:
    """Return how many bytes there are to send, if that can be told without looking into directories."""
    if not all(Path(name).is_file() for name in names):
        return None
    return sum(Path(name).stat().st_size for name in names)


def _fetch(client: "Client", *, quiet: bool, **wanted: Any) -> None:
    """Let the appliance fetch what is at URLs, and say what it left out."""
    with Progress("put file", quiet=quiet) as progress:
        done = client.transfer("put_urls", lambda said: progress.reach(said.get("size_bytes", 0)), **wanted)
    for name in done["skipped_keys"]:
        click.echo(f"left out: {name}", err=True)
    if more := done["skipped"] - len(done["skipped_keys"]):
        click.echo(f"left out: {more} more", err=True)


@contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    if name == _STDIN:
        yield sys.stdin.buffer
    else:
        with Path(name).open("rb") as file:
            yield file
