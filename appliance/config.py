"""Settings of an appliance: the only reader of the environment and of what `serve` was told.

`APPLIANCE_HOME` names the data directory, for `serve` and for every other command.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from appliance.errors import InvalidRequest

Durability = Literal["durable", "fast"]
View = Literal["fuse", "files"]
Runner = Literal["process", "container"]

S3_PORT = 30600
TLS_PORT = 30643
DEFAULT_MOUNT = Path("/pfs")
UPLOAD_DAYS = 7.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the gateway speaks TLS, with which certificate (chain) and which key, both PEM files."""

    host: str
    port: int
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Config:
    """What an appliance is started with. `mount` is None for none; `view` is how datums see their inputs.

    Multipart uploads that are not finished are forgotten after `upload_days`. With `anyone` other machines may be let in
    although nobody has to say who they are.
    `writable` has the branches that can be changed in the mount, as `repo` or `repo@branch`; `*` is master of every repo.
    With `autocommit` such changes are committed soon after a file is closed.
    `runner` is what runs user code; `engine` is the program that runs containers, None for the first there is.
    With `pfs_variable` user code that can not have a /pfs of its own runs with $PFS instead.
    `environment` is what user code inherits from; `file_roots` are the directories below which file:// addresses may be.
    """

    data: Path
    s3_host: str = "127.0.0.1"
    s3_port: int = S3_PORT
    tls: Tls | None = None
    anyone: bool = False
    mount: Path | None = None
    writable: frozenset[str] = frozenset()
    autocommit: bool = False
    durability: Durability = "durable"
    strict: bool = False
    plain_buckets: bool = False
    domains: tuple[str, ...] = ()
    view: View = "fuse"
    runner: Runner = "process"
    engine: str | None = None
    pfs_variable: bool = False
    upload_days: float = UPLOAD_DAYS
    ready_file: Path | None = None
    file_roots: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def open_hosts(self) -> tuple[str, ...]:
        """The addresses of the gateway that other machines can reach."""
        hosts = (self.s3_host, *((self.tls.host,) if self.tls else ()))
        return tuple(host for host in hosts if host not in _LOOPBACK)

    @property
    def control_socket(self) -> Path:
        """Where commands reach the appliance."""
        return control_socket(self.data)


def control_socket(data: Path) -> Path:
    """Return the control socket of a data directory."""
    return data / "control.sock"


@contextmanager
def short_path(socket: Path) -> Iterator[str]:
    """Give a name for a Unix socket that is short enough to bind or connect to, whatever directory it is in.

    The kernel takes 107 bytes. Raises FileNotFoundError where the directory is missing.
    """
    directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{socket.name}"
    finally:
        os.close(directory)


def find_data(environment: Mapping[str, str]) -> Path:
    """Return the data directory: `APPLIANCE_HOME`, else the platform's place for data."""
    if home := environment.get("APPLIANCE_HOME"):
        return Path(home).absolute()
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", "/")) / ".local" / "share"
    return Path(data).absolute() / "appliance"


def parse_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, `:PORT` or `PORT`. Raises InvalidRequest."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise InvalidRequest(f"invalid address {text}: expected HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
