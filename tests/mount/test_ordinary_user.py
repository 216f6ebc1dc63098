"""The mount of a user without any rights: by fusermount3, in a user namespace, and not at all."""

import os
import sys
from pathlib import Path

import pytest
from mount.conftest import Mounted, Serving
from mount.helpers import names, serve_and_die, wait_unmounted
from somebody import PROJECT, run_as_somebody, run_tests_as_somebody
from store.helpers import create_repos, put

from appliance.mount import mountpoint
from appliance.store import Store

OPEN = "mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse;"
WITHOUT_HELPER = "mount --bind /dev/null /usr/bin/fusermount3;"
WITHOUT_NAME = "umount /etc/passwd;"
SHUT = "mknod -m 600 fuse c 10 229; mount --bind fuse /dev/fuse;"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="is run by an ordinary user")
ROUTES = pytest.mark.parametrize(
    ("before", "namespace"),
    [
        pytest.param(OPEN, "", id="fusermount3"),
        pytest.param(OPEN + WITHOUT_HELPER, "unshare -Urm", id="user namespace"),
    ],
)


@pytest.fixture
def writable(store: Store, place: Path, quiet: None) -> Mounted:
    create_repos(store, "data")
    put(store, "data", "/dir/foo", b"foo")
    with Serving(store, place, "data") as mounted:
        yield mounted


def test_everything_belongs_to_who_mounts_it(writable):
    for path in (writable.path, writable.path / "data", writable.path / "data@master/dir/foo"):
        assert path.stat().st_uid == os.getuid()


def test_what_is_written_is_committed(writable):
    (writable.path / "data/new").write_text("new")
    assert writable.mount.commit("data", "master") is not None
    assert (writable.path / "data@master/new").read_text() == "new"


def test_a_killed_process_leaves_nothing(place, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    serve_and_die(tmp_path / "dead", place, environment)
    wait_unmounted(place)
    assert names(place) == []


@needs_root
@ROUTES
def test_all_of_this_holds_for_an_ordinary_user(before, namespace):
    """These tests once more, and those of a mount that is stale or in use."""
    session = Path(__file__).with_name("test_session.py").relative_to(PROJECT)
    wanted = "belongs or written_is or leaves_nothing or goes_away_while_in_use or taken_away or named_pfs"
    result = run_tests_as_somebody(
        "-k", f"({wanted}) and not holds", Path(__file__).relative_to(PROJECT), session, before=before, namespace=namespace
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 passed" in result.stdout


@needs_root
@pytest.mark.parametrize(
    ("before", "namespace", "said"),
    [
        pytest.param(SHUT, "", "/dev/fuse: Permission denied (chmod 666 /dev/fuse", id="device"),
        pytest.param(OPEN + WITHOUT_HELPER, "", "unshare -Urm appliance serve", id="helper"),
        pytest.param(OPEN, "setpriv --no-new-privs", "no_new_privs is set", id="service with NoNewPrivileges"),
        pytest.param(OPEN + WITHOUT_NAME, "", "54321 has none in /etc/passwd", id="container without a user"),
        pytest.param(OPEN, "", "None", id="nothing"),
    ],
)
def test_why_an_ordinary_user_can_not_mount_is_said_in_a_line(before, namespace, said):
    program = "from appliance.mount.mountpoint import find_problem; print(find_problem(Path('/mnt')))"
    result = run_as_somebody("-c", "from pathlib import Path; " + program, before=before, namespace=namespace)
    assert result.returncode == 0, result.stderr
    assert said in result.stdout
    assert result.stdout.count("\n") == 1


def test_root_needs_no_helper():
    assert os.geteuid() != 0 or mountpoint.find_problem_of_rights() is None
