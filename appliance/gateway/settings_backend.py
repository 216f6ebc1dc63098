"""What buckets and objects are told about themselves, behind the interface of moto's `S3Backend`."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.gateway.buckets import ENABLED, Bucket, BucketMap
from appliance.gateway.history import find_entry
from appliance.gateway.sharing import keep_acl
from appliance.gateway.views import ObjectView
from appliance.names import CommitId
from appliance.store import Db, Store, snapshots
from appliance.store.settings import Settings
from appliance.store.snapshots import Metadata

T = TypeVar("T")


class SettingsBackend:
    """The part of `RepoBackend` that is about settings."""

    store: Store
    bucket_map: BucketMap

    if TYPE_CHECKING:

        def read(self, bucket_name: str, question: Callable[[Db, Bucket], T]) -> T: ...
        def get_object(self, bucket_name: str, key_name: str, version_id: str | None = None) -> ObjectView: ...

    def _settings(self, bucket_name: str) -> Settings:
        return self.read(bucket_name, lambda db, bucket: bucket.get_settings(db))

    def _set(self, bucket_name: str, change: Callable[[Settings], Settings]) -> None:
        def write(db: Db) -> None:
            bucket = self.bucket_map.get(db, bucket_name)
            bucket.set_settings(db, change(bucket.get_settings(db)))

        self.store.write(write)

    def get_bucket_acl(self, bucket_name: str) -> str:
        return self._settings(bucket_name).acl

    def put_bucket_acl(self, bucket_name: str, acl: str) -> None:
        self._set(bucket_name, lambda settings: replace(settings, acl=acl))

    def get_bucket_cors(self, bucket_name: str) -> list[dict[str, Any]] | None:
        return self._settings(bucket_name).cors

    def put_bucket_cors(self, bucket_name: str, cors_rules: list[dict[str, Any]] | None) -> None:
        self._set(bucket_name, lambda settings: replace(settings, cors=cors_rules))

    def delete_bucket_cors(self, bucket_name: str) -> None:
        self.put_bucket_cors(bucket_name, None)

    def get_bucket_tagging(self, bucket_name: str) -> list[tuple[str, str]] | None:
        return self._settings(bucket_name).tags

    def put_bucket_tagging(self, bucket_name: str, tags: list[tuple[str, str]] | None) -> None:
        self._set(bucket_name, lambda settings: replace(settings, tags=tags))

    def delete_bucket_tagging(self, bucket_name: str) -> None:
        self.put_bucket_tagging(bucket_name, None)

    def get_object_acl(self, bucket_name: str, key_name: str, version_id: str | None = None) -> ObjectView:
        """Return the object, for whoever may see what the bucket was told."""
        self._settings(bucket_name)
        return self.get_object(bucket_name, key_name, version_id)

    def put_object_acl(self, bucket_name: str, key_name: str, version_id: str | None, acl: str) -> CommitId | None:
        """Change the ACL of a version in place, as S3 does, and return the version."""
        return self.set_metadata(bucket_name, key_name, version_id, lambda kept: keep_acl(kept, acl))

    def set_metadata(
        self, bucket_name: str, key_name: str, version_id: str | None, change: Callable[[Metadata], Metadata]
    ) -> CommitId | None:
        """Change what is said of a version, and return the version."""

        def write(db: Db) -> CommitId | None:
            bucket = self.bucket_map.get(db, bucket_name)
            bucket.check_writable(db)
            entry = find_entry(db, bucket, "/" + key_name, version_id)
            bucket.set_metadata(db, entry, change(entry.metadata))
            return snapshots.get_version(db, entry) if bucket.versioning == ENABLED else None

        return self.store.write(write)
