"""The gateway of a job: its inputs, pinned and read-only, and `out` (Pachyderm's `worker_test.go`)."""

from collections.abc import Iterator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from gateway.helpers import MIB, Served, body_of, client, keys_of, prefixes_of, refused, serving
from store.helpers import claim, commit_of, create_pipeline, create_repos, datums_of, entry_of, put, put_all, tree

from appliance.gateway.buckets import Bucket
from appliance.gateway.job_buckets import InputBucket, OutBucket, SidecarBuckets
from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store, completing, datums, jobs, snapshots

IN1 = {f"/{path}": f"{path[-1]}\n".encode() for path in ("0", "rootdir/1", "rootdir/subdir/2")}
IN2 = {f"/{n}": f"{n}\n".encode() for n in range(101)} | {f"/dir/{n}": f"{n}\n".encode() for n in range(10)}
RECURSIVE = {
    "": ["0", "rootdir/1", "rootdir/subdir/2"],
    "r": ["rootdir/1", "rootdir/subdir/2"],
    "rootdir/": ["rootdir/1", "rootdir/subdir/2"],
    "rootdir/subdir": ["rootdir/subdir/2"],
    "rootdir/subdir/2": ["rootdir/subdir/2"],
}


class Sidecar:
    """A served job: its datum, and a client of it."""

    def __init__(self, served: Served, s3: Any, job: jobs.Job, datum: datums.StoredDatum) -> None:
        self.served, self.s3, self.job, self.datum = served, s3, job, datum

    def output(self) -> dict[str, bytes]:
        """End the job well and return what it wrote."""
        store = self.served.store
        store.write(lambda db: datums.finish_datum(db, self.datum, "success"))
        completing.complete_job(store, self.job.row)
        return tree(store, "pipe")


@pytest.fixture(params=["default", "strict"])
def sidecar(request: pytest.FixtureRequest, store: Store) -> Iterator[Sidecar]:
    """A running job with the inputs in1 and in2 (on `develop`) and an output bucket, in both modes."""
    create_repos(store, "one", "two", "other")
    put_all(store, "one", IN1)
    put_all(store, "two", IN2, "develop")
    create_pipeline(store, "pipe", "one")
    job = claim(store, "pipe", ["datum"])
    (datum,) = datums_of(store, job)
    store.write(lambda db: datums.start_try(db, datum.row))
    first, second = commit_of(store, "one"), commit_of(store, "two", "develop")
    buckets: dict[str, Bucket] = {
        "in1": InputBucket("in1", "one", first.id, first.started_ns),
        "in2": InputBucket("in2", "two", second.id, second.started_ns),
        "out": OutBucket(datum.row, first.started_ns, write_only=request.param == "strict"),
    }
    with serving(store, SidecarBuckets(buckets)) as served, client(served.url) as s3:
        yield Sidecar(served, s3, job, datum)


@pytest.fixture
def s3(sidecar: Sidecar) -> Any:
    """A client of the job's gateway."""
    return sidecar.s3


strict = pytest.mark.parametrize("sidecar", ["strict"], indirect=True)
default = pytest.mark.parametrize("sidecar", ["default"], indirect=True)


def test_list_buckets(s3: Any) -> None:
    assert [item["Name"] for item in s3.list_buckets()["Buckets"]] == ["in1", "in2", "out"]


def test_get_object(s3: Any) -> None:
    assert body_of(s3, "in1", "0") == b"0\n"


def test_stat_object(s3: Any) -> None:
    found = s3.head_object(Bucket="in1", Key="0")
    assert found["ETag"]
    assert (found["ContentType"], found["ContentLength"]) == ("text/plain; charset=utf-8", 2)
    assert "VersionId" not in found


def test_get_object_of_the_output_that_was_never_put(s3: Any) -> None:
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="out", Key="file")


@strict
def test_output_is_write_only(sidecar: Sidecar, s3: Any) -> None:
    for text in (b"first", b"second"):
        s3.put_object(Bucket="out", Key="file", Body=text)
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="out", Key="file")
    with refused("404", 404):
        s3.head_object(Bucket="out", Key="file")
    assert keys_of(s3.list_objects_v2(Bucket="out")) == []
    assert sidecar.output() == {"/file": b"second"}


@default
def test_output_is_readable_by_its_own_job(sidecar: Sidecar, s3: Any) -> None:
    # Spark, Delta and s3fs look at what they wrote; Pachyderm's gateway does not let them.
    for text in (b"first", b"second"):
        s3.put_object(Bucket="out", Key="dir/file", Body=text, Metadata={"a": "1"})
    assert body_of(s3, "out", "dir/file") == b"second"
    assert s3.head_object(Bucket="out", Key="dir/file")["Metadata"] == {"a": "1"}
    assert keys_of(s3.list_objects_v2(Bucket="out")) == ["dir/file"]
    assert sidecar.output() == {"/dir/file": b"second"}


def test_output_is_not_published_before_the_datum_ends(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"content")
    assert tree(sidecar.served.store, "pipe") == {}


