"""Three doors to one store at the same time, for `scripts/conformance doors`: the bucket door, and threads at all of them.

`writers` change branches and keep a `Timeline` of each, `readers` compare what they see with it.
"""

import http.client
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import md5
from xml.etree import ElementTree

from mount.timeline import Wrong

PATHS = ("a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "f/a")
DIRECTORIES = ("", "d/", "d/e/", "f/")


class Bucket:
    """A branch as S3 has it, over one connection."""

    def __init__(self, endpoint: str, name: str) -> None:
        host = endpoint.removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=60)
        self._name = name

    def put(self, path: str, data: bytes) -> None:
        self._ask("PUT", path, data)

    def copy(self, source: str, path: str) -> None:
        self._ask("PUT", path, headers={"x-amz-copy-source": f"/{self._name}/{source}"})

    def get(self, path: str) -> bytes | None:
        return self._ask("GET", path, missing=True)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def delete_all(self, paths: Sequence[str]) -> None:
        body = "".join(f"<Object><Key>{path}</Key></Object>" for path in paths)
        data = f"<Delete><Quiet>true</Quiet>{body}</Delete>".encode()
        self._ask("POST", "?delete", data, {"content-md5": _base64_md5(data)})

    def list(self) -> set[str]:
        found = self._ask("GET", "?list-type=2", missing=True)
        tree = ElementTree.fromstring(found) if found is not None else []
        keys = (key.text or "" for item in tree if item.tag.endswith("Contents") for key in item if key.tag.endswith("Key"))
        return {key for key in keys if not key.endswith("/")}

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        missing: bool = False,
    ) -> bytes | None:
        self._connection.request(method, f"/{self._name}/{path}", body, headers or {})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status == 404 and missing:
            return None
        if response.status >= 300:
            raise Wrong(f"{method} {path}: {response.status} {answer[:300]!r}")
        return answer


def _base64_md5(data: bytes) -> str:
    return b64encode(md5(data).digest()).decode()


def run_threads(steps: Sequence[Callable[[], str]], seconds: float, counts: dict[str, int]) -> list[BaseException]:
    """Take steps, each in a thread of its own, until the time is up or one raises; return what was raised."""
    end, failed = time.monotonic() + seconds, threading.Event()
    raised: list[BaseException] = []

    def go_on(step: Callable[[], str]) -> None:
        while time.monotonic() < end and not failed.is_set():
            try:
                name = step()
            except BaseException as error:
                raised.append(error)
                failed.set()
            else:
                counts[name] = counts.get(name, 0) + 1

    threads = [threading.Thread(target=go_on, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
