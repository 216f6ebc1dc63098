"""Exports to a file, and imports from one."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from appliance.cli.connection import connect
from appliance.cli.output import size
from appliance.cli.progress import Progress
from appliance.cli.verbs import root
from appliance.errors import InvalidRequest

_PIECE_BYTES = 1024 * 1024


@root.command("export")
@click.argument("repos", nargs=-1, metavar="[REPO]...")
@click.option("-o", "--output", required=True, metavar="FILE", help="- for stdout. There is no file before it is whole.")
def export(repos: tuple[str, ...], output: str) -> None:
    """Write all that is kept into one file, or some repos with all their history, while everything is in use.

    Without repos, pipelines and their jobs come along; of a chosen repo that a pipeline writes to, only what it wrote.
    Credentials are in no export.
    """
    with Progress("exporting", quiet=output == "-") as progress:
        pieces = _counted(connect().export(repos), progress)
        if output == "-":
            _write(sys.stdout.buffer, pieces)
            return
        target = Path(output)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            total = _write_file(aside, pieces)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    click.echo(f"{size(total)} written to {output}")


def _write_file(file: Path, pieces: Iterable[bytes]) -> int:
    """Write a file that only its owner can read, durably; return its size."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        _write(target, pieces)
        target.flush()
        os.fsync(target.fileno())
        return target.tell()


def _write(target: IO[bytes], pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        target.write(piece)


@root.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW", help="Give a repo another name; for several, repeat it."
)
def import_(file: str, renames: tuple[str, ...]) -> None:
    """Take in what `export` wrote (- for stdin), all of it or nothing, while everything is in use.

    Its repos must not exist yet. Every byte is checked, and nothing is taken on trust.
    """
    renamed = dict(_parse_rename(text) for text in renames)
    if file == "-":
        found = _send(sys.stdin.buffer, None, renamed)
    else:
        with Path(file).open("rb") as source:
            found = _send(source, os.fstat(source.fileno()).st_size, renamed)
    names = ", ".join(found["repos"]) or "none"
    click.echo(f"repos: {names}; {found['commits']} commits, {size(found['size_bytes'])} in {found['blobs']} large blobs")


def _send(source: IO[bytes], total_bytes: int | None, renamed: dict[str, str]) -> Any:
    with Progress("importing", total_bytes) as progress:
        pieces = iter(lambda: source.read(_PIECE_BYTES), b"")
        return connect().import_(_counted(pieces, progress), renamed)


def _counted(pieces: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        progress.add(len(piece))
        yield piece


def _parse_rename(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise InvalidRequest(f"invalid rename {text}: expected OLD=NEW")
    return old, new
