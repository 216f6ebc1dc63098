"""Spark writes a partitioned table to `s3a://master.REPO`, reads it, adds to it and reads an older commit, with the default
and the magic committer. Spark and its connectors come from the package registries, once, and need Java 17 or newer.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

HERE = Path(__file__).parent / "clients"
sys.path.insert(0, str(HERE))
from conformance_clients import KEY  # noqa: E402
from installing import Needs, NotInstalled, cache  # noqa: E402
from serving import Server, serving  # noqa: E402

_STEP_S = 1200


def packages(place: Path) -> str:
    """Return the connectors that fit the Hadoop and the Spark in an environment, as Spark names them."""
    (jars,) = place.glob("venv/lib/python*/site-packages/pyspark/jars")
    (hadoop,) = jars.glob("hadoop-client-api-*.jar")
    (core,) = jars.glob("spark-core_*.jar")
    scala, _, spark = core.stem.removeprefix("spark-core_").partition("-")
    version = hadoop.stem.rpartition("-")[2]
    return f"org.apache.hadoop:hadoop-aws:{version},org.apache.spark:spark-hadoop-cloud_{scala}:{spark}"


def tell(place: Path, server: Server, bucket: str, committer: str, step: str, old: str = "") -> str:
    """Let Spark do one thing and return the last line that it prints. Raises SystemExit."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PACKAGES": packages(place),
        "IVY": str(cache() / "ivy"),
        "ENDPOINT": server.plain,
        "KEY": KEY,
        "BUCKET": bucket,
        "OLD": old,
    }
    command = [str(place / "venv/bin/python"), str(HERE / "spark_day.py"), committer, step]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_STEP_S, check=False)
    if done.returncode:
        raise SystemExit(f"{committer} committer, {step}: {done.stderr[-3000:]}")
    return done.stdout.strip().rpartition("\n")[2]


def main(arguments: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="scripts/conformance spark", description=__doc__).parse_args(arguments)
    try:
        place = Needs(pip=["pyspark==4.1.1"], programs=["java"]).install("spark")
    except NotInstalled as error:
        print(f"not installed: {error}")
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory, serving(Path(directory)) as server:
        for committer in ("default", "magic"):
            bucket = f"master.spark{committer}"
            urlopen(Request(f"{server.plain}/{bucket}", method="PUT")).close()
            tell(place, server, bucket, committer, "write")
            head = server.head(bucket)
            tell(place, server, bucket, committer, "more")
            sums = (
                tell(place, server, bucket, committer, "read"),
                tell(place, server, bucket, committer, "old", f"{head}.spark{committer}"),
            )
            left = [
                line
                for line in server.ask("glob", "file", f"spark{committer}@master:/**").decode().splitlines()
                if "_temp" in line
            ]
            right = sums == (str(sum(range(3000))), str(sum(range(2000)))) and not left
            wrong += not right
            print(f"{committer} committer: {'all pass' if right else f'sums {sums}, left over {left}'}", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
