"""deltalake: a Delta table.

Its commits are conditional puts; `old` reads an older commit of the branch, not an older version of the table.
"""

import os

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from table_day import spend

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


def delete() -> None:
    DeltaTable(TABLE, storage_options=OPTIONS).delete()
    assert total(E["BUCKET"]) == 0


spend(write, total, delete=delete)
