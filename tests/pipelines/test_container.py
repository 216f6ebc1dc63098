"""User code in real containers: a machine of its own with the same /pfs, and nothing left of it."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
import trio
from pipelines.helpers import ENVIRONMENT, Lab, Serving, images, wait_until

from appliance.errors import Unsupported
from appliance.pipelines.container import ENGINES, Containers, open_engine
from appliance.pipelines.process import Bind, Launcher, ProcessSpec
from appliance.store import logs

IMAGE = "localhost/appliance-test:busybox"
APPLETS = ("sh", "cat", "cp", "env", "id", "ls", "pwd", "sleep", "echo", "wget", "head", "tr")
PASSWD = "root:x:0:0::/:/bin/sh\nsomebody:x:77:77::/:/bin/sh\n"
# Resource limits in a cgroup of our own, and no more open files than we may have: for engines inside a container.
CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an engine runs with here, in which there is an image of busybox; skips where there is none."""
    busybox = shutil.which("busybox")
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if busybox is None or engine is None:
        pytest.skip(f"there is no {' and no '.join(ENGINES)} here" if engine is None else "there is no busybox for an image")
    conf = tmp_path_factory.mktemp("engine") / "containers.conf"
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    conf.write_text(CONF + runtime)
    environment = {**ENVIRONMENT, "HOME": os.environ.get("HOME", "/"), "CONTAINERS_CONF": str(conf)}
    imported = subprocess.run(
        [engine, "import", "--change", 'ENTRYPOINT ["sh", "-c", "echo from the image > /pfs/out/a"]', "-", IMAGE],
        input=_make_tar(Path(busybox)),
        env=environment,
        capture_output=True,
        check=False,
    )
    if imported.returncode != 0:
        pytest.skip(f"{engine} can not be used here: {imported.stderr.decode().strip()}")
    return environment


