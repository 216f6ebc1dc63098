"""A gateway over a real store, and a client of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gateway.door import Door
from gateway.helpers import Served, client, serving
from store.checks import check
from store.helpers import commit_of, create_repos, fork, put

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store, repos


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
def bucket(store: Store) -> str:
    """An empty bucket: the branch `master` of the repo `data`."""
    create_repos(store, "data")
    fork(store, "data", "master")
    return "master.data"


@pytest.fixture
def door(gateway: Served) -> Iterator[Door]:
    """That gateway with authentication on, over the repos `data` and `other`."""
    create_repos(gateway.store, "data", "other")
    put(gateway.store, "data", "/a", b"content")
    put(gateway.store, "other", "/a", b"secret")
    with ExitStack() as stack:
        yield Door(gateway, stack)


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with the digits under `a` in the bucket `master.data`, for requests that must change nothing."""
    store = Store(tmp_path_factory.mktemp("unchanged") / "data", "fast")
    create_repos(store, "data")
    head = put(store, "data", "/a", b"0123456789")
    try:
        with serving(store, RepoBuckets()) as served:
            yield served
        assert commit_of(store, "data").id == head
        with store.snapshot() as db:
            assert [branch[:2] for branch in repos.list_all_branches(db)] == [("data", "master")]
            assert db.value("SELECT count(*) FROM uploads") == 0
        check(store)
    finally:
        store.close()
