"""Clients that write to an appliance all at once, and remember what it must still know after a crash.

Each client has keys of its own and does one thing at a time, so what its part of a repo may look like is a line of states:
each request that may have been carried out makes the next one. After a crash it must be one of those between the last that
was acknowledged and the last that was asked for: nothing else, and nothing in between.
"""

import http.client
import random
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from appliance.control.client import Client as Control
from appliance.errors import ApplianceError

Tree = dict[str, bytes]
Change = dict[str, bytes | None]
"""Paths with what they get; None: they go."""

REPO = "data"
COMMITS = "commits"
FINISHED = "/#finished"
"""A path that no client has: how many commits were finished."""
_KEYS = 8
_TIMEOUT_S = 60


@dataclass(slots=True)
class Line:
    """The states of one client's part of a repo. Only its client adds to it."""

    base: Tree = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    acknowledged: int = 0

    def ask(self, change: Change) -> None:
        """Note a request that is about to be made."""
        self.changes.append(change)

    def acknowledge(self) -> None:
        """Note that everything asked so far was answered."""
        self.acknowledged = len(self.changes)

    def states(self, acknowledged: int, asked: int) -> list[Tree]:
        """Return what it may look like if so many requests were answered and so many asked."""
        state, found = dict(self.base), []
        for number in range(asked + 1):
            if number:
                _apply(state, self.changes[number - 1])
            if number >= acknowledged:
                found.append(dict(state))
        return found

    @property
    def newest(self) -> Tree:
        """What it looks like once everything asked is done."""
        return self.states(len(self.changes), len(self.changes))[0]


def _apply(state: Tree, change: Change) -> None:
    for path, data in change.items():
        if data is None:
            state.pop(path, None)
        else:
            state[path] = data


class Refused(Exception):
    """The appliance answered with an error."""


class Load:
    """The clients of one run; `stop` after the crash, or to let them end well."""

    def __init__(self, endpoint: str, data: Path, lines: dict[str, Line], seed: str) -> None:
        self.acknowledged = threading.Semaphore(0)
        self.problems: list[str] = []
        self._stopping = False
        self._clients = [
            (S3Client if name != COMMITS else CommitClient)(self, endpoint, data, name, line, random.Random(f"{seed} {name}"))
            for name, line in lines.items()
        ]
        self._threads = [threading.Thread(target=self._run, args=(client,), daemon=True) for client in self._clients]

    def start(self) -> None:
        """Let the clients begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until every client has ended what it was doing."""
        self._stopping = True
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
            assert not thread.is_alive(), "a client hangs"

    def _run(self, client: "S3Client") -> None:
        try:
            while not self._stopping:
                client.step()
                self.acknowledged.release()
        except (OSError, http.client.HTTPException, ApplianceError) as error:
            if isinstance(error, ApplianceError) and type(error).__name__ == "ControlError":
                self.problems.append(f"{client.name}: {error}")
        except Refused as error:
            self.problems.append(f"{client.name}: {error}")
        finally:
            self.acknowledged.release()
            client.close()


class S3Client:
    """Puts, copies, deletes and uploads under a prefix of its own."""

    repo = REPO

    def __init__(self, load: Load, endpoint: str, data: Path, name: str, line: Line, chance: random.Random) -> None:
        self.name, self.line, self.chance = name, line, chance
        self._control = Control(data)
        parts = urlsplit(endpoint)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        self._endpoint = endpoint

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def step(self) -> None:
        """Do something."""
        steps = (self._put, self._put_large, self._copy, self._delete, self._delete_many, self._upload, self._abort)
        self.chance.choices(steps, weights=(8, 3, 2, 2, 1, 2, 1))[0]()
        self.line.acknowledge()

    def _path(self) -> str:
        return f"/{self.name}/{self.chance.randrange(_KEYS)}"

    def _bytes(self, size: int) -> bytes:
        return self.chance.randbytes(self.chance.randrange(size))

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        """Make a request of an anonymous client. Raises Refused."""
        self._http.request(method, f"/master.{self.repo}{target}", body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = self._http.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise Refused(f"{method} {target}: {response.status} {answer[:300]!r}")
        return answer

    def _put(self) -> None:
        self._put_bytes(self._bytes(2000))

    def _put_large(self) -> None:
        self._put_bytes(self._bytes(300_000))

    def _put_bytes(self, data: bytes) -> None:
        path = self._path()
        self.line.ask({path: data})
        self.request("PUT", path, data)

    def _copy(self) -> None:
        if not (known := self.line.newest):
            return
        source, target = self.chance.choice(sorted(known)), self._path()
        if source != target:
            self.line.ask({target: known[source]})
            self.request("PUT", target, x_amz_copy_source=f"/master.{self.repo}{quote(source)}")

    def _delete(self) -> None:
        path = self._path()
        self.line.ask({path: None})
        self.request("DELETE", path)

    def _delete_many(self) -> None:
        paths = sorted({self._path() for _ in range(4)})
        self.line.ask(dict.fromkeys(paths))
        objects = "".join(f"<Object><Key>{path[1:]}</Key></Object>" for path in paths)
        self.request("POST", "?delete", f"<Delete>{objects}</Delete>".encode())

    def _begin_upload(self, path: str) -> str:
        answer = self.request("POST", f"{path}?uploads")
        found = re.search(rb"<UploadId>([^<]+)<", answer)
        assert found is not None, answer
        return found[1].decode()

    def _upload_part(self, path: str, upload: str, data: bytes) -> None:
        self.request("PUT", f"{path}?partNumber=1&uploadId={upload}", data)

    def _upload(self) -> None:
        path, data = self._path(), self._bytes(200_000)
        upload = self._begin_upload(path)
        self._upload_part(path, upload, data)
        etag = self._etag(path, upload)
        self.line.ask({path: data})
        parts = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        answer = self.request("POST", f"{path}?uploadId={upload}", body.encode())
        if b"<Error>" in answer:
            raise Refused(answer.decode())

    def _etag(self, path: str, upload: str) -> str:
        found = re.search(rb"<ETag>([^<]+)<", self.request("GET", f"{path}?uploadId={upload}"))
        assert found is not None
        return found[1].decode()

    def _abort(self) -> None:
        """Begin an upload and end it, or hang up in the middle of a put."""
        path = self._path()
        upload = self._begin_upload(path)
        self._upload_part(path, upload, self._bytes(100_000))
        if self.chance.random() < 0.5:
            self.request("DELETE", f"{path}?uploadId={upload}")
        self._http.putrequest("PUT", f"/master.{self.repo}{path}")
        self._http.putheader("Content-Length", "200000")
        self._http.endheaders(self._bytes(90_000))
        self._http.close()


class CommitClient(S3Client):
    """Starts commits, puts files into them and finishes them, over the control socket."""

    repo = COMMITS

    def step(self) -> None:
        """Make a commit of a few files: nothing of it is seen before it is finished, and then all of it."""
        number = int(self.line.newest.get(FINISHED, b"0")) + 1
        self._control.call("start_commit", repo=self.repo, branch="master")
        change: Change = {FINISHED: str(number).encode()}
        for _ in range(self.chance.randint(1, 4)):
            path, data = self._path(), self._bytes(self.chance.choice((1000, 100_000)))
            self.request("PUT", path, data)
            change[path] = data
        self.line.ask(change)
        self._control.call("finish_commit", repo=self.repo, revision="master")
        self.line.acknowledge()
