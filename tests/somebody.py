"""Tests once more as an ordinary user, the interpreter bound to where it can be read: a checkout may lie in root's home."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

PROJECT = Path(__file__).parents[1]
USER = 54321

_SCRIPT = """
set -e
mount --bind "$1" python; mount --bind "$2" packages; mount --bind "$3" project
{ cat /etc/passwd; echo somebody:x:54321:54321::/:/bin/sh; } > passwd; mount --bind passwd /etc/passwd
before=$4; shift 4
eval "$before"
cd project
exec setpriv --reuid 54321 --regid 54321 --clear-groups $NAMESPACE ../python/bin/python3 "$@"
"""


def run_tests_as_somebody(*tests: str | Path, before: str = "", namespace: str = "") -> subprocess.CompletedProcess[str]:
    """Run tests as `run_as_somebody` runs a program."""
    scratch = Path(tempfile.mkdtemp(prefix="ordinary-user-scratch-"))
    os.chown(scratch, USER, USER)
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(scratch / "base"))
    try:
        return run_as_somebody("-m", "pytest", *options, *map(str, tests), before=before, namespace=namespace)
    finally:
        shutil.rmtree(scratch)


def run_as_somebody(*arguments: str, before: str = "", namespace: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python as a user without any rights, after `before` was done by root in a mount namespace of its own.

    With `namespace`, a command, it runs in the namespaces that this makes.
    """
    place = Path(tempfile.mkdtemp(prefix="ordinary-user-"))
    for name in ("", "python", "packages", "project"):
        (place / name).mkdir(exist_ok=True)
        (place / name).chmod(0o755)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{place}/python/lib",
        "PYTHONPATH": f"{place}/project:{place}/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NAMESPACE": namespace,
        "APPLIANCE_REQUIRE_FUSE": os.environ.get("APPLIANCE_REQUIRE_FUSE", ""),
    }
    sources = (sys.base_prefix, Path(trio.__file__).parents[1], PROJECT)
    try:
        return _run([*map(str, sources), before, *arguments], place, environment)
    finally:
        shutil.rmtree(place)


def _run(arguments: Sequence[str], place: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "-m", "sh", "-c", _SCRIPT, "sh", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
