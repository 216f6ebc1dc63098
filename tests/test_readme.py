"""Every command in the README is run, or at least understood."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.pipelines.process import probe_namespaces

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(?:<!-- test: (\w+) -->\n)?```sh\n(.*?)```", README, re.DOTALL)

RECIPES = re.findall(r"<!-- engine: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL)


def test_every_block_says_how_it_is_tested() -> None:
    marks = [mark for mark, _ in BLOCKS]
    assert marks == ["", "session", "session", "auth", "session", "batching", "grammar", "session"]


@pytest.mark.parametrize(("engine", "recipe"), RECIPES)
def test_recipes_are_lines_of_programs_that_are_run(engine: str, recipe: str) -> None:
    program = (ROOT / "scripts" / "engines" / f"{engine}_job.py").read_text()
    lines = [_with_buckets(line) for line in program.splitlines()]
    assert [line for line in recipe.splitlines() if _with_buckets(line) not in lines] == []


def test_every_engine_has_its_recipe() -> None:
    programs = (ROOT / "scripts" / "engines").glob("*_job.py")
    assert sorted(engine for engine, _ in RECIPES) == sorted(program.stem.removesuffix("_job") for program in programs)


def _with_buckets(line: str) -> str:
    """A line of a program with the names of the buckets that a recipe has."""
    return line.strip().replace('f"', '"').replace("{source}", "readings").replace("{target}", "out")


def test_two_commands_are_there() -> None:
    for line in BLOCKS[0][1].splitlines():
        assert os.access(ROOT / line.split()[0], os.X_OK)


def test_session_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    if problem := probe_namespaces():
        pytest.skip(problem)
    # What is said of authentication is the last of all: it shuts out what came in without a token.
    session = "".join(text for wanted in ("session", "auth") for mark, text in BLOCKS if mark == wanted)
    # The port of the README may be taken here; everything else is as printed.
    session = session.replace("127.0.0.1:30600", "127.0.0.1:0").replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    script = f"set -eu\ntrap 'kill %1; wait' EXIT\n{session}\n"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    named = (
        "count.meta",
        "PRE meta/",
        "/cat.txt",
        "\n2\n",
        "Provenance: images@",
        "master.count",
        "dogs.txt",
        "Root token: ",
        "[repoReader]",
    )
    for shown in (*named, "No errors found.", "repos: copy;"):
        assert shown in done.stdout


@pytest.mark.parametrize("line", [line for mark, text in BLOCKS if mark == "grammar" for line in text.splitlines()])
def test_other_commands_are_understood(line: str, tmp_path: Path) -> None:
    (tmp_path / "service-account.json").write_text("{}")
    command = shlex.split(line)
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:]],
        cwd=tmp_path,
        env={"APPLIANCE_HOME": "/nonexistent"},
        input="a line for what is read from standard input\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no appliance is running" in done.stderr


def test_options_of_serve_are_those_of_the_readme() -> None:
    table = README.partition("| `appliance serve` | |")[2].partition("\n\n")[0]
    documented = set(re.findall(r"--[a-z][a-z0-9-]+", table))
    program = Path(sys.executable).parent / "appliance"
    printed = subprocess.run([program, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    assert documented == set(re.findall(r"^\s+(--[a-z0-9-]+)", printed, re.MULTILINE)) - {"--help"}
