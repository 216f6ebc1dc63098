"""What `scripts/demo` shows. Each step prints the command it runs; what a step claims it also checks."""

import contextlib
import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BIN = HERE.parent / ".venv" / "bin"
RESULTS = HERE / "labresults"
BUCKET = "clinic"
# The seeds' example copies through this directory, and it runs unchanged.
EXAMPLE_DIRECTORY = Path("/tmp/result")

S3_PIPELINE = {
    "pipeline": {"name": "s3_protocol_enabled_pipeline"},
    "input": {"pfs": {"glob": "/", "repo": "labresults", "name": "labresults", "s3": True}},
    "transform": {
        "cmd": ["sh"],
        "stdin": [
            "set -x && mkdir -p /tmp/result && aws --endpoint-url $S3_ENDPOINT s3 ls && aws --endpoint-url $S3_ENDPOINT"
            " s3 cp s3://labresults/ /tmp/result/ --recursive && aws --endpoint-url $S3_ENDPOINT s3 cp /tmp/result/"
            " s3://out --recursive"
        ],
    },
    "s3_out": True,
}

STATISTICS = """\
import csv, pathlib, statistics
for batch in pathlib.Path("/pfs/batches").iterdir():
    rows = list(csv.DictReader(batch.open()))
    lines = [f"{batch.stem}: {len(rows)} patients"]
    for code, name in (("B", "benign"), ("M", "malignant")):
        areas = [float(row["area_mean"]) for row in rows if row["diagnosis"] == code]
        lines.append(f"  {name:9} {len(areas):3}   mean cell area {statistics.mean(areas):7.1f}")
    pathlib.Path("/pfs/out", batch.stem + ".txt").write_text("\\n".join(lines) + "\\n")
"""

STATISTICS_PIPELINE = {
    "pipeline": {"name": "statistics"},
    "description": "How large the cell nuclei of each batch are",
    "input": {"pfs": {"repo": "s3_protocol_enabled_pipeline", "name": "batches", "glob": "/*"}},
    "transform": {"cmd": ["python3"], "stdin": STATISTICS.splitlines()},
    "parallelism_spec": {"constant": 2},
    "egress": {"URL": f"s3://{BUCKET}/statistics"},
}


class DemoFailed(Exception):
    """Something the demo claims is not true here."""


def claim(what: str, is_true: object) -> None:
    """Say what was checked, or stop."""
    if not is_true:
        raise DemoFailed(what)
    print(f"    \033[32m✓\033[0m {what}" if sys.stdout.isatty() else f"    ✓ {what}", flush=True)


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


class Shell:
    """Runs commands as a person would and shows them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def run(self, *command: str, show: bool = True) -> str:
        """Run a command; return its output, which is shown indented unless told otherwise."""
        print("  $ " + " ".join(_quote(word) for word in command), flush=True)
        output = self.ask(*command)
        if show:
            print("".join(f"    {line}\n" for line in output.splitlines()), end="", flush=True)
        return output

    def ask(self, *command: str) -> str:
        """Run a command of our own that is no part of the story."""
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise DemoFailed(f"{command[0]} exited with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


def _quote(word: str) -> str:
    shown = word.replace(str(HERE.parent) + "/", "")
    return f"'{shown}'" if " " in shown else shown


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for a while; it is stopped in any case."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: subprocess.Popen[bytes], log: Path, look: Any, what: str) -> Any:
    """Return what `look` finds, asking every few milliseconds for at most 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(f"{what} did not start: {log.read_text().strip()}")
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise DemoFailed(f"{what} was not ready in 20 seconds: {log.read_text().strip()}")


def find_moto(log: Path) -> str | None:
    """Return the address the moto server printed."""
    words = log.read_text().split()
    return next((word for word in words if word.startswith("http://127.0.0.1:")), None)


def choose_mount(directory: Path) -> Path:
    """Return where to mount: /pfs itself if it is there, empty and ours, else a directory of our own."""
    pfs = Path("/pfs")
    try:
        if os.geteuid() == 0 and not os.path.ismount(pfs) and not any(pfs.iterdir()):
            return pfs
    except OSError:
        pass
    directory.mkdir()
    return directory


