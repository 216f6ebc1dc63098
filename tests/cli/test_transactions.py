"""Transactions on the command line: nothing happens before the end, then everything at once, under one id."""

from collections.abc import Iterator

import pytest
from cli.helpers import Serving, Shell

from appliance.cli.connection import TRANSACTIONAL
from appliance.control.requests import Requests


@pytest.fixture(autouse=True)
def none_active(appliance: Serving) -> Iterator[None]:
    yield
    (appliance.data / "active-transaction").unlink(missing_ok=True)


def begin(sh: Shell) -> str:
    first, _, transaction = sh("start", "transaction").out.rstrip().rpartition(": ")
    assert first == "Started new transaction"
    return transaction


def add(sh: Shell, *arguments: str) -> str:
    """Ask for something that is added to the active transaction; return what it printed."""
    ran = sh.try_(*arguments)
    assert (ran.status, ran.err.startswith("Added to transaction: ")) == (0, True), ran
    return ran.out


def test_nothing_happens_before_the_end(sh: Shell) -> None:
    transaction = begin(sh)
    add(sh, "create", "repo", "late")
    assert "late" not in sh("list", "repo").out
    assert sh("finish", "transaction").out == f"Completed transaction with 1 requests: {transaction}\n"
    assert "late" in sh("list", "repo").out
    assert transaction not in sh("list", "transaction").out


def test_commits_have_the_id_of_the_transaction(sh: Shell) -> None:
    for repo in ("one", "other"):
        sh("create", "repo", repo)
    transaction = begin(sh)
    for repo in ("one", "other"):
        assert add(sh, "start", "commit", f"{repo}@master") == f"{transaction}\n"
    sh("finish", "transaction")
    listed = sh("inspect", "commit", transaction, "--raw").objects
    assert sorted(commit["repo"] for commit in listed) == ["one", "other"]


def test_request_that_can_not_work_is_refused_at_once(sh: Shell) -> None:
    transaction = begin(sh)
    add(sh, "create", "repo", "twice")
    assert sh.refused("create", "repo", "twice") == (1, "repo twice already exists")
    assert len(sh("inspect", "transaction", "--raw").objects[0]["requests"]) == 1
    sh("delete", "transaction", transaction)
    assert "twice" not in sh("list", "repo").out


def test_failing_request_at_the_end_undoes_all(sh: Shell) -> None:
    transaction = begin(sh)
    add(sh, "create", "repo", "first")
    add(sh, "create", "repo", "second")
    sh("stop", "transaction")
    sh("create", "repo", "second")
    assert sh.refused("finish", "transaction", transaction) == (1, "repo second already exists")
    assert "first" not in sh("list", "repo").out


def test_stopped_transaction_goes_on_when_resumed(sh: Shell) -> None:
    transaction = begin(sh)
    add(sh, "create", "repo", "early")
    assert sh("stop", "transaction").out == f"Cleared active transaction: {transaction}\n"
    sh("resume", "transaction", transaction)
    add(sh, "create", "branch", "early@dev")
    shown = sh("inspect", "transaction").out
    assert "create repo repo=early" in shown
    assert "create branch repo=early branch=dev" in shown
    sh("finish", "transaction")
    assert "dev" in sh("list", "branch", "early").out


def test_second_start_and_unknown_ids_are_refused(sh: Shell) -> None:
    transaction = begin(sh)
    assert sh.refused("start", "transaction")[0] == 2
    sh("stop", "transaction")
    assert sh.refused("stop", "transaction") == (2, "no active transaction: start one, or name one")
    sh("delete", "transaction", transaction)
    assert sh.refused("resume", "transaction", transaction) == (1, f"transaction {transaction} not found")


def test_command_line_knows_what_can_be_part_of_one() -> None:
    assert {name for name in dir(Requests) if not name.startswith("_")} == TRANSACTIONAL
