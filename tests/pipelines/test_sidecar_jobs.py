"""What Pachyderm's own tests of S3-enabled pipelines assert (`s3g_sidecar_test.go`), with the aws cli as user code."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pipelines.helpers import ENVIRONMENT, Gate, Lab, Serving
from store.helpers import create_repos

from appliance.errors import InvalidSpec
from appliance.store import jobs

PATH = {"PATH": f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"}
ROUNDS = 10
LONGEST_S = 120


@pytest.fixture(params=["default", "strict"])
def lab(request: pytest.FixtureRequest, namespaces: None, quiet: None, tmp_path: Path) -> Iterator[Lab]:
    """An open appliance in both modes, with the aws cli on the path of user code."""
    with Serving(tmp_path / "data", PATH, strict=request.param == "strict") as app:
        made = Lab(app)
        create_repos(made.store, "input_repo", "pfs_in", "s3g_in", "background")
        yield made


def pfs(repo: str, glob: str = "/", *, s3: bool = False) -> dict[str, Any]:
    return {"pfs": {"repo": repo, "glob": glob, "s3": s3}}


def pipeline(lab: Lab, *lines: str, name: str = "edges", **fields: Any) -> None:
    """Create a pipeline of a shell that reads lines; the first one that fails ends it."""
    lab.pipeline("", name=name, transform={"cmd": ["bash", "-e", "-o", "pipefail"], "stdin": list(lines)}, **fields)


def succeeded(lab: Lab, job_id: str | None = None, name: str = "edges") -> jobs.Job:
    """Wait until a job has ended well; each start of the cli is a second of a processor."""
    return lab.succeeded(job_id, name, LONGEST_S)


def output(lab: Lab, name: str = "edges") -> dict[str, str]:
    return {path: data.decode() for path, data in lab.output(name).items()}


def is_open(endpoint: str) -> bool:
    """Tell whether anything listens there."""
    address = urlsplit(endpoint)
    with socket.socket() as sock:
        return sock.connect_ex((address.hostname, address.port)) == 0


@pytest.mark.parametrize("kind", ["union", "join", "group"])
def test_s3_inputs_in_other_expressions_than_cross_are_refused(lab: Lab, kind: str) -> None:
    with pytest.raises(InvalidSpec, match=kind):
        pipeline(lab, "true", input={kind: [pfs("pfs_in"), pfs("s3g_in", s3=True)]})


def test_s3_input(lab: Lab) -> None:
    lab.put({"/foo": b"foo"}, "input_repo")
    pipeline(
        lab,
        "ls -R /pfs > /pfs/out/pfs_files",
        "aws --endpoint=${S3_ENDPOINT} s3 ls > /pfs/out/s3_buckets",
        "aws --endpoint=${S3_ENDPOINT} s3 ls s3://input_repo > /pfs/out/s3_files",
        "echo ${S3_ENDPOINT}",
        input=pfs("input_repo", s3=True),
    )
    job = succeeded(lab)
    found = output(lab)
    assert sorted(found) == ["/pfs_files", "/s3_buckets", "/s3_files"]
    assert "out" in found["/pfs_files"]
    assert "foo" not in found["/pfs_files"]
    assert "input_repo" in found["/s3_buckets"]
    assert "out" not in found["/s3_buckets"]
    assert "foo" in found["/s3_files"]
    (endpoint,) = lab.logs(job)
    assert not is_open(endpoint)


def test_s3_output(lab: Lab) -> None:
    lab.put({"/foo": b"foo"}, "input_repo")
    pipeline(
        lab,
        "ls -R /pfs | aws --endpoint=${S3_ENDPOINT} s3 cp - s3://out/pfs_files",
        "aws --endpoint=${S3_ENDPOINT} s3 ls | aws --endpoint=${S3_ENDPOINT} s3 cp - s3://out/s3_buckets",
        input=pfs("input_repo"),
        s3_out=True,
    )
    succeeded(lab)
    found = output(lab)
    assert sorted(found) == ["/pfs_files", "/s3_buckets"]
    assert "input_repo" in found["/pfs_files"]
    assert "out" not in found["/pfs_files"]
    assert "out" in found["/s3_buckets"]
    assert "input_repo" not in found["/s3_buckets"]


def test_full_s3(lab: Lab) -> None:
    lab.put({"/foo": b"foo"}, "input_repo")
    pipeline(
        lab,
        "ls -R /pfs | aws --endpoint=${S3_ENDPOINT} s3 cp - s3://out/pfs_files",
        "aws --endpoint=${S3_ENDPOINT} s3 ls | aws --endpoint=${S3_ENDPOINT} s3 cp - s3://out/s3_buckets",
        input=pfs("input_repo", s3=True),
        s3_out=True,
    )
    succeeded(lab)
    found = output(lab)
    assert "foo" not in found["/pfs_files"]
    assert "out" not in found["/pfs_files"]
    assert [line.split()[-1] for line in found["/s3_buckets"].splitlines()] == ["input_repo", "out"]


def test_s3_chain_of_five(lab: Lab) -> None:
    names = [f"chain{number}" for number in range(1, 6)]
    for above, name in zip(["s3g_in", *names], names, strict=False):
        source = {"pfs": {"repo": above, "name": "s3g_in", "glob": "/", "s3": True}}
        pipeline(
            lab,
            "before=$(aws --endpoint=${S3_ENDPOINT} s3 cp s3://s3g_in/file -)",
            f"printf '%s{name}\\n' \"${{before}}${{before:+|}}\" | aws --endpoint=${{S3_ENDPOINT}} s3 cp - s3://out/file",
            name=name,
            input=source,
            s3_out=True,
        )
    commit = lab.put({"/file": b""}, "s3g_in")
    for number, name in enumerate(names, 1):
        assert succeeded(lab, commit, name).id == commit
        assert output(lab, name) == {"/file": "|".join(names[:number]) + "\n"}


COPY_OUT = "aws --endpoint=${S3_ENDPOINT} s3 cp - s3://out/$(basename /pfs/pfs_in/*)"


def read_background(lab: Lab) -> str:
    """Return what reads the background through the global gateway, where nothing tells of it but the user code."""
    code = (
        f"from urllib.request import urlopen as get; print(get('{lab.s3_endpoint}/master.background/round').read().decode())"
    )
    return f'background=$({sys.executable} -IS -c "{code}")'


def test_datums_are_skipped_while_the_s3_input_stands_still(lab: Lab) -> None:
    """Ten rounds of one more plain file; then the S3 input changes, and everything runs again."""
    lab.put({"/file": b"s3-0"}, "s3g_in")
    lab.put({"/first": b""}, "pfs_in")
    lab.put({"/round": b"none"}, "background")
    pipeline(
        lab,
        read_background(lab),
        "in_s3=$(aws --endpoint=${S3_ENDPOINT} s3 cp s3://s3g_in/file -)",
        "echo ${background} ${in_s3} > /pfs/out/$(basename /pfs/pfs_in/*)",
        input={"cross": [pfs("pfs_in", "/*"), pfs("s3g_in", s3=True)]},
        parallelism_spec={"constant": 2},
    )
    succeeded(lab)
    expected = {"/first": "none s3-0\n"}
    for number in range(ROUNDS):
        lab.put({"/round": f"round-{number}".encode()}, "background")
        job = succeeded(lab, lab.put({f"/{number}": b""}, "pfs_in"))
        expected[f"/{number}"] = f"round-{number} s3-0\n"
        assert (job.processed, job.skipped, output(lab)) == (1, number + 1, expected)
        assert len(list_jobs(lab)) == number + 2
    lab.put({"/round": b"last"}, "background")
    succeeded(lab, lab.put({"/file": b"s3-1"}, "s3g_in"))
    assert output(lab) == dict.fromkeys(expected, "last s3-1\n")
    assert [job.state for job in list_jobs(lab)] == ["success"] * 12


def list_jobs(lab: Lab) -> list[jobs.Job]:
    with lab.store.snapshot() as db:
        return jobs.list_jobs(db, pipeline="edges")


def test_no_datum_is_skipped_with_s3_out(lab: Lab) -> None:
    lab.put({"/round": b"none"}, "background")
    pipeline(
        lab,
        read_background(lab),
        f"echo ${{background}} | {COPY_OUT}",
        input=pfs("pfs_in", "/*"),
        s3_out=True,
        parallelism_spec={"constant": 2},
    )
    expected: list[str] = []
    for number in range(5):
        lab.put({"/round": f"round-{number}".encode()}, "background")
        succeeded(lab, lab.put({f"/{number}": b""}, "pfs_in"))
        expected.append(f"/{number}")
        assert output(lab) == dict.fromkeys(expected, f"round-{number}\n")


def test_nothing_of_an_s3_input_is_downloaded(lab: Lab) -> None:
    lab.put({"/file": b"the secret ingredient", "/dir/file": b"the secret ingredient"}, "s3g_in")
    pipeline(
        lab,
        'test -z "$(grep -rl "the secret ingredient" /pfs)"',
        'test -z "$(find -L /pfs -type f ! -name .env)"',
        "aws --endpoint=${S3_ENDPOINT} s3 cp s3://s3g_in/dir/file /pfs/out/file",
        input=pfs("s3g_in", s3=True),
    )
    succeeded(lab)
    assert output(lab) == {"/file": "the secret ingredient"}


def test_jobs_and_datums_at_once_have_an_endpoint_each(lab: Lab, gate: Gate) -> None:
    """Four jobs of two datums each: eight gateways that know nothing of each other."""
    names = [f"job{number}" for number in range(4)]
    lab.put({"/a": b"1", "/b": b"2"}, "pfs_in")
    for name in names:
        pipeline(
            lab,
            gate.at("${S3_ENDPOINT}"),
            f"echo {name} | {COPY_OUT}",
            name=name,
            input=pfs("pfs_in", "/*"),
            s3_out=True,
            parallelism_spec={"constant": 2},
        )
    endpoints = gate.wait(8)
    assert len(set(endpoints)) == 8
    assert all(is_open(endpoint) for endpoint in endpoints)
    gate.open(8)
    for name in names:
        succeeded(lab, name=name)
        assert output(lab, name) == dict.fromkeys(("/a", "/b"), f"{name}\n")
    assert not any(is_open(endpoint) for endpoint in endpoints)
