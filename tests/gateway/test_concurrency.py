"""Many clients at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway.helpers import Served, keys_of
from store.helpers import tree

from appliance.store import commits

CLIENTS, PUTS = 16, 8


def test_every_acknowledged_put_is_a_commit_of_its_own(gateway: Served, s3: Any, bucket: str) -> None:
    start = threading.Barrier(CLIENTS)

    def put(number: int) -> list[str]:
        start.wait(timeout=20)
        answers = [gateway.request("PUT", f"/{bucket}/{number}/{n}", body=f"{number}.{n}".encode()) for n in range(PUTS)]
        assert {answer.status for answer in answers} == {200}
        return [answer.headers["x-amz-version-id"] for answer in answers]

    with ThreadPoolExecutor(CLIENTS) as pool:
        versions = [version for done in pool.map(put, range(CLIENTS)) for version in done]
    assert len(set(versions)) == CLIENTS * PUTS
    with gateway.store.snapshot() as db:
        ids = {commit.id for commit in commits.iter_commits(db, "data")}
    assert set(versions) <= ids
    expected = {f"{number}/{n}": f"{number}.{n}".encode() for number in range(CLIENTS) for n in range(PUTS)}
    assert keys_of(s3.list_objects_v2(Bucket=bucket)) == sorted(expected)
    assert tree(gateway.store, "data") == {f"/{key}": data for key, data in expected.items()}


def test_one_of_many_puts_if_absent_wins(gateway: Served, bucket: str) -> None:
    start = threading.Barrier(CLIENTS)

    def put(number: int) -> int:
        start.wait(timeout=20)
        return gateway.request("PUT", f"/{bucket}/a", {"If-None-Match": "*"}, str(number).encode()).status

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = sorted(pool.map(put, range(CLIENTS)))
    assert statuses == [200] + [412] * (CLIENTS - 1)


def test_reader_sees_one_version_or_the_other(gateway: Served, bucket: str) -> None:
    old, new = b"o" * 500_000, b"n" * 400_000
    gateway.request("PUT", f"/{bucket}/a", body=old)
    stop = threading.Event()

    def write() -> None:
        for turn in range(20):
            gateway.request("PUT", f"/{bucket}/a", body=(new, old)[turn % 2])
        stop.set()

    seen = set()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not stop.is_set() and not writing.done():
            seen.add(gateway.request("GET", f"/{bucket}/a").body)
        writing.result()
    assert seen <= {old, new}
