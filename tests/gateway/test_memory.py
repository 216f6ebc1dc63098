"""The size of an object does not show in the size of the process."""

import hashlib
import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway.helpers import MIB

SIZE = 300 * MIB
PIECE = bytes(range(256)) * 4096  # one MiB
ALLOWED = 48 * MIB

SERVER = """
import sys, trio
from pathlib import Path
from appliance import httpd
from appliance.gateway.repo_buckets import RepoBuckets
from appliance.gateway.server import Gateway, error_reply
from appliance.store import Store, repos

async def main():
    store = Store(Path(sys.argv[1]), "fast")
    store.write(lambda db: (repos.create_repo(db, "data"), repos.create_branch(db, "data", "master")))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    await httpd.serve(Gateway(store, RepoBuckets()).handle, [listener], error_reply=error_reply)

trio.run(main)
"""


class Process:
    """A gateway in a process of its own."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def peak(self) -> int:
        """The most memory it ever had, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        made = Process(child.pid, int(child.stdout.readline()))
        try:
            yield made
        finally:
            made.connection.close()
            child.terminate()


def test_large_object_takes_little_memory(process: Process) -> None:
    process.connection.request("PUT", "/master.data/warm", b"x" * MIB)
    assert process.connection.getresponse().read() == b""
    before = process.peak()
    pieces = (PIECE for _ in range(SIZE // MIB))
    process.connection.request("PUT", "/master.data/a", pieces, {"Content-Length": str(SIZE)})
    answer = process.connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    process.connection.request("GET", "/master.data/a")
    reply = process.connection.getresponse()
    received = hashlib.md5()
    while piece := reply.read(MIB):
        received.update(piece)
    assert f'"{received.hexdigest()}"' == reply.getheader("ETag")
    assert process.peak() - before < ALLOWED
