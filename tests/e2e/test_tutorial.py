"""Pachyderm's beginner tutorial, and its join and group examples, from their specs with nothing but the image changed.

User code is in `tutorial/code`, with Pillow and real photographs (those of scikit-image) from the registry, in an image for
podman or docker.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import Appliance
from e2e.images import write_image
from pipelines.test_container import CONF

from appliance.pipelines.container import ENGINES

TUTORIAL = Path(__file__).parent / "tutorial"
IMAGE = "localhost/appliance-test:tutorial"
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg")


@pytest.fixture(scope="session")
def packages(pytestconfig: pytest.Config) -> Path:
    """Pillow, and scikit-image for its photographs; fetched once. Skips where there is no registry."""
    assert pytestconfig.cache is not None
    place = pytestconfig.cache.mkdir("packages") / "tutorial"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(place),
            "pillow",
            "scikit-image",
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no packages: {done.stderr.strip()}")
        (place / "complete").touch()
    return place


@pytest.fixture(scope="session")
def engine(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What an engine that has our image runs with; skips where there is none."""
    program = next((name for name in ENGINES if shutil.which(name)), None)
    if program is None or shutil.which("busybox") is None:
        pytest.skip("there is no engine for containers, or no busybox for an image")
    directory = tmp_path_factory.mktemp("engine")
    conf, image = directory / "containers.conf", directory / "image.tar"
    conf.write_text(CONF + ('runtime = "runc"\n' if shutil.which("runc") else ""))
    write_image(image, packages, TUTORIAL / "code")
    settings = ("--change", "ENV PYTHONPATH=/packages", "--change", "WORKDIR /")
    environment = {**os.environ, "CONTAINERS_CONF": str(conf)}
    command = [program, "import", *settings, str(image), IMAGE]
    imported = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    image.unlink()
    if imported.returncode != 0:
        pytest.skip(f"{program} can not be used here: {imported.stderr.strip()}")
    yield {"CONTAINERS_CONF": str(conf)}
    subprocess.run([program, "rmi", "--force", IMAGE], env=environment, capture_output=True, check=True)


@pytest.fixture
def lab(stopped: Appliance, engine: dict[str, str]) -> Iterator[Appliance]:
    """An appliance that runs user code in containers."""
    stopped.environment |= engine
    yield stopped.start("--durability", "fast", "--runner", "container")
    assert stopped.stop() == 0


def create(lab: Appliance, name: str) -> str:
    """Create a pipeline from its spec with our image, wait for its job, which must succeed, and return the job."""
    spec: dict[str, Any] = json.loads((TUTORIAL / "specs" / f"{name}.json").read_text())
    spec["transform"]["image"] = IMAGE
    lab.create_pipeline(**spec)
    return wait(lab, name)


def wait(lab: Appliance, pipeline: str) -> str:
    """Wait for the newest job of a pipeline, which must succeed, and return it."""
    newest = json.loads(lab.pachctl("list", "job", "-p", pipeline, "--raw").partition("\n}")[0] + "}")
    job = f"{pipeline}@{newest['id']}"
    lab.pachctl("wait", "job", job)
    return job


def put(lab: Appliance, repo: str, files: dict[str, Any]) -> None:
    """Make a repo with small files of JSON."""
    lab.pachctl("create", "repo", repo)
    for name, content in files.items():
        lab.pachctl("put", "file", f"{repo}@master:/{name}", stdin=json.dumps(content) + "\n")


def list_files(lab: Appliance, repo: str) -> list[str]:
    """Return the paths of the files in a repo."""
    listed = lab.pachctl("glob", "file", f"{repo}@master:/**").splitlines()[1:]
    return sorted(line.split()[0] for line in listed if line.split()[1] == "file")


def read(lab: Appliance, repo: str, path: str) -> str:
    return lab.pachctl("get", "file", f"{repo}@master:{path}")


