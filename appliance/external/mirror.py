"""Deleting what is at somebody else's and no longer here."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import obstore

from appliance.errors import TransferFailed
from appliance.external.clients import Bucket, open_bucket
from appliance.external.credentials import Profiles
from appliance.external.failures import REMOTE_ERRORS, explain, failed, never
from appliance.external.objects import iter_keys
from appliance.external.urls import ObjectUrl, join_key

_BATCH = 1000


def delete_others(url: ObjectUrl, profiles: Profiles, kept: Iterable[str], *, stop: Callable[[], bool] = never) -> int:
    """Delete every object below an address whose path is not among `kept`, which is in order; return how many that were.

    Both lists are read side by side, so memory does not grow with them. Raises TransferFailed, also for a store that
    lists its objects in no order, before anything is deleted that should not be.
    """
    bucket = open_bucket(url, profiles, "out")
    others = _iter_others(_iter_ordered(url, bucket), (join_key(url.key, path) for path in kept))
    deleted = 0
    while batch := list(islice(others, _BATCH)):
        if stop():
            raise TransferFailed(f"{url.name()}: stopped")
        _delete(url, bucket, batch)
        deleted += len(batch)
    return deleted


def _iter_ordered(url: ObjectUrl, bucket: Bucket) -> Iterator[str]:
    before = ""
    for key in iter_keys(url, bucket):
        if key.encode() < before.encode():
            raise TransferFailed(f"{url.name()} lists its objects in no order, so it can not be mirrored to")
        before = key
        yield key


def _iter_others(listed: Iterator[str], kept: Iterator[str]) -> Iterator[str]:
    """What is listed and not kept."""
    next_kept = next(kept, None)
    for key in listed:
        while next_kept is not None and next_kept.encode() < key.encode():
            next_kept = next(kept, None)
        # A key with a slash behind it is a directory's marker.
        if key != next_kept and not key.endswith("/"):
            yield key


def _delete(url: ObjectUrl, bucket: Bucket, keys: list[str]) -> None:
    try:
        obstore.delete(bucket.store, keys)
    except FileNotFoundError:  # somebody was quicker; Google says so, and one at a time
        for key in keys if len(keys) > 1 else ():
            _delete(url, bucket, [key])
        return
    except REMOTE_ERRORS as error:
        failure = explain(error, bucket.hidden)
    else:
        return
    raise failed(url.name(), failure)
