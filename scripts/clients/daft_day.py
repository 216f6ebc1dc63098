"""Daft: a partitioned table of Parquet files, by Amazon's SDK for Rust."""

import os
import sys

import daft
from daft.io import IOConfig, S3Config

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
