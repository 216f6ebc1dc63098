"""The client of Mountpoint, as s3torchconnector has it: Amazon's common runtime, in Rust and C."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

E = os.environ
E["AWS_ACCESS_KEY_ID"] = E["AWS_SECRET_ACCESS_KEY"] = E["KEY"]
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client  # noqa: E402

s3 = MountpointS3Client("us-east-1", endpoint=E["ENDPOINT"], force_path_style=True)
bucket, up, down = E["BUCKET"], Path(E["UP"]), Path(E["DOWN"])


def keys() -> Iterator[str]:
    for page in s3.list_objects(bucket, "data/"):
        yield from (item.key for item in page.object_info)


def send(path: Path, key: str) -> None:
    out = s3.put_object(bucket, key)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            out.write(piece)
    out.close()


def fetch(key: str, target: Path, source: str = bucket) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for piece in s3.get_object(source, key):
            file.write(piece)


match sys.argv[1]:
    case "up":
        with ThreadPoolExecutor(8) as pool:
            files = (path for path in up.rglob("*") if path.is_file())
            list(pool.map(lambda path: send(path, f"data/{path.relative_to(up)}"), files))
    case "down":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: fetch(key, down / key), keys()))
    case "big":
        send(Path(E["BIG"]), "big")
        s3.copy_object(bucket, "big", bucket, "copy")
        fetch("copy", down / "big")
    case "overwrite":
        send(Path(E["NEW"]), "data/d00/f0000.txt")
    case "list":
        print(sum(1 for _ in keys()))
    case "old":
        fetch("data/d00/f0000.txt", down / "old", E["OLD"])
    case "delete":
        for key in list(keys()):
            s3.delete_object(bucket, key)
