"""What Pachyderm's own tests of a worker's gateway assert (`worker_test.go`), with the aws cli as user code of one job."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from pipelines.helpers import Lab, Serving
from store.helpers import create_repos

LARGE = 68_157_450
LONGEST_S = 300
IN1 = {f"/{path}": f"{path[-1]}\n".encode() for path in ("0", "rootdir/1", "rootdir/subdir/2")}
IN2 = {f"/{n}": f"{n}\n".encode() for n in range(101)} | {f"/dir/{n}": f"{n}\n".encode() for n in range(10)}
NUMBERS = sorted(str(number) for number in range(101))
IN_DIR = [f"dir/{number}" for number in range(10)]

PREFIXES = ("", "r", "rootdir", "rootdir/", "rootdir/s", "rootdir/subdir", "rootdir/subdir/", "rootdir/subdir/2")

# `large` is a file that the cli sends in parts, `1` and `2` have one line.
COMMANDS = {
    "ListBuckets": ["s3api list-buckets --query Buckets[].Name"],
    "GetObject": ["s3 cp s3://in1/0 -"],
    "GetObjectOutputRepo": ["s3api get-object --bucket out --key nothing back"],
    "StatObject": ["s3api head-object --bucket in1 --key 0"],
    "PutObject": ["s3 cp 1 s3://out/file", "s3 cp 2 s3://out/file"],
    "PutObjectRead": ["s3api get-object --bucket out --key file back", "s3 cp s3://out/file -"],
    "PutObjectInputRepo": ["s3api put-object --bucket in1 --key file"],
    "RemoveObject": ["s3 cp 1 s3://out/removed", "s3 rm s3://out/removed", "s3 rm s3://out/removed"],
    "RemoveObjectInputRepo": ["s3 rm s3://in1/0"],
    "LargeObjectsUnknown": ["s3 cp large s3://foobar/file"],
    "LargeObjectsUnknownRead": ["s3api get-object --bucket foobar --key file back"],
    "LargeObjects": ["s3 cp large s3://out/large"],
    "LargeObjectsRead": ["s3api get-object --bucket out --key large back"],
    "LargeObjectsInputRepo": ["s3 cp large s3://in1/large"],
    "MakeBucket": ["s3 mb s3://new"],
    "BucketExistsInput": ["s3api head-bucket --bucket in1"],
    "BucketExistsOutput": ["s3api head-bucket --bucket out"],
    "BucketExistsOther": ["s3api head-bucket --bucket foobar"],
    "RemoveBucketInput": ["s3 rb s3://in1"],
    "RemoveBucketOutput": ["s3 rb s3://out"],
    "List": ["s3api list-objects --bucket in2 --delimiter /"],
    "ListSlash": ["s3api list-objects --bucket in2 --delimiter / --prefix /"],
    "ListOnes": ["s3api list-objects --bucket in2 --delimiter / --prefix 1"],
    "ListDirectory": ["s3api list-objects-v2 --bucket in2 --delimiter / --prefix dir/ --page-size 3"],
    "ListRecursive": [
        f"s3api list-objects --bucket in1 --prefix '{p}' --query Contents[].Key --output text" for p in PREFIXES
    ],
    "ListOutput": ["s3api list-objects-v2 --bucket out"],
    "Location": [f"s3api get-bucket-location --bucket {bucket} --output text" for bucket in ("in1", "out")],
    "LocationOther": ["s3api get-bucket-location --bucket foobar"],
    "Versioning": [f"s3api get-bucket-versioning --bucket {bucket}" for bucket in ("in1", "out")],
    "VersionsInput": ["s3api list-object-versions --bucket in1"],
    "VersionsOutput": ["s3api list-object-versions --bucket out"],
    "Copy": ["s3 cp s3://in1/0 s3://out/copied"],
    "CopyInputRepo": ["s3 cp s3://in1/0 s3://in1/copied"],
}

# Most of the cli's time goes into its imports; so it is imported once, and each command is a fork of that.
RUN = """
import json, os, shlex, sys, tempfile
import awscli.clidriver, awscli.customizations.s3.s3, botocore.httpsession

def aws(line):
    with tempfile.TemporaryFile() as said:
        if not (child := os.fork()):
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = ["aws", *shlex.split(line)]
            sys.exit(awscli.clidriver.main())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, said.read().decode()

os.chdir(sys.argv[1])
for name, lines in json.loads(sys.argv[2]).items():
    told = [aws(line) for line in lines]
    print(json.dumps([name, max(status for status, _ in told), "".join(text for _, text in told)]), flush=True)
"""


@dataclass(frozen=True)
class Told:
    """What a command came to: its exit status and all it printed."""

    status: int
    text: str

    def refused(self, code: str) -> bool:
        """Tell whether it failed with this code of S3's."""
        return self.status != 0 and f"({code})" in self.text


@dataclass(frozen=True)
class Done:
    """The job that ran all commands, when it has ended: what each came to, and what is in the output."""

    strict: bool
    told: Mapping[str, Told]
    output: Mapping[str, bytes]

    def __getitem__(self, name: str) -> Told:
        return self.told[name]

    def listed(self, name: str) -> tuple[list[str], list[str]]:
        """Return the keys and the prefixes of a listing."""
        page = json.loads(self.told[name].text or "{}")  # the cli says nothing of nothing
        keys = [item["Key"] for item in page.get("Contents", [])]
        return keys, [item["Prefix"] for item in page.get("CommonPrefixes", [])]


