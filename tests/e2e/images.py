"""An image for user code in Python, made of what this machine has: no registry of images is asked."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

APPLETS = ("sh", "basename", "cat", "cp", "dirname", "env", "find", "ls", "mkdir", "sort")
_LEFT_OUT = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip", "tkinter", "__pycache__", "lib2to3"}


def write_image(place: Path, packages: Path, code: Path) -> None:
    """Write an image as a tar: this Python at its own place, `packages` in /packages, `code` in /, a shell and its tools."""
    python, bash = Path(os.path.realpath(sys._base_executable)), Path(_find("bash"))  # type: ignore[attr-defined]
    stdlib = Path(sysconfig.get_path("stdlib"))
    binaries = [python, bash, *stdlib.glob("lib-dynload/*.so"), *packages.glob("PIL/*.so")]
    with tarfile.open(place, "w", dereference=True) as tar:
        for file in {python, *_libraries(binaries)}:
            tar.add(file, str(file).lstrip("/"))
        tar.add(stdlib, str(stdlib).lstrip("/"), filter=_wanted)
        tar.add(packages / "PIL", "packages/PIL")
        tar.add(packages / "pillow.libs", "packages/pillow.libs")
        tar.add(code, ".", filter=_wanted)
        tar.add(_find("busybox"), "bin/busybox")
        tar.add(bash, "bin/bash")
        tar.add(code / "montage", "bin/montage")
        for name, target in (*((f"bin/{name}", "busybox") for name in APPLETS), ("usr/bin/env", "/bin/busybox")):
            _link(tar, name, target)
        for name in ("python", "python3"):
            _link(tar, f"bin/{name}", str(python))


def _find(program: str) -> str:
    found = shutil.which(program)
    assert found is not None
    return os.path.realpath(found)


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name in _LEFT_OUT else entry


def _libraries(binaries: Iterable[Path]) -> Iterator[Path]:
    """Yield the shared libraries, and the loader, that programs and modules of this machine need."""
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        for word in line.split():
            if word.startswith("/") and not word.endswith(":") and "pillow.libs" not in word:
                yield Path(word)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)
