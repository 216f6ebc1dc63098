"""chdb: ClickHouse's table function s3, partitioned on writing, a glob on reading."""

import os

import chdb
from table_day import spend

E = os.environ


def function(bucket: str, path: str) -> str:
    return f"s3('{E['ENDPOINT']}/{bucket}/table/{path}', '{E['KEY']}', '{E['KEY']}', 'Parquet', 'n Int64')"


def write(part: str, first: int) -> None:
    where = function(E["BUCKET"], f"part={part}-{{_partition_id}}/0.parquet")
    chdb.query(f"INSERT INTO FUNCTION {where} PARTITION BY n % 2 SELECT number AS n FROM numbers({first}, 1000)")


def total(bucket: str) -> int:
    return int(chdb.query(f"SELECT sum(n) FROM {function(bucket, '*/*.parquet')}").bytes())


spend(write, total)