@pytest.fixture(scope="module", params=["default", "strict"])
def done(request: pytest.FixtureRequest, namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """The commands as one job, in both modes; its inputs are those of Pachyderm's tests, beside a repo that is none."""
    path = tmp_path_factory.mktemp("operations")
    (path / "large").write_bytes(b"0123456789" * (LARGE // 10))
    for number in (1, 2):
        (path / str(number)).write_text(f"{number}\n")
    with Serving(path / "data", strict=request.param == "strict") as app:
        lab = Lab(app)
        create_repos(lab.store, "in1", "in2")
        lab.put({"/other": b""})
        lab.put(IN1, "in1")
        lab.put(IN2, "in2", "develop")
        inputs = [pfs("in1"), pfs("in2", "develop")]
        command = [sys.executable, "-I", "-c", RUN, str(path), json.dumps(COMMANDS)]
        lab.pipeline("", input={"cross": inputs}, transform={"cmd": command}, s3_out=True)
        answers = [json.loads(line) for line in lab.logs(lab.succeeded(longest_s=LONGEST_S))]
        yield Done(request.param == "strict", {name: Told(status, text) for name, status, text in answers}, lab.output())


def pfs(repo: str, branch: str = "master") -> dict[str, Any]:
    return {"pfs": {"repo": repo, "branch": branch, "glob": "/", "s3": True}}


def test_list_buckets(done: Done) -> None:
    assert json.loads(done["ListBuckets"].text) == ["in1", "in2", "out"]


def test_get_object(done: Done) -> None:
    assert done["GetObject"] == Told(0, "0\n")


def test_get_object_of_the_output(done: Done) -> None:
    assert done["GetObjectOutputRepo"].refused("NoSuchKey")


def test_stat_object(done: Done) -> None:
    found = json.loads(done["StatObject"].text)
    assert found["ETag"]
    assert (found["ContentType"], found["ContentLength"]) == ("text/plain; charset=utf-8", 2)


def test_put_object_twice_and_look(done: Done) -> None:
    assert done["PutObject"].status == 0
    told = done["PutObjectRead"]
    assert told.refused("NoSuchKey") if done.strict else told.text.endswith("2\n")
    assert done.output["/file"] == b"2\n"


@pytest.mark.parametrize("name", ["PutObjectInputRepo", "RemoveObjectInputRepo", "LargeObjectsInputRepo", "CopyInputRepo"])
def test_inputs_take_no_objects(done: Done, name: str) -> None:
    assert done[name].refused("NotImplemented")
    assert "This functionality is not implemented." in done[name].text


def test_remove_object_twice(done: Done) -> None:
    assert done["RemoveObject"].status == 0
    assert "/removed" not in done.output


def test_large_objects(done: Done) -> None:
    assert done["LargeObjectsUnknown"].refused("NoSuchBucket")
    assert done["LargeObjectsUnknownRead"].refused("NoSuchBucket")
    assert done["LargeObjects"].status == 0
    assert len(done.output["/large"]) == LARGE
    assert done["LargeObjectsRead"].refused("NoSuchKey") == done.strict


@pytest.mark.parametrize("name", ["MakeBucket", "RemoveBucketInput", "RemoveBucketOutput"])
def test_buckets_are_neither_made_nor_removed(done: Done, name: str) -> None:
    assert done[name].refused("NotImplemented")


def test_bucket_exists(done: Done) -> None:
    assert (done["BucketExistsInput"].status, done["BucketExistsOutput"].status) == (0, 0)
    assert done["BucketExistsOther"].refused("404")


def test_list_objects_paginated(done: Done) -> None:
    assert done.listed("List") == (NUMBERS, ["dir/"])
    assert done.listed("ListSlash") == (NUMBERS, ["dir/"])
    assert done.listed("ListOnes") == ([number for number in NUMBERS if number.startswith("1")], [])
    assert done.listed("ListDirectory") == (IN_DIR, [])


def test_list_objects_recursive(done: Done) -> None:
    below = ["rootdir/1", "rootdir/subdir/2"]
    expected = [["0", *below], below, below, below, below[1:], below[1:], below[1:], below[1:]]
    assert [line.split() for line in done["ListRecursive"].text.splitlines()] == expected


def test_list_objects_of_the_output(done: Done) -> None:
    assert done.listed("ListOutput") == ([] if done.strict else ["file", "large"], [])


def test_location(done: Done) -> None:
    # Pachyderm says PACHYDERM, which is no region that clients know; the default one has no name here.
    assert done["Location"].text.split() == ["None"] * 2
    assert done["LocationOther"].refused("NoSuchBucket")


def test_versioning_is_off(done: Done) -> None:
    assert done["Versioning"] == Told(0, "")


@pytest.mark.parametrize("name", ["VersionsInput", "VersionsOutput"])
def test_versions_are_not_listed(done: Done, name: str) -> None:
    assert done[name].refused("NotImplemented")


def test_copy_from_an_input(done: Done) -> None:
    assert done["Copy"].status == 0
    assert done.output["/copied"] == b"0\n"


def test_output_has_what_was_put_and_nothing_else(done: Done) -> None:
    assert sorted(done.output) == ["/copied", "/file", "/large"]
