"""Who may do what in a writable branch, and what comes of it: as in a directory of the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mount.conftest import Serving
from mount.helpers import TIMEOUT_S
from store.helpers import create_repos

PROGRAM = Path(__file__).with_name("like_a_directory.py")
# As many every time, the same ones; for an evening ask for more.
SEEDS = range(int(os.environ.get("APPLIANCE_SEEDS", "3")))


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