def png_header(lab: Appliance, repo: str, key: str) -> tuple[int, int, int]:
    """Return width, height and colour type of a PNG."""
    data = lab.s3.get_object(Bucket=f"master.{repo}", Key=key)["Body"].read()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    return width, height, colour


def test_edges_and_montage(lab: Appliance, packages: Path) -> None:
    lab.pachctl("create", "repo", "images")
    photographs = packages / "skimage" / "data"
    for name in PHOTOGRAPHS:
        lab.pachctl("put", "file", f"images@master:/{name}", "-f", str(photographs / name))
    create(lab, "edges")
    assert list_files(lab, "edges") == ["/chelsea.png", "/coffee.png", "/rocket.png"]
    width, height, _ = png_header(lab, "images", "coffee.png")
    assert png_header(lab, "edges", "coffee.png") == (width, height, 0)
    create(lab, "montage")
    assert png_header(lab, "montage", "montage.png") == (3 * 304, 2 * 304, 2)

    lab.pachctl("put", "file", "images@master:/moon.png", "-f", str(photographs / "moon.png"))
    job = wait(lab, "montage")
    assert png_header(lab, "montage", "montage.png") == (3 * 304, 3 * 304, 2)
    edges = json.loads(lab.pachctl("inspect", "job", f"edges@{job.partition('@')[2]}", "--raw"))
    assert (edges["processed"], edges["skipped"]) == (1, 3)


def test_joins_and_groups(lab: Appliance) -> None:
    zipcodes = {1: 90210, 2: 98101, 3: 98101, 4: 10001}
    put(lab, "stores", {f"STOREID{key}.txt": {"name": f"store{key}", "zipcode": code} for key, code in zipcodes.items()})
    put(lab, "purchases", {f"ORDERW{key}_STOREID{key}.txt": {"amount": key * 10} for key in (1, 2, 3)})
    put(lab, "returns", {"ORDERW2_STOREID2.txt": {"amount": 5}, "ORDERW7_STOREID7.txt": {"amount": 1}})

    create(lab, "inner_join")
    bought = ["/90210/ORDERW1_STOREID1.txt", "/98101/ORDERW2_STOREID2.txt", "/98101/ORDERW3_STOREID3.txt"]
    assert list_files(lab, "inner_join") == bought
    create(lab, "reduce_inner")
    assert read(lab, "reduce_inner", "/98101.txt") == '{"amount": 20}\n{"amount": 30}\n'

    create(lab, "group_store_revenue")
    assert list_files(lab, "group_store_revenue") == [*(f"/store{key}.txt" for key in zipcodes), "/unknown.txt"]
    assert read(lab, "group_store_revenue", "/store2.txt") == "15\n"


def test_outer_join_keeps_what_has_no_partner(lab: Appliance) -> None:
    put(lab, "stores", {f"STOREID{key}.txt": {"zipcode": code} for key, code in ((1, 90210), (2, 98101))})
    put(lab, "returns", {f"ORDERW{key}_STOREID{key}.txt": {"amount": key} for key in (2, 7)})
    create(lab, "outer_join")
    expected = ["/90210/NO_RETURNS.txt", "/98101/ORDERW2_STOREID2.txt", "/UNKNOWN/ORDERW7_STOREID7.txt"]
    assert list_files(lab, "outer_join") == expected


def test_laboratory_results_by_hospital(lab: Appliance) -> None:
    names = (
        "T1606331395-LIPID-PATID2-CLIA24D9871327.txt",
        "T1606707557-LIPID-PATID1-CLIA24D9871327.txt",
        "T1-X-PATID3-CLIA9.txt",
    )
    put(lab, "labresults", {name: {"patient": number} for number, name in enumerate(names)})
    create(lab, "group_by_hospital")
    assert list_files(lab, "group_by_hospital") == [*(f"/24D9871327/{name}" for name in names[:2]), f"/9/{names[2]}"]
