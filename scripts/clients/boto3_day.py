"""boto3."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3

E = os.environ
s3 = boto3.client(
    "s3",
    endpoint_url=E["ENDPOINT"],
    aws_access_key_id=E["KEY"],
    aws_secret_access_key=E["KEY"],
    region_name="us-east-1",
    verify=E["CA"] or None,
)
bucket, up, down = E["BUCKET"], Path(E["UP"]), Path(E["DOWN"])


def keys() -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="data/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def fetch(key: str) -> None:
    (down / key).parent.mkdir(parents=True, exist_ok=True)
    s3.download_file(bucket, key, str(down / key))


match sys.argv[1]:
    case "make":
        s3.create_bucket(Bucket=bucket)
    case "up":
        files = [path for path in up.rglob("*") if path.is_file()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: s3.upload_file(str(path), bucket, f"data/{path.relative_to(up)}"), files))
    case "down":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, keys()))
    case "big":
        s3.upload_file(E["BIG"], bucket, "big")
        s3.download_file(bucket, "big", str(down / "big"))
    case "overwrite":
        s3.upload_file(E["NEW"], bucket, "data/d00/f0000.txt")
    case "list":
        print(len(keys()))
    case "old":
        s3.download_file(E["OLD"], "data/d00/f0000.txt", str(down / "old"))
    case "delete":
        found = keys()
        for start in range(0, len(found), 1000):
            objects = [{"Key": key} for key in found[start : start + 1000]]
            assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    case "remove":
        s3.delete_object(Bucket=bucket, Key="big")
        s3.delete_bucket(Bucket=bucket)
