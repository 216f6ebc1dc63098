"""A Kubeflow pipeline of three steps, run inside the job by kfp's own SubprocessRunner; the steps use boto3."""

import json
import sys
import tempfile

import boto3
from kfp import dsl, local

source, target = sys.argv[1:]


@dsl.component(install_kfp_package=False)
def fetch(bucket: str, readings: dsl.Output[dsl.Dataset]) -> int:
    """Join all files of a bucket to one."""
    import boto3

    s3 = boto3.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    with open(readings.path, "w") as file:  # noqa: PTH123
        for key in keys:
            file.write(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().partition("\n")[2])
    return len(keys)


@dsl.component(install_kfp_package=False)
def add(readings: dsl.Input[dsl.Dataset], totals: dsl.Output[dsl.Dataset]) -> None:
    """Add up by sensor."""
    import collections
    import json

    found = collections.Counter()
    for line in open(readings.path):  # noqa: PTH123, SIM115
        sensor, value = line.split(",")
        found[sensor] += int(value)
    with open(totals.path, "w") as file:  # noqa: PTH123
        json.dump(found, file)


@dsl.component(install_kfp_package=False)
def publish(totals: dsl.Input[dsl.Dataset], bucket: str, key: str) -> None:
    """Put the totals into a bucket."""
    import boto3

    boto3.client("s3").upload_file(totals.path, bucket, key)


@dsl.pipeline
def whole(source: str, target: str) -> None:
    """All three in a row."""
    fetched = fetch(bucket=source)
    added = add(readings=fetched.outputs["readings"])
    publish(totals=added.outputs["totals"], bucket=target, key="totals.json")


if target == "-":
    print(json.dumps(json.load(boto3.client("s3").get_object(Bucket=source, Key="totals.json")["Body"])))
else:
    with tempfile.TemporaryDirectory() as root:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root)
        whole(source=source, target=target)