def test_put_has_no_version(s3: Any) -> None:
    assert "VersionId" not in s3.put_object(Bucket="out", Key="file", Body=b"content")


def test_writes_to_an_input_are_not_implemented(sidecar: Sidecar, s3: Any) -> None:
    text = "^This functionality is not implemented.$"
    with refused("NotImplemented", 501, text):
        s3.put_object(Bucket="in1", Key="file", Body=b"content")
    with refused("NotImplemented", 501, text):
        s3.delete_object(Bucket="in1", Key="0")
    with refused("NotImplemented", 501, text):
        s3.copy_object(Bucket="in1", Key="file", CopySource="in1/0")
    with refused("NotImplemented", 501, text):
        s3.create_multipart_upload(Bucket="in1", Key="file")
    assert tree(sidecar.served.store, "one") == IN1


def test_deleting_many_objects_of_an_input_is_not_implemented_for_each(sidecar: Sidecar, s3: Any) -> None:
    answer = s3.delete_objects(Bucket="in1", Delete={"Objects": [{"Key": "0"}, {"Key": "rootdir/1"}]})
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [
        ("0", "NotImplemented"),
        ("rootdir/1", "NotImplemented"),
    ]
    assert "Deleted" not in answer
    assert tree(sidecar.served.store, "one") == IN1


def test_remove_object_twice(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"content")
    for _ in range(2):
        answer = s3.delete_object(Bucket="out", Key="file")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert sidecar.output() == {}


def test_remove_objects(sidecar: Sidecar, s3: Any) -> None:
    for key in ("a", "b"):
        s3.put_object(Bucket="out", Key=key, Body=b"content")
    answer = s3.delete_objects(Bucket="out", Delete={"Objects": [{"Key": "a"}, {"Key": "c"}]})
    assert [item["Key"] for item in answer["Deleted"]] == ["a", "c"]
    assert sidecar.output() == {"/b": b"content"}


def test_large_objects(sidecar: Sidecar, s3: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"0123456789abcdef" * MIB)
    config = TransferConfig(multipart_threshold=8 * MIB, max_concurrency=2)
    with refused("NoSuchBucket", 404, "^The specified bucket does not exist.$"):
        s3.create_multipart_upload(Bucket="foobar", Key="file")
    s3.upload_file(str(tmp_path / "file"), "out", "file", Config=config)
    assert sidecar.output()["/file"] == (tmp_path / "file").read_bytes()


def test_unknown_bucket(s3: Any) -> None:
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="foobar", Key="file")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket="foobar", Key="file", Body=b"")
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket="master.one")
    with refused("NoSuchBucket", 404):
        s3.get_bucket_location(Bucket="foobar")


def test_buckets_are_neither_made_nor_removed(s3: Any) -> None:
    for name in ("foobar", "in1", "out"):
        with refused("NotImplemented", 501):
            s3.create_bucket(Bucket=name)
        with refused("NotImplemented", 501):
            s3.delete_bucket(Bucket=name)


def test_bucket_exists(s3: Any) -> None:
    s3.head_bucket(Bucket="in1")
    s3.head_bucket(Bucket="out")
    with refused("404", 404):
        s3.head_bucket(Bucket="foobar")


def test_list_objects_paginated(s3: Any) -> None:
    for prefix in ("", "/"):
        page = s3.list_objects(Bucket="in2", Prefix=prefix, Delimiter="/")
        assert keys_of(page) == sorted(str(n) for n in range(101))
        assert prefixes_of(page) == ["dir/"]
    ones = sorted(str(n) for n in range(101) if str(n).startswith("1"))
    assert keys_of(s3.list_objects(Bucket="in2", Prefix="1", Delimiter="/")) == ones
    assert keys_of(s3.list_objects(Bucket="in2", Prefix="dir/")) == [f"dir/{n}" for n in range(10)]


def test_list_objects_recursive(s3: Any) -> None:
    for prefix, expected in RECURSIVE.items():
        assert keys_of(s3.list_objects(Bucket="in1", Prefix=prefix)) == expected


def test_input_stays_while_its_branch_moves(sidecar: Sidecar, s3: Any) -> None:
    put(sidecar.served.store, "one", "/0", b"changed")
    put(sidecar.served.store, "one", "/new", b"new")
    assert keys_of(s3.list_objects_v2(Bucket="in1")) == RECURSIVE[""]
    assert body_of(s3, "in1", "0") == b"0\n"


def test_versions_mean_nothing(s3: Any) -> None:
    for name in ("in1", "out"):
        assert "Status" not in s3.get_bucket_versioning(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={})
        with refused("NotImplemented", 501):
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    with refused("NoSuchBucket", 404):
        s3.get_bucket_versioning(Bucket="foobar")


def test_version_of_an_input_is_not_implemented(s3: Any) -> None:
    with refused("NotImplemented", 501):
        s3.get_object(Bucket="in1", Key="0", VersionId="x")
    with refused("501", 501):
        s3.head_object(Bucket="in1", Key="0", VersionId="x")
    with refused("NotImplemented", 501):
        s3.copy_object(Bucket="out", Key="copy", CopySource={"Bucket": "in1", "Key": "0", "VersionId": "x"})


