"""A gateway with authentication on, and clients of it by subject."""

from contextlib import ExitStack
from typing import Any

from gateway.helpers import Served, client

from appliance.store import auth

ROOT = "root-token-0123456789"
ALICE, BOB = "user:alice", "robot:bob"


class Door:
    """The gateway; its clients are closed with `stack`."""

    def __init__(self, gateway: Served, stack: ExitStack) -> None:
        self.gateway, self.store, self._stack = gateway, gateway.store, stack
        self.store.write(lambda db: auth.activate(db, ROOT))

    def token(self, subject: str, ttl_s: float | None = None) -> str:
        return self.store.write(lambda db: auth.make_token(db, subject, ttl_s=ttl_s))

    def client(self, subject: str | None = None, **settings: Any) -> Any:
        """Return a client with a new token of a subject; root's without one."""
        token = ROOT if subject is None else self.token(subject)
        return self._stack.enter_context(client(self.gateway.url, token, token, **settings))

    def give(self, subject: str, *roles: str, repo: str | None = "data") -> None:
        self.store.write(lambda db: auth.set_roles(db, repo, subject, roles))
