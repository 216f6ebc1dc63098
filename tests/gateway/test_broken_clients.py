"""Clients that stay silent, stop half-way, or vanish: others are served, and nothing of theirs stays on disk."""

import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from gateway.helpers import Served, serving, staged
from store.helpers import LARGE, tree

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.httpd import Limits
from appliance.store import Store

SENT = 40_000  # what is small stays in memory
HEAD = f"PUT /master.data/{{}} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LARGE)}\r\n\r\n"


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connected(served: Served, count: int) -> Iterator[list[socket.socket]]:
    """Connections to a gateway, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=30)) for _ in range(count)]


def works(served: Served) -> None:
    """Be another client, who notices nothing."""
    assert served.request("PUT", "/master.data/other", body=LARGE).status == 200
    assert served.request("GET", "/master.data/other").body == LARGE


def send_most(sockets: list[socket.socket]) -> None:
    """Send the head and most of the body of an upload on each."""
    for number, sock in enumerate(sockets):
        sock.sendall(HEAD.format(number).encode() + LARGE[:SENT])


def begin_uploads(served: Served, sockets: list[socket.socket]) -> None:
    """Send most of an upload on each, and return when all of that is on disk."""
    send_most(sockets)
    assert comes_true(served, lambda: len(staged(served.store)) == len(sockets))


def comes_true(served: Served, condition: Callable[[], bool]) -> bool:
    """Tell whether something becomes true while others are served."""
    for _ in range(200):
        works(served)
        if condition():
            return True
    return False


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /master.data HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_thousand_silent_clients_disturb_nobody(gateway: Served, bucket: str, said: bytes) -> None:
    with connected(gateway, 1000) as silent:
        for sock in silent:
            sock.sendall(said)
        works(gateway)


def test_two_hundred_uploads_at_once_all_arrive(gateway: Served, bucket: str) -> None:
    with connected(gateway, 200) as uploading:
        begin_uploads(gateway, uploading)
        for sock in uploading:
            sock.sendall(LARGE[SENT:])
            sock.shutdown(socket.SHUT_WR)
        assert {read_all(sock).split(b"\r\n")[0] for sock in uploading} == {b"HTTP/1.1 200 OK"}
    assert tree(gateway.store, "data") == {f"/{number}": LARGE for number in range(200)} | {"/other": LARGE}
    assert staged(gateway.store) == []


def test_two_hundred_uploads_that_stall_leave_nothing(store: Store, bucket: str) -> None:
    with serving(store, RepoBuckets(), limits=Limits(stall_s=1)) as served, connected(served, 200) as stalled:
        send_most(stalled)
        works(served)
        assert {read_all(sock).split(b"\r\n")[0] for sock in stalled} == {b"HTTP/1.1 408 Request Timeout"}
        assert staged(store) == []
    assert tree(store, "data") == {"/other": LARGE}


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("vanish", [close, reset])
def test_uploads_whose_clients_vanish_leave_nothing(
    gateway: Served, bucket: str, vanish: Callable[[socket.socket], None]
) -> None:
    with connected(gateway, 50) as vanishing:
        begin_uploads(gateway, vanishing)
        for sock in vanishing:
            vanish(sock)
        assert comes_true(gateway, lambda: staged(gateway.store) == [])
    assert tree(gateway.store, "data") == {"/other": LARGE}


def test_uploads_that_are_cut_by_the_end_of_the_server_leave_nothing(store: Store, bucket: str) -> None:
    with ExitStack() as stack:
        with serving(store, RepoBuckets()) as served:
            begin_uploads(served, stack.enter_context(connected(served, 50)))
        assert staged(store) == []
    assert tree(store, "data") == {"/other": LARGE}


def test_half_closed_client_is_answered(gateway: Served, bucket: str) -> None:
    works(gateway)
    answer = gateway.send(b"GET /master.data/other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(LARGE)
