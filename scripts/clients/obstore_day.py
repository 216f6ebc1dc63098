"""obstore: the object_store crate from Python."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store

E = os.environ


def store_of(bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=E["ENDPOINT"],
        access_key_id=E["KEY"],
        secret_access_key=E["KEY"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


s3 = store_of(E["BUCKET"])
up, down = Path(E["UP"]), Path(E["DOWN"])


def keys() -> list[str]:
    return [item["path"] for page in obstore.list(s3, "data") for item in page]


def fetch(key: str, source: S3Store = s3, target: Path | None = None) -> None:
    file = target or down / key
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        for piece in obstore.get(source, key).stream():
            out.write(piece)


match sys.argv[1]:
    case "up":
        files = [path for path in up.rglob("*") if path.is_file()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: obstore.put(s3, f"data/{path.relative_to(up)}", path), files))
    case "down":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, keys()))
    case "big":
        obstore.put(s3, "big", Path(E["BIG"]), use_multipart=True)
        fetch("big")
    case "overwrite":
        obstore.put(s3, "data/d00/f0000.txt", Path(E["NEW"]))
    case "list":
        print(len(keys()))
    case "old":
        fetch("data/d00/f0000.txt", store_of(E["OLD"]), down / "old")
    case "delete":
        obstore.delete(s3, keys())
