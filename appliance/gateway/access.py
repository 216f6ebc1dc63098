"""Who is let in by which key, and what buckets there are then.

Access key and secret key are one and the same: a token. S3's signatures need the secret itself, and the appliance keeps
only digests of tokens; so it learns the secret from the access key of the very request that it then checks, after it has
found the digest. That makes a token what a password is: whoever sees a request, or a presigned URL, sees it. On loopback
nobody does; elsewhere TLS hides it, and URLs for others are better signed with a token of few rights and a short life.
(Pachyderm's gateway has it the same way, `src/server/pfs/s3/auth.go`.)
"""

import time
from collections.abc import Callable

from appliance.gateway.buckets import BucketMap
from appliance.gateway.errors import S3Error
from appliance.gateway.guard import GuardedBuckets
from appliance.gateway.signature import AccessDenied, InvalidAccessKeyId, is_equal
from appliance.store import Changes, Store, auth

Admit = Callable[[str | None], BucketMap]
"""Return the buckets for whoever has an access key, None being nobody. Raises InvalidAccessKeyId, S3Error."""

_UNKNOWN = "The AWS Access Key Id you provided does not exist in our records."


class TokenHolders:
    """Lets in who has a token while authentication is on, everybody with everything while it is off."""

    def __init__(self, store: Store, buckets: BucketMap) -> None:
        self._store, self._buckets = store, buckets
        self._active = False
        # Told before a write is answered, so that a request that comes after `auth activate` finds it on.
        store.listen(self._notice)
        self._look()

    def admit(self, access_key: str | None) -> BucketMap:
        """See `Admit`."""
        if not self._active:
            return self._buckets
        return GuardedBuckets(self._buckets, None if access_key is None else self._find(access_key))

    def _find(self, access_key: str) -> str:
        with self._store.snapshot() as db:
            holder = auth.find_holder(db, access_key)
        if holder is None:
            raise InvalidAccessKeyId(_UNKNOWN)
        if holder.is_expired(time.time_ns()):
            raise S3Error("ExpiredToken", "The provided token has expired.")
        return holder.subject

    def _notice(self, changes: Changes) -> None:
        if changes.auth:
            self._look()

    def _look(self) -> None:
        with self._store.snapshot() as db:
            self._active = auth.is_active(db)


class JobKey:
    """Lets in who has the key of one job."""

    def __init__(self, buckets: BucketMap, key: str) -> None:
        self._buckets, self._key = buckets, key

    def admit(self, access_key: str | None) -> BucketMap:
        """See `Admit`."""
        if access_key is None:
            raise AccessDenied("Access Denied")
        if not is_equal(self._key, access_key):
            raise InvalidAccessKeyId(_UNKNOWN)
        return self._buckets
