"""A working day of every S3 client against an appliance, over HTTP and TLS; what came of each step is looked at from here.

Each client runs in an environment of its own, made once and kept outside the checkout. The table that is printed last stands
in the README.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "clients"))
from days import CLIENTS, FILES, TABLES, Client
from installing import NotInstalled
from serving import Server, serving

KEY = "conformance"
_STEP_S = 600
_SUMS = {"read": sum(range(2000)), "old": sum(range(2000))}


class Wrong(Exception):
    """A client did not get what it should."""


@dataclass(frozen=True)
class Day:
    """Sizes of a day, and the files of it."""

    files: int
    big_bytes: int
    up: Path
    big: Path
    new: Path

    @classmethod
    def make(cls, scratch: Path, files: int, big_bytes: int) -> "Day":
        up, source = scratch / "up", random.Random(files)
        for number in range(files):
            directory = up / f"d{number % 20:02}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"f{number:04}.txt").write_bytes(source.randbytes(source.randrange(1, 2000)))
        (scratch / "new").write_text("the new content\n")
        with (scratch / "big").open("wb") as file:
            for _ in range(big_bytes // 2**20):
                file.write(source.randbytes(2**20))
        return cls(files, big_bytes, up, scratch / "big", scratch / "new")


@dataclass
class Outcome:
    """How a client's day went: seconds by step, the step that failed."""

    client: Client
    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""

    @property
    def cell(self) -> str:
        return f"{self.failed} fails" if self.failed else "all pass"


class Run:
    """One client's day over one wire."""

    def __init__(
        self, server: Server, day: Day, client: Client, place: Path, scratch: Path, *, tls: bool, auth: bool
    ) -> None:
        self.server, self.day, self.client, self.place = server, day, client, place
        self.user = "".join(letter for letter in client.name.lower() if letter.isalnum())
        self.repo = f"{self.user}{'tls' if tls else ''}"
        self.bucket = f"master.{self.repo}"
        self.down, work = scratch / "down", scratch / "work"
        for directory in (self.down, work):
            directory.mkdir(parents=True)
        self.before, self.key = "", server.token(self.user) if auth else KEY
        ca = str(server.ca) if tls else ""
        trust = (
            dict.fromkeys(("SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"), ca) if tls else {}
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_", "S3_"))},
            **trust,
            "PATH": client.needs.path(place),
            "PLACE": str(place),
            "ENDPOINT": server.tls if tls else server.plain,
            "KEY": self.key,
            "BUCKET": self.bucket,
            "UP": str(day.up),
            "BIG": str(day.big),
            "NEW": str(day.new),
            "DOWN": str(self.down),
            "WORK": str(work),
            "CA": ca,
        }

    def all_steps(self) -> Outcome:
        """Go through the day, to its end or to the first thing that is wrong."""
        outcome = Outcome(self.client)
        if "make" not in self.client.steps:
            self.server.make(self.repo, self.user if self.key != KEY else None)
        for step in self.client.steps:
            began = time.monotonic()
            try:
                self.step(step)
            except Wrong as error:
                print(f"{self.client.name}: {error}")
                outcome.failed = step
                return outcome
            outcome.seconds[step] = time.monotonic() - began
        return outcome

    def step(self, step: str) -> None:
        """Let the client do one thing, and look whether it is done. Raises Wrong."""
        if step in ("again", "overwrite", "more"):
            self.before = self.server.head(self.bucket)
        said = self.tell(step)
        check = getattr(self, f"check_{step}", None)
        if check is not None:
            check(said)

    def tell(self, step: str) -> str:
        old = f"{self.before}.{self.repo}"
        environment = {**self.environment, "OLD": old}
        command = self.client.command(self.place, step)
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_STEP_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Wrong(f"not done after {_STEP_S} s") from None
        if done.returncode:
            told = (done.stderr + done.stdout).splitlines()
            lines = [line for line in told if any(letter.isalpha() for letter in line)]
            raise Wrong(lines[-1][:300] if lines else f"status {done.returncode}")
        return done.stdout.strip()

    # -- what has to be so afterwards

    def check_up(self, said: str) -> None:
        if self.client.hidden:
            return
        self._check_stored("/data", self.day.files)

    def _check_stored(self, below: str, count: int) -> None:
        pattern = f"{self.repo}@master:{below}/**" if below != "/table" else f"{self.repo}@master:{below}/**.parquet"
        raw = self.server.ask("glob", "file", pattern, "--raw")
        found = [item for item in _objects(raw) if not item["is_dir"]]
        if len(found) != count:
            raise Wrong(f"{len(found)} files of {count} are there")

    def check_again(self, said: str) -> None:
        if self.server.head(self.bucket) != self.before:
            raise Wrong("something was transferred again")

    def check_down(self, said: str) -> None:
        if _digests(self.down / "data") != _digests(self.day.up):
            raise Wrong("what came down is not what went up")
        shutil.rmtree(self.down / "data")

    def check_big(self, said: str) -> None:
        if _digest(self.down / "big") != _digest(self.day.big):
            raise Wrong("the large file is not what it was")
        (self.down / "big").unlink()

    def check_overwrite(self, said: str) -> None:
        if self.server.ask("get", "file", f"{self.repo}@master:/data/d00/f0000.txt") != self.day.new.read_bytes():
            raise Wrong("the file has its old content")

    def check_list(self, said: str) -> None:
        if said != str(self.day.files):
            raise Wrong(f"{said} keys listed, {self.day.files} are there")

    def check_read(self, said: str) -> None:
        if said != str(_SUMS["read"]):
            raise Wrong(f"the sum is {said}")

    def check_old(self, said: str) -> None:
        if "list" not in self.client.steps:
            if said != str(_SUMS["old"]):
                raise Wrong(f"the sum in the old commit is {said}")
        elif _digest(self.down / "old") != _digest(self.day.up / "d00" / "f0000.txt"):
            raise Wrong("the old commit shows other content")

    def check_delete(self, said: str) -> None:
        if not self.client.hidden:
            self._check_stored("/data" if "list" in self.client.steps else "/table", 0)

    def check_remove(self, said: str) -> None:
        if self.repo in self.server.ask("list", "repo").decode().split():
            raise Wrong("the bucket is still there")


