"""boto3's transfers by the common runtime (`boto3[crt]`), which frames and checks bodies in a way of its own."""

import os
import sys
from pathlib import Path

import boto3
import botocore.session
from botocore.credentials import Credentials
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

E = os.environ
TLS = E["ENDPOINT"].startswith("https:")
bucket, up, down = E["BUCKET"], Path(E["UP"]), Path(E["DOWN"])
session = botocore.session.get_session()
session.set_credentials(E["KEY"], E["KEY"])
facts = {"endpoint_url": E["ENDPOINT"], "region_name": "us-east-1"}
wrapper = BotocoreCRTCredentialsWrapper(Credentials(E["KEY"], E["KEY"]))
crt = create_s3_crt_client(
    "us-east-1", crt_credentials_provider=wrapper.to_crt_credentials_provider(), use_ssl=TLS, verify=E["CA"] or None
)
s3 = boto3.client("s3", aws_access_key_id=E["KEY"], aws_secret_access_key=E["KEY"], verify=E["CA"] or None, **facts)


def keys() -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="data/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def run(step: str, manager: CRTTransferManager) -> None:
    match step:
        case "make":
            s3.create_bucket(Bucket=bucket)
        case "up":
            files = [path for path in up.rglob("*") if path.is_file()]
            every([manager.upload(str(path), bucket, f"data/{path.relative_to(up)}") for path in files])
        case "down":
            found = keys()
            for key in found:
                (down / key).parent.mkdir(parents=True, exist_ok=True)
            every([manager.download(bucket, key, str(down / key)) for key in found])
        case "big":
            every([manager.upload(E["BIG"], bucket, "big")])
            every([manager.download(bucket, "big", str(down / "big"))])
        case "overwrite":
            every([manager.upload(E["NEW"], bucket, "data/d00/f0000.txt")])
        case "list":
            print(len(keys()))
        case "old":
            every([manager.download(E["OLD"], "data/d00/f0000.txt", str(down / "old"))])
        case "delete":
            every([manager.delete(bucket, key) for key in keys()])
        case "remove":
            s3.delete_object(Bucket=bucket, Key="big")
            s3.delete_bucket(Bucket=bucket)


def every(futures: list) -> None:
    for future in futures:
        future.result()


with CRTTransferManager(crt, BotocoreCRTRequestSerializer(session, facts)) as manager:
    run(sys.argv[1], manager)
