"""smart_open: objects as Python files."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from smart_open import open as smart_open

E = os.environ
client = boto3.client(
    "s3",
    endpoint_url=E["ENDPOINT"],
    aws_access_key_id=E["KEY"],
    aws_secret_access_key=E["KEY"],
    region_name="us-east-1",
    verify=E["CA"] or None,
)
up, down, bucket = Path(E["UP"]), Path(E["DOWN"]), E["BUCKET"]


def send(path: Path, key: str) -> None:
    with path.open("rb") as file, smart_open(f"s3://{bucket}/{key}", "wb", transport_params={"client": client}) as out:
        shutil.copyfileobj(file, out)


def fetch(key: str, target: Path, source: str = bucket) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with smart_open(f"s3://{source}/{key}", "rb", transport_params={"client": client}) as file, target.open("wb") as out:
        shutil.copyfileobj(file, out)


def keys() -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="data/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


match sys.argv[1]:
    case "up":
        files = [path for path in up.rglob("*") if path.is_file()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: send(path, f"data/{path.relative_to(up)}"), files))
    case "down":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: fetch(key, down / key), keys()))
    case "big":
        send(Path(E["BIG"]), "big")
        fetch("big", down / "big")
    case "overwrite":
        send(Path(E["NEW"]), "data/d00/f0000.txt")
    case "list":
        print(len(keys()))
    case "old":
        fetch("data/d00/f0000.txt", down / "old", E["OLD"])
    case "delete":  # as listing, not a thing of files: by the client beneath
        for key in keys():
            client.delete_object(Bucket=bucket, Key=key)
