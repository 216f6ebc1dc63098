"""The Python API: what the commands do, from a program.

    from appliance.client import Appliance

    appliance = Appliance()  # the one that runs on $APPLIANCE_HOME, as for every command
    appliance.put_url("images@master:/incoming", "s3://bucket/prefix", recursive=True)
    appliance.get_to_url("images@master:/incoming", "gs://bucket/results", recursive=True)

It asks a running appliance over its control socket, and imports little. An object of `Appliance` keeps no connection: any
thread may use it. What is refused is raised as an ApplianceError that says what the command line would print; nothing has
been put then.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from appliance.config import find_data
from appliance.control.client import Client, ControlError, NotRunning
from appliance.errors import ApplianceError, InvalidRequest
from appliance.names import Reference, parse_reference

__all__ = ["Appliance", "ApplianceError", "ControlError", "Copied", "NotRunning", "Put"]

Progress = Callable[[int], object]


def _tell_nobody(_size_bytes: int) -> None:
    """The `progress` of who does not ask for it."""


@dataclass(frozen=True, slots=True)
class Put:
    """What a put from URLs has done. Of its `files`, `unchanged` were there already; `size_bytes` is what was fetched.

    `skipped_keys` are the first few of the `skipped`.
    """

    commit: str
    files: int
    unchanged: int
    size_bytes: int
    skipped: int
    skipped_keys: list[str]


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy to a URL has done; `skipped` objects were there already, `size_bytes` counts the uploaded ones."""

    uploaded: int
    skipped: int
    size_bytes: int


class Appliance:
    """The appliance that runs on a data directory, by default the one the command line would talk to.

    Files are named as there: `repo@branch-or-commit:/path`. `progress` is told the bytes moved so far, a few times a second.
    """

    def __init__(self, data: Path | str | None = None) -> None:
        self._client = Client(Path(data).absolute() if data is not None else find_data(os.environ))

    @property
    def s3_endpoint(self) -> str:
        """Where its S3 gateway listens."""
        endpoint: str = self.call("inspect_appliance")["s3_endpoint"]
        return endpoint

    def put_url(
        self,
        where: str,
        *urls: str,
        recursive: bool = False,
        append: bool = False,
        literal_prefix: bool = False,
        skip_invalid: bool = False,
        progress: Progress = _tell_nobody,
    ) -> Put:
        """Have objects of other stores fetched into one commit, as `put file -f URL` does."""
        if not urls:
            raise InvalidRequest("no URL to put")
        target = parse_reference(where)
        with self._client.open_put(target.repo, target.revision) as put:
            done = self._client.transfer(
                "put_urls",
                lambda said: progress(said.get("size_bytes", 0)),
                put=put,
                repo=target.repo,
                branch=target.revision,
                path=target.path or "/",
                urls=urls,
                recursive=recursive,
                append=append,
                literal=literal_prefix,
                skip_invalid=skip_invalid,
            )
        return Put(**done)

    def get_to_url(self, where: str, url: str, *, recursive: bool = False, progress: Progress = _tell_nobody) -> Copied:
        """Have a file, or with `recursive` all below a directory, copied to `<url>/<path>`, as `get file -o URL` does."""
        source = _parse_file(where)
        done = self._client.transfer(
            "get_to_url",
            lambda said: progress(said.get("size_bytes", 0)),
            repo=source.repo,
            revision=source.revision,
            path=source.path,
            url=url,
            recursive=recursive,
        )
        return Copied(**done)

    def put_file(self, where: str, content: bytes | IO[bytes] | Iterable[bytes], *, append: bool = False) -> str:
        """Put one file in a commit of its own and return the commit's id."""
        target = _parse_file(where)
        pieces = [content] if isinstance(content, bytes) else content
        with self._client.open_put(target.repo, target.revision) as put:
            self._client.send_file(pieces, put=put, path=target.path or "", position=1)
            commit: str = self.call("put_staged", put=put, repo=target.repo, branch=target.revision, append=append)
        return commit

    def get_file(self, where: str) -> Iterator[bytes]:
        """Yield the bytes of a file, piece by piece."""
        source = _parse_file(where)
        with closing(self._client.get_file(source.repo, source.revision, source.path or "")) as pieces:
            yield from pieces

    def call(self, name: str, **arguments: Any) -> Any:
        """Make any call of the command line's that has one answer, and return that as plain data.

        They are the public methods of `Calls`, `FileCalls` and `Requests` in `appliance.control`: `call("create_repo",
        repo="images")`.
        """
        return self._client.call(name, **arguments)

    def iterate(self, name: str, **arguments: Any) -> Iterator[Any]:
        """Make any call that has many answers, the methods of `Streams`, and yield them as they come."""
        return self._client.iterate(name, **arguments)


def _parse_file(where: str) -> Reference:
    reference = parse_reference(where)
    if reference.path is None:
        raise InvalidRequest(f"{where} names no file: it has no colon and path")
    return reference
