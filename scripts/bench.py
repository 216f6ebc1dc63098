"""What `scripts/bench` measures: the appliance beside other servers, in one run on one machine.

Servers take turns, round by round, so that whatever else the machine does meets all of them; the median of the rounds
counts. The client is a bare one whose requests are built and signed before the clock starts: what is timed is a server,
the kernel and next to nothing else. A second table has boto3, which costs more than most servers do.
"""

import argparse
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import platform
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bench_external
import bench_mount
import bench_pipelines
import bench_store
import boto3
import boto3.s3.transfer
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
from botocore.exceptions import BotoCoreError, ClientError

BIN = Path(__file__).resolve().parent.parent / ".venv" / "bin"
# One pair for all: rclone is told it, the appliance takes any whose secret equals its key, moto takes anything.
KEYS = botocore.credentials.Credentials("bench", "bench")
REGION = "us-east-1"
BUCKET = "master.bench"  # a branch for the appliance, a name for the others
SMALL_BYTES = 1024
PARALLEL = 16
PART_BYTES = 8 * 1024 * 1024  # boto3's
PART_CONNECTIONS = 4
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
TIMEOUT_S = 60
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """A server did not start, or did not answer as expected."""


# -- a client that costs little


@dataclass(frozen=True, slots=True)
class Call:
    """A request ready to be sent: its head, and the pieces of its body."""

    method: str
    head: bytes
    body: Sequence[bytes | memoryview] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; of a body longer than one receive only `size_bytes` is kept."""

    status: int
    head: bytes
    body: bytes
    size_bytes: int


class _Signer(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
    """Signs a digest it is told, instead of reading the body for it."""

    def payload(self, request: Any) -> str:
        digest: str = request.context["sha256"]
        return digest


def make_call(
    address: str, method: str, target: str, body: Sequence[bytes | memoryview] = (), sha256: str | None = None
) -> Call:
    """Return a signed request. `sha256` is the digest of the body; None computes it."""
    digest = sha256 or hashlib.sha256(b"".join(body)).hexdigest()
    request = botocore.awsrequest.AWSRequest(method, f"http://{address}{target}")
    request.context["sha256"] = digest
    _Signer(KEYS, "s3", REGION).add_auth(request)
    fields = [
        f"{method} {target} HTTP/1.1",
        f"Host: {address}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    if method in ("PUT", "POST"):
        fields.append(f"Content-Length: {sum(len(piece) for piece in body)}")
    head = "\r\n".join(fields).encode() + b"\r\n\r\n"
    if sum(len(piece) for piece in body) <= PART_BYTES // 8:
        return Call(method, head + b"".join(body))  # one packet, as far as it goes
    return Call(method, head, body)


class Connection:
    """One connection, kept alive for as long as the server does."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._sock: socket.socket | None = None
        self._buffer = memoryview(bytearray(1024 * 1024))

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def exchange(self, call: Call) -> Answer:
        """Send a request and receive all of the answer. Raises OSError, BenchFailed."""
        if self._sock is not None and select.select([self._sock], [], [], 0)[0]:
            self.close()  # it was idle, and what there is to read before a request is the server's end of it
        sock = self._sock or self._connect()
        sock.sendall(call.head)
        for piece in call.body:
            sock.sendall(piece)
        head, rest = self._receive_head(sock)
        fields = head.lower()
        status = int(head[9:12])
        if call.method == "HEAD" or status in (204, 304):
            answer = Answer(status, head, b"", 0)
        elif b"\r\ntransfer-encoding: chunked" in fields:
            answer = self._receive_chunked(sock, status, head, rest)
        else:
            answer = self._receive_sized(sock, status, head, rest)
        if b"\r\nconnection: close" in fields or head.startswith(b"HTTP/1.0"):
            self.close()
        return answer

    def _connect(self) -> socket.socket:
        self._sock = socket.create_connection(self._address, timeout=TIMEOUT_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._sock

    def _receive(self, sock: socket.socket) -> memoryview:
        received = sock.recv_into(self._buffer)
        if not received:
            raise BenchFailed("the server closed the connection")
        return self._buffer[:received]

    def _receive_head(self, sock: socket.socket) -> tuple[bytes, bytes]:
        data = bytes(self._receive(sock))
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive(sock)
        return data[: end + 2], data[end + 4 :]

    def _receive_sized(self, sock: socket.socket, status: int, head: bytes, rest: bytes) -> Answer:
        found = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
        if found is None:
            raise BenchFailed(f"an answer without length: {head!r}")
        size, received = int(found[1]), len(rest)
        while received < size:
            piece = self._receive(sock)
            received += len(piece)
            if size <= len(self._buffer):
                rest += piece
        return Answer(status, head, rest, size)

    def _receive_chunked(self, sock: socket.socket, status: int, head: bytes, rest: bytes) -> Answer:
        """XML only, so what ends the last chunk can not be part of what is carried."""
        while not rest.endswith(b"\r\n0\r\n\r\n") and rest != b"0\r\n\r\n":
            rest += self._receive(sock)
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return Answer(status, head, body, len(body))


class Bulk:
    """Large bodies of which no two are equal, so that no server can know them; digests cost nothing when they are needed.

    They are one block, repeated, with a different end.
    """

    _END_BYTES = 64

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        block = memoryview(hashlib.shake_256(b"bench").digest(min(PART_BYTES, size_bytes)))
        count, self._rest = divmod(size_bytes - self._END_BYTES, len(block))
        self._pieces = [block] * count + [block[: self._rest]]
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        for piece in self._pieces:
            self._sha256.update(piece)
            self._md5.update(piece)

    def make(self, name: str) -> tuple[list[bytes | memoryview], str, str]:
        """Return the pieces of the body of that name, its SHA-256 and its MD5, in hex."""
        end = hashlib.shake_256(name.encode()).digest(self._END_BYTES)
        sha256, md5 = self._sha256.copy(), self._md5.copy()
        sha256.update(end)
        md5.update(end)
        return [*self._pieces, end], sha256.hexdigest(), md5.hexdigest()


# -- servers


@dataclass(frozen=True, slots=True)
class Kind:
    """A server to measure: its command, given a directory of its own, and how to see from the directory where it listens."""

    name: str
    command: Callable[[Path], list[str]]
    find_address: Callable[[Path], str | None]


def _appliance(durability: str) -> Kind:
    def command(directory: Path) -> list[str]:
        options = ["--data", str(directory / "data"), "--s3-address", "127.0.0.1:0", "--no-mount"]
        ready = ["--ready-file", str(directory / "ready.json"), "--durability", durability]
        return [sys.executable, "-m", "appliance", "serve", *options, *ready]

    def find_address(directory: Path) -> str | None:
        ready = directory / "ready.json"
        return json.loads(ready.read_text())["s3_endpoint"].removeprefix("http://") if ready.exists() else None

    return Kind(durability, command, find_address)


def _rclone(directory: Path) -> list[str]:
    (directory / "data").mkdir()
    options = ["--addr", "127.0.0.1:0", "--auth-key", f"{KEYS.access_key},{KEYS.secret_key}", "--config", ""]
    return [str(BIN / "rclone"), "serve", "s3", *options, str(directory / "data")]


def _logged_address(directory: Path) -> str | None:
    found = re.search(r"http://(127\.0\.0\.1:\d+)", (directory / "log").read_text())
    return found[1] if found else None


APPLIANCES = (_appliance("durable"), _appliance("fast"))
PEERS = (
    Kind("moto", lambda _: [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", "0"], _logged_address),
    Kind("rclone", _rclone, _logged_address),
)


class Server:
    """A running server, and its clients."""

    def __init__(self, kind: Kind, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.name = kind.name
        self._kind, self._process, self._directory = kind, process, directory
        self.address = self._await_address()
        self.connections = [Connection(self.address) for _ in range(PARALLEL)]
        self.boto: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{self.address}",
            aws_access_key_id=KEYS.access_key,
            aws_secret_access_key=KEYS.secret_key,
            region_name=REGION,
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def close(self) -> None:
        self.boto.close()
        for connection in self.connections:
            connection.close()

    def _await_address(self) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            if (address := self._kind.find_address(self._directory)) is not None:
                return address
            time.sleep(0.02)
        raise BenchFailed(f"{self.name} did not start: {self.log_end()}")

    def log_end(self) -> str:
        """Return what the server said last."""
        return (self._directory / "log").read_text(errors="replace")[-2000:].strip()

    def call(self, method: str, key: str, body: Sequence[bytes | memoryview] = (), sha256: str | None = None) -> Call:
        """Return a signed request about a key of the bucket; `key` may have a query."""
        digest = EMPTY_SHA256 if not body else sha256
        return make_call(self.address, method, f"/{BUCKET}{key}", body, digest)

    def exchange(self, call: Call, connection: int = 0, size_bytes: int | None = None) -> Answer:
        """Send a request. Raises BenchFailed unless it succeeds, with a body of that size if one is given."""
        try:
            answer = self.connections[connection].exchange(call)
        except OSError as error:
            raise BenchFailed(f"{self.name} did not answer: {error}\n{self.log_end()}") from error
        if answer.status not in (200, 204) or size_bytes not in (None, answer.size_bytes):
            request = call.head.partition(b"\r\n")[0].decode()
            raise BenchFailed(f"{self.name} answered {request} with {answer.head!r} {answer.body[:500]!r}\n{self.log_end()}")
        return answer

    def cpu_s(self) -> float:
        """Return the processor time the process has had, its own and the kernel's for it."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def peak_rss_bytes(self) -> int:
        """Return the most memory the process ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        if found is None:
            raise BenchFailed(f"{self.name} is gone: {self.log_end()}")
        return int(found[1]) * 1024


@contextlib.contextmanager
def running(kinds: Sequence[Kind], scratch: Path) -> Iterator[list[Server]]:
    """Start servers at once and wait for all; they are stopped in any case."""
    with contextlib.ExitStack() as stack:
        started = [(kind, *stack.enter_context(_process(kind, scratch / kind.name))) for kind in kinds]
        servers = []
        for kind, process, directory in started:
            servers.append(Server(kind, process, directory))
            stack.callback(servers[-1].close)
        yield servers


@contextlib.contextmanager
def _process(kind: Kind, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    directory.mkdir()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "APPLIANCE_", "RCLONE_", "MOTO_"))
    }
    env |= {"TMPDIR": str(directory), "HOME": str(directory), "XDG_CACHE_HOME": str(directory)}
    with (directory / "log").open("wb") as log:
        command = kind.command(directory)
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process, directory
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# -- operations


@dataclass(frozen=True, slots=True)
class Operation:
    """What is timed. `prepare(server, round)` does what is not, and gives what is, which does it `count` times.

    `size_bytes` makes it a matter of MB/s.
    """

    name: str
    count: int
    prepare: Callable[[Server, int], Callable[[], object]]
    size_bytes: int | None = None


def _each(server: Server, calls: Iterable[Call], size_bytes: int | None = None) -> Callable[[], object]:
    """Return a function that sends requests one after the other."""
    ready = list(calls)
    return lambda: [server.exchange(call, size_bytes=size_bytes) for call in ready]


def _side_by_side(server: Server, calls: Sequence[Sequence[Call]]) -> Callable[[], object]:
    """Return a function that sends each sequence of requests on a connection of its own, at the same time."""

    def send(number: int) -> None:
        for call in calls[number]:
            server.exchange(call, number)

    def run() -> None:
        with ThreadPoolExecutor(len(calls)) as pool:  # its threads cost some 50 µs each
            list(pool.map(send, range(len(calls))))

    return run


def _small(name: str) -> bytes:
    return hashlib.shake_256(name.encode()).digest(SMALL_BYTES)


def _puts(server: Server, names: Iterable[str]) -> list[Call]:
    return [server.call("PUT", f"/{name}", [_small(name)]) for name in names]


def small_operations(quick: bool, page_keys: int) -> list[Operation]:
    """Return the operations on objects of 1 KiB with the bare client. `fill` has run before."""
    puts, reads, lists, each = (10, 20, 2, 2) if quick else (50, 200, 5, 8)

    def put(server: Server, number: int) -> Callable[[], object]:
        return _each(server, _puts(server, (f"put/{number:03}/{item:04}" for item in range(puts))))

    def put_parallel(server: Server, number: int) -> Callable[[], object]:
        names = [[f"parallel/{number:03}/{worker:02}/{item:04}" for item in range(each)] for worker in range(PARALLEL)]
        for group in names:  # rclone answers 500 to some of the puts that race to make a directory
            server.exchange(*_puts(server, [f"{group[0]}-first"]))
        return _side_by_side(server, [_puts(server, group) for group in names])

    def get(server: Server, number: int) -> Callable[[], object]:
        return _each(server, (server.call("GET", f"/list/{item:04}") for item in range(reads)), SMALL_BYTES)

    def head(server: Server, number: int) -> Callable[[], object]:
        return _each(server, (server.call("HEAD", f"/list/{item:04}") for item in range(reads)))

    def list_page(server: Server, number: int) -> Callable[[], object]:
        call = server.call("GET", f"?list-type=2&max-keys={page_keys}&prefix=list%2F")
        if (found := server.exchange(call).body.count(b"<Key>")) != page_keys:
            raise BenchFailed(f"{server.name} lists {found} keys of {page_keys}")
        return _each(server, [call] * lists)

    return [
        Operation("put", puts, put),
        Operation(f"put, {PARALLEL} in parallel", PARALLEL * each, put_parallel),
        Operation("get", reads, get),
        Operation("head", reads, head),
        Operation(f"list, {page_keys:,} keys", lists, list_page),
    ]


def big_operations(size_bytes: int) -> list[Operation]:
    """Return the operations on one large object with the bare client."""
    bulk, parts = Bulk(size_bytes), Bulk(min(PART_BYTES, size_bytes))
    count = size_bytes // parts.size_bytes

    def put(server: Server, number: int) -> Callable[[], object]:
        body, sha256, _ = bulk.make(f"{server.name} {number}")
        return _each(server, [server.call("PUT", "/big", body, sha256)])

    def put_parts(server: Server, number: int) -> Callable[[], object]:
        """Beginning the upload is not timed: its answer is needed for signing."""
        begun = re.search(rb"<UploadId>([^<]+)<", server.exchange(server.call("POST", "/parts?uploads=")).body)
        if begun is None:
            raise BenchFailed(f"{server.name} did not begin an upload")
        upload = begun[1].decode()
        made = [parts.make(f"{server.name} {number} {part}") for part in range(count)]
        calls = [
            server.call("PUT", f"/parts?partNumber={part}&uploadId={upload}", body, sha256)
            for part, (body, sha256, _) in enumerate(made, 1)
        ]
        listed = "".join(
            f"<Part><PartNumber>{part}</PartNumber><ETag>&quot;{md5}&quot;</ETag></Part>"
            for part, (_, _, md5) in enumerate(made, 1)
        )
        xml = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'
        complete = server.call("POST", f"/parts?uploadId={upload}", [xml.encode()])
        send = _side_by_side(server, [calls[first::PART_CONNECTIONS] for first in range(min(PART_CONNECTIONS, count))])

        def run() -> None:
            send()
            if b"CompleteMultipartUploadResult" not in (body := server.exchange(complete).body):
                raise BenchFailed(f"{server.name} did not complete an upload: {body[:500]!r}")

        return run

    def get(server: Server, number: int) -> Callable[[], object]:
        return _each(server, [server.call("GET", "/big")], size_bytes)

    return [
        Operation(f"put {_mib(size_bytes)}", 1, put, size_bytes),
        Operation(f"put {_mib(size_bytes)}, multipart", 1, put_parts, size_bytes),
        Operation(f"get {_mib(size_bytes)}", 1, get, size_bytes),
    ]


def boto_operations(quick: bool, page_keys: int, big_bytes: int) -> list[Operation]:
    """Return operations with boto3 as it comes, but for retries."""
    puts, reads, lists = (10, 20, 2) if quick else (25, 50, 3)
    bulk = Bulk(big_bytes)

    def put(server: Server, number: int) -> Callable[[], object]:
        bodies = {name: _small(name) for name in (f"boto/{number:03}/{item:04}" for item in range(puts))}
        return lambda: [server.boto.put_object(Bucket=BUCKET, Key=name, Body=body) for name, body in bodies.items()]

    def get(server: Server, number: int) -> Callable[[], object]:
        return lambda: [server.boto.get_object(Bucket=BUCKET, Key=f"list/{item:04}")["Body"].read() for item in range(reads)]

    def head(server: Server, number: int) -> Callable[[], object]:
        return lambda: [server.boto.head_object(Bucket=BUCKET, Key=f"list/{item:04}") for item in range(reads)]

    def list_page(server: Server, number: int) -> Callable[[], object]:
        return lambda: [server.boto.list_objects_v2(Bucket=BUCKET, Prefix="list/") for _ in range(lists)]

    def upload(server: Server, number: int) -> Callable[[], object]:
        file = Path(tempfile.gettempdir(), f"{server.name}-upload")
        file.write_bytes(b"".join(bulk.make(f"boto {server.name} {number}")[0]))
        return lambda: server.boto.upload_file(str(file), BUCKET, "boto-big")

    def download(server: Server, number: int) -> Callable[[], object]:
        file = Path(tempfile.gettempdir(), f"{server.name}-download")
        return lambda: server.boto.download_file(BUCKET, "boto-big", str(file))

    return [
        Operation("put_object", puts, put),
        Operation("get_object", reads, get),
        Operation("head_object", reads, head),
        Operation(f"list_objects_v2, {page_keys:,} keys", lists, list_page),
        Operation(f"upload_file {_mib(big_bytes)}", 1, upload, big_bytes),
        Operation(f"download_file {_mib(big_bytes)}", 1, download, big_bytes),
    ]


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // 1024**2} MiB"


def fill(server: Server, page_keys: int) -> None:
    """Make the bucket, and a page of small objects in it."""
    server.exchange(server.call("PUT", ""))
    puts = _puts(server, (f"list/{item:04}" for item in range(page_keys)))
    server.exchange(puts[0])  # alone, as above
    _side_by_side(server, [puts[start::PARALLEL] for start in range(1, PARALLEL + 1)])()


# -- measuring


@dataclass(slots=True)
class Measured:
    """What an operation took at one server: seconds for one, in each round, and processor seconds for one."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mean_cpu_s(self) -> float:
        """The mean: the kernel counts in hundredths of a second, so single rounds say little."""
        return statistics.mean(self.cpu_s)


Row = dict[str, Measured]


def measure(operation: Operation, servers: Sequence[Server], rounds: int, deadline: float) -> Row:
    """Measure an operation at each server in turn, for some rounds after one that does not count.

    After the deadline the rounds still to come are left out, but for the first.
    """
    row: Row = {server.name: Measured() for server in servers}
    for number in range(rounds + 1):
        if number > 1 and time.monotonic() > deadline:
            break
        for server in servers:
            run = operation.prepare(server, number)
            cpu_s, started = server.cpu_s(), time.perf_counter()
            run()
            seconds, cpu_s = time.perf_counter() - started, server.cpu_s() - cpu_s
            if number:
                row[server.name].seconds.append(seconds / operation.count)
                row[server.name].cpu_s.append(cpu_s / operation.count)
    return row


def time_fsync(directory: Path) -> float:
    """Return the seconds that making one small write durable takes there."""
    taken = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(21):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


# -- tables


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns: names to the left, numbers to the right."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        cells = [
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)
    print()


def speed_cells(operation: Operation, row: Row) -> list[str]:
    """Return the cells of a row of speeds: each server's, and each appliance's time over each peer's."""
    cells = []
    for kind in (*APPLIANCES, *PEERS):
        seconds = row[kind.name].median_s
        cells.append(
            f"{seconds * 1000:.2f} ms" if operation.size_bytes is None else f"{operation.size_bytes / seconds / 1e6:.0f} MB/s"
        )
    for ours in APPLIANCES:
        cells += [f"{row[ours.name].median_s / row[peer.name].median_s:.2f}" for peer in PEERS]
    return [operation.name, *cells]


def cpu_cells(operation: Operation, row: Row) -> list[str]:
    """Return the cells of a row of processor times."""
    return [operation.name, *(f"{row[kind.name].mean_cpu_s * 1000:.2f} ms" for kind in (*APPLIANCES, *PEERS))]


NAMES = [kind.name for kind in (*APPLIANCES, *PEERS)]
RATIOS = [f"{ours.name}/{peer.name}" for ours in APPLIANCES for peer in PEERS]


def describe(scratch: Path) -> dict[str, Any]:
    """Return the facts about this machine that the numbers depend on."""
    file_system = subprocess.run(["df", "--output=fstype", str(scratch)], capture_output=True, text=True, check=True)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": file_system.stdout.split()[-1],
        "fsync_ms": time_fsync(scratch) * 1000,
    }


def print_heading(facts: dict[str, Any], rounds: int) -> None:
    print(
        f"S3: the appliance (durable and fast) beside moto's server and rclone serve s3, median of up to {rounds} rounds\n"
        f"{facts['cores']} cores (load {facts['load']:.1f} before), {facts['kernel']}, Python {facts['python']}, "
        f"{facts['file_system']} with {facts['fsync_ms']:.2f} ms for an fsync\n"
        "durable: acknowledged survives a power cut; fast: survives a killed process. moto keeps objects in memory and\n"
        "rclone in files; neither syncs them. Ratios are of times: below 1 the appliance is quicker.\n",
        flush=True,
    )


def run_s3(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Print the tables of the gateway and return the raw numbers."""
    started = time.monotonic()
    deadline = started + (15 if options.quick else 160)
    facts = describe(scratch)
    page_keys = 200 if options.quick else 1000
    big_bytes = (16 if options.quick else 256) * 1024**2
    tables = {
        "A bare client, objects of 1 KiB and one large one": [
            *small_operations(options.quick, page_keys),
            *big_operations(big_bytes),
        ],
        "boto3": boto_operations(options.quick, page_keys, min(big_bytes, 64 * 1024**2)),
    }
    print_heading(facts, options.rounds)
    measured: dict[str, Row] = {}
    with running((*APPLIANCES, *PEERS), scratch) as servers:
        for server in servers:
            fill(server, page_keys)
        rss = {"at the start": {server.name: server.peak_rss_bytes() for server in servers}}
        left = sum(len(operations) for operations in tables.values())
        for title, operations in tables.items():
            for operation in operations:
                now = time.monotonic()
                measured[operation.name] = measure(operation, servers, options.rounds, now + (deadline - now) / left)
                left -= 1
            print_table(
                [title, *NAMES, *RATIOS], (speed_cells(operation, measured[operation.name]) for operation in operations)
            )
            rss[title] = {server.name: server.peak_rss_bytes() for server in servers}
    bare = next(iter(tables.values()))
    print_table(["Server CPU for one", *NAMES], (cpu_cells(operation, measured[operation.name]) for operation in bare))
    print_table(
        ["Peak resident memory", *NAMES],
        ([f"{when}", *(f"{sizes[name] / 1e6:.0f} MB" for name in NAMES)] for when, sizes in rss.items()),
    )
    counts = {name: len(row[NAMES[0]].seconds) for name, row in measured.items()}
    if short := [f"{name}: {count}" for name, count in counts.items() if count < options.rounds]:
        print(f"Fewer rounds for lack of time: {'; '.join(short)}")
    print(f"Measured in {time.monotonic() - started:.0f} s")
    numbers = {name: {server: asdict(taken) for server, taken in row.items()} for name, row in measured.items()}
    return {"machine": facts, "operations": numbers, "peak_rss_bytes": rss}


# Each table: what it measures, and the function that does.
# -- large objects: what they cost in memory

LARGE_RSS_BYTES = 150 * 1024**2


class Stream(io.RawIOBase):
    """Bytes of any length that nobody has to keep: the same ones each time, no two MiB alike. Cheap to make."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes, self._position = size_bytes, 0
        self._noise = bytearray(random.Random(1).randbytes(1024**2))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block, offset = divmod(self._position, len(self._noise))
        self._noise[:8] = block.to_bytes(8, "big")
        piece = memoryview(self._noise)[offset:][: min(len(buffer), self._size_bytes - self._position)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


def _digest(stream: Any) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def large_steps(server: Server, parts_bytes: int, put_bytes: int) -> Iterator[tuple[str, int, Callable[[], bool]]]:
    """Yield (name, bytes, what to do and whether it came out right) for objects that no memory should hold."""
    in_parts, in_one = _digest(io.BufferedReader(Stream(parts_bytes))), _digest(io.BufferedReader(Stream(put_bytes)))
    transfer = boto3.s3.transfer.TransferConfig(multipart_chunksize=64 * 1024**2, max_concurrency=2)

    def upload() -> bool:
        server.boto.upload_fileobj(io.BufferedReader(Stream(parts_bytes)), BUCKET, "parts", Config=transfer)
        return bool(server.boto.head_object(Bucket=BUCKET, Key="parts")["ContentLength"] == parts_bytes)

    def put() -> bool:
        body = io.BufferedReader(Stream(put_bytes), 1024**2)
        headers = {
            "Content-Length": str(put_bytes),
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(in_one)).decode(),
        }
        connection = http.client.HTTPConnection(server.address, timeout=600)
        connection.request("PUT", f"/{BUCKET}/one", body, headers)
        return connection.getresponse().status == 200

    def get(key: str, digest: str) -> bool:
        connection = http.client.HTTPConnection(server.address, timeout=600)
        connection.request("GET", f"/{BUCKET}/{key}")
        with connection.getresponse() as answer:
            return _digest(answer) == digest

    def end(key: str, size_bytes: int) -> bool:
        stream = Stream(size_bytes)
        stream._position = size_bytes - 100
        wanted = f"bytes={size_bytes - 100}-"
        return bool(server.boto.get_object(Bucket=BUCKET, Key=key, Range=wanted)["Body"].read() == stream.read())

    yield f"put {_mib(parts_bytes)} in parts", parts_bytes, upload
    yield f"get {_mib(parts_bytes)}", parts_bytes, lambda: get("parts", in_parts)
    yield "get its last 100 bytes", 100, lambda: end("parts", parts_bytes)
    yield f"put {_mib(put_bytes)} at once", put_bytes, put
    yield f"get {_mib(put_bytes)}", put_bytes, lambda: get("one", in_one)
    yield "get its last 100 bytes", 100, lambda: end("one", put_bytes)


def run_large(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Print what large objects cost. Raises BenchFailed if one comes back different, or memory grows with them."""
    facts = describe(scratch)
    parts_bytes, put_bytes = (96, 64) if options.quick else (5 * 1024, 4 * 1024)
    rows = []
    with running((APPLIANCES[0],), scratch) as (server,):
        server.exchange(server.call("PUT", ""))
        for name, size_bytes, step in large_steps(server, parts_bytes * 1024**2, put_bytes * 1024**2):
            started = time.monotonic()
            if not step():
                raise BenchFailed(f"{name}: it is not what was put")
            rows.append((name, size_bytes, time.monotonic() - started, server.peak_rss_bytes()))
    print_table(
        ["Large objects, durable", "time", "speed", "peak memory"],
        ([n, f"{s:.2f} s", f"{b / s / 1e6:.0f} MB/s" if b > 100 else "-", f"{r / 1e6:.0f} MB"] for n, b, s, r in rows),
    )
    if rows[-1][-1] > LARGE_RSS_BYTES:
        raise BenchFailed(f"{rows[-1][-1] / 1e6:.0f} MB of memory is more than {LARGE_RSS_BYTES / 1e6:.0f} MB")
    return {"machine": facts, "steps": rows}


TABLES: dict[str, tuple[str, Callable[[argparse.Namespace, Path], dict[str, Any]]]] = {
    "s3": ("the S3 gateway beside moto's server and rclone serve s3", run_s3),
    "large": ("objects of 4 and 5 GiB, and the memory they take", run_large),
    "external": ("other stores' objects coming in and going out, beside rclone and aws", bench_external.measure),
    "mount": ("the mount beside an ordinary directory, s3fs and rclone", bench_mount.measure),
    "pipelines": ("what datums cost beside their commands", bench_pipelines.measure),
    "store": ("the store with a million files beside one with few", bench_store.measure),
}


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the appliance beside other servers.")
    tables = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, (text, _) in TABLES.items():
        table = tables.add_parser(name, help=text, description=f"Measures {text}.")
        table.add_argument(
            "--rounds", type=int, default=5, metavar="N", choices=range(1, 101), help="measure N times (default 5)"
        )
        table.add_argument("--quick", action="store_true", help="less of everything: to see that it works")
        table.add_argument("--json", type=Path, metavar="FILE", help="write the raw numbers to FILE")
        table.add_argument("--directory", type=Path, metavar="DIR", help="where the servers keep their data for the while")
        if name == "mount":
            bench_mount.add_options(table)
        if name == "external":
            bench_external.add_options(table)
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, and clean up whatever happens."""
    options = parse_options(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=options.directory))
    tempfile.tempdir = str(scratch)
    try:
        numbers = TABLES[options.table][1](options, scratch)
    except (BenchFailed, OSError, BotoCoreError, ClientError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if options.json is not None:
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