def _objects(raw: bytes) -> Iterator[dict[str, object]]:
    decoder, text, at = json.JSONDecoder(), raw.decode(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        while at < len(text) and text[at].isspace():
            at += 1


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _digests(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): _digest(path) for path in sorted(directory.rglob("*")) if path.is_file()}


def spend_day(server: Server, day: Day, client: Client, scratch: Path, wires: Sequence[str], *, auth: bool) -> list[str]:
    """Return the cells of a client's row."""
    try:
        place = client.needs.install(client.name.lower().replace(" ", "-"))
    except NotInstalled as error:
        return [f"not installed: {error}"] * len(wires)
    cells = []
    for wire in wires:
        if wire == "tls" and not client.tls:
            cells.append("the client can not be told whom to trust")
            continue
        own = scratch / f"{client.name}-{wire}".replace(" ", "-")
        outcome = Run(server, day, client, place, own, tls=wire == "tls", auth=auth).all_steps()
        shutil.rmtree(own, ignore_errors=True)
        spent = " ".join(f"{step} {seconds:.1f}" for step, seconds in outcome.seconds.items())
        print(f"{client.name}, {wire}: {outcome.cell} ({spent} s)", flush=True)
        cells.append(outcome.cell)
    return cells


def table(rows: Sequence[tuple[Client, Sequence[str]]], wires: Sequence[str]) -> str:
    """Return the table of the README."""
    head = f"| client | day | {' | '.join({'plain': 'HTTP', 'tls': 'TLS'}[wire] for wire in wires)} |"
    lines = [head, "|---" * (2 + len(wires)) + "|"]
    for client, cells in rows:
        full = FILES if "list" in client.steps or "up" in client.steps else TABLES
        left_out = [step for step in full if step not in client.steps]
        kind = "files" if full is FILES else "tables"
        day = f"{kind}, without {', '.join(left_out)}" if left_out else kind
        lines.append(f"| {client.name} | {day} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance clients", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="only this client; repeatable")
    parser.add_argument("--quick", action="store_true", help="few small files, and only clients that install in seconds")
    parser.add_argument("--plain", action="store_true", help="not over TLS")
    parser.add_argument(
        "--auth", action="store_true", help="with authentication: each client has a token, and roles on its own repo"
    )
    options = parser.parse_args(arguments)
    names = {client.name.lower() for client in CLIENTS}
    if unknown := {name.lower() for name in options.only or ()} - names:
        parser.error(f"no such client: {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    chosen = [client for client in CLIENTS if client.name.lower() in [name.lower() for name in options.only or names]]
    chosen = [client for client in chosen if client.quick or options.only or not options.quick]
    wires = ("plain",) if options.plain else ("plain", "tls")
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        scratch = Path(directory)
        day = Day.make(scratch, 40 if options.quick else 2000, (16 if options.quick else 200) * 2**20)
        with serving(scratch) as server:
            if options.auth:
                server.ask("auth", "activate")
            rows = [(client, spend_day(server, day, client, scratch, wires, auth=options.auth)) for client in chosen]
    print(f"\n{table(rows, wires)}")
    return int(any(cell != "all pass" and not cell.startswith("not installed") for _, cells in rows for cell in cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
