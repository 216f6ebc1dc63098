"""Transactions: several changes that happen all at once, under one id.

`start transaction` makes a transaction the active one of this data directory: what changes repos, branches, commits,
pipelines or jobs is added to it instead of done, until it is finished, stopped or deleted.
"""

import click

from appliance.cli import verbs
from appliance.cli.connection import (
    active_transaction,
    call,
    set_active_transaction,
)
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one
from appliance.errors import InvalidRequest

_HEADER = ("TRANSACTION", "STARTED", "OPS")


@verbs.start.command("transaction")
def start_transaction() -> None:
    """Start a transaction: what is asked for from now on is added to it."""
    if active := active_transaction():
        raise InvalidRequest(f"transaction {active} is active: finish, stop or delete it first")
    started = call("start_transaction")
    set_active_transaction(started)
    click.echo(f"Started new transaction: {started}")


@verbs.stop.command("transaction")
def stop_transaction() -> None:
    """Stop adding to the active transaction; it can be resumed."""
    stopped = _require_active()
    set_active_transaction(None)
    click.echo(f"Cleared active transaction: {stopped}")


@verbs.resume.command("transaction")
@click.argument("transaction")
def resume_transaction(transaction: str) -> None:
    """Make a transaction the active one again."""
    call("inspect_transaction", transaction=transaction)
    set_active_transaction(transaction)
    click.echo(f"Resuming existing transaction: {transaction}")


@verbs.finish.command("transaction")
@click.argument("transaction", required=False)
def finish_transaction(transaction: str | None) -> None:
    """Do everything that was added to a transaction, by default the active one, all at once."""
    chosen = transaction or _require_active()
    finished = call("finish_transaction", transaction=chosen)
    _clear_if_active(chosen)
    click.echo(f"Completed transaction with {len(finished['requests'])} requests: {chosen}")


@verbs.delete.command("transaction")
@click.argument("transaction", required=False)
def delete_transaction(transaction: str | None) -> None:
    """Forget a transaction, by default the active one: nothing of it happens."""
    chosen = transaction or _require_active()
    call("delete_transaction", transaction=chosen)
    _clear_if_active(chosen)


@verbs.inspect.command("transaction")
@click.argument("transaction", required=False)
@styled
def inspect_transaction(transaction: str | None, style: Style) -> None:
    """Show a transaction, by default the active one, with what was added to it."""
    found = call("inspect_transaction", transaction=transaction or _require_active())
    print_one(style, found, lambda shown: _describe(shown, style))


@verbs.list_.command("transaction")
@styled
def list_transaction(style: Style) -> None:
    """List transactions that are not finished."""
    print_list(
        style,
        _HEADER,
        call("list_transaction"),
        lambda found: (found["id"], style.when(found["created_ns"]), str(len(found["requests"]))),
    )


def _describe(found: Facts, style: Style) -> dict[str, str | None]:
    return {
        "ID": found["id"],
        "Started": style.when(found["created_ns"]),
        "Requests": "".join(f"\n  {_request(request)}" for request in found["requests"]) or None,
    }


def _request(request: Facts) -> str:
    arguments = " ".join(f"{key}={value}" for key, value in request["arguments"].items())
    return f"{request['call'].replace('_', ' ')} {arguments}"


def _require_active() -> str:
    active = active_transaction()
    if active is None:
        raise InvalidRequest("no active transaction: start one, or name one")
    return active


def _clear_if_active(transaction: str) -> None:
    if active_transaction() == transaction:
        set_active_transaction(None)
