"""`<pipeline>.meta` of pipelines that really run: through S3, as another pipeline's input; and inputs that start no jobs."""

import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from pipelines.helpers import COPY, Lab, images


def s3_of(lab: Lab) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=lab.s3_endpoint, config=Config(s3={"addressing_style": "path"}), **keys)


def test_what_a_datum_saw_is_read_through_s3(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"one"})
    (datum,) = lab.datums(lab.newest())
    s3 = s3_of(lab)
    listed = s3.list_objects_v2(Bucket="master.edges.meta")["Contents"]
    assert [found["Key"] for found in listed] == [
        f"meta/{datum.id}/meta",
        f"pfs/{datum.id}/images/a",
        f"pfs/{datum.id}/out/a",
    ]
    body = s3.get_object(Bucket=f"{lab.newest().id}.master.edges.meta", Key=f"meta/{datum.id}/meta")["Body"].read()
    assert (json.loads(body)["state"], listed[0]["Size"]) == ("PROCESSED", len(body))
    assert s3.get_object(Bucket="master.edges.meta", Key=f"pfs/{datum.id}/out/a")["Body"].read() == b"one"
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["master.edges", "master.images"]


def test_what_a_datum_came_to_is_copied_through_s3(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"one"})
    source = {"Bucket": "master.edges.meta", "Key": f"meta/{lab.datums(lab.newest())[0].id}/meta"}
    s3, where = s3_of(lab), {"Bucket": "master.images", "Key": "parts"}
    whole = s3.get_object(**source)["Body"].read()
    assert s3.get_object(**source, Range="bytes=2-5")["Body"].read() == whole[2:6]
    s3.copy_object(Bucket="master.images", Key="copy", CopySource=source)
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part_copy(**where, UploadId=upload, PartNumber=1, CopySource=source, CopySourceRange="bytes=2-5")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket="master.images", Key="copy")["Body"].read() == whole
    assert s3.get_object(**where)["Body"].read() == whole[2:6]


def test_what_a_datum_saw_can_not_be_changed_through_s3(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"one"})
    with pytest.raises(ClientError, match="WriteToOutputBranch"):
        s3_of(lab).put_object(Bucket="master.edges.meta", Key="mine", Body=b"")
    with pytest.raises(ClientError):
        s3_of(lab).create_bucket(Bucket="mine.edges.meta")


def test_job_counts_what_its_datums_were_given_and_wrote(lab: Lab) -> None:
    lab.run("cat /pfs/images/* /pfs/images/* > /pfs/out/$PACH_DATUM_ID", {"/a": b"one", "/b": b"four"})
    job = lab.newest()
    assert (job.downloaded_bytes, job.uploaded_bytes, job.process_ns > 0) == (7, 14, True)
    lab.succeeded(lab.put({"/c": b"c"}))
    assert (lab.newest().downloaded_bytes, lab.newest().uploaded_bytes) == (1, 2)


def test_output_of_a_datum_that_failed_is_not_counted(lab: Lab) -> None:
    job = lab.run("echo half > /pfs/out/half; false", {"/a": b"one"})
    assert (job.state, job.downloaded_bytes, job.uploaded_bytes) == ("failure", 3, 0)


def test_pipeline_reads_what_another_ones_datums_came_to(lab: Lab) -> None:
    lab.run(COPY, {"/a": b"one", "/b": b"two"})
    read = {"pfs": {"repo": "edges", "repo_type": "meta", "name": "accounts", "glob": "/meta/*"}}
    lab.pipeline("grep -h processTime /pfs/accounts/meta/*/meta > /pfs/out/$PACH_DATUM_ID", "times", input=read)
    assert lab.succeeded(pipeline="times").processed == 2
    lab.succeeded(lab.put({"/c": b"three"}), "times")
    assert (lab.newest("times").processed, lab.newest("times").skipped) == (1, 2)


def test_what_comes_to_an_input_that_never_propagates_starts_no_job(lab: Lab) -> None:
    lab.put({"/a": b"one"})
    lab.store.write(lab.requests.create_repo("labels"))
    lab.put({"/l": b"old"}, repo="labels")
    quiet = {"pfs": {"repo": "labels", "glob": "/", "propagation_spec": {"never": True}}}
    lab.pipeline("cat /pfs/labels/l > /pfs/out/$(basename $images)", input={"cross": [images("/*"), quiet]})
    first = lab.succeeded()
    lab.put({"/l": b"new"}, repo="labels")
    assert lab.newest().id == first.id
    lab.succeeded(lab.put({"/b": b"two"}))
    assert lab.output() == {"/a": b"new", "/b": b"new"}