class Demo:
    """The story, step by step."""

    def __init__(self, scratch: Path, outside: str, ready: dict[str, Any], shells: tuple[Shell, Shell]) -> None:
        self.scratch, self.outside, self.ready = scratch, outside, ready
        self.sh, self.outside_sh = shells
        self.endpoint = ready["s3_endpoint"]
        self.first = ""
        self.timings: list[tuple[str, float]] = []

    def run(self) -> None:
        steps = [self.ingest, self.use_gateway, self.run_s3_pipeline]
        if no_pfs := self._find_problem():
            print(f"\nSkipped: the ordinary pipeline, which needs a /pfs of its own, and what follows from it: {no_pfs}")
        else:
            steps += [self.run_ordinary_pipeline, self.look_outside, self.look_inside]
        for step in steps:
            started = time.monotonic()
            step()
            self.timings.append((step.__name__.replace("_", " "), time.monotonic() - started))

    def aws(self, *words: str, show: bool = True) -> str:
        return self.sh.run("aws", "--endpoint-url", self.endpoint, *words, show=show)

    def ingest(self) -> None:
        heading("1  Ingress: from somebody else's object store into a versioned repo")
        self.sh.run(
            "pachctl", "deploy", "storage", "amazon", "us-east-1", "clinic-key", "clinic-secret", "--endpoint", self.outside
        )
        self.sh.run("pachctl", "create", "repo", "labresults")
        self.sh.run("pachctl", "put", "file", "labresults@master", "-r", "-f", f"s3://{BUCKET}/incoming")
        listing = self.sh.run("pachctl", "list", "file", "labresults@master")
        claim("six batches arrived in one commit", listing.count("batch-") == 6 and self._count_commits() == 1)
        self.first = self._head("labresults")

    def _count_commits(self) -> int:
        listed = self.sh.ask("pachctl", "list", "commit", "labresults@master", "--raw")
        return len(_parse_objects(listed))

    def _head(self, repo: str) -> str:
        inspected = self.sh.ask("pachctl", "inspect", "commit", f"{repo}@master", "--raw")
        head: str = _parse_objects(inspected)[0]["commit"]["id"]
        return head

    def use_gateway(self) -> None:
        heading("2  The global S3 gateway: every branch and every commit is a bucket")
        self.aws("s3", "ls")
        print("  The last batch arrived half; now it is complete:")
        self.aws("s3", "cp", str(RESULTS / "batch-06.csv"), "s3://master.labresults/batch-06.csv", "--no-progress")
        then, bucket, now = (self.scratch / name for name in ("then.csv", "bucket.csv", "now.csv"))
        key = ("--key", "batch-06.csv")
        self.aws("s3api", "get-object", "--bucket", "master.labresults", *key, "--version-id", self.first, str(then))
        self.aws("s3api", "get-object", "--bucket", f"{self.first}.labresults", *key, str(bucket), show=False)
        self.aws("s3api", "get-object", "--bucket", "master.labresults", *key, str(now), show=False)
        claim("the version id and the commit's bucket give the same earlier file", then.read_bytes() == bucket.read_bytes())
        claim("it is the half that had arrived then", then.read_bytes() == half_of_last_batch())
        claim("the branch has the whole file now", now.read_bytes() == (RESULTS / "batch-06.csv").read_bytes())

    def _find_problem(self) -> str | None:
        """Return why user code can have no /pfs here, if so, in the appliance's words."""
        facts = _parse_objects(self.sh.ask("pachctl", "inspect", "appliance", "--raw"))[0]
        return next((notice for notice in facts["notices"] if "pipelines" in notice), None)

    def run_s3_pipeline(self) -> None:
        heading("3  An S3-enabled pipeline: its command talks to its job's own gateway")
        print("  Its command is the one of Pachyderm's documentation:")
        print(f"    {S3_PIPELINE['transform']['stdin'][0]}")  # type: ignore[index]
        self._create(S3_PIPELINE)
        listing = self.sh.run("pachctl", "list", "job", "--expand")
        claim("the job succeeded", "success" in listing)
        self.sh.run("pachctl", "list", "file", "s3_protocol_enabled_pipeline@master")

    def run_ordinary_pipeline(self) -> None:
        heading("4  An ordinary pipeline on its output: reads /pfs/batches, writes /pfs/out, and the result leaves by egress")
        self._create(STATISTICS_PIPELINE)
        datums = self.sh.run("pachctl", "list", "datum", f"statistics@{self._job('statistics')}")
        claim("each of the six files was a datum, and went well", datums.count("success") == datums.count("batch-") == 6)

    def _create(self, spec: dict[str, Any]) -> None:
        name = spec["pipeline"]["name"]
        file = self.scratch / f"{name}.json"
        file.write_text(json.dumps(spec, indent=2))
        self.sh.run("pachctl", "create", "pipeline", "-f", str(file))
        self.sh.run("pachctl", "wait", "job", f"{name}@{self._job(name)}", show=False)

    def _job(self, pipeline: str) -> str:
        listed = self.sh.ask("pachctl", "list", "job", "-p", pipeline, "--raw")
        job: str = _parse_objects(listed)[0]["id"]
        return job

    def look_outside(self) -> None:
        heading("5  Egress: the statistics are in the other object store")
        listing = self.outside_sh.run("aws", "--endpoint-url", self.outside, "s3", "ls", f"s3://{BUCKET}/statistics/")
        claim("six results were copied out", listing.count("batch-") == 6)

    def look_inside(self) -> None:
        heading("6  What came out, and what it was made from")
        if self.ready["mount"]:
            mounted = Path(self.ready["mount"]) / "statistics"
            text = self.sh.run("cat", *(str(mounted / f"batch-0{number}.txt") for number in (1, 6)))
        else:
            text = "".join(
                self.sh.run("pachctl", "get", "file", f"statistics@master:/batch-0{number}.txt") for number in (1, 6)
            )
        claim("the numbers are those of the published table", text == expected_statistics(1) + expected_statistics(6))
        self.sh.run("pachctl", "list", "commit", "labresults@master")
        inspected = self.sh.run("pachctl", "inspect", "commit", "statistics@master")
        claim("the result's provenance is the very commit it was computed from", self._head("labresults") in inspected)


