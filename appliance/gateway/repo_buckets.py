"""The buckets of the global gateway: every branch (`branch.repo`) and, by name, every commit (`commit.repo`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from appliance.errors import BranchNotFound, CommitNotFound, InvalidName, InvalidRequest, NotFound, NotWritable
from appliance.gateway.buckets import ENABLED, Bucket, OpenBucket, Placed, ReadOnlyBucket
from appliance.gateway.errors import S3Error, invalid_argument, no_such_bucket, no_such_version, not_implemented
from appliance.names import DEFAULT_BRANCH, BucketName, CommitId, check_new_bucket, find_meta_owner, parse_bucket
from appliance.store import commits, files, history, repos, snapshots, versions
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.forgetting import Forgetting
from appliance.store.settings import Settings, get_settings, set_settings
from appliance.store.snapshots import Entry, Kind, Metadata, Snapshot


@dataclass(frozen=True, slots=True)
class BranchBucket(OpenBucket):
    """A branch: reads see its head, each write is a commit."""

    name: str
    repo: str
    branch: str
    created_ns: int
    versioned: bool = True
    versioning: str | None = ENABLED

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        head = snapshots.open_branch(db, self.repo, self.branch)
        return head if version is None else _open_version(db, head, self.repo, version)

    def check_writable(self, db: Db) -> None:
        history.check_branch_writable(db, self.repo, self.branch)

    def target(self, db: Db) -> str:
        self.check_writable(db)
        return f"branch/{repos.find_branch_id(db, self.repo, self.branch)}"

    def put(self, db: Db, path: str, kind: Kind, content: Content, metadata: Metadata) -> Placed:
        writing = history.begin_write(db, self.repo, self.branch)
        if kind == Kind.DIRECTORY:
            entry = files.make_directory(db, writing.commit, path, metadata, content)
        else:
            entry = files.put_file(db, writing.commit, path, content, metadata)
        history.end_write(db, writing)
        return Placed(writing.commit.id if self.versioning == ENABLED else None, entry.modified_ns)

    def delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        markers = self._delete(db, paths)
        return markers if self.versioning == ENABLED else {}

    def _delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        self.check_writable(db)
        snapshot, wanted = self.open(db), dict.fromkeys(paths)
        there = {path for path in wanted if snapshots.find(db, snapshot, path) is not None}
        missing = [path for path in wanted if path not in there]
        if not there:
            version = versions.add_markers(db, snapshot.commit, missing) if snapshot.commit is not None else None
            return dict.fromkeys(missing, version) if version is not None else {}
        writing = history.begin_write(db, self.repo, self.branch)
        for path in there:
            files.delete_path(db, writing.commit, path)
        versions.add_markers(db, writing.commit, missing, writing.commit.id)
        history.end_write(db, writing)
        return dict.fromkeys(wanted, writing.commit.id)

    def forgetting(self, db: Db) -> Forgetting:
        self.check_writable(db)
        return Forgetting(db, self.open(db))

    def set_metadata(self, db: Db, entry: Entry, metadata: Metadata) -> None:
        self.check_writable(db)
        files.set_metadata(db, entry, metadata)

    def find_location(self, db: Db) -> str | None:
        return self.get_settings(db).location

    def get_settings(self, db: Db) -> Settings:
        return get_settings(db, self.repo, self.branch)

    def set_settings(self, db: Db, settings: Settings) -> None:
        set_settings(db, self.repo, self.branch, settings)


@dataclass(frozen=True, slots=True)
class CommitBucket(ReadOnlyBucket):
    """A commit of a repo: what it held, for ever."""

    name: str
    repo: str
    commit: CommitId
    created_ns: int
    branch: str = DEFAULT_BRANCH
    versioned: bool = True
    versioning: str | None = ENABLED

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        commit = commits.check_readable(commits.get_commit(db, self.repo, self.commit))
        head = snapshots.open_commit(db, commit)
        return head if version is None else _open_version(db, head, self.repo, version)

    def check_writable(self, db: Db) -> None:
        raise NotWritable(f"commit {self.commit} has already finished")

    def get_settings(self, db: Db) -> Settings:
        """What pages may read of the branch it was named with, they may read of it. An ACL it has none: the commit may be
        of another branch.
        """
        return Settings(cors=get_settings(db, self.repo, self.branch).cors)

    def set_settings(self, db: Db, settings: Settings) -> None:
        self.check_writable(db)


class RepoBuckets:
    """The global gateway's map: all branches are listed, commits answer to their names.

    With `plain` it looks as people know it from elsewhere: the branch `master` is listed by the name of its repo alone, and
    answers say versions once versioning was turned on. The history is kept in any case.

    With `aliases` a branch with capitals or underscores in its name, or in its repo's, answers to `-` and small letters too,
    where that means no other: many clients send no names but those of Amazon, and host names have no capitals.
    """

    def __init__(self, *, plain: bool = False, aliases: bool = True) -> None:
        self._plain, self._aliases = plain, aliases

    def list(self, db: Db) -> list[tuple[str, int]]:
        listed = repos.list_all_branches(db)
        return sorted((self._name(repo, branch), created_ns) for repo, branch, created_ns in listed)

    def _name(self, repo: str, branch: str) -> str:
        return repo if self._plain and branch == DEFAULT_BRANCH else f"{branch}.{repo}"

    def get(self, db: Db, name: str) -> Bucket:
        bucket = self._open(db, name, parse_bucket(name))
        if self._plain and isinstance(bucket, BranchBucket):
            return replace(bucket, versioning=bucket.get_settings(db).versioning)
        return bucket

    def _open(self, db: Db, name: str, parsed: BucketName) -> BranchBucket | CommitBucket:
        try:
            return _open_bucket(db, name, parsed)
        except NotFound:
            meant = repos.find_alias(db, parsed.repo, parsed.branch) if self._aliases else None
        if meant is None or meant == (parsed.repo, parsed.branch):
            raise no_such_bucket()
        return self._open(db, name, replace(parsed, repo=meant[0], branch=meant[1]))

    def set_versioning(self, db: Db, bucket: Bucket, status: str) -> None:
        """Do as told where clients decide; elsewhere accept what is so anyway. Raises S3Error NotImplemented."""
        if self._plain:
            bucket.set_settings(db, replace(bucket.get_settings(db), versioning=status))
        elif status != bucket.versioning:
            raise not_implemented()

    def create(self, db: Db, name: str) -> None:
        parsed = _parse_branch_bucket(check_new_bucket(name))
        if not repos.exists(db, parsed.repo):
            repos.create_repo(db, parsed.repo)
        elif repos.find_branch_id(db, parsed.repo, parsed.branch) is not None:
            raise S3Error("BucketAlreadyOwnedByYou", "The bucket you tried to create already exists, and you own it.")
        repos.create_branch(db, parsed.repo, parsed.branch)

    def delete(self, db: Db, name: str) -> bool:
        bucket = self._open(db, name, _parse_branch_bucket(name))
        return repos.delete_empty_branch(db, bucket.repo, bucket.branch)


def _parse_branch_bucket(name: str) -> BucketName:
    parsed = parse_bucket(name)
    if parsed.commit is not None:
        raise NotWritable("a commit can be neither created nor deleted as a bucket")
    return parsed


def _open_bucket(db: Db, name: str, parsed: BucketName) -> BranchBucket | CommitBucket:
    found = _find_bucket(db, name, parsed)
    # What datums saw has no versions of its own.
    return replace(found, versioned=False, versioning=None) if find_meta_owner(found.repo) is not None else found


def _find_bucket(db: Db, name: str, parsed: BucketName) -> BranchBucket | CommitBucket:
    if parsed.commit is None:
        return BranchBucket(name, parsed.repo, parsed.branch, repos.get_branch_created_ns(db, parsed.repo, parsed.branch))
    commits.get_commit(db, parsed.repo, parsed.commit)
    if parsed.branch != DEFAULT_BRANCH:  # only the commit selects content, but the name has to make sense
        commits.get_head(db, parsed.repo, parsed.branch)
    return CommitBucket(name, parsed.repo, parsed.commit, repos.get_created_ns(db, parsed.repo), parsed.branch)


def _open_version(db: Db, head: Snapshot, repo: str, version: str) -> Snapshot:
    """Return the snapshot that a version id means below a head. Raises S3Error NoSuchVersion, InvalidArgument."""
    commit = _find_commit(db, repo, version)
    if commit is None or not _is_ancestor(commit, head):
        raise no_such_version()
    return snapshots.open_commit(db, commits.check_readable(commit))


def _find_commit(db: Db, repo: str, version: str) -> commits.Commit | None:
    """Return the commit that a version id names, a commit id or an ancestry. Raises S3Error InvalidArgument."""
    try:
        return commits.get_commit(db, repo, version)
    except CommitNotFound:
        return None
    except (BranchNotFound, InvalidName, InvalidRequest, ValueError) as error:
        raise invalid_argument("Invalid version id specified") from error


def _is_ancestor(commit: commits.Commit, head: Snapshot) -> bool:
    """Tell whether a commit lies at or before a head: on one of its lines, not behind the point they were left at."""
    return any(commit.line == line and commit.seq <= seq for line, seq in head.history)
