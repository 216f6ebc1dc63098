"""deltalake: a Delta table.

Its commits are conditional puts; `old` reads an older commit of the branch, not an older version of the table.
"""

import os
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

E = os.environ
OPTIONS = {
    "aws_access_key_id": E["KEY"],
    "aws_secret_access_key": E["KEY"],
    "aws_region": "us-east-1",
    "aws_endpoint_url": E["ENDPOINT"],
    "aws_allow_http": "true",
    "aws_conditional_put": "etag",
    "aws_virtual_hosted_style_request": "false",
}
TABLE = f"s3://{E['BUCKET']}/table"


def write(part: str, first: int) -> None:
    table = pa.table({"part": [part] * 1000, "n": list(range(first, first + 1000))})
    write_deltalake(TABLE, table, mode="append", partition_by=["part"], storage_options=OPTIONS)


def total(bucket: str) -> int:
    table = DeltaTable(f"s3://{bucket}/table", storage_options=OPTIONS).to_pyarrow_table()
    return sum(table["n"].to_pylist())


match sys.argv[1]:
    case "write":
        write("a", 0)
        write("b", 1000)
    case "read":
        print(total(E["BUCKET"]))
    case "more":
        write("c", 2000)
    case "old":
        print(total(E["OLD"]))
    case "delete":
        DeltaTable(TABLE, storage_options=OPTIONS).delete()
        assert total(E["BUCKET"]) == 0
sys.stdout.flush()
os._exit(0)  # its threads outlive the interpreter and abort it
