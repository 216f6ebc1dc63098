"""Asking a running appliance. Used by every command, so it imports little."""

import http.client
import json
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from appliance.config import control_socket, short_path
from appliance.errors import ApplianceError, StoreDamaged

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
        try:
            with short_path(self._path) as path:
                self.sock.connect(path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            message = f"no appliance is running on {self._path.parent} (start one with `appliance serve`)"
            raise NotRunning(message) from None


class Client:
    """Asks the appliance of one data directory. Raises NotRunning, and ControlError for what it refuses."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call and return its result; arguments of None are left out."""
        given = {key: value for key, value in arguments.items() if value is not None}
        with self._request("POST", f"/v1/{name}", json.dumps(given).encode()) as response:
            return json.loads(response.read())["result"]

    @contextmanager
    def open_put(self, repo: str, branch: str) -> Iterator[str]:
        """Begin a put and give its id; what fails leaves nothing behind."""
        put: str = self.call("begin_put", repo=repo, branch=branch)
        try:
            yield put
        except BaseException:
            with suppress(ApplianceError):
                self.call("discard_put", put=put)
            raise

    def send_file(self, content: IO[bytes] | Iterable[bytes], *, put: str, path: str, position: int) -> None:
        """Send a file, or with a slash behind its path an explicit directory, ahead of the end of a put."""
        query = urlencode({"put": put, "path": path, "position": position})
        with self._request("PUT", f"/v1/file?{query}", content) as response:
            response.read()

    def get_file(self, repo: str, revision: str, path: str, offset: int = 0) -> Generator[bytes]:
        """Yield the bytes of a file."""
        query = urlencode({"repo": repo, "revision": revision, "path": path, "offset": offset})
        with self._request("GET", f"/v1/file?{query}") as response:
            while piece := response.read(_PIECE_BYTES):
                yield piece
            if response.length:  # `read` with a size takes the end of a connection for the end of the body
                raise http.client.IncompleteRead(b"", response.length)

    def iterate(self, name: str, **arguments: Any) -> Iterator[Any]:
        """Make a call that has any number of answers and yield them as they come. Raises NotRunning if that breaks off."""
        given = {key: value for key, value in arguments.items() if value is not None}
        with self._request("POST", f"/v1/{name}", json.dumps(given).encode()) as response:
            for line in response:
                answer = json.loads(line)
                if "error" in answer:
                    raise ControlError(answer["error"], answer["kind"], answer["exit_status"])
                if "end" in answer:
                    return
                yield answer["result"]
            raise http.client.IncompleteRead(b"")

    def transfer(self, name: str, progress: Callable[[dict[str, Any]], object], **arguments: Any) -> Any:
        """Make a call that takes its time and return its result; `progress` is told how far it is, a few times a second."""
        said: dict[str, Any] = {}
        for said in self.iterate(name, **arguments):
            progress(said.get("progress", {}))
        return said["done"]

    def export(self, repos: Sequence[str]) -> Iterator[bytes]:
        """Yield an export of some repos, or of everything."""
        with self._request("GET", f"/v1/export?{urlencode([('repo', repo) for repo in repos])}") as response:
            try:
                while piece := response.read(_PIECE_BYTES):
                    yield piece
            except (http.client.IncompleteRead, ConnectionError):
                text = "the export broke off, most likely at damaged bytes: `appliance fsck --deep` names them"
                raise ControlError(text, "StoreDamaged", StoreDamaged.exit_status) from None

    def import_(self, pieces: Iterable[bytes], renamed: Mapping[str, str]) -> Any:
        """Send an export and return what came of it."""
        with self._request("PUT", f"/v1/import?{urlencode(renamed)}", pieces) as response:
            return json.loads(response.read())["result"]

    @contextmanager
    def _request(self, method: str, target: str, body: Any = None) -> Iterator[http.client.HTTPResponse]:
        """Ask, and give the response, to be read before the context closes."""
        connection = _Connection(control_socket(self._data))
        try:
            with _explained():
                response = _exchange(connection, method, target, body)
                if response.status >= 400:
                    answer = json.loads(response.read())
                    raise ControlError(answer["error"], answer["kind"], answer["exit_status"])
                yield response
        finally:
            connection.close()


def _exchange(connection: _Connection, method: str, target: str, body: Any) -> http.client.HTTPResponse:
    # Refused before all of it was sent: the answer says why, if there is one.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, target, body, {"Host": "appliance"}, encode_chunked=not isinstance(body, bytes))
    return connection.getresponse()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ConnectionError, http.client.HTTPException) as error:
        raise NotRunning(f"the appliance went away: {error}") from None
