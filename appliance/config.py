"""Settings of an appliance: the only reader of the environment and of what `serve` was told.

`APPLIANCE_HOME` names the data directory, for `serve` and for every other command.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from appliance.errors import InvalidRequest

Durability = Literal["durable", "fast"]
View = Literal["fuse", "files"]

S3_PORT = 30600
DEFAULT_MOUNT = Path("/pfs")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Config:
    """What an appliance is started with. `mount` is None for none; `view` is how datums see their inputs.

    `environment` is what user code inherits from.
    """

    data: Path
    s3_host: str = "127.0.0.1"
    s3_port: int = S3_PORT
    mount: Path | None = None
    durability: Durability = "durable"
    strict: bool = False
    view: View = "fuse"
    ready_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def control_socket(self) -> Path:
        """Where commands reach the appliance."""
        return control_socket(self.data)


def control_socket(data: Path) -> Path:
    """Return the control socket of a data directory."""
    return data / "control.sock"


def find_data(environment: Mapping[str, str]) -> Path:
    """Return the data directory: `APPLIANCE_HOME`, else the platform's place for data."""
    if home := environment.get("APPLIANCE_HOME"):
        return Path(home).absolute()
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", "/")) / ".local" / "share"
    return Path(data).absolute() / "appliance"


def parse_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, `:PORT` or `PORT`. Raises InvalidRequest, also for a host that others can reach."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise InvalidRequest(f"invalid address {text}: expected HOST:PORT")
    host = host.strip("[]") or "127.0.0.1"
    if host not in _LOOPBACK:
        raise InvalidRequest(f"refusing to listen on {host}: without authentication the gateway is for this machine only")
    return host, int(port)
