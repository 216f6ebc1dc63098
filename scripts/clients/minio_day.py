"""minio-py."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject

E = os.environ
url = urlsplit(E["ENDPOINT"])
pool_manager = urllib3.PoolManager(ca_certs=E["CA"]) if E["CA"] else None
s3 = Minio(
    endpoint=url.netloc,
    access_key=E["KEY"],
    secret_key=E["KEY"],
    secure=url.scheme == "https",
    region="us-east-1",
    http_client=pool_manager,
)
bucket, up, down = E["BUCKET"], Path(E["UP"]), Path(E["DOWN"])


def keys() -> list[str]:
    return [item.object_name for item in s3.list_objects(bucket_name=bucket, prefix="data/", recursive=True)]


def send(path: Path) -> None:
    s3.fput_object(bucket_name=bucket, object_name=f"data/{path.relative_to(up)}", file_path=str(path))


def fetch(key: str) -> None:
    s3.fget_object(bucket_name=bucket, object_name=key, file_path=str(down / key))


match sys.argv[1]:
    case "make":
        s3.make_bucket(bucket_name=bucket)
        assert s3.bucket_exists(bucket_name=bucket)
    case "up":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, [path for path in up.rglob("*") if path.is_file()]))
    case "down":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, keys()))
    case "big":
        s3.fput_object(bucket_name=bucket, object_name="big", file_path=E["BIG"])
        s3.fget_object(bucket_name=bucket, object_name="big", file_path=str(down / "big"))
    case "overwrite":
        s3.fput_object(bucket_name=bucket, object_name="data/d00/f0000.txt", file_path=E["NEW"])
    case "list":
        print(len(keys()))
    case "old":
        s3.fget_object(bucket_name=E["OLD"], object_name="data/d00/f0000.txt", file_path=str(down / "old"))
    case "delete":
        objects = [DeleteObject(key) for key in keys()]
        assert list(s3.remove_objects(bucket_name=bucket, delete_object_list=objects)) == []
    case "remove":
        s3.remove_object(bucket_name=bucket, object_name="big")
        s3.remove_bucket(bucket_name=bucket)
