"""Who may do what: tokens, of which only digests are kept, and roles on repos and on everything.

Authentication is on while there is a root token. A *subject* is what a token stands for and what roles are given to:
`pach:root`, `user:NAME`, `robot:NAME`, `pipeline:NAME`, or `allClusterUsers`, which is everybody with a token. Names and
texts are Pachyderm's (`src/server/auth`).
"""

import enum
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import Conflict, InvalidRequest, NotAuthorized, NotFound
from appliance.names import find_meta_owner
from appliance.store import commits
from appliance.store.database import Db

ROOT = "pach:root"
EVERYBODY = "allClusterUsers"

_SUBJECT = re.compile(r"(user|robot|pipeline|group):[A-Za-z0-9_.@+-]{1,128}")
# What S3 clients take as a key and nobody has to quote; short ones could be guessed from their digests.
_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,128}")


class Level(enum.IntEnum):
    """What somebody may do with a repo; each level includes those below."""

    NONE = 0
    READ = 1
    WRITE = 2
    OWN = 3


_REPO_LEVELS = {"repoReader": Level.READ, "repoWriter": Level.WRITE, "repoOwner": Level.OWN}
_ADMIN = "clusterAdmin"
REPO_ROLES = tuple(_REPO_LEVELS)
CLUSTER_ROLES = (_ADMIN, *REPO_ROLES)
"""On the cluster a role on repos is one on all of them."""

PERMISSIONS = {
    Level.READ: ("REPO_READ", "REPO_INSPECT_FILE", "REPO_LIST_FILE", "REPO_LIST_COMMIT", "REPO_LIST_BRANCH"),
    Level.WRITE: ("REPO_WRITE", "REPO_CREATE_BRANCH", "REPO_DELETE_BRANCH", "REPO_DELETE_COMMIT"),
    Level.OWN: ("REPO_DELETE", "REPO_MODIFY_BINDINGS"),
}
"""What each level adds, in Pachyderm's names."""

