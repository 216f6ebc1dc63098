"""What commands can ask of the appliance that moves bytes to or from other people's object stores, and takes its time.

Each runs in a thread of its own, beside those that everybody shares. Its answer is a stream of lines that say how far it
is, then one with the result or the error; a client that goes away stops it, and nothing has happened.
"""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec
import trio

from appliance.app import App, outgoing
from appliance.control.fetching import Fetch, Wanted
from appliance.control.lines import END_LINE, answer_line, describe_error
from appliance.errors import ApplianceError, InvalidRequest
from appliance.external.transfers import EgressResult, Outgoing, require_remote, upload_all
from appliance.external.urls import parse_url
from appliance.names import clean_path
from appliance.store import Store, blobs, history, listings, snapshots, staging
from appliance.store.blobs import Content

log = logging.getLogger(__name__)

_EVERY_S = 0.2
_PAGE = 1000
# How long the end of the appliance waits for a transfer that waits for somebody else.
_PATIENCE_S = 2.0


class Running:
    """One transfer under way."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.progress: dict[str, Any] = {}

    def check(self) -> None:
        """Raise ApplianceError if it shall stop."""
        if self.stopped.is_set():
            raise ApplianceError("stopped")


class TransferCalls:
    """The transfers. Every public method is one; the first argument is told how far it is, and whether to stop."""

    def __init__(self, app: App) -> None:
        self._app, self._store = app, app.store

    def put_urls(
        self,
        running: Running,
        put: str,
        repo: str,
        branch: str,
        path: str,
        urls: list[str],
        recursive: bool = False,
        append: bool = False,
        literal: bool = False,
        skip_invalid: bool = False,
    ) -> dict[str, object]:
        """Fetch objects from other stores into one commit, together with files that were sent before.

        Nothing is committed unless all of them arrived. With one object and no trailing slash `path` is its name; else it
        is the directory they are put below. What is there already, from the same address with the same ETag and size, is
        not fetched again. `literal`: a URL is a prefix of keys, not a directory. `skip_invalid`: keys that can not be paths
        are left out instead of ending everything.
        """
        with self._store.snapshot() as db:
            history.check_branch_writable(db, repo, branch)
            exact = len(urls) == 1 and not recursive and not staging.get_total(db, put).files
        wanted = Wanted(repo, branch, path, recursive, append, literal, skip_invalid, exact)
        addresses = [parse_url(url) for url in urls]
        config = self._app.config
        fetch = Fetch(self._store, self._app.profiles, config.file_roots, put, wanted, strict=config.strict)
        fetch.run(addresses, partial(_report, running, fetch))
        running.check()
        commit = self._store.write(lambda db: staging.put_all(db, put, repo, branch, append=append, keep_same=not append))
        return {"commit": commit, **asdict(fetch.fetched)}

    def get_to_url(
        self, running: Running, repo: str, revision: str, path: str, url: str, recursive: bool = False
    ) -> dict[str, object]:
        """Copy a file, or with `recursive` all below a directory, to `<url>/<path>` in another store.

        What is there already, the same, is left alone; nothing is deleted there.
        """
        address = parse_url(url)
        require_remote(address)
        with self._store.snapshot() as db:
            snapshot = snapshots.open_revision(db, repo, revision)
            wanted = clean_path(path)
            is_directory = listings.is_directory(db, snapshot, wanted)
            if is_directory and not recursive:
                message = f"couldn't download {wanted}: cannot get directory or non-regular file. Try again with the -r flag"
                raise InvalidRequest(message)
            found = [] if is_directory else [snapshots.get_file(db, snapshot, wanted)]
        entries = _iter_below(self._store, snapshot, wanted) if is_directory else iter(found)
        result = EgressResult()

        def items() -> Iterator[Outgoing]:
            for entry in entries:
                running.progress = asdict(result)
                yield outgoing(entry, partial(_read, self._store))

        upload_all(address, self._app.profiles, items(), stop=running.stopped.is_set, result=result)
        return asdict(result)


def _report(running: Running, fetch: Fetch) -> None:
    running.check()
    running.progress = asdict(fetch.fetched)


def _iter_below(store: Store, snapshot: snapshots.Snapshot, directory: str) -> Iterator[snapshots.Entry]:
    after = None
    while True:
        with store.snapshot() as db:
            prefix = directory.rstrip("/") + "/"
            page = listings.list_page(db, snapshot, prefix=prefix, delimiter="", after=after, limit=_PAGE)
        for item in page.items:
            if isinstance(item, snapshots.Entry) and item.kind == snapshots.Kind.FILE:
                yield item
        if len(page.items) < _PAGE:
            return
        after = page.items[-1].path  # type: ignore[union-attr]


def _read(store: Store, content: Content) -> Iterator[bytes]:
    with store.snapshot() as db:
        extents = blobs.list_extents(db, store.blobs, content)
    return blobs.read_extents(extents)


async def iter_transfer(transfer: Callable[[Running], object]) -> AsyncIterator[bytes]:
    """Run a transfer in a thread and yield what to tell about it. Closing this stops the transfer, and waits for it."""
    running, ended, answers = Running(), trio.Event(), list[bytes]()
    token = trio.lowlevel.current_trio_token()

    def run() -> None:
        answers.append(_outcome(transfer, running))
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(ended.set)

    thread = threading.Thread(target=run, name="transfer", daemon=True)
    thread.start()
    try:
        while not ended.is_set():
            with trio.move_on_after(_EVERY_S):
                await ended.wait()
            if not ended.is_set():
                yield answer_line({"progress": running.progress})
        yield answers[0]
    finally:
        running.stopped.set()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, _PATIENCE_S)


def _outcome(transfer: Callable[[Running], object], running: Running) -> bytes:
    """Run a transfer to its end and return the last lines, which say what came of it."""
    try:
        return answer_line({"done": transfer(running)}) + END_LINE
    except ApplianceError as error:
        described = describe_error(error)
    except Exception as error:
        log.exception("transfer")
        described = describe_error(ApplianceError(f"internal error: {error!r}"))
    return msgspec.json.encode(described) + b"\n"
