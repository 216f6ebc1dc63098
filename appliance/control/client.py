"""Asking a running appliance. Used by every command, so it imports little."""

import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from appliance.config import control_socket, short_path
from appliance.errors import ApplianceError

_PIECE_BYTES = 1024 * 1024


class ControlError(ApplianceError):
    """What the appliance answered instead of a result."""

    def __init__(self, message: str, kind: str, exit_status: int) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_status = exit_status


class NotRunning(ApplianceError):
    """Nobody answers at the data directory."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("appliance")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(self._path) as path:
            self.sock.connect(path)


class Client:
    """Asks the appliance of one data directory. Raises NotRunning, and ControlError for what it refuses."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call and return its result; arguments of None are left out."""
        given = {key: value for key, value in arguments.items() if value is not None}
        with self._request("POST", f"/v1/{name}", json.dumps(given).encode()) as response:
            return json.loads(response.read())["result"]

    def put_blob(self, content: IO[bytes] | Iterable[bytes]) -> str:
        """Send bytes to be put later and return their digest."""
        with self._request("PUT", "/v1/blob", content) as response:
            digest: str = json.loads(response.read())["result"]
            return digest

    def get_file(self, repo: str, revision: str, path: str, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        query = urlencode({"repo": repo, "revision": revision, "path": path, "offset": offset})
        with self._request("GET", f"/v1/file?{query}") as response:
            while piece := response.read(_PIECE_BYTES):
                yield piece

    def follow_logs(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield log lines, as they come if asked to follow."""
        query = urlencode({key: value for key, value in arguments.items() if value is not None})
        with self._request("GET", f"/v1/logs?{query}") as response:
            for line in response:
                yield json.loads(line)

    def _request(self, method: str, target: str, body: Any = None) -> http.client.HTTPResponse:
        connection = _Connection(control_socket(self._data))
        try:
            connection.request(method, target, body, {"Host": "appliance"}, encode_chunked=not isinstance(body, bytes))
            response = connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            message = f"no appliance is running on {self._data} (start one with `appliance serve`)"
            raise NotRunning(message) from None
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning(f"the appliance went away: {error}") from None
        if response.status >= 400:
            answer = json.loads(response.read())
            raise ControlError(answer["error"], answer["kind"], answer["exit_status"])
        return response
