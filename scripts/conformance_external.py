"""Objects to and from other people's object stores, many and large, and egress that is killed again and again.

For each provider a server is started: rclone's for Amazon, azurite for Microsoft, gcp-storage-emulator (behind the tests'
bridge) for Google. Files go out from a repo, are read with the provider's own client and compared, come in to another repo,
and are compared again; a second time nothing moves. Memory is the appliance's peak above what it took when idle. Kills: a
pipeline's egress goes through a relay that counts; none of the objects that were finished before a kill goes again.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from external import emulators
from external.relay import Relay, relayed, through
from external.servers import Remote, open_bucket_at, open_container_at, open_google_bucket_at

from appliance.client import Appliance as Client
from appliance.external.credentials import Profiles

T = TypeVar("T")
APPLIANCE = [sys.executable, "-m", "appliance"]
MIB = 1 << 20
LARGEST_GROWTH = 150 * MIB
# Beside numbers: what keys may have in them, and an empty object.
ODD_NAMES = ["a b.csv", "a+b.csv", "100%.csv", "a%20b.csv", "données/é ü.csv", "q?r#s~[t]&u=v.csv", "深い/場所/x", "empty"]


class Wrong(Exception):
    """Something is not as it has to be."""


def check(fact: object, text: str) -> None:
    """Raise Wrong unless something is so."""
    if not fact:
        raise Wrong(text)


# -- files


def make_files(directory: Path, count: int, large_bytes: int) -> dict[str, str]:
    """Write files of many names, one of them large, and return the digest of each."""
    source = random.Random(count)
    names = [*ODD_NAMES, *(f"d{number % 20:02}/{number:05}" for number in range(count - len(ODD_NAMES) - 1))]
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"" if name == "empty" else source.randbytes(source.randrange(1, 2000)))
    with (directory / "large").open("wb") as file:
        for _ in range(large_bytes // MIB):
            file.write(source.randbytes(MIB))
    return digests(directory)


def digests(directory: Path) -> dict[str, str]:
    """Return the digest of each file below a directory."""
    found = {}
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digests_there(remote: Remote, prefix: str) -> dict[str, str]:
    """Return the digest of each object, as the provider's own client reads it."""
    found = {}
    for key in remote.list_keys():
        digest = hashlib.sha256()
        for piece in remote.pieces(key):
            digest.update(piece)
        found[key.removeprefix(prefix)] = digest.hexdigest()
    return found


def same(found: dict[str, str], wanted: dict[str, str], what: str) -> None:
    """Raise Wrong unless two places hold the same files."""
    differing = [name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)]
    check(not differing, f"{what}: {len(differing)} of {len(wanted)} differ, {sorted(differing)[:3]} among them")


# -- what runs


