"""Who may do what in a writable branch, and what comes of it: as in a directory of the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import TIMEOUT_S, run
from store.helpers import create_repos, put_all

PROGRAM = Path(__file__).with_name("like_a_directory.py")
# As many every time, the same ones; for an evening ask for more.
SEEDS = range(int(os.environ.get("APPLIANCE_SEEDS", "2")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be others")
def test_random_calls_of_several_users_do_what_they_do_in_a_directory(store, place, quiet, tmp_path):
    with Serving(store, place, "*"):
        for seed in SEEDS:
            native = tmp_path / f"native-{seed}"
            native.mkdir()
            create_repos(store, f"data-{seed}")
            command = [sys.executable, str(PROGRAM), str(place / f"data-{seed}"), str(native), str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            assert (done.stdout, done.stderr) == ("", ""), f"seed {seed}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be others")
def test_others_may_write_where_they_were_given_room(store, place, quiet):
    create_repos(store, "data")
    put_all(store, "data", {"/room/file": b"theirs"})
    program = """
import errno, os, sys
os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)
for change in (lambda: os.mkdir("new"), lambda: os.unlink("room/file"), lambda: open("room/file", "w")):
    try:
        print(change() and "done")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    with Serving(store, place, "*"):
        assert run(program, place / "data").split() == ["EACCES"] * 3
        os.chown(place / "data/room", 65534, -1)
        assert run(program, place / "data").split()[:2] == ["EACCES", "None"]
