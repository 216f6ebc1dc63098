"""An appliance as a process of its own, to be killed; and what is raised when it did not keep a promise."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY_S = 60


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass(slots=True)
class Serving:
    """A process that serves a data directory."""

    process: "subprocess.Popen[str]"
    data: Path
    endpoint: str

    def end(self, number: int) -> None:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        self.process.communicate(timeout=_READY_S)


@contextmanager
def serving(data: Path, log: Path, durability: str = "durable") -> Iterator[Serving]:
    """Serve a directory, with what it complains of in `log`; killed at the end if it is still there."""
    options = ("--data", str(data), "--s3-address", "127.0.0.1:0", "--no-mount", "--durability", durability)
    command = [sys.executable, "-m", "appliance", "serve", *options]
    with log.open("a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield Serving(process, data, _find_endpoint(process))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _find_endpoint(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := re.search(r"http://[0-9.:]+", said):
            return found[0]
    raise Broken(f"serve has ended: {said}")
