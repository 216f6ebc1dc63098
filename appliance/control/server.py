"""The control socket, and the life of the process behind `serve`."""

import inspect
import itertools
import json
import logging
import math
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio

from appliance import httpd
from appliance.app import App, open_app
from appliance.config import Config, short_path
from appliance.control.auth import AuthCalls
from appliance.control.calls import Calls
from appliance.control.debugging import Debugging, WantedChanges, WantedDatum
from appliance.control.files import FileCalls, open_file, stage_file
from appliance.control.follow import choose_jobs, find_start, iter_finished, iter_logs
from appliance.control.keeping import SecretCalls
from appliance.control.lines import describe_error, iter_ended, iter_lines
from appliance.control.mount import MountCalls
from appliance.control.requests import Requests
from appliance.control.streams import Spool, Streams
from appliance.control.transactions import Transactions, arguments_type, collect_requests
from appliance.control.transfers import TransferCalls, iter_transfer
from appliance.control.upkeep import BodyReader, UpkeepCalls, iter_pieces
from appliance.errors import ApplianceError, InvalidRequest, NotFound
from appliance.httpd import BodyTooLarge, Reply, Request
from appliance.mount import committing
from appliance.quantities import parse_duration
from appliance.store.commits import Origin
from appliance.store.disk import explain
from appliance.store.exporting import iter_export
from appliance.store.importing import import_all
from appliance.store.logs import Chosen

log = logging.getLogger(__name__)

_LINES = ("Content-Type", "application/x-ndjson")
_CALL_BYTES = 64 * 1024 * 1024
# Only the owner of the data directory gets here, and what a person pipes in may take its time.
_LIMITS = httpd.Limits(idle_s=math.inf, header_s=math.inf, stall_s=math.inf)


@dataclass(frozen=True, slots=True)
class _Call:
    method: Callable[..., Any]
    arguments: type[msgspec.Struct]


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    """What `subscribe_commit` is asked."""

    repo: str
    branch: str
    after: str | None = None
    new: bool = False
    origin: Origin | None = None


class WantedLogs(msgspec.Struct, forbid_unknown_fields=True):
    """What `logs` is asked."""

    pipeline: str | None = None
    job: str | None = None
    datum: str | None = None
    inputs: list[str] = []
    since: str = ""
    follow: bool = False

    def chosen(self) -> Chosen:
        """Return which lines are wanted. Raises InvalidRequest for an impossible `since`."""
        since_ns = round((time.time() - min(parse_duration(self.since), time.time())) * 1e9) if self.since else 0
        return Chosen(self.datum, self.inputs, since_ns)