@dataclass
class Appliance:
    """An appliance that runs."""

    data: Path
    process: subprocess.Popen[bytes]
    idle_bytes: int = 0

    def ask(self, *arguments: str | Path, text: str = "") -> str:
        """Run a command and return what it prints."""
        command = [*APPLIANCE, *map(str, arguments)]
        environment = {**os.environ, "APPLIANCE_HOME": str(self.data)}
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def memory(self, name: str) -> int:
        """VmRSS or VmHWM, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0


@contextmanager
def serving(data: Path) -> Iterator[Appliance]:
    """Run an appliance until the end, or until it is killed."""
    command = [*APPLIANCE, "serve", "--data", str(data), "--no-mount", "--s3-address", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        appliance = Appliance(data, process)
        appliance.ask("wait", "appliance")
        appliance.idle_bytes = appliance.memory("VmRSS")
        for repo in ("out", "in", "source"):
            Client(data).call("create_repo", repo=repo, update=True)
        yield appliance
    finally:
        process.terminate()
        process.wait()


@contextmanager
def amazon(scratch: Path, profiles: Profiles) -> Iterator[Remote]:
    with emulators.rclone(scratch / "served") as endpoint, open_bucket_at(endpoint, profiles) as remote:
        yield remote


@contextmanager
def microsoft(scratch: Path, profiles: Profiles) -> Iterator[Remote]:
    with emulators.azurite(scratch / "served") as endpoint, open_container_at(endpoint, profiles) as remote:
        yield remote


@contextmanager
def google(_scratch: Path, profiles: Profiles) -> Iterator[Remote]:
    with emulators.google() as servers:
        yield open_google_bucket_at(*servers, profiles)


PROVIDERS = {"amazon": amazon, "microsoft": microsoft, "google": google}


# -- both directions


def move(remote: Remote, data: Path, scratch: Path, options: argparse.Namespace) -> None:
    """Send files out and take them in again. Raises Wrong."""
    files = make_files(scratch / "files", options.objects, options.large * MIB)
    there = remote.text("to")
    with serving(data) as appliance:
        appliance.ask("put", "file", "out@master:/", "-r", "-f", scratch / "files")
        copied = measured(appliance, options, "out", lambda client: client.get_to_url("out@master:/", there, recursive=True))
        same(digests_there(remote, "to/"), files, "what went out")
        check((copied.uploaded, copied.skipped) == (0, len(files)), f"the second time: {copied}")
        put = measured(appliance, options, "in", lambda client: client.put_url("in@master:/", there, recursive=True))
        appliance.ask("get", "file", "in@master:/", "-r", "-o", scratch / "back")
        same(digests(scratch / "back"), files, "what came in")
        check((put.size_bytes, put.unchanged) == (0, len(files)), f"the second time: {put}")
        appliance.ask("fsck")


def measured(appliance: Appliance, options: argparse.Namespace, what: str, transfer: Callable[[Client], T]) -> T:
    """Do something twice, say what it took, and return what the second time gave. Raises Wrong if it took much memory."""
    Path(f"/proc/{appliance.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    client, began = Client(appliance.data), time.monotonic()
    transfer(client)
    first, began = time.monotonic() - began, time.monotonic()
    again = transfer(client)
    growth = appliance.memory("VmHWM") - appliance.idle_bytes
    said = f"{what}: {first:.1f} s, again {time.monotonic() - began:.1f} s, {growth / MIB:.0f} MiB above idle"
    print(f"{options.now}: {options.objects} objects, one of them of {options.large} MiB, {said}", flush=True)
    check(growth <= LARGEST_GROWTH, f"more than {LARGEST_GROWTH // MIB} MiB above idle")
    return again


# -- kills


def kill(remote: Remote, data: Path, scratch: Path, options: argparse.Namespace) -> None:
    """Kill the appliance during a pipeline's egress, some times, and let it end. Raises Wrong."""
    files = make_files(scratch / "killed", options.objects, min(options.large, 200) * MIB)
    with relayed(remote.endpoint) as relay:
        endpoint = through(relay, remote.endpoint)
        profiles = Profiles(data)
        for profile in profiles.list_profiles():
            profiles.put(replace(profile, endpoint=endpoint, name="relay"))
        url = f"{remote.scheme}://{remote.bucket}/job?endpoint={endpoint}"
        spec = {
            "pipeline": {"name": "sent"},
            "input": {"pfs": {"repo": "source", "glob": "/"}},
            "transform": {"cmd": ["sh", "-c", "cp -r /pfs/source/. /pfs/out"]},
            "egress": {"URL": url},
        }
        finished = _killed(relay, data, scratch / "killed", json.dumps(spec), options)
        with serving(data) as appliance:
            appliance.ask("wait", "commit", "sent@master")
        check(not finished & set(relay.put[len(finished) :]), "an object that was finished went again")
    sent = {key: digest for key, digest in digests_there(remote, "job/").items() if not key.startswith("to/")}
    same(sent, files, "what a pipeline sent")
    print(f"{options.now}: egress of {len(files)} objects killed {options.kills} times: all there, none twice", flush=True)


def _killed(relay: Relay, data: Path, files: Path, spec: str, options: argparse.Namespace) -> set[str]:
    """Kill the appliance after so many uploads, and return what was uploaded then."""
    points = sorted(random.Random(options.kills).sample(range(1, options.objects), options.kills))
    for point in points:
        reached = threading.Event()
        relay.before = lambda _, point=point, reached=reached: reached.set() if len(relay.put) >= point else None
        with serving(data) as appliance:
            if point == points[0]:
                appliance.ask("put", "file", "source@master:/", "-r", "-f", files)
                appliance.ask("create", "pipeline", "-f", "-", text=spec)
            check(reached.wait(120), f"no {point} uploads in two minutes")
            os.kill(appliance.process.pid, signal.SIGKILL)
            appliance.process.wait()
        before = list(relay.put)
    relay.before = lambda _: None
    return set(before)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="scripts/conformance external", description=__doc__)
    parser.add_argument("--only", choices=PROVIDERS, help="one provider")
    parser.add_argument("--objects", type=int, default=5000, help="how many (5000)")
    parser.add_argument("--large", type=int, default=3072, metavar="MIB", help="size of the one that is large (3072)")
    parser.add_argument("--kills", type=int, default=5, help="how often egress is killed (5)")
    parser.add_argument("--quick", action="store_true", help="50 objects, one of 20 MiB, one kill")
    options = parser.parse_args(arguments)
    if options.quick:
        options.objects, options.large, options.kills = 50, 20, 1
    return options


def main() -> int:
    """Go through the providers; 1 if something was wrong."""
    options, failed = parse(), False
    for provider in [options.only] if options.only else PROVIDERS:
        with tempfile.TemporaryDirectory(prefix="appliance-external-") as directory:
            scratch, options.now = Path(directory), provider
            for name in ("served", "files", "killed", "back", "data"):
                (scratch / name).mkdir()
            try:
                with PROVIDERS[provider](scratch, Profiles(scratch / "data")) as remote:
                    move(remote, scratch / "data", scratch, options)
                    kill(remote, scratch / "data", scratch, options)
            except Wrong as error:
                print(f"{provider}: {error}")
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
