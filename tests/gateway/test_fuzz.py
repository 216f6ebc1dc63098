"""Hostile input, a little of it: what once went wrong or well may, and some thousands of new ones from a seed.

`scripts/conformance fuzz` sends as many as one has time for.
"""

import random
from pathlib import Path

import pytest
from gateway.fuzzing import exchange, judge, make_input
from gateway.helpers import Served, body_of, client
from store.checks import check
from store.helpers import create_repos, put

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.bin"))


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_known_input_is_answered_or_cut(unchanged: Served, file: Path) -> None:
    assert exchange(unchanged.port, file.read_bytes()) is None


@pytest.mark.parametrize("seed", range(10))
def test_new_input_is_answered_or_cut(gateway: Served, seed: int) -> None:
    create_repos(gateway.store, "data")
    put(gateway.store, "data", "/a", b"1")
    source = random.Random(seed)
    wrong = [
        (data, problem) for data in (make_input(source) for _ in range(200)) if (problem := exchange(gateway.port, data))
    ]
    assert wrong == []
    with client(gateway.url) as s3:
        s3.create_bucket(Bucket="master.after")
        s3.put_object(Bucket="master.after", Key="a", Body=b"well")
        assert body_of(s3, "master.after", "a") == b"well"
    check(gateway.store)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 503 Slow Down\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/xml\r\nContent-Length: 3\r\n\r\n<a>",
    ],
)
def test_what_is_wrong_is_seen(answer: bytes) -> None:
    assert judge(answer) is not None
