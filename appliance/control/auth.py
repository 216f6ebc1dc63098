"""What commands can ask about authentication.

The control socket is for the owner of the data directory, who could change the database itself, so what comes through it
may do everything. A command that names a token wants to be told what that token may do, and gets no further.
"""

import time
from dataclasses import dataclass

from appliance.app import App
from appliance.errors import Conflict, InvalidRequest, NotAuthorized
from appliance.quantities import parse_duration
from appliance.store import Db, auth


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it is."""

    subject: str
    expires_ns: int | None


@dataclass(frozen=True, slots=True)
class Rights:
    """The roles of somebody, and what they allow."""

    subject: str
    roles: list[str]
    permissions: list[str]


class AuthCalls:
    """The calls, over an open appliance. Every public method is one. `as_token` is the token of whoever asks."""

    def __init__(self, app: App) -> None:
        self._store, self._config = app.store, app.config

    def auth_activate(self, token: str | None = None) -> str:
        """Turn authentication on; return the root token."""
        return self._store.write(lambda db: auth.activate(db, token))

    def auth_deactivate(self, as_token: str | None = None) -> None:
        if self._config.open_hosts and not self._config.anyone:
            raise Conflict(
                f"other machines reach {' and '.join(self._config.open_hosts)}: serve on 127.0.0.1 or with --anyone first"
            )

        def deactivate(db: Db) -> None:
            _check_admin(db, as_token, "CLUSTER_AUTH_DEACTIVATE")
            auth.deactivate(db)

        self._store.write(deactivate)

    def auth_rotate_root_token(self, token: str | None = None, as_token: str | None = None) -> str:
        def rotate(db: Db) -> str:
            _check_admin(db, as_token, "CLUSTER_AUTH_ACTIVATE")
            return auth.rotate_root_token(db, token)

        return self._store.write(rotate)

    def auth_whoami(self, as_token: str | None = None) -> Identity:
        with self._store.snapshot() as db:
            auth.check_active(db)
            if as_token is None:
                raise InvalidRequest("no authentication token (try logging in)")
            return _identify(db, as_token)

    def auth_make_token(
        self, subject: str, ttl: str | None = None, token: str | None = None, as_token: str | None = None
    ) -> str:
        """Make a token: a new one, or the one given."""
        ttl_s = None if ttl is None else parse_duration(ttl)

        def make(db: Db) -> str:
            _check_admin(db, as_token, "CLUSTER_AUTH_GET_ROBOT_TOKEN")
            if auth.check_subject(subject) in (auth.ROOT, auth.EVERYBODY):
                raise InvalidRequest(f"{subject} gets no tokens")
            return auth.make_token(db, subject, ttl_s=ttl_s, token=token)

        return self._store.write(make)

    def auth_revoke_token(self, token: str, as_token: str | None = None) -> None:
        """Forget a token; whoever has it may."""

        def revoke(db: Db) -> None:
            if as_token != token:
                _check_admin(db, as_token, "CLUSTER_AUTH_REVOKE_USER_TOKENS")
            auth.revoke_token(db, token)

        self._store.write(revoke)

    def auth_revoke_subject(self, subject: str, as_token: str | None = None) -> int:
        """Forget all tokens of a subject; return how many there were."""

        def revoke(db: Db) -> int:
            _check_admin(db, as_token, "CLUSTER_AUTH_REVOKE_USER_TOKENS")
            return auth.revoke_subject(db, subject)

        return self._store.write(revoke)

    def auth_get_roles(self, repo: str | None = None, as_token: str | None = None) -> dict[str, list[str]]:
        """Return who has which roles on a repo, or on the cluster."""
        with self._store.snapshot() as db:
            _check_may_look(db, as_token, repo)
            return {subject: list(roles) for subject, roles in auth.list_roles(db, repo).items()}

    def auth_set_roles(self, subject: str, roles: list[str], repo: str | None = None, as_token: str | None = None) -> None:
        def change(db: Db) -> None:
            _check_may_change(db, as_token, repo)
            auth.set_roles(db, repo, subject, roles)

        self._store.write(change)

    def auth_check(self, repo: str | None = None, subject: str | None = None, as_token: str | None = None) -> Rights:
        """Return what somebody may do with a repo, or with the cluster: a subject, else whoever asks."""
        with self._store.snapshot() as db:
            asker = _asker(db, as_token)
            if subject is not None and subject != asker:
                _check_may_change(db, as_token, repo)
            wanted = auth.check_subject(subject or asker)
            roles = auth.list_own_roles(db, repo, wanted)
            return Rights(wanted, roles, auth.list_permissions(roles))

    def auth_roles_for_permission(self, permission: str) -> list[str]:
        return auth.roles_for_permission(permission)


def _identify(db: Db, token: str) -> Identity:
    auth.check_active(db)
    holder = auth.find_holder(db, token)
    if holder is None or holder.is_expired(time.time_ns()):
        raise NotAuthorized("provided auth token is corrupted or has expired (try logging in again)")
    return Identity(holder.subject, holder.expires_ns)


def _asker(db: Db, token: str | None) -> str:
    auth.check_active(db)
    return auth.ROOT if token is None else _identify(db, token).subject


def _check_admin(db: Db, token: str | None, permission: str) -> None:
    auth.check_admin(db, _asker(db, token), permission)


def _check_may_look(db: Db, token: str | None, repo: str | None) -> None:
    asker = _asker(db, token)
    if repo is None:
        auth.check_admin(db, asker, "CLUSTER_GET_BINDINGS")
    elif auth.get_level(db, asker, repo) < auth.Level.READ:
        raise NotAuthorized(auth.refusal(asker, "REPO_READ", f"REPO {repo}"))


def _check_may_change(db: Db, token: str | None, repo: str | None) -> None:
    asker = _asker(db, token)
    if repo is None:
        auth.check_admin(db, asker, "CLUSTER_MODIFY_BINDINGS")
    elif auth.get_level(db, asker, repo) < auth.Level.OWN:
        raise NotAuthorized(auth.refusal(asker, "REPO_MODIFY_BINDINGS", f"REPO {repo}"))