_CLUSTER_PERMISSIONS = (
    "CLUSTER_MODIFY_BINDINGS",
    "CLUSTER_GET_BINDINGS",
    "CLUSTER_AUTH_ACTIVATE",
    "CLUSTER_AUTH_DEACTIVATE",
    "CLUSTER_AUTH_GET_ROBOT_TOKEN",
    "CLUSTER_AUTH_REVOKE_USER_TOKENS",
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is, and until when it is good; None is for ever."""

    subject: str
    expires_ns: int | None

    def is_expired(self, now_ns: int) -> bool:
        """Tell whether the token was good and is no longer."""
        return self.expires_ns is not None and self.expires_ns <= now_ns


# -- on and off


def is_active(db: Db) -> bool:
    """Tell whether anybody has to say who they are."""
    return db.value("SELECT 1 FROM auth_tokens WHERE subject = ? LIMIT 1", (ROOT,)) is not None


def check_active(db: Db) -> None:
    """Raise InvalidRequest while authentication is off."""
    if not is_active(db):
        raise InvalidRequest("the auth service is not activated")


def activate(db: Db, token: str | None = None) -> str:
    """Turn authentication on and return the root token: the one given, or a new one.

    Raises Conflict if it is on, InvalidRequest for a token that can not be.
    """
    if is_active(db):
        raise Conflict("the auth service is already enabled")
    return make_token(db, ROOT, token=token)


def deactivate(db: Db) -> None:
    """Turn authentication off and forget all tokens and roles. Raises InvalidRequest if it is off."""
    check_active(db)
    db.execute("DELETE FROM auth_tokens")
    db.execute("DELETE FROM auth_roles")
    db.changes.auth = True


def rotate_root_token(db: Db, token: str | None = None) -> str:
    """Replace the root token and return the new one."""
    check_active(db)
    db.execute("DELETE FROM auth_tokens WHERE subject = ?", (ROOT,))
    return make_token(db, ROOT, token=token)


# -- tokens


def make_token(db: Db, subject: str, *, ttl_s: float | None = None, token: str | None = None) -> str:
    """Make a token for a subject and return it; only its digest is kept. Raises InvalidRequest, Conflict."""
    if subject != ROOT:
        check_active(db)
        check_subject(subject)
    if token is not None and not _TOKEN.fullmatch(token):
        raise InvalidRequest("a token has 16 to 128 letters, digits, dots, dashes, underscores or tildes")
    if ttl_s is not None and ttl_s <= 0:
        raise InvalidRequest("a token must be good for some time")
    made, now_ns = token or secrets.token_hex(16), time.time_ns()
    if find_holder(db, made) is not None:
        raise Conflict("this token is somebody's already")
    expires_ns = None if ttl_s is None else now_ns + int(ttl_s * 1e9)
    db.execute("DELETE FROM auth_tokens WHERE expires_ns < ?", (now_ns - _REMEMBERED_NS,))
    row = (_digest(made), subject, now_ns, expires_ns)
    db.execute("INSERT INTO auth_tokens (digest, subject, created_ns, expires_ns) VALUES (?, ?, ?, ?)", row)
    db.changes.auth = True
    return made


_REMEMBERED_NS = 30 * 24 * 3600 * 10**9
"""For so long whoever uses an expired token is told that it is that."""


def find_holder(db: Db, token: str) -> Holder | None:
    """Return whose token it is, also if it has expired; None if nobody's. How long that takes tells nothing of any token."""
    row = db.row("SELECT subject, expires_ns FROM auth_tokens WHERE digest = ?", (_digest(token),))
    return None if row is None else Holder(*row)


def revoke_token(db: Db, token: str) -> None:
    """Forget a token. Raises NotFound, Conflict for the root token, without which nobody could change anything."""
    check_active(db)
    holder = find_holder(db, token)
    if holder is None:
        raise NotFound("no such token")
    if holder.subject == ROOT:
        raise Conflict("the root token can be rotated, not revoked")
    db.execute("DELETE FROM auth_tokens WHERE digest = ?", (_digest(token),))
    db.changes.auth = True


def revoke_subject(db: Db, subject: str) -> int:
    """Forget all tokens of a subject and return how many there were. Raises Conflict for root."""
    check_active(db)
    if subject == ROOT:
        raise Conflict("the root token can be rotated, not revoked")
    db.changes.auth = True
    return int(db.execute("DELETE FROM auth_tokens WHERE subject = ?", (check_subject(subject),)).rowcount)


def _digest(token: str) -> bytes:
    # 128 random bits need neither salt nor many rounds.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def check_subject(subject: str) -> str:
    """Return a subject that somebody can be. Raises InvalidRequest."""
    if subject in (ROOT, EVERYBODY) or _SUBJECT.fullmatch(subject):
        return subject
    raise InvalidRequest(f'invalid subject "{subject}": expected user:NAME, robot:NAME, pipeline:NAME, {ROOT} or {EVERYBODY}')


# -- roles


def set_roles(db: Db, repo: str | None, subject: str, roles: Iterable[str]) -> None:
    """Give a subject these roles on a repo, or with None on the cluster, in place of those it had.

    Raises InvalidRequest for a role that is none there, RepoNotFound, Conflict for root, who has all.
    """
    check_active(db)
    if check_subject(subject) == ROOT:
        raise Conflict(f"the roles of {ROOT} can not be changed")
    known, wanted = CLUSTER_ROLES if repo is None else REPO_ROLES, dict.fromkeys(roles)
    if unknown := [role for role in wanted if role not in known]:
        place = "the cluster" if repo is None else "a repo"
        raise InvalidRequest(f"{unknown[0]} is not a role on {place}; those are {', '.join(known)}")
    repo_id = _place(db, repo)
    db.execute("DELETE FROM auth_roles WHERE repo_id IS ? AND subject = ?", (repo_id, subject))
    rows = [(repo_id, subject, role) for role in wanted]
    db.executemany("INSERT INTO auth_roles (repo_id, subject, role) VALUES (?, ?, ?)", rows)


def list_roles(db: Db, repo: str | None) -> Mapping[str, Sequence[str]]:
    """Return the roles on a repo, or on the cluster, by subject. Raises RepoNotFound."""
    check_active(db)
    found: dict[str, list[str]] = {ROOT: [_ADMIN]} if repo is None else {}
    sql = "SELECT subject, role FROM auth_roles WHERE repo_id IS ? ORDER BY subject, role"
    for subject, role in db.execute(sql, (_place(db, repo),)):
        found.setdefault(subject, []).append(role)
    return found


def list_own_roles(db: Db, repo: str | None, subject: str) -> list[str]:
    """Return the roles of a subject that count for a repo, or for the cluster. Raises RepoNotFound."""
    check_active(db)
    if subject == ROOT:
        return [_ADMIN]
    sql = """
        SELECT DISTINCT role FROM auth_roles
        WHERE (repo_id IS NULL OR repo_id = ?) AND subject IN (?, ?) ORDER BY role
    """
    return [role for (role,) in db.execute(sql, (_place(db, repo), subject, EVERYBODY))]


def _place(db: Db, repo: str | None) -> int | None:
    return None if repo is None else commits.get_repo_id(db, repo)


def list_permissions(roles: Iterable[str]) -> list[str]:
    """Return what somebody with these roles may do, in Pachyderm's names."""
    given = set(roles)
    level = _highest(given)
    allowed = [name for needed, names in PERMISSIONS.items() if needed <= level for name in names]
    return [*(_CLUSTER_PERMISSIONS if _ADMIN in given else ()), *allowed]


def roles_for_permission(permission: str) -> list[str]:
    """Return the roles that allow something. Raises InvalidRequest for a permission that nobody knows."""
    found = [role for role in CLUSTER_ROLES if permission in list_permissions([role])]
    if not found:
        raise InvalidRequest(f"unknown permission {permission}")
    return found


def _highest(roles: Iterable[str]) -> Level:
    return max((Level.OWN if role == _ADMIN else _REPO_LEVELS[role] for role in roles), default=Level.NONE)


# -- decisions


def get_level(db: Db, subject: str | None, repo: str) -> Level:
    """Return what somebody may do with a repo, there or not; None is somebody without a token."""
    if subject is None:
        return Level.NONE
    if subject == ROOT:
        return Level.OWN
    sql = """
        SELECT role FROM auth_roles WHERE subject IN (?1, ?2) AND
            (repo_id IS NULL OR repo_id = (SELECT id FROM repos WHERE name = ?3 AND kind = 'user'))
    """
    of = find_meta_owner(repo) or repo  # who may read an output may see how it came to be, as in Pachyderm
    return _highest(role for (role,) in db.execute(sql, (subject, EVERYBODY, of)))


def list_readable(db: Db, subject: str | None) -> set[str] | None:
    """Return the names of the repos that somebody may read; None for all of them."""
    if subject is None:
        return set()
    if subject == ROOT or db.value(
        "SELECT 1 FROM auth_roles WHERE repo_id IS NULL AND subject IN (?, ?)", (subject, EVERYBODY)
    ):
        return None
    sql = "SELECT r.name FROM auth_roles a JOIN repos r ON r.id = a.repo_id WHERE r.kind = 'user' AND a.subject IN (?, ?)"
    return {name for (name,) in db.execute(sql, (subject, EVERYBODY))}


def own_new_repo(db: Db, subject: str, repo: str) -> None:
    """Make somebody the owner of the repo they have just made."""
    if subject != ROOT:
        set_roles(db, repo, subject, ["repoOwner"])


def check_admin(db: Db, subject: str, permission: str) -> None:
    """Raise NotAuthorized unless somebody may change who may do what."""
    if permission not in list_permissions(list_own_roles(db, None, subject)):
        raise NotAuthorized(refusal(subject, permission, "CLUSTER"))


def refusal(subject: str | None, permission: str, place: str) -> str:
    """Return why somebody may not do something."""
    who = subject or "somebody without a token"
    return (
        f"{who} is not authorized to perform this operation - needs permissions [{permission}] on {place}. Run"
        f" `pachctl auth roles-for-permission {permission}` to find roles that grant a given permission."
    )