class Control:
    """Answers commands about one open appliance."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._requests = collect_requests(Requests(app))
        self._transactions = Transactions(app.store, self._requests)
        self._calls = _collect(Calls(app)) | _collect(FileCalls(app)) | _collect(MountCalls(app)) | _collect(AuthCalls(app))
        self._calls |= _collect(self._transactions) | _collect(SecretCalls(app))
        list_roots = app.mounted.list_roots if app.mounted is not None else lambda repo, branch: []
        staged = partial(committing.iter_status, app.store, list_roots=list_roots)
        self._streams = _collect(Streams(staged, strict=app.config.strict), skip=1)
        self._upkeep = _collect(UpkeepCalls(app))
        self._transfers = _collect(TransferCalls(app), skip=1)
        self._debugging = Debugging(app)
        del self._calls["add"]  # what a request inside a transaction does

    async def handle(self, request: Request) -> Reply:
        """Answer one request; errors come back as JSON."""
        try:
            return await self._answer(request)
        except ApplianceError as error:
            return _error(error)
        except BodyTooLarge as error:
            return _error(InvalidRequest(str(error)))
        except OSError as error:  # of a file that the answer was to be kept in meanwhile
            return _error(explain(error, "the answer can not be kept"))

    async def _answer(self, request: Request) -> Reply:
        path, _, query = request.target.partition("?")
        name = path.removeprefix("/v1/")
        if request.method == "POST":
            return await self._call(name, await request.body.read(_CALL_BYTES))
        given = dict(parse_qsl(query, keep_blank_values=True))
        if (request.method, name) == ("PUT", "file"):
            return await self._put_file(request, **_only(given, "put", "path", "position"))
        if (request.method, name) == ("GET", "file"):
            return await self._get_file(**_only(given, "repo", "revision", "path", optional=("offset",)))
        if (request.method, name) == ("GET", "export"):
            return await self._export([value for key, value in parse_qsl(query) if key == "repo"])
        if (request.method, name) == ("PUT", "import"):
            return await self._import(request, dict(parse_qsl(query)))
        raise NotFound(f"no such call: {request.method} {path}")

    async def _call(self, name: str, body: bytes) -> Reply:
        if name in self._requests:
            return _result(await trio.to_thread.run_sync(self._run_request, name, body))
        if name in self._streams:
            return await self._stream(name, body)
        if name in self._upkeep:
            return self._work(name, body)
        if name == "subscribe_commit":
            return await self._subscribe(_decode(name, body, Subscription))
        if name == "logs":
            return await self._logs(_decode(name, body, WantedLogs))
        if name == "debug_datum":
            return Reply(200, [_LINES], iter_ended(self._debugging.open(_decode(name, body, WantedDatum))))
        if name == "debug_changes":
            return Reply(200, [_LINES], iter_ended(self._debugging.changes(_decode(name, body, WantedChanges))))
        if name in self._transfers:
            return self._transfer(name, body)
        call = self._calls.get(name)
        if call is None:
            raise NotFound(f"no such call: {name}")
        arguments = _fields(_decode(name, body, call.arguments))
        return _result(await trio.to_thread.run_sync(partial(call.method, **arguments)))

    async def _stream(self, name: str, body: bytes) -> Reply:
        stream = self._streams[name]
        arguments = _fields(_decode(name, body, stream.arguments))
        spool = Spool(self._app.store.directory / "staging")

        def fill() -> None:
            with self._app.store.snapshot() as db:
                spool.fill(stream.method(db, **arguments))

        try:
            await trio.to_thread.run_sync(fill)
        except BaseException:
            spool.close()
            raise
        return Reply(200, [_LINES], spool.lines())

    def _transfer(self, name: str, body: bytes) -> Reply:
        call = self._transfers[name]
        arguments = _fields(_decode(name, body, call.arguments))
        lines = iter_transfer(lambda running: call.method(running, **arguments))
        return Reply(200, [_LINES], lines)

    async def _subscribe(self, wanted: Subscription) -> Reply:
        store, repo, branch = self._app.store, wanted.repo, wanted.branch
        find = partial(find_start, store, repo, branch, wanted.after, new=wanted.new)
        lines = iter_finished(store, repo, branch, await trio.to_thread.run_sync(find), wanted.origin)
        return Reply(200, [_LINES], iter_ended(lines))

    async def _logs(self, wanted: WantedLogs) -> Reply:
        store = self._app.store
        chosen = wanted.chosen()
        of = await trio.to_thread.run_sync(choose_jobs, store, wanted.pipeline, wanted.job)
        return Reply(200, [_LINES], iter_ended(iter_logs(store, of, chosen, follow=wanted.follow)))

    def _work(self, name: str, body: bytes) -> Reply:
        work = self._upkeep[name]
        results = work.method(**_fields(_decode(name, body, work.arguments)))
        lines = iter_lines(results, abandon=name in UpkeepCalls.ABANDONED)
        return Reply(200, [_LINES], lines)

    def _run_request(self, name: str, body: bytes) -> object:
        """Make a change: now, or as part of the transaction it names."""
        try:
            given = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{name}: {error}") from None
        transaction = given.pop("transaction", None)
        if transaction is not None:
            return self._transactions.add(str(transaction), name, given)
        return self._app.store.write(self._requests[name].bind(given))

    async def _put_file(self, request: Request, put: str, path: str, position: str) -> Reply:
        number = _parse_number("position", position)
        with self._app.store.blobs.receive() as receiver:
            async for piece in request.body:
                await trio.to_thread.run_sync(receiver.write, piece)
            staged = receiver.finish()
        strict = self._app.config.strict
        await trio.to_thread.run_sync(partial(stage_file, self._app.store, put, path, number, staged, strict=strict))
        return _result(None)

    async def _get_file(self, repo: str, revision: str, path: str, offset: str = "0") -> Reply:
        skipped = _parse_number("offset", offset)
        slices = await trio.to_thread.run_sync(open_file, self._app.store, repo, revision, path, skipped)
        return Reply(200, [("Content-Type", "application/octet-stream")], slices)

    async def _export(self, repos: list[str]) -> Reply:
        """What can be seen to be wrong is answered; what shows later breaks the reply off."""
        pieces = iter_export(self._app.store, repos)
        first = await trio.to_thread.run_sync(next, pieces)
        return Reply(200, [("Content-Type", "application/x-tar")], iter_pieces(itertools.chain([first], pieces)))

    async def _import(self, request: Request, renamed: dict[str, str]) -> Reply:
        read, go_on = BodyReader(request.body).read, trio.from_thread.check_cancelled
        return _result(await trio.to_thread.run_sync(import_all, self._app.store, read, renamed, go_on))


def _collect(owner: object, *, skip: int = 0) -> dict[str, _Call]:
    """Return the public methods of an object as calls, with a type for their arguments but for the first `skip`."""
    calls = {}
    for name, method in inspect.getmembers(owner, inspect.ismethod):
        if not name.startswith("_"):
            calls[name] = _Call(method, arguments_type(name, method, skip=skip))
    return calls


S = TypeVar("S", bound=msgspec.Struct)


def _decode(name: str, body: bytes, arguments: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=arguments)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{name}: {error}") from None


def _fields(given: msgspec.Struct) -> dict[str, Any]:
    return {field: getattr(given, field) for field in given.__struct_fields__}


def _only(given: dict[str, str], *names: str, optional: Sequence[str] = ()) -> dict[str, str]:
    if missing := [name for name in names if name not in given]:
        raise InvalidRequest(f"missing {', '.join(missing)}")
    return {name: value for name, value in given.items() if name in (*names, *optional)}


def _parse_number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidRequest(f"invalid {what} {text}")
    return int(text)


def _result(value: Any) -> Reply:
    return Reply(200, [("Content-Type", "application/json")], msgspec.json.encode({"result": value}))


def _error(error: ApplianceError) -> Reply:
    return Reply(400, [("Content-Type", "application/json")], json.dumps(describe_error(error)).encode())


def error_reply(status: int, text: str) -> Reply:
    """Return the answer to what `httpd` refused by itself."""
    answer = {"error": text, "kind": "ApplianceError", "exit_status": 1}
    return Reply(status, [("Content-Type", "application/json")], json.dumps(answer).encode())


# -- the life of the process


async def serve(config: Config, announce: Callable[[App], None]) -> None:
    """Run an appliance until SIGINT or SIGTERM; `announce` is called once every door is open."""
    _raise_file_limit()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_at_signal, signals, nursery.cancel_scope)
            await _run(config, announce)
            nursery.cancel_scope.cancel()


def _raise_file_limit() -> None:
    """Allow as many open files as this user may have: every client, every open file of the mount is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _stop_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _number in signals:
        scope.cancel()
        return


