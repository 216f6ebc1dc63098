"""Writing what is in a repo to this machine: a file, a directory, an archive."""

import posixpath
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from appliance.cli.output import Facts
from appliance.cli.progress import Progress
from appliance.cli.tars import SUFFIXES, Writer
from appliance.errors import FileNotFound

if TYPE_CHECKING:
    from appliance.control.client import Client

_STDOUT = "-"
_SPECIAL = re.compile(r"[*?\\\[{(]|[@+!]\(")  # where a pattern begins; the grammar is in `globs`


class Getting:
    """What is at or below a path, or a pattern, in one commit: the branch may move on while this takes its time."""

    def __init__(self, client: "Client", repo: str, revision: str, path: str, progress: Progress) -> None:
        self._client, self._progress = client, progress
        self._repo, self._revision, self._path = repo, revision, path

    def to_file(self, output: str | None, offset: int, *, retry: bool) -> None:
        """Write one file, by default to standard output. With `retry` a file that is there gets what it lacks."""
        pieces = self._client.get_file
        place = None if output in (None, _STDOUT) else _place(output or "", self._path)
        if place is None:
            found = pieces(self._repo, self._revision, self._path, offset)
            _write(sys.stdout.buffer, next(found, b""), found, self._progress)
            return
        skipped = place.stat().st_size if retry and place.exists() else 0
        _copy(pieces(self._repo, self._revision, self._path, offset + skipped), place, self._progress, append=skipped > 0)

    def to_directory(self, directory: Path, *, retry: bool) -> None:
        """Write everything into a directory, without the path itself in front."""
        commit, entries = self._find_all()
        for entry in entries:
            below = directory / self._relative(entry)
            (below if entry["is_dir"] else below.parent).mkdir(parents=True, exist_ok=True)
            if entry["is_dir"]:
                continue
            skipped = below.stat().st_size if retry and below.exists() else 0
            pieces = self._client.get_file(self._repo, commit, entry["path"], skipped)
            _copy(pieces, below, self._progress, append=skipped > 0)

    def to_tar(self, output: str) -> None:
        """Write everything into an archive, compressed if its name says so, or uncompressed to standard output."""
        commit, entries = self._find_all()
        with ExitStack() as stack:
            file = sys.stdout.buffer if output == _STDOUT else stack.enter_context(Path(output).open("wb"))
            archive = Writer(file, output)
            for entry in entries:
                pieces = iter(()) if entry["is_dir"] else self._client.get_file(self._repo, commit, entry["path"])
                name = f"/{self._relative(entry)}{'/' if entry['is_dir'] else ''}"
                archive.add(name, entry["size_bytes"], entry["modified_ns"] or 0, _counted(pieces, self._progress))
            archive.close()

    def _find_all(self) -> tuple[str, Iterator[Facts]]:
        """Return the commit and what is to be had in it. Raises FileNotFound for nothing, unless all of it is asked for."""
        commit: str | None = self._client.call("resolve_commit", repo=self._repo, revision=self._revision)
        found: Iterator[Facts] = iter(())
        if commit is not None:
            found = self._client.iterate("walk_file", repo=self._repo, revision=commit, path=self._path)
        first = _take_first(found)
        if not first and self._path != "/":
            raise FileNotFound(f"file {self._path} not found in {self._repo}@{self._revision}")
        return commit or "", chain(first, found)

    def _relative(self, entry: Facts) -> str:
        """Return where an entry goes: below the path, or behind the part of a pattern that every match begins with."""
        path: str = entry["path"].rstrip("/")
        if path == self._path:
            return posixpath.basename(path)
        inside = posixpath.commonpath([path, self._path]) == self._path
        return posixpath.relpath(path, self._path if inside else _literal_directory(self._path))


def is_archive(output: str) -> bool:
    """Tell whether a name stands for an archive to be written."""
    return output == _STDOUT or (output.endswith(SUFFIXES) and not Path(output).is_dir())


def _literal_directory(pattern: str) -> str:
    found = _SPECIAL.search(pattern)
    return posixpath.dirname(pattern[: found.start()] if found else pattern) or "/"


def _take_first(found: Iterator[Facts]) -> list[Facts]:
    for item in found:
        return [item]
    return []


def _place(output: str, path: str) -> Path:
    """Return the file to write; a directory takes the file under its own name."""
    return Path(output, Path(path).name) if output.endswith("/") or Path(output).is_dir() else Path(output)


def _copy(pieces: Iterator[bytes], place: Path, progress: Progress, *, append: bool) -> None:
    """Write pieces to a file. Nothing is created if there is not even a first one to be had."""
    first = next(pieces, b"")
    with place.open("ab" if append else "wb") as file:
        _write(file, first, pieces, progress)


def _write(file: IO[bytes], first: bytes, pieces: Iterator[bytes], progress: Progress) -> None:
    for piece in _counted(chain((first,), pieces), progress):
        file.write(piece)


def _counted(pieces: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        progress.add(len(piece))
        yield piece