def test_version_of_the_output_is_not_there(s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="out", Key="file", VersionId="x")


def test_copy_from_input_to_output(sidecar: Sidecar, s3: Any) -> None:
    s3.copy_object(Bucket="out", Key="copy", CopySource="in1/0")
    assert sidecar.output() == {"/copy": b"0\n"}


@strict
def test_copy_within_a_write_only_output(s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"content")
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket="out", Key="copy", CopySource="out/file")


@default
def test_copy_within_a_readable_output(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"content")
    s3.copy_object(Bucket="out", Key="copy", CopySource="out/file")
    assert sidecar.output() == {"/copy": b"content", "/file": b"content"}


def test_put_after_the_end_of_the_datum_is_refused(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"in time")
    assert sidecar.output() == {"/file": b"in time"}
    with refused("AccessDenied", 403):
        s3.put_object(Bucket="out", Key="file", Body=b"late")
    assert tree(sidecar.served.store, "pipe") == {"/file": b"in time"}


def test_file_below_a_file_is_refused(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="a", Body=b"")
    with refused("InvalidFilePath", 400):
        s3.put_object(Bucket="out", Key="a/b", Body=b"")


def test_directory_of_the_output(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="dir/", Body=b"")
    with sidecar.served.store.snapshot() as db:
        staged = snapshots.Snapshot((snapshots.Staging(sidecar.datum.row),))
        assert [entry.path for entry in snapshots.iter_entries(db, staged)] == ["/dir/"]


@default
def test_what_is_said_of_an_output_file_goes_into_its_commit(sidecar: Sidecar, s3: Any) -> None:
    s3.put_object(Bucket="out", Key="file", Body=b"content", ChecksumAlgorithm="SHA256", Metadata={"by": "me"})
    s3.put_object_tagging(Bucket="out", Key="file", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert s3.get_object_tagging(Bucket="out", Key="file")["TagSet"] == [{"Key": "a", "Value": "1"}]
    assert "VersionId" not in s3.get_object_attributes(Bucket="out", Key="file", ObjectAttributes=["ETag"])
    sidecar.output()
    kept = entry_of(sidecar.served.store, "pipe", "master", "/file").metadata
    assert set(kept) == {"x-amz-checksum-sha256", "x-amz-meta-by", "x-amz-tagging"}


@default
def test_parts_of_an_output_file_can_be_read(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="out", Key="file")["UploadId"]
    sent = []
    for number, data in ((1, b"x" * (5 * MIB)), (2, b"end")):
        part = s3.upload_part(Bucket="out", Key="file", UploadId=upload, PartNumber=number, Body=data)
        sent.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket="out", Key="file", UploadId=upload, MultipartUpload={"Parts": sent})
    assert body_of(s3, "out", "file", PartNumber=2) == b"end"


@pytest.mark.parametrize("bucket", ["in1", "out"])
def test_buckets_of_a_job_have_no_list_of_versions(s3: Any, bucket: str) -> None:
    with refused("NotImplemented", 501):
        s3.list_object_versions(Bucket=bucket)


@pytest.mark.parametrize("bucket", ["in1", "out"])
def test_versions_in_a_job_are_not_deleted(s3: Any, bucket: str) -> None:
    with refused("NotImplemented", 501):
        s3.delete_object(Bucket=bucket, Key="0", VersionId="0123456789ab4def8123456789abcdef")


def test_inputs_take_no_tags(s3: Any) -> None:
    with refused("NotImplemented", 501):
        s3.delete_object_tagging(Bucket="in1", Key="0")


def test_inputs_take_no_parts(s3: Any) -> None:
    # Refused before a byte of it is read; Pachyderm takes it in, and then finds that there is no such upload.
    with refused("NotImplemented", 501):
        s3.upload_part(Bucket="in1", Key="file", UploadId="x", PartNumber=1, Body=b"content")


def test_uploads_of_a_job_are_its_own(sidecar: Sidecar, s3: Any) -> None:
    create_repos(sidecar.served.store, "outside")
    with serving(sidecar.served.store, RepoBuckets()) as outside, client(outside.url) as others:
        others.create_bucket(Bucket="master.outside")
        others.create_multipart_upload(Bucket="master.outside", Key="file")
        upload = s3.create_multipart_upload(Bucket="out", Key="file")["UploadId"]
        assert [item["UploadId"] for item in s3.list_multipart_uploads(Bucket="out")["Uploads"]] == [upload]
        with refused("NoSuchUpload", 404):
            others.upload_part(Bucket="master.outside", Key="file", UploadId=upload, PartNumber=1, Body=b"content")


def test_presigned_url_of_a_job(sidecar: Sidecar, s3: Any) -> None:
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "in1", "Key": "0"})
    answer = sidecar.served.request("GET", url.removeprefix(sidecar.served.url))
    assert (answer.status, answer.body) == (200, b"0\n")
