"""chdb: ClickHouse's table function s3, partitioned on writing, a glob on reading."""

import os
import sys

import chdb

E = os.environ


def function(bucket: str, path: str) -> str:
    return f"s3('{E['ENDPOINT']}/{bucket}/table/{path}', '{E['KEY']}', '{E['KEY']}', 'Parquet', 'n Int64')"


def write(part: str, first: int) -> None:
    where = function(E["BUCKET"], f"part={part}-{{_partition_id}}/0.parquet")
    chdb.query(f"INSERT INTO FUNCTION {where} PARTITION BY n % 2 SELECT number AS n FROM numbers({first}, 1000)")


def total(bucket: str) -> int:
    return int(chdb.query(f"SELECT sum(n) FROM {function(bucket, '*/*.parquet')}").bytes())


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
