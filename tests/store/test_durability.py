"""What a killed process leaves, and who may open a directory."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from store.checks import check
from store.helpers import create_repos, put, read, tree
from store.putter import content

from appliance.errors import Conflict, StoreDamaged
from appliance.store import Store

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
OPEN = "import sys, pathlib; from appliance.store import Store; Store(pathlib.Path(sys.argv[1]), 'fast')"


def killed_after(directory: Path, lines: int) -> list[tuple[int, str]]:
    """Run the putter until it has acknowledged so many files; return all that it did."""
    command = [sys.executable, "-m", "store.putter", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    whole = [line.split() for line in seen if line.endswith("\n")]
    return [(int(number), commit) for number, commit in whole]


@pytest.mark.parametrize("seed", range(4))
def test_acknowledged_files_survive_a_kill(tmp_path: Path, seed: int) -> None:
    acknowledged = killed_after(tmp_path, random.Random(seed).randint(1, 150))
    store = Store(tmp_path, "fast")
    for number, commit in acknowledged:
        path = f"/{number % 7}/{number}"
        assert read(store, "images", commit, path) == read(store, "images", "master", path) == content(number)
    check(store)
    store.close()


def test_store_can_be_written_after_a_kill(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    store = Store(tmp_path, "fast")
    before = tree(store, "images")
    put(store, "images", "/new", b"1")
    assert tree(store, "images") == {**before, "/new": b"1"}
    store.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path, "durable")
    create_repos(store, "images")
    put(store, "images", "/a", b"1")
    before = tree(store, "images")
    store.close()
    store = Store(tmp_path, "durable")
    assert tree(store, "images") == before
    store.close()


def test_second_process_is_refused(store: Store) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN, str(store.directory)], capture_output=True, text=True, env=ENVIRONMENT)
    expected = f"appliance.errors.Conflict: data directory {store.directory} is in use by another appliance"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, expected)


def test_directory_can_be_opened_again_after_close(tmp_path: Path) -> None:
    for _ in range(2):
        Store(tmp_path, "fast").close()


def test_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store(tmp_path, "fast").close()
    with sqlite3.connect(tmp_path / "appliance.db") as db:
        sql = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('appliance', 'from_2099', '')"
        db.execute(sql)
        before = list(db.iterdump())
    for _ in range(2):  # the second time tells that the first let go of the lock
        with pytest.raises(Conflict, match=r"written by a newer appliance \(schema from_2099\)"):
            Store(tmp_path, "fast")
    assert list(db.iterdump()) == before
    db.close()


def test_file_that_is_no_database_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "appliance.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreDamaged):
        Store(tmp_path, "fast")
