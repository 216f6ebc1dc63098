"""Engines as user code of S3-enabled pipelines: each reads the bucket of its input and writes to the bucket `out`.

What came out is read once more by the same engine through the global gateway, and compared; its commit has to be made from
that input. Each engine runs in an environment of its own, made once and kept outside the checkout.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "clients"))
from conformance_spark import packages
from installing import Needs, NotInstalled, cache
from serving import Server, serving

HERE = Path(__file__).parent / "engines"
SENSORS = ("north", "south", "east")
_JOB_S = 600


class Wrong(Exception):
    """An engine did not do what it should."""


@dataclass(frozen=True)
class Engine:
    """An engine: what it is installed from, and its script, which is told a bucket to read and one to write to.

    Told `-` instead of the second, it prints the totals that the first holds, as JSON.
    """

    name: str
    what: str
    needs: Needs

    @property
    def script(self) -> Path:
        return HERE / f"{self.name}_job.py"


ENGINES = (
    Engine("pandas", "pandas over s3fs", Needs(pip=["pandas", "s3fs", "pyarrow"])),
    Engine("delta", "a Delta table (deltalake)", Needs(pip=["deltalake", "pyarrow"])),
    Engine("duckdb", "DuckDB, httpfs", Needs(pip=["duckdb-extension-httpfs", "duckdb-extensions"])),
    Engine("kubeflow", "a Kubeflow pipeline (kfp, SubprocessRunner)", Needs(pip=["kfp>=2.14", "boto3"])),
    Engine("spark", "Spark, S3A, default committer", Needs(pip=["pyspark==4.1.1"], programs=["java"])),
)


def put_readings(server: Server, scratch: Path, count: int) -> tuple[str, dict[str, int]]:
    """Make the repo `readings` of three files; return its commit and the total of each sensor."""
    source, totals = random.Random(count), dict.fromkeys(SENSORS, 0)
    directory = scratch / "readings"
    directory.mkdir()
    for number in range(3):
        rows = [(source.choice(SENSORS), source.randrange(1000)) for _ in range(count)]
        for sensor, value in rows:
            totals[sensor] += value
        lines = ["sensor,value", *(f"{sensor},{value}" for sensor, value in rows)]
        (directory / f"{number}.csv").write_text("\n".join(lines) + "\n")
    server.ask("create", "repo", "readings")
    server.ask("put", "file", "readings@master:/", "-r", "-f", str(directory))
    head = json.loads(server.ask("inspect", "commit", "readings@master", "--raw"))
    return head["commit"]["id"], totals


class Run:
    """One engine's job, and the look at what came out."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self.server, self.engine = server, engine
        self.place = engine.needs.install(engine.name)
        self.spec = server.data.parent / f"{engine.name}.json"
        self.environment = {"PATH": engine.needs.path(self.place)}
        if engine.name == "spark":
            self.environment |= {"PACKAGES": packages(self.place), "IVY": str(cache() / "ivy")}

    def command(self, source: str, target: str) -> list[str]:
        return [str(self.place / "venv/bin/python"), str(self.engine.script), source, target]

    def job(self) -> None:
        """Run the engine as a pipeline, to the end of its job. Raises Wrong."""
        spec = {
            "pipeline": {"name": self.engine.name},
            "input": {"pfs": {"repo": "readings", "glob": "/", "s3": True}},
            "transform": {"cmd": self.command("readings", "out"), "env": self.environment},
            "s3_out": True,
            "datum_tries": 1,
            "job_timeout": f"{_JOB_S}s",
        }
        self.spec.write_text(json.dumps(spec))
        self.server.ask("create", "pipeline", "-f", str(self.spec))
        try:
            self.server.ask("wait", "commit", f"{self.engine.name}@master")
        except subprocess.CalledProcessError as error:
            logs = self.server.ask("logs", "-p", self.engine.name)
            raise Wrong(f"{_last_line(error.stderr)}: {_last_line(logs)}") from None

    def check(self, commit: str, totals: Mapping[str, int]) -> None:
        """Look whether the output has the totals and was made from the commit. Raises Wrong."""
        head = json.loads(self.server.ask("inspect", "commit", f"{self.engine.name}@master", "--raw"))
        if f"readings@{commit}" not in head["provenance"]:
            raise Wrong(f"its commit was made from {head['provenance']}")
        if (found := self.read_back()) != totals:
            raise Wrong(f"the totals are {found}")

    def read_back(self) -> object:
        endpoint = dict.fromkeys(("S3_ENDPOINT", "AWS_ENDPOINT_URL"), self.server.plain)
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "conformance")
        found = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        done = subprocess.run(
            self.command(f"master.{self.engine.name}", "-"),
            env={**found, **endpoint, **keys, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", **self.environment},
            capture_output=True,
            timeout=_JOB_S,
            check=False,
        )
        if done.returncode:
            raise Wrong(f"reading the output: {_last_line(done.stderr)}")
        return json.loads(done.stdout)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def try_engine(server: Server, engine: Engine, commit: str, totals: Mapping[str, int]) -> str:
    """Return what came of an engine."""
    try:
        run = Run(server, engine)
    except NotInstalled as error:
        return f"not installed: {error}"
    began = time.monotonic()
    try:
        run.job()
        took = time.monotonic() - began
        run.check(commit, totals)
    except Wrong as error:
        return str(error)
    print(f"{engine.name}: the job took {took:.1f} s", flush=True)
    return "passes"


def main(arguments: Sequence[str]) -> int:
    names = [engine.name for engine in ENGINES]
    parser = argparse.ArgumentParser(prog="scripts/conformance engines", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"repeatable: {', '.join(names)}")
    parser.add_argument("--rows", type=int, default=10_000, metavar="N", help="of each of the three input files")
    options = parser.parse_args(arguments)
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="engines-") as directory, serving(Path(directory)) as server:
        commit, totals = put_readings(server, Path(directory), options.rows)
        for engine in ENGINES:
            if engine.name in (options.only or names):
                outcomes[engine.what] = try_engine(server, engine, commit, totals)
    print("\n| engine in a job | |\n|---|---|")
    for what, outcome in outcomes.items():
        print(f"| {what} | {outcome} |")
    return int(any(outcome != "passes" and not outcome.startswith("not installed") for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