async def _run(config: Config, announce: Callable[[App], None]) -> None:
    async with open_app(config) as app:
        control = Control(app)
        with _unix_socket(config.control_socket) as listener, _ready_file(config, app):
            announce(app)
            await httpd.serve(control.handle, [listener], error_reply=error_reply, limits=_LIMITS)


class _unix_socket:
    """A listening Unix socket that only its owner can use; its file goes away with it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> trio.SocketListener:
        self._path.unlink(missing_ok=True)  # of a killed process: the lock on the directory says that nobody else is alive
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(self._path) as path:
                listener.bind(path)
        except OSError as error:
            raise ApplianceError(f"can not listen on {self._path}: {error}") from None
        self._path.chmod(0o600)
        listener.listen(64)
        return trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    def __exit__(self, *_exception: object) -> None:
        self._path.unlink(missing_ok=True)


class _ready_file:
    """A file that is there while every door is open; written aside and renamed, so that a reader sees all or nothing."""

    def __init__(self, config: Config, app: App) -> None:
        self._path = config.ready_file
        self._facts = {
            "pid": os.getpid(),
            "data": str(config.data),
            "s3_endpoint": app.s3_endpoint,
            "tls_endpoint": app.tls_endpoint,
            "mount": str(app.mount) if app.mount else None,
            "control": str(config.control_socket),
        }

    def __enter__(self) -> None:
        if self._path is not None:
            aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            aside.write_text(json.dumps(self._facts))
            aside.rename(self._path)

    def __exit__(self, *_exception: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
