"""Lance: a table of its own format. Its manifests are conditional puts."""

import os

import lance
import pyarrow as pa
from table_day import spend

E = os.environ
OPTIONS = {
    "aws_access_key_id": E["KEY"],
    "aws_secret_access_key": E["KEY"],
    "aws_region": "us-east-1",
    "aws_endpoint": E["ENDPOINT"],
    "allow_http": "true",
    "aws_virtual_hosted_style_request": "false",
}
TABLE = f"s3://{E['BUCKET']}/table"


def write(part: str, first: int) -> None:
    table = pa.table({"part": [part] * 1000, "n": list(range(first, first + 1000))})
    lance.write_dataset(table, TABLE, mode="append" if first else "create", storage_options=OPTIONS)


def total(bucket: str) -> int:
    table = lance.dataset(f"s3://{bucket}/table", storage_options=OPTIONS).to_table()
    return sum(table["n"].to_pylist())


def delete() -> None:
    lance.dataset(TABLE, storage_options=OPTIONS).delete("true")
    assert total(E["BUCKET"]) == 0


spend(write, total, delete=delete)
