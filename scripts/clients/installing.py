"""Environments of clients: each in a directory of its own, made once and kept outside the checkout.

Everything comes from the public package registries, by the package managers as they are set up on the machine.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


class NotInstalled(Exception):
    """A client can not be had here, and why."""


def cache() -> Path:
    """Return the directory of all environments."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "appliance-conformance"


@dataclass(frozen=True)
class Needs:
    """What a client is installed from: any of these package managers, with the packages each is asked for."""

    pip: Sequence[str] = ()
    npm: Sequence[str] = ()
    go: Sequence[str] = ()
    apt: Sequence[str] = ()
    programs: Sequence[str] = field(default=())
    """What has to be on the path afterwards."""

    def install(self, name: str) -> Path:
        """Return the environment of a client, made if need be. Raises NotInstalled."""
        wanted = repr((self, sys.version_info[:2]))
        place = cache() / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            self._install_all(place)
            (place / "complete").touch()
        return place

    def _install_all(self, place: Path) -> None:
        if self.apt and not all(shutil.which(program) for program in self.programs):
            _run(["apt-get", "update", "-qq"], place)
            _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *self.apt], place)
        if self.pip:
            _run([sys.executable, "-m", "venv", str(place / "venv")], place)
            _run([str(place / "venv/bin/python"), "-m", "pip", "install", "-q", *self.pip], place)
        if self.npm:
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), *self.npm], place)
        for module in self.go:
            _run(["go", "install", module], place, GOBIN=str(place / "bin"), GOFLAGS="-p=2")

    def path(self, place: Path) -> str:
        """Return the search path with the client's programs first."""
        own = [str(place / "venv" / "bin"), str(place / "bin"), str(place / "node_modules" / ".bin")]
        return ":".join([*own, os.environ["PATH"]])


def _run(command: list[str], place: Path, **environment: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{' '.join(command[:3])}: {said[-1][:200] if said else f'status {done.returncode}'}")
