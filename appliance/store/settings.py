"""What S3 can be told about a branch as a bucket: a canned ACL, CORS rules, tags, a place, versioning.

All of it goes away with the branch.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import BranchNotFound
from appliance.store import repos
from appliance.store.database import Db

PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a branch. `cors` and `tags` are None where nobody has said anything; what is in them, S3 knows."""

    acl: str = PRIVATE
    cors: list[dict[str, Any]] | None = None
    tags: list[tuple[str, str]] | None = None
    location: str | None = None
    versioning: str | None = None


def get_settings(db: Db, repo: str, branch: str) -> Settings:
    """Return the settings of a branch, there or not."""
    sql = """
        SELECT s.acl, s.cors, s.tags, s.location, s.versioning FROM branch_settings s JOIN branches b ON b.id = s.branch_id
        JOIN repos r ON r.id = b.repo_id WHERE r.name = ? AND r.kind = 'user' AND b.name = ?
    """
    row = db.row(sql, (repo, branch))
    if row is None:
        return Settings()
    acl, cors, tags, location, versioning = row
    return Settings(
        acl,
        None if cors is None else msgspec.json.decode(cors, type=list[dict[str, Any]]),
        None if tags is None else msgspec.json.decode(tags, type=list[tuple[str, str]]),
        location,
        versioning,
    )


def set_settings(db: Db, repo: str, branch: str, settings: Settings) -> None:
    """Replace the settings of a branch. Raises RepoNotFound, BranchNotFound."""
    branch_id = repos.find_branch_id(db, repo, branch)
    if branch_id is None:
        raise BranchNotFound(f'branch "{branch}" not found in repo {repo}')
    row = (branch_id, settings.acl, _encode(settings.cors), _encode(settings.tags), settings.location, settings.versioning)
    db.execute("INSERT OR REPLACE INTO branch_settings VALUES (?, ?, ?, ?, ?, ?)", row)


def _encode(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
