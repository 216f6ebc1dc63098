"""Transactions: requests that are asked for one by one and happen all at once.

Adding a request rehearses everything recorded so far together with it and undoes that again, so a request that can not
work is refused when it is asked for, and the answer is what it will be (commits will have the transaction's id).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import Conflict, InvalidRequest
from appliance.store import Db, Store, transactions
from appliance.store.database import Changes
from appliance.store.propagation import joint_set
from appliance.store.transactions import Recorded, Transaction

Write = Callable[[Db], Any]


@dataclass(frozen=True, slots=True)
class Request:
    """Something that can be asked for: what checks the arguments and returns the write, and their type."""

    prepare: Callable[..., Write]
    arguments: type[msgspec.Struct]

    def bind(self, given: Mapping[str, Any]) -> Write:
        """Return the request as a write. Raises InvalidRequest for arguments of other names or types, and what it refuses."""
        try:
            checked = msgspec.convert(given, type=self.arguments)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{self.prepare.__name__}: {error}") from None
        return self.prepare(**{field: getattr(checked, field) for field in self.arguments.__struct_fields__})


class Transactions:
    """The calls about transactions, over all requests there are."""

    def __init__(self, store: Store, requests: Mapping[str, Request]) -> None:
        self._store, self._requests = store, requests

    def start_transaction(self) -> str:
        return self._store.write(transactions.start_transaction)

    def inspect_transaction(self, transaction: str) -> Transaction:
        with self._store.snapshot() as db:
            return transactions.get_transaction(db, transaction)

    def list_transaction(self) -> list[Transaction]:
        with self._store.snapshot() as db:
            return transactions.list_transactions(db)

    def delete_transaction(self, transaction: str) -> None:
        self._store.write(lambda db: transactions.delete_transaction(db, transaction))

    def finish_transaction(self, transaction: str) -> Transaction:
        """Run everything that was recorded, in order, as one write; if a request fails nothing happens."""
        recorded = self.inspect_transaction(transaction)
        writes = self._bind_all(recorded.requests)

        def finish(db: Db) -> None:
            _check_unchanged(db, recorded)
            _run_all(db, recorded, writes)
            transactions.delete_transaction(db, transaction)

        self._store.write(finish)
        return recorded

    def add(self, transaction: str, name: str, given: Mapping[str, Any]) -> Any:
        """Record a request and return what it will answer; see the module."""
        recorded = self.inspect_transaction(transaction)
        request = Recorded(name, dict(given))
        writes = self._bind_all([*recorded.requests, request])

        def record(db: Db) -> Any:
            _check_unchanged(db, recorded)
            result = rehearse(db, lambda db: _run_all(db, recorded, writes))
            transactions.record_request(db, recorded, request)
            return result

        return self._store.write(record)

    def _bind_all(self, requests: Iterable[Recorded]) -> list[Write]:
        return [self._requests[request.call].bind(request.arguments) for request in requests]


def _check_unchanged(db: Db, recorded: Transaction) -> None:
    if transactions.get_transaction(db, recorded.id) != recorded:
        raise Conflict(f"somebody else changed transaction {recorded.id} at the same time")


def rehearse(db: Db, write: Write) -> Any:
    """Return what a write gives, or raise what it raises, and undo it."""
    db.execute("SAVEPOINT rehearsal")
    try:
        return write(db)
    finally:
        db.execute("ROLLBACK TO rehearsal")
        db.execute("RELEASE rehearsal")
        db.changes = Changes()


def _run_all(db: Db, transaction: Transaction, writes: Iterable[Write]) -> Any:
    result = None
    with joint_set(db, transaction.id):
        for write in writes:
            result = write(db)
    return result


def collect_requests(owner: object) -> dict[str, Request]:
    """Return the public methods of an object as requests; see `Requests`."""
    found = {}
    for name, method in inspect.getmembers(owner, inspect.ismethod):
        if not name.startswith("_"):
            found[name] = Request(method, arguments_type(name, method))
    return found


def arguments_type(name: str, method: Callable[..., Any], *, skip: int = 0) -> type[msgspec.Struct]:
    """Return a type for the arguments of a method but for the first `skip`."""
    fields: list[Any] = []
    for parameter in list(inspect.signature(method, eval_str=True).parameters.values())[skip:]:
        field = (parameter.name, parameter.annotation)
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)
