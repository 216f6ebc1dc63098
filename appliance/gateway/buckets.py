"""Buckets and bucket maps: what everything above asks of a place for objects, and of a gateway's set of them.

The global gateway has every branch and every commit (`repo_buckets`), a job's sidecar the buckets of its datum
(`job_buckets`). Everything above is the same code (as in Pachyderm's `driver.go`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from appliance.errors import Unsupported
from appliance.names import CommitId
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.forgetting import Forgetting
from appliance.store.settings import Settings
from appliance.store.snapshots import Entry, Kind, Metadata, Snapshot

ENABLED, SUSPENDED = "Enabled", "Suspended"


@dataclass(frozen=True, slots=True)
class Placed:
    """What a put made: a version id (None where there are no versions), and when."""

    version: CommitId | None
    modified_ns: int


class Bucket(Protocol):
    """A place for objects. All methods run inside a read or a write of the store."""

    @property
    def name(self) -> str:
        """As the client named it."""

    @property
    def repo(self) -> str:
        """The repo it is of, empty for none."""

    @property
    def created_ns(self) -> int:
        """When its repo was made."""

    @property
    def versioned(self) -> bool:
        """Whether version ids mean something here."""

    @property
    def versioning(self) -> str | None:
        """What clients are told of it: `Enabled`, and only then do answers say versions; `Suspended`, or None."""

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        """Return the files to read, those of a version if asked so. Raises as `check_readable`."""

    def open_object(self, db: Db, version: str | None = None) -> Snapshot:
        """Return the same to look up one path, whose entry `check_object` then has to let pass."""

    def check_readable(self, db: Db) -> None:
        """Raise NotAuthorized if whoever asks may not see what is here."""

    def check_object(self, db: Db, entry: Entry) -> None:
        """Raise NotAuthorized if whoever asks may not read this one."""

    def note_read(self, entry: Entry) -> None:
        """Take notice that somebody reads this one."""

    def check_writable(self, db: Db) -> None:
        """Raise what a write would raise."""

    def target(self, db: Db) -> str:
        """Return what uploads in progress are filed under. Raises as `check_writable`."""

    def put(self, db: Db, path: str, kind: Kind, content: Content, metadata: Metadata) -> Placed:
        """Put one entry."""

    def delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        """Remove entries, those that are there, in one commit; return the ids of the delete markers, by path.

        Where nothing was there to delete a marker is all that is made. None are where there are no versions.
        """

    def forgetting(self, db: Db) -> Forgetting:
        """Return what forgets single versions."""

    def set_metadata(self, db: Db, entry: Entry, metadata: Metadata) -> None:
        """Change what is said of an entry."""

    def find_location(self, db: Db) -> str | None:
        """Return the region it was asked to be in, if it was; everything is in one place."""

    def get_settings(self, db: Db) -> Settings:
        """Return what it was told about itself."""

    def set_settings(self, db: Db, settings: Settings) -> None:
        """Change that."""


class BucketMap(Protocol):
    """Which buckets a gateway has."""

    def list(self, db: Db) -> list[tuple[str, int]]:
        """Return (name, created_ns) of the buckets that are listed, by name."""

    def get(self, db: Db, name: str) -> Bucket:
        """Return a bucket. Raises S3Error NoSuchBucket, InvalidName."""

    def create(self, db: Db, name: str) -> None:
        """Make a bucket. Raises AlreadyExists, InvalidName, Unsupported."""

    def delete(self, db: Db, name: str) -> bool:
        """Delete a bucket; False if it is not empty."""

    def set_versioning(self, db: Db, bucket: Bucket, status: str) -> None:
        """Turn versioning of a bucket on or off. Raises S3Error NotImplemented."""


class OpenBucket:
    """What buckets have in common that everybody may read who gets to them, and that nothing can be set on."""

    __slots__ = ()

    def check_readable(self, db: Db) -> None:
        pass

    def check_object(self, db: Db, entry: Entry) -> None:
        pass

    def note_read(self, entry: Entry) -> None:
        pass

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        raise NotImplementedError

    def open_object(self, db: Db, version: str | None = None) -> Snapshot:
        return self.open(db, version)

    def find_location(self, db: Db) -> str | None:
        return None

    def get_settings(self, db: Db) -> Settings:
        return Settings()

    def set_settings(self, db: Db, settings: Settings) -> None:
        raise Unsupported("only a branch has settings")


class ReadOnlyBucket(OpenBucket):
    """What buckets refuse that nobody can write to."""

    __slots__ = ()

    def check_writable(self, db: Db) -> None:
        raise NotImplementedError

    def target(self, db: Db) -> str:
        self.check_writable(db)
        raise AssertionError

    def put(self, db: Db, path: str, kind: Kind, content: Content, metadata: Metadata) -> Placed:
        self.check_writable(db)
        raise AssertionError

    def delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        self.check_writable(db)
        raise AssertionError

    def forgetting(self, db: Db) -> Forgetting:
        self.check_writable(db)
        raise AssertionError

    def set_metadata(self, db: Db, entry: Entry, metadata: Metadata) -> None:
        self.check_writable(db)
        raise AssertionError