def half_of_last_batch() -> bytes:
    """The first half of the rows of the last batch: what the clinic has sent so far."""
    lines = (RESULTS / "batch-06.csv").read_bytes().splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2])


def expected_statistics(number: int) -> str:
    """What the second pipeline must find, computed here from the published file."""
    rows = list(csv.DictReader((RESULTS / f"batch-0{number}.csv").open()))
    lines = [f"batch-0{number}: {len(rows)} patients"]
    for code, name in (("B", "benign"), ("M", "malignant")):
        areas = [float(row["area_mean"]) for row in rows if row["diagnosis"] == code]
        lines.append(f"  {name:9} {len(areas):3}   mean cell area {statistics.mean(areas):7.1f}")
    return "\n".join(lines) + "\n"


def _parse_objects(text: str) -> list[dict[str, Any]]:
    """Read JSON objects one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def fill_outside(sh: Shell, outside: str, scratch: Path) -> None:
    """Put the published results where a clinic would have them."""
    incoming = scratch / "incoming"
    incoming.mkdir()
    for file in sorted(RESULTS.glob("*.csv")):
        shutil.copy(file, incoming)
    (incoming / "batch-06.csv").write_bytes(half_of_last_batch())
    sh.ask("aws", "--endpoint-url", outside, "s3", "mb", f"s3://{BUCKET}")
    words = ("s3", "cp", str(incoming), f"s3://{BUCKET}/incoming", "--recursive", "--no-progress")
    sh.ask("aws", "--endpoint-url", outside, *words)


def play(scratch: Path) -> None:
    """Start both servers, tell the story, stop them."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "APPLIANCE_"))}
    base |= {"PATH": f"{BIN}:{base.get('PATH', '')}", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
    base |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    outside_env = base | {"AWS_ACCESS_KEY_ID": "clinic-key", "AWS_SECRET_ACCESS_KEY": "clinic-secret"}
    mount, data, ready = choose_mount(scratch / "pfs"), scratch / "data", scratch / "ready.json"
    env = base | {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "APPLIANCE_HOME": str(data)}
    serve = [
        str(BIN / "appliance"),
        "serve",
        "--s3-address",
        "127.0.0.1:0",
        "--mount",
        str(mount),
        "--ready-file",
        str(ready),
    ]
    moto_log, log = scratch / "outside.log", scratch / "appliance.log"
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        moto = stack.enter_context(running([str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", "0"], base, moto_log))
        process = stack.enter_context(running(serve, env, log))
        facts = wait_for(process, log, lambda: json.loads(ready.read_text()) if ready.exists() else None, "the appliance")
        print(f"The appliance was ready after {time.monotonic() - started:.1f} s:")
        print("".join(f"    {line}\n" for line in log.read_text().splitlines()), end="", flush=True)
        outside = wait_for(moto, moto_log, lambda: find_moto(moto_log), "the other object store")
        shells = (Shell(env), Shell(outside_env))
        print("Somebody else's object store, with published laboratory results (see scripts/labresults/README.md):")
        fill_outside(shells[1], outside, scratch)
        demo = Demo(scratch, outside, facts, shells)
        demo.run()
        stopping = time.monotonic()
    heading("How long it took")
    for name, seconds in (*demo.timings, ("stopping everything", time.monotonic() - stopping)):
        print(f"    {name:22} {seconds:5.1f} s")
    print("\nWhere to look next: README.md; or keep one of your own:")
    print("    .venv/bin/appliance serve          then, elsewhere: .venv/bin/pachctl list repo")


def main() -> int:
    """Play, and clean up whatever happens. The exit status says whether all of it was true."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if EXAMPLE_DIRECTORY.exists():
        print(f"demo: {EXAMPLE_DIRECTORY} exists and the example needs it: please move it away", file=sys.stderr)
        return 1
    scratch = Path(tempfile.mkdtemp(prefix="appliance-demo-"))
    try:
        play(scratch)
    except DemoFailed as failure:
        print(f"demo: not true: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(EXAMPLE_DIRECTORY, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
