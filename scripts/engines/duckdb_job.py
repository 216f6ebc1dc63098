"""DuckDB with its extension httpfs: a query over all files of the input, and a partitioned table as output.

It reads no variables, so it is told the endpoint and the keys of the job.
"""

import json
import os
import sys
from urllib.parse import urlsplit

import duckdb
from duckdb_extensions import import_extension

source, target = sys.argv[1:]
import_extension("httpfs")
db = duckdb.connect()
db.execute("LOAD httpfs")
key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
db.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false,"
    f" ENDPOINT '{urlsplit(os.environ['S3_ENDPOINT']).netloc}')"
)
if target == "-":
    query = "SELECT sensor, value FROM read_parquet('s3://{}/totals/*/*.parquet', hive_partitioning = true)"
    print(json.dumps(dict(db.execute(query.format(source)).fetchall())))
else:
    totals = f"SELECT sensor, sum(value)::BIGINT AS value FROM read_csv('s3://{source}/*.csv') GROUP BY sensor"
    db.execute(f"COPY ({totals}) TO 's3://{target}/totals' (FORMAT parquet, PARTITION_BY sensor)")
