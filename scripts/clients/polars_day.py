"""polars: Parquet files."""

import os

import polars as pl
from table_day import spend

E = os.environ
OPTIONS = {
    "aws_access_key_id": E["KEY"],
    "aws_secret_access_key": E["KEY"],
    "aws_region": "us-east-1",
    "aws_endpoint_url": E["ENDPOINT"],
    "aws_allow_http": "true",
    "aws_virtual_hosted_style_request": "false",
}


def write(part: str, first: int) -> None:
    frame = pl.DataFrame({"n": list(range(first, first + 1000))})
    frame.write_parquet(f"s3://{E['BUCKET']}/table/part={part}/0.parquet", storage_options=OPTIONS)


def total(bucket: str) -> int:
    found = pl.scan_parquet(f"s3://{bucket}/table/**/*.parquet", storage_options=OPTIONS, hive_partitioning=True)
    return int(found.select(pl.col("n").sum()).collect().item())


spend(write, total)
