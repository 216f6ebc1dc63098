"""Reading ahead: the next piece comes while one is made use of."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from appliance.external.remote import Piece


def read_ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield all pieces; while the caller has one, a thread is getting the next."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            yield piece
