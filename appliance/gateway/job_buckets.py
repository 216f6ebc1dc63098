"""The buckets of a job: its inputs, pinned and read-only, and `out`, the staging of the datum that runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from appliance.errors import FileNotFound, Unsupported
from appliance.gateway.buckets import Bucket, OpenBucket, Placed, ReadOnlyBucket
from appliance.gateway.errors import no_such_bucket, not_implemented
from appliance.names import CommitId
from appliance.store import commits, datums, snapshots
from appliance.store.blobs import Content
from appliance.store.database import Db
from appliance.store.forgetting import Forgetting
from appliance.store.snapshots import Entry, Kind, Metadata, Snapshot


@dataclass(frozen=True, slots=True)
class InputBucket(ReadOnlyBucket):
    """An input of a job: pinned to the commit the job was made from. `on_read` is told of what is read: line and path."""

    name: str
    repo: str
    commit: CommitId
    created_ns: int
    on_read: Callable[[int, str], None] = lambda _line, _path: None
    versioned: bool = False
    versioning: str | None = None

    def note_read(self, entry: Entry) -> None:
        self.on_read(entry.line, entry.path)

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        if version is not None:
            raise Unsupported("versions of an input")
        return snapshots.open_commit(db, commits.get_commit(db, self.repo, self.commit))

    def check_writable(self, db: Db) -> None:
        raise Unsupported(f"input {self.name} is read-only")


@dataclass(frozen=True, slots=True)
class OutBucket(OpenBucket):
    """The output of a datum while it runs. `write_only`: its own job can not look at what it wrote (strict mode)."""

    datum: int
    created_ns: int
    write_only: bool = False
    name: str = "out"
    repo: str = ""
    versioned: bool = False
    versioning: str | None = None

    def open(self, db: Db, version: str | None = None) -> Snapshot:
        if version is not None:
            raise FileNotFound("the output of a job has no versions")
        return snapshots.EMPTY if self.write_only else snapshots.Snapshot((snapshots.Staging(self.datum),))

    def check_writable(self, db: Db) -> None:
        datums.check_writable(db, self.datum)

    def target(self, db: Db) -> str:
        self.check_writable(db)
        return f"datum/{self.datum}"

    def put(self, db: Db, path: str, kind: Kind, content: Content, metadata: Metadata) -> Placed:
        return Placed(None, datums.put_datum_file(db, self.datum, path, kind, content, metadata))

    def delete(self, db: Db, paths: Iterable[str]) -> Mapping[str, CommitId]:
        for path in paths:
            datums.delete_datum_file(db, self.datum, path)
        return {}

    def forgetting(self, db: Db) -> Forgetting:
        raise Unsupported("the output of a job has no versions")

    def set_metadata(self, db: Db, entry: Entry, metadata: Metadata) -> None:
        datums.set_metadata(db, self.datum, entry.path, metadata)


class SidecarBuckets:
    """A job's map: these buckets and no others, none made, none deleted."""

    def __init__(self, buckets: Mapping[str, Bucket]) -> None:
        self._buckets = buckets

    def list(self, db: Db) -> list[tuple[str, int]]:
        return sorted((name, bucket.created_ns) for name, bucket in self._buckets.items())

    def get(self, db: Db, name: str) -> Bucket:
        if name not in self._buckets:
            raise no_such_bucket()
        return self._buckets[name]

    def create(self, db: Db, name: str) -> None:
        raise Unsupported("a job has the buckets it has")

    def delete(self, db: Db, name: str) -> bool:
        raise Unsupported("a job has the buckets it has")

    def set_versioning(self, db: Db, bucket: Bucket, status: str) -> None:
        raise not_implemented()
