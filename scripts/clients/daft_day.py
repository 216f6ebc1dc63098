"""Daft: a partitioned table of Parquet files, by Amazon's SDK for Rust."""

import os

import daft
from daft.io import IOConfig, S3Config
from table_day import spend

E = os.environ
CONFIG = IOConfig(
    s3=S3Config(
        endpoint_url=E["ENDPOINT"],
        key_id=E["KEY"],
        access_key=E["KEY"],
        region_name="us-east-1",
        force_virtual_addressing=False,
        use_ssl=E["ENDPOINT"].startswith("https:"),
    )
)


def write(part: str, first: int) -> None:
    frame = daft.from_pydict({"part": [part] * 1000, "n": list(range(first, first + 1000))})
    frame.write_parquet(f"s3://{E['BUCKET']}/table", partition_cols=["part"], io_config=CONFIG)


def total(bucket: str) -> int:
    frame = daft.read_parquet(f"s3://{bucket}/table/**/*.parquet", io_config=CONFIG)
    return int(frame.sum("n").to_pydict()["n"][0])


spend(write, total)