def _make_tar(busybox: Path) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, text in (
            ("etc/passwd", PASSWD),
            ("etc/image", "busybox\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def lab(environment: dict[str, str], quiet: None, tmp_path: Path) -> Iterator[Lab]:
    with Serving(tmp_path / "data", environment, runner="container") as app:
        yield Lab(app)
    engine = open_engine(None, environment, tmp_path / "data")
    assert containers(engine.program, environment, engine.label) == ""


def containers(engine: str, environment: dict[str, str], label: str) -> str:
    command = [engine, "ps", "--all", "--filter", f"label={label}", "--format", "{{.Names}}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def in_image(**transform: object) -> dict[str, object]:
    return {"image": IMAGE, **transform}


def test_command_runs_in_the_image_with_its_pfs(lab: Lab) -> None:
    script = 'cat /etc/image "$images"; ls /pfs; cp "$images" /pfs/out; ! echo > "$images"; pwd; id -u'
    job = lab.run(script, {"/a, b": b"1\n"}, transform=in_image())
    assert (job.state, lab.output()) == ("success", {"/a, b": b"1\n"})
    assert lab.logs(job) == ["busybox", "1", "images", "out", "/", "0"]


def test_variables_of_the_datum_are_in_a_file(lab: Lab) -> None:
    assert "images=/pfs/images/a" in lab.logs(lab.run("cat /pfs/.env", {"/a": b""}, transform=in_image()))


def test_several_datums_run_side_by_side(lab: Lab) -> None:
    files = {f"/{name}": name.encode() for name in "abcd"}
    job = lab.run("cp $images /pfs/out", files, transform=in_image(), parallelism_spec={"constant": 2})
    assert (job.processed, lab.output()) == (4, files)


def test_one_container_serves_many_datums(lab: Lab) -> None:
    ask = "wget -q -O /dev/null --post-data= $APPLIANCE_NEXT_DATUM"
    files = {f"/{name}": name.encode() for name in "abc"}
    script = f"echo born; while {ask}; do . /pfs/.env; cp $images /pfs/out; done"
    job = lab.run(script, files, transform=in_image(datum_batching=True))
    assert (job.state, lab.output(), lab.logs(job)) == ("success", files, ["born"])


def test_without_a_command_the_image_has_one(lab: Lab) -> None:
    lab.run("", {"/a": b""}, transform=in_image(cmd=[]))
    assert lab.output() == {"/a": b"from the image\n"}


def test_environment_is_the_datum_s_and_the_image_s(lab: Lab) -> None:
    job = lab.run("env", {"/a": b""}, transform=in_image(env={"MINE": "1 2\n3", "HOME": "/tmp", "PATH": "/bin:/here"}))
    seen = lab.logs(job)
    assert {"MINE=1 2", "3", "HOME=/tmp", "PATH=/bin:/here", "images=/pfs/images/a", "PACH_IN_WORKER=true"} <= set(seen)
    assert [line for line in seen if "CONTAINERS_CONF" in line] == []


def test_user_stdin_and_working_directory_are_those_of_the_spec(lab: Lab) -> None:
    transform = in_image(cmd=["sh"], stdin=["id -u", "pwd", "cp $images ."], user="somebody", working_dir="/pfs/out")
    job = lab.run("", {"/a": b"1"}, transform=transform)
    assert (lab.logs(job), lab.output()) == (["77", "/pfs/out"], {"/a": b"1"})


def test_sidecar_can_be_reached(lab: Lab) -> None:
    lab.run("wget -q -O /pfs/out/b $S3_ENDPOINT/images/a", {"/a": b"1"}, transform=in_image(), input=_s3(images("/")))
    assert lab.output() == {"/b": b"1"}


def _s3(tree: dict[str, dict[str, object]]) -> dict[str, object]:
    return {"pfs": {**tree["pfs"], "s3": True}}


def test_exit_status_is_told(lab: Lab) -> None:
    job = lab.run("exit 7", {"/a": b""}, transform=in_image())
    assert job.reason.endswith("user code exited with status 7")


def test_command_that_is_not_in_the_image_is_named(lab: Lab) -> None:
    job = lab.run("", {"/a": b""}, transform=in_image(cmd=["no-such-command"]))
    assert "user code could not be started: Error: " in job.reason
    assert "no-such-command" in job.reason


def test_timeout_ends_the_container(lab: Lab) -> None:
    job = lab.run("trap '' TERM; sleep 1000", {"/a": b""}, transform=in_image(), datum_timeout="1s")
    assert job.reason.endswith("datum timed out after 1s")


def test_stopped_job_ends_its_container(lab: Lab) -> None:
    lab.put({"/a": b""})
    lab.pipeline("echo up; trap '' TERM; sleep 1000", transform=in_image())
    assert wait_until(lab.store, lambda db: logs.list_log_lines(db, lab.newest().row))[0].message == "up"
    lab.stop_job(lab.newest().id)
    assert lab.ended().state == "killed"


def test_memory_is_limited(lab: Lab) -> None:
    hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo ${#x}"
    limits = {"resource_limits": {"memory": "32Mi", "cpu": 0.5}}
    job = lab.run(hungry, {"/a": b""}, transform=in_image(), **limits)
    assert job.reason.endswith("user code exited with status 137")


def test_datum_can_be_attached_to_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content\n")
    spec = ProcessSpec(
        ("sh", "-c", "cat /pfs/in; read word; echo $word $MINE"),
        {"MINE": "1"},
        binds=(Bind(tmp_path / "in", "/pfs/in"),),
        image=IMAGE,
    )
    engine = open_engine(None, environment, tmp_path)
    argv, request = Containers(Launcher(cast(trio.Nursery, None), 0), engine).attach(spec)
    done = subprocess.run(argv, env=environment, input="said\n", capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode, request) == ("content\nsaid 1\n", "", 0, "")


def test_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"^containers can not be run here: no-such-engine is not installed$"):
        open_engine("no-such-engine", ENVIRONMENT, tmp_path)
