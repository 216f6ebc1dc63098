"""Servers that are no packages of ours: installed once from their registries, beside everybody's other caches."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appliance-tests"
UNREACHABLE = (
    "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "NewConnectionError", "ConnectTimeoutError",
    "NameResolutionError", "Temporary failure in name resolution", "ProxyError",
)  # fmt: skip


def npm_program(package: str, version: str, program: str) -> Path:
    """Return a program of an npm package. Skips the test where there is no npm, or no registry."""
    directory = CACHE / f"{package}-{version}"
    npm = shutil.which("npm")
    found = directory / "node_modules" / ".bin" / program
    with _locked(directory):
        if not found.exists():
            if npm is None:
                pytest.skip(f"npm is not installed, so {package} can not be")
            (directory / "package.json").write_text("{}")
            command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(directory), f"{package}@{version}"]
            _install(package, command, directory)
    return found


def python_with(package: str, version: str) -> Path:
    """Return a Python that has a package, in an environment of its own. Skips the test where there is no registry."""
    directory = CACHE / f"{package}-{version}"
    python = directory / "venv" / "bin" / "python"
    with _locked(directory):
        if not (directory / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", directory / "venv"], check=True)
            command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", f"{package}=={version}"]
            _install(package, command, directory)
            (directory / "complete").touch()
    return python


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One test run at a time installs."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(package: str, command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    if done.returncode and any(word in said for word in UNREACHABLE):
        pytest.skip(f"{package} can not be installed, its registry can not be reached")
    assert done.returncode == 0, said
