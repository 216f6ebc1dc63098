"""DuckDB with its extension httpfs: a partitioned table of Parquet files. Deleting is not a thing of DuckDB's."""

import os
from urllib.parse import urlsplit

import duckdb
from duckdb_extensions import import_extension
from table_day import spend

E = os.environ
url = urlsplit(E["ENDPOINT"])
import_extension("httpfs")
db = duckdb.connect()
db.execute("LOAD httpfs")
db.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{E['KEY']}', SECRET '{E['KEY']}', REGION 'us-east-1', ENDPOINT '{url.netloc}',"
    f" URL_STYLE 'path', USE_SSL {str(url.scheme == 'https').lower()})"
)
if E["CA"]:
    db.execute(f"SET ca_cert_file = '{E['CA']}'")


def write(part: str, first: int) -> None:
    db.execute(
        f"COPY (SELECT '{part}' AS part, range AS n FROM range({first}, {first + 1000}))"
        f" TO 's3://{E['BUCKET']}/table' (FORMAT parquet, PARTITION_BY part, OVERWRITE_OR_IGNORE)"
    )


def total(bucket: str) -> int:
    found = db.execute(f"SELECT sum(n) FROM read_parquet('s3://{bucket}/table/*/*.parquet', hive_partitioning = true)")
    return int(found.fetchall()[0][0])


spend(write, total)
