"""pyarrow: a partitioned dataset of Parquet files."""

import os
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs
from table_day import spend

E = os.environ
url = urlsplit(E["ENDPOINT"])
s3 = fs.S3FileSystem(
    access_key=E["KEY"],
    secret_key=E["KEY"],
    region="us-east-1",
    scheme=url.scheme,
    endpoint_override=url.netloc,
    allow_bucket_creation=True,
    **({"tls_ca_file_path": E["CA"]} if E["CA"] else {}),
)
PARTS = ds.partitioning(pa.schema([("part", pa.string())]), flavor="hive")


def write(part: str, first: int) -> None:
    table = pa.table({"part": [part] * 1000, "n": list(range(first, first + 1000))})
    ds.write_dataset(
        table,
        f"{E['BUCKET']}/table",
        filesystem=s3,
        format="parquet",
        partitioning=PARTS,
        existing_data_behavior="overwrite_or_ignore",
        basename_template=f"{first}-{{i}}.parquet",
    )


def total(bucket: str) -> int:
    table = ds.dataset(f"{bucket}/table", filesystem=s3, format="parquet", partitioning=PARTS).to_table()
    return int(pc.sum(table["n"]).as_py())


spend(
    write,
    total,
    make=lambda: s3.create_dir(E["BUCKET"]),
    delete=lambda: s3.delete_dir(f"{E['BUCKET']}/table"),
)
