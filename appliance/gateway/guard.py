"""The buckets of the global gateway as one caller sees them: what roles and canned ACLs let that caller do.

Every verb comes by here, because it stands between the verbs and the buckets: what is not asked for below is not allowed.
An ACL opens a bucket, or an object in it, to whoever has no role; it never takes anything away. A commit has none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from appliance.errors import NotAuthorized
from appliance.gateway.buckets import Bucket, BucketMap, Placed
from appliance.gateway.errors import S3Error
from appliance.gateway.sharing import acl_of, level_of
from appliance.names import CommitId, parse_bucket
from appliance.store import auth, repos
from appliance.store.auth import Level
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.forgetting import Forgetting
from appliance.store.settings import Settings
from appliance.store.snapshots import Entry, Kind, Metadata, Snapshot

_NEEDED = {Level.READ: "REPO_READ", Level.WRITE: "REPO_WRITE", Level.OWN: "REPO_MODIFY_BINDINGS"}


def _check(level: Level, needed: Level, subject: str | None, repo: str) -> None:
    if level < needed:
        raise NotAuthorized(auth.refusal(subject, _NEEDED[needed], f"REPO {repo}"))


@dataclass(frozen=True, slots=True)
class GuardedBucket:
    """A bucket behind its repo's roles. `subject` is None for somebody without a token."""

    inside: Bucket
    subject: str | None

    @property
    def name(self) -> str:
        return self.inside.name

    @property
    def repo(self) -> str:
        return self.inside.repo

    @property
    def created_ns(self) -> int:
        return self.inside.created_ns

    @property
    def versioned(self) -> bool:
        return self.inside.versioned

    @property
    def versioning(self) -> str | None:
        return self.inside.versioning

    def check_readable(self, db: Db) -> None:
        self._check(db, Level.READ)

    def check_object(self, db: Db, entry: Entry) -> None:
        if level_of(acl_of(entry.metadata), self.subject) < Level.READ:
            _check(self._role(db), Level.READ, self.subject, self.repo)

    def note_read(self, entry: Entry) -> None:
        self.inside.note_read(entry)

    def check_writable(self, db: Db) -> None:
        self._check(db, Level.WRITE)
        self.inside.check_writable(db)

    def _check(self, db: Db, needed: Level) -> None:
        level = level_of(self.inside.get_settings(db).acl, self.subject)
        if level < needed:
            _check(self._role(db), needed, self.subject, self.repo)

    def _role(self, db: Db) -> Level:
        return auth.get_level(db, self.subject, self.repo)

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        self.check_readable(db)
        return self.inside.open(db, version)

    def open_object(self, db: Db, version: str | None = None) -> Snapshot:
        return self.inside.open_object(db, version)

    def target(self, db: Db) -> str:
        self.check_writable(db)
        return self.inside.target(db)

    def put(self, db: Db, path: str, kind: Kind, content: Content, metadata: Metadata) -> Placed:
        self.check_writable(db)
        return self.inside.put(db, path, kind, content, metadata)

    def delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        self.check_writable(db)
        return self.inside.delete(db, paths)

    def forgetting(self, db: Db) -> Forgetting:
        self.check_writable(db)
        return self.inside.forgetting(db)

    def set_metadata(self, db: Db, entry: Entry, metadata: Metadata) -> None:
        self.check_writable(db)
        self.inside.set_metadata(db, entry, metadata)

    def find_location(self, db: Db) -> str | None:
        return self.inside.find_location(db)

    def get_settings(self, db: Db) -> Settings:
        """Roles alone count here: who may see a bucket because its ACL says so need not see the ACL."""
        _check(self._role(db), Level.READ, self.subject, self.repo)
        return self.inside.get_settings(db)

    def set_settings(self, db: Db, settings: Settings) -> None:
        _check(self._role(db), Level.OWN, self.subject, self.repo)
        self.inside.set_settings(db, settings)


class GuardedBuckets:
    """The map for one caller."""

    def __init__(self, inside: BucketMap, subject: str | None) -> None:
        self._inside, self._subject = inside, subject

    def list(self, db: Db) -> list[tuple[str, int]]:
        self._check_token("LIST")
        readable = auth.list_readable(db, self._subject)
        listed = self._inside.list(db)
        return listed if readable is None else [item for item in listed if parse_bucket(item[0]).repo in readable]

    def get(self, db: Db, name: str) -> Bucket:
        return GuardedBucket(self._inside.get(db, name), self._subject)

    def create(self, db: Db, name: str) -> None:
        """Anybody with a token may make a repo, and owns it then."""
        self._check_token("CREATE")
        parsed = parse_bucket(name)
        if not repos.exists(db, parsed.repo):
            self._inside.create(db, name)
            auth.own_new_repo(db, self._subject or "", parsed.repo)
            return
        level = auth.get_level(db, self._subject, parsed.repo)
        if level < Level.WRITE and repos.find_branch_id(db, parsed.repo, parsed.branch) is not None:
            message = "The requested bucket name is not available. Please select a different name and try again."
            raise S3Error("BucketAlreadyExists", message)
        _check(level, Level.WRITE, self._subject, parsed.repo)
        self._inside.create(db, name)

    def delete(self, db: Db, name: str) -> bool:
        repo = self._inside.get(db, name).repo
        _check(auth.get_level(db, self._subject, repo), Level.OWN, self._subject, repo)
        return self._inside.delete(db, name)

    def set_versioning(self, db: Db, bucket: Bucket, status: str) -> None:
        _check(auth.get_level(db, self._subject, bucket.repo), Level.OWN, self._subject, bucket.repo)
        self._inside.set_versioning(db, bucket, status)

    def _check_token(self, operation: str) -> None:
        if self._subject is None:
            raise NotAuthorized(auth.refusal(None, f"CLUSTER_{operation}_REPOS", "CLUSTER"))
