"""s3fs, an fsspec file system: what pandas, dask and many others open s3:// with."""

import os
import sys

import s3fs

E = os.environ
s3 = s3fs.S3FileSystem(
    key=E["KEY"],
    secret=E["KEY"],
    endpoint_url=E["ENDPOINT"],
    client_kwargs={"region_name": "us-east-1", "verify": E["CA"] or None},
)
bucket, down = E["BUCKET"], E["DOWN"]

match sys.argv[1]:
    case "make":
        s3.mkdir(bucket)
    case "up":
        s3.put(E["UP"] + "/", f"{bucket}/data/", recursive=True)
    case "down":
        s3.get(f"{bucket}/data/", f"{down}/data/", recursive=True)
    case "big":
        s3.put(E["BIG"], f"{bucket}/big")
        s3.get(f"{bucket}/big", f"{down}/big")
    case "overwrite":
        s3.put(E["NEW"], f"{bucket}/data/d00/f0000.txt")
    case "list":
        print(len(s3.find(f"{bucket}/data")))
    case "old":
        s3.get(f"{E['OLD']}/data/d00/f0000.txt", f"{down}/old")
    case "delete":
        s3.rm(f"{bucket}/data", recursive=True)
    case "remove":
        s3.rm(f"{bucket}/big")
        s3.rmdir(bucket)
