"""A gateway over a real store, and a client of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from gateway.helpers import Served, client, serving

from appliance.gateway.buckets import RepoBuckets
from appliance.store import Store


@pytest.fixture
def gateway(store: Store) -> Iterator[Served]:
    """The global gateway of an empty store."""
    with serving(store, RepoBuckets()) as served:
        yield served


@pytest.fixture
def s3(gateway: Served) -> Iterator[Any]:
    """A client with an equal pair of keys."""
    with client(gateway.url) as made:
        yield made


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket: the branch `master` of the repo `data`."""
    s3.create_bucket(Bucket="master.data")
    return "master.data"
