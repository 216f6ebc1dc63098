"""Asking the appliance that runs on the data directory of this environment."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from appliance.config import find_data

if TYPE_CHECKING:
    from appliance.control.client import Client

T = TypeVar("T")

TRANSACTIONAL = frozenset(
    (
        "create_repo",
        "delete_repo",
        "create_branch",
        "delete_branch",
        "start_commit",
        "finish_commit",
        "squash_commit_set",
        "create_pipeline",
        "stop_job",
        "delete_job",
    )
)
"""The changes that can be part of a transaction; what `control.requests` offers."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


def connect() -> "Client":
    """Return the client for this environment; nothing is sent yet."""
    from appliance.control.client import Client  # a third of a command's start, and `--help` can do without

    return Client(find_data(os.environ))


def call(name: str, **arguments: Any) -> Any:
    """Make one call and return its result; arguments of None are left out.

    While a transaction is active, a change is added to it instead, and says so.
    """
    transaction = active_transaction() if name in TRANSACTIONAL else None
    if transaction is None:
        return connect().call(name, **arguments)
    result = connect().call(name, **arguments, transaction=transaction)
    click.echo(f"Added to transaction: {transaction}", err=True)
    return result


def iterate(name: str, **arguments: Any) -> Iterator[Any]:
    """Make a call that has any number of answers and yield them; arguments of None are left out."""
    return connect().iterate(name, **arguments)


def active_transaction() -> str | None:
    """Return the id of the transaction that changes are added to, if there is one."""
    try:
        return _active_file().read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def set_active_transaction(transaction: str | None) -> None:
    """Let changes be added to a transaction, or to none."""
    if transaction is None:
        _active_file().unlink(missing_ok=True)
    else:
        _active_file().write_text(f"{transaction}\n")


def _active_file() -> Path:
    return find_data(os.environ) / "active-transaction"


def ask_until(ask: Callable[[], T], done: Callable[[T], bool]) -> T:
    """Ask again and again, with growing pauses, until an answer is `done`, and return that."""
    pause_s = _FIRST_PAUSE_S
    while not done(answer := ask()):
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return answer
