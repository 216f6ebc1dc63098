"""Somebody else's object stores for tests: real servers as processes, and a small one that follows a script."""

import queue
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

import boto3
from botocore.config import Config

from appliance.external.credentials import Profile, Profiles
from appliance.external.urls import ObjectUrl, parse_url

KEY_ID = "AKIAEXAMPLE"
SECRET = "very-secret-and-never-shown"


@dataclass(frozen=True)
class Remote:
    """A bucket at a server, a boto3 client that sees it as anybody does, and profiles that fit."""

    endpoint: str
    bucket: str
    client: Any
    profiles: Profiles

    def url(self, key: str = "") -> ObjectUrl:
        return parse_url(f"s3://{self.bucket}/{key}?endpoint={self.endpoint}")

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body


class Scripted(ThreadingHTTPServer):
    """A server that answers every PUT with the next status of a script, then with 200; a HEAD finds nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedHandler)
        self.script: list[int] = []
        self.puts = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _ScriptedHandler(BaseHTTPRequestHandler):
    server: Scripted

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts += 1
        self._answer(self.server.script.pop(0) if self.server.script else 200)

    def do_HEAD(self) -> None:
        self._answer(404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"etag"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def a_profile(endpoint: str | None, **changes: Any) -> Profile:
    values: dict[str, Any] = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "region": "us-east-1"}
    return Profile(provider="amazon", endpoint=endpoint, **(values | changes))


@contextmanager
def open_bucket_at(endpoint: str, profiles: Profiles) -> Iterator[Remote]:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    bucket = f"bucket-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    profiles.put(a_profile(endpoint))
    yield Remote(endpoint, bucket, client, profiles)
    client.close()


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """Run a server until the end; gives the address it says it listens on."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_find_address, args=(process.stderr, found))
        reader.start()
        try:
            yield found.get(timeout=30)
        finally:
            process.terminate()
            process.wait(timeout=30)
            reader.join()


def _find_address(output: IO[str], found: "queue.SimpleQueue[str]") -> None:
    """Put the first address into `found`, then read on, for a full pipe would stop the server."""
    for line in output:
        if address := re.search(r"http://127\.0\.0\.1:\d+", line):
            found.put(address[0])
            break
    for _ in output:
        pass
