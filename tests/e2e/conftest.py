"""An appliance as users run it: a process of its own, everything open, commands as processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from appliance.pipelines.process import probe_namespaces

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class Appliance:
    """One data directory, and the process that serves it now, if any."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.data = directory, directory / "data"
        self.ready_file, self.mount = directory / "ready.json", directory / "pfs"
        self.mount.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.environment |= {"APPLIANCE_HOME": str(self.data), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def start(self, *options: str) -> "Appliance":
        """Serve until ready; its first line of output is written when every door is open."""
        command = [str(BIN / "appliance"), "serve", "--s3-address", "127.0.0.1:0", "--mount", str(self.mount), *options]
        with (self.directory / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(self.ready_file)],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), (self.directory / "stderr").read_text()
        self.facts = json.loads(self.ready_file.read_text())
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=20)
        return self.process.returncode

    def run(self, *command: str, status: int = 0, stdin: str | None = None) -> str:
        """Run a command; return what it printed, on stderr if it was to fail."""
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    def pachctl(self, *words: str, status: int = 0, stdin: str | None = None) -> str:
        """Run a command of ours."""
        return self.run(str(BIN / "pachctl"), *words, status=status, stdin=stdin)

    def create_pipeline(self, status: int = 0, **spec: Any) -> str:
        """Create a pipeline from the fields of its spec."""
        return self.pachctl("create", "pipeline", "-f", "-", stdin=json.dumps(spec), status=status)

    @property
    def s3(self) -> Any:
        """An S3 client."""
        return s3_client(self.facts["s3_endpoint"])


def s3_client(endpoint: str, *, secret: str = "key") -> Any:
    """Return a client that does not try again."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="key",
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )


def wait_until(done: Any, seconds: float = 30) -> None:
    """Ask a few times a second until something outside of this process is so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        os.sched_yield()


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Appliance]:
    """An appliance that is not running yet; ended in any case."""
    appliance = Appliance(tmp_path)
    try:
        yield appliance
    finally:
        if appliance.process is not None and appliance.process.poll() is None:
            appliance.stop()


@pytest.fixture
def appliance(stopped: Appliance) -> Appliance:
    """A running appliance."""
    return stopped.start("--durability", "fast")


@pytest.fixture
def namespaces() -> None:
    """Skip where user code can not have a /pfs of its own."""
    if problem := probe_namespaces():
        pytest.skip(problem)
