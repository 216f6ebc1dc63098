"""Sending files to the appliance ahead of the one commit that takes them all; memory does not grow with their number."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.cli.progress import Progress
from appliance.cli.tars import Readable
from appliance.errors import ApplianceError
from appliance.names import check_path

if TYPE_CHECKING:
    from concurrent.futures import Future

    from appliance.control.client import Client

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Something to send: its name for people, the path it becomes, and how to open it.

    What is `in_turn` must have been sent before the next one is asked for.
    """

    name: str
    target: str
    open: Callable[[], AbstractContextManager[Readable]]
    in_turn: bool = False


def send_all(client: "Client", put: str, sources: Iterable[Source], progress: Progress, *, parallel: int) -> int:
    """Send everything, some at a time; return how many that were. The later of two with one path wins."""
    from concurrent.futures import ThreadPoolExecutor

    waiting: deque[Future[None]] = deque()
    position = 0
    with ThreadPoolExecutor(parallel) as pool:
        try:
            for position, source in enumerate(sources, 1):
                if source.in_turn:  # on this thread, where an interrupt reaches the reading of stdin
                    _send(client, put, position, source, progress)
                    continue
                if len(waiting) == 2 * parallel:
                    waiting.popleft().result()
                waiting.append(pool.submit(_send, client, put, position, source, progress))
            for sent in waiting:
                sent.result()
        except BaseException:
            progress.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return position


def _send(client: "Client", put: str, position: int, source: Source, progress: Progress) -> None:
    check_path(source.target)  # before it goes into an address
    with source.open() as file:
        client.send_file(_iter_pieces(source.name, file, progress), put=put, path=source.target, position=position)


def _iter_pieces(name: str, file: Readable, progress: Progress) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE_BYTES)
        except OSError as error:  # as our own error: the client takes an OSError for one of its connection
            raise ApplianceError(f"read {name}: {error.strerror}") from None
        if not piece:
            return
        progress.add(len(piece))
        yield piece
