"""The directories that `scripts/bench mount` compares: an ordinary one, the appliance's mount, and those of s3fs and rclone.

The two work on moto's server, which keeps the same files in memory, with their settings as they come. Each can be taken
away and mounted anew, with nothing left of what it remembered.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench_mount_lines import Shape, small_files, write_big
from bench_mount_load import CLIENTS, KEYS

from appliance.mount import mountpoint
from appliance.store import Db, Store, blobs, files, history, repos

BIN = Path(__file__).resolve().parent.parent / ".venv" / "bin"
KEY = "bench"
REPO, SCRATCH, LOAD = "bench", "scratch", "load"
_WAIT_S = 60


class MountFailed(OSError):
    """Something does not mount or does not show what it should."""


def fill_store(directory: Path, shape: Shape) -> None:
    """Lay the data down as a repo, and make those that are written to."""
    store = Store(directory, "fast")
    for repo in (REPO, SCRATCH, LOAD):
        store.write(lambda db, repo=repo: repos.create_repo(db, repo))
    big = directory / "big.bin"
    write_big(big, shape.big_bytes)
    staged = store.blobs.copy_in(big)
    big.unlink()
    store.blobs.publish(staged)

    def put(db: Db, repo: str, contents: Iterable[tuple[str, bytes]]) -> None:
        writing = history.begin_write(db, repo, "master")
        if repo == REPO:
            files.put_file(db, writing.commit, "/big.bin", blobs.record(db, staged))
        for path, content in contents:
            with store.blobs.receive() as receiver:
                receiver.write(content)
                files.put_file(db, writing.commit, path, blobs.record(db, receiver.finish()))
        history.end_write(db, writing)

    store.write(lambda db: put(db, REPO, small_files(shape)))
    store.write(lambda db: put(db, LOAD, load_files()))
    store.close()


def load_files() -> Iterator[tuple[str, bytes]]:
    """Yield what is in the repo that S3 clients work on while others look at it."""
    for client in range(CLIENTS):
        for key in range(KEYS):
            yield f"/{client:02}/{key:03}", b"%d" % key


@dataclass
class Place:
    """Something to measure in: where it is read and where it can be written to."""

    name: str
    read: Path
    write: Path | None
    command: list[str] | None = None
    mounted: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    is_up: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    warm: Sequence[Path] = ()
    remembers: bool = True

    def start(self) -> None:
        """Mount it, if it is a mount. Raises MountFailed."""
        if self.command is None or self.mounted is None:
            return
        with self.mounted.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env={**_clean_environment(), **self.environment}, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _WAIT_S
        while not (self.is_up() and mountpoint.find_mount(self.mounted) is not None):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise MountFailed(f"{self.name} does not mount: {self.mounted.with_suffix('.log').read_text()[-500:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Take it away."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None
        while self.mounted is not None and mountpoint.find_mount(self.mounted) is not None:
            mountpoint.detach(self.mounted)

    def renew(self) -> None:
        """Mount it anew."""
        self.stop()
        self.start()


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "APPLIANCE_", "RCLONE_"))}


class Appliance(Place):
    """The appliance, in a process of its own as for everybody: durable, and with one repo that can be written to."""

    def __init__(self, directory: Path, data: Path) -> None:
        mounted = directory / "pfs"
        mounted.mkdir()
        self.data, self.ready = data, directory / "ready.json"
        options = ("--data", str(data), "--mount", str(mounted), "--write", SCRATCH, "--s3-address", "127.0.0.1:0")
        command = [sys.executable, "-m", "appliance", "serve", *options, "--ready-file", str(self.ready)]
        super().__init__("appliance", mounted / REPO, mounted / SCRATCH, command, mounted, is_up=self.ready.exists)
        self.warm = [data / "blobs", data / "appliance.db"]

    def start(self) -> None:
        self.ready.unlink(missing_ok=True)
        super().start()

    @property
    def address(self) -> str:
        """Where its gateway listens."""
        found: str = json.loads(self.ready.read_text())["s3_endpoint"]
        return found.removeprefix("http://")

    def ask(self, *words: str) -> str:
        """Run a command of the appliance. Raises MountFailed."""
        environment = {**_clean_environment(), "APPLIANCE_HOME": str(self.data)}
        command = [sys.executable, "-m", "appliance", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MountFailed(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout


def native(directory: Path) -> Place:
    """Return an ordinary directory with the data, and one beside it to write to."""
    write = directory.with_name("native-written")
    write.mkdir(exist_ok=True)
    return Place("native", directory, write)


@contextlib.contextmanager
def plain(directory: Path, source: Path) -> Iterator[Place]:
    """Show a directory through pyfuse3 and nothing else."""
    mounted = directory / "plain"
    mounted.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("bench_mount_plain.py")), str(source), str(mounted)]
    made = Place("pyfuse3", mounted, None, command, mounted, warm=[source / "big.bin", source / "small"], remembers=False)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def peers(directory: Path, source: Path) -> Iterator[list[Place]]:
    """Run moto's server with the files of a directory, for s3fs and rclone."""
    for program in ("s3fs", "fusermount3"):
        if shutil.which(program) is None:
            raise MountFailed(f"{program} is missing: apt-get install {'s3fs' if program == 's3fs' else 'fuse3'}")
    with _moto(directory) as endpoint:
        environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_REGION": "us-east-1"}
        environment |= {"RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENDPOINT": endpoint, "RCLONE_S3_ENV_AUTH": "true"}
        environment |= {"RCLONE_CONFIG": "", "XDG_CACHE_HOME": str(directory), "HOME": str(directory)}
        rclone = [str(BIN / "rclone")]
        copy = [*rclone, "copy", "--transfers", "8", str(source), f":s3:{REPO}"]
        done = subprocess.run(
            copy, env={**_clean_environment(), **environment}, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            raise MountFailed(f"rclone copy: {done.stderr[-500:]}")
        found = []
        for name in ("s3fs", "rclone"):
            mounted = directory / name
            mounted.mkdir()
            command = [*rclone, "mount", f":s3:{REPO}", str(mounted)]
            if name == "s3fs":
                options = f"url={endpoint},use_path_request_style,endpoint=us-east-1"
                command = ["s3fs", REPO, str(mounted), "-f", "-o", options]
            found.append(Place(name, mounted, None, command, mounted, environment))
        yield found


@contextlib.contextmanager
def _moto(directory: Path) -> Iterator[str]:
    log = directory / "moto.log"
    with log.open("wb") as output:
        command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, env=_clean_environment(), stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + _WAIT_S
        while not (found := [word for word in log.read_text().split() if word.startswith("http://127.0.0.1:")]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MountFailed(f"moto's server does not start: {log.read_text()[-500:]}")
            time.sleep(0.02)
        yield found[0]
    finally:
        process.terminate()
        process.wait()
