"""Transactions: requests that are collected and then run as one write. What a request is, `control` knows."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import NotFound
from appliance.names import CommitId, new_commit_id
from appliance.store.database import Db


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it was asked for."""

    call: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as read. Its id will be that of all commits it makes."""

    id: CommitId
    created_ns: int
    requests: list[Recorded]


def start_transaction(db: Db) -> CommitId:
    """Begin an empty transaction and return its id."""
    transaction_id = new_commit_id()
    row = (transaction_id, time.time_ns(), "[]")
    db.execute("INSERT INTO transactions (id, created_ns, requests) VALUES (?, ?, ?)", row)
    return transaction_id


def get_transaction(db: Db, transaction_id: str) -> Transaction:
    """Return a transaction or raise NotFound."""
    row = db.row("SELECT id, created_ns, requests FROM transactions WHERE id = ?", (transaction_id,))
    if row is None:
        raise NotFound(f"transaction {transaction_id} not found")
    return _transaction(*row)


def list_transactions(db: Db) -> list[Transaction]:
    """Return all that are not finished, oldest first."""
    rows = db.execute("SELECT id, created_ns, requests FROM transactions ORDER BY created_ns, id")
    return [_transaction(*row) for row in rows]


def _transaction(transaction_id: str, created_ns: int, requests: str) -> Transaction:
    return Transaction(CommitId(transaction_id), created_ns, msgspec.json.decode(requests, type=list[Recorded]))


def record_request(db: Db, transaction: Transaction, request: Recorded) -> None:
    """Add a request at the end of a transaction."""
    text = msgspec.json.encode([*transaction.requests, request]).decode()
    db.execute("UPDATE transactions SET requests = ? WHERE id = ?", (text, transaction.id))


def delete_transaction(db: Db, transaction_id: str) -> None:
    """Forget a transaction with what was recorded in it. Raises NotFound."""
    get_transaction(db, transaction_id)
    db.execute("DELETE FROM transactions WHERE id = ?", (transaction_id,))
