"""The appliance: the only place that wires the parts together.

Parts are opened in the order of need and closed in reverse: jobs, doors, store. Each lifetime is a nursery: the appliance,
its gateway, each job's sidecar.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from appliance.clock import Clock
from appliance.config import Config
from appliance.entrances import check_reach, listen, load_certificate, serving
from appliance.errors import ApplianceError
from appliance.expiry import Expiry
from appliance.external.credentials import Profiles
from appliance.external.databases import TableFile, parse_database
from appliance.external.secrets import Secrets
from appliance.external.transfers import Outgoing, delete_others, upload_all
from appliance.external.urls import parse_url
from appliance.gateway.access import JobKey, TokenHolders
from appliance.gateway.buckets import Bucket
from appliance.gateway.job_buckets import InputBucket, OutBucket, SidecarBuckets
from appliance.gateway.repo_buckets import RepoBuckets
from appliance.names import CommitId
from appliance.pipelines.container import Containers, Engine, open_engine
from appliance.pipelines.datums import DatumInput
from appliance.pipelines.doors import Doors
from appliance.pipelines.environment import Sidecar, base_environment, container_environment
from appliance.pipelines.openings import Openings
from appliance.pipelines.process import Bind, Launcher, open_launcher, probe_namespaces
from appliance.pipelines.scheduler import Scheduler
from appliance.pipelines.scratch import remove_tree
from appliance.pipelines.spec import Egress, SqlDatabaseEgress, View
from appliance.pipelines.views import file_binds, fuse_binds
from appliance.store import Store, auth, debugging, repos
from appliance.store.blobs import Content
from appliance.store.snapshots import Entry
from appliance.upkeep import Upkeep

if TYPE_CHECKING:
    from appliance.mount.session import Mount

log = logging.getLogger(__name__)

# What a worker gets between SIGTERM and SIGKILL when the appliance stops: stopping takes less than a second.
_STOP_GRACE_S = 0.3
_DAY_S = 24 * 3600
_META = "x-amz-meta-"
_OUR_SOURCE = "x-amz-meta-source-"
_HEADERS = ("cache-control", "content-disposition", "content-encoding", "content-language")


@dataclass(frozen=True, slots=True)
class App:
    """An appliance whose doors are all open. `mount` is None where there is none; `notices` says what is missing and why."""

    config: Config
    store: Store
    profiles: Profiles
    secrets: Secrets
    s3_endpoint: str
    tls_endpoint: str | None
    mount: Path | None
    notices: tuple[str, ...]
    upkeep: Upkeep
    doors: Doors
    mounted: "Mount | None" = None

    def is_auth_active(self) -> bool:
        """Tell whether S3 clients have to say who they are."""
        with self.store.snapshot() as db:
            return auth.is_active(db)


@asynccontextmanager
async def open_app(config: Config) -> AsyncIterator[App]:
    """Open everything, run jobs, and close everything in reverse.

    Raises Conflict for a data directory or port in use, ApplianceError for what else can not be opened.
    """
    async with AsyncExitStack() as stack:
        store = await trio.to_thread.run_sync(Store, config.data, config.durability)
        stack.callback(store.close)
        notices = await trio.to_thread.run_sync(check_reach, store, config)
        plain = await listen(config.s3_host, config.s3_port)
        secured = await listen(config.tls.host, config.tls.port, load_certificate(config.tls)) if config.tls else None
        buckets = RepoBuckets(plain=config.plain_buckets, aliases=not config.strict)
        holders = await trio.to_thread.run_sync(TokenHolders, store, buckets)
        entrances = [plain] if secured is None else [plain, secured]
        settings: dict[str, Any] = {"strict": config.strict, "admit": holders.admit, "domains": config.domains}
        await stack.enter_async_context(serving(store, buckets, entrances, **settings))
        openings = Openings()
        mounted, unmounted = await _open_mount(stack, store, config, openings)
        notices = (*notices, *unmounted)
        mount = mounted.path if mounted else None
        launcher = await stack.enter_async_context(open_launcher(grace_s=_STOP_GRACE_S))
        engine = await trio.to_thread.run_sync(_find_engine, config)
        no_pfs = await trio.to_thread.run_sync(probe_namespaces) if engine is None else None
        if no_pfs is not None:
            notices = (*notices, _say_no_pfs(config, no_pfs))
        profiles, secret_values = Profiles(config.data), Secrets(config.data)
        making = partial(_make_doors, store, launcher, engine, secret_values, config, mount, no_pfs, openings)
        doors = await trio.to_thread.run_sync(making)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(Scheduler(doors, partial(_copy_out, profiles, secret_values)).run)
        await nursery.start(Clock(store).run)
        await nursery.start(Expiry(store, config.upload_days * _DAY_S).run)
        upkeep = Upkeep(store)
        await nursery.start(upkeep.run)
        stack.callback(upkeep.stop)
        tls_endpoint = secured.url if secured else None
        yield App(config, store, profiles, secret_values, plain.url, tls_endpoint, mount, notices, upkeep, doors, mounted)
        nursery.cancel_scope.cancel()


async def _open_mount(
    stack: AsyncExitStack, store: Store, config: Config, openings: Openings
) -> tuple["Mount | None", tuple[str, ...]]:
    """Mount if asked to; where that is not possible, say why instead: everything else works without."""
    if config.mount is None:
        return None, ()
    from appliance.mount.session import open_mount

    try:
        options: dict[str, Any] = {
            "strict": config.strict,
            "autocommit": config.autocommit,
            "find_reader": openings.find_reader,
        }
        opening = open_mount(store, config.mount, config.writable, **options)
        mount = await stack.enter_async_context(opening)
    except ApplianceError as error:
        return None, (f"no mount at {config.mount}: {error}",)
    return mount, ()


# -- what jobs are given


def _say_no_pfs(config: Config, no_pfs: str) -> str:
    if config.pfs_variable:
        return f"user code finds its /pfs at $PFS: {no_pfs}"
    offer = "or with `serve --pfs-variable` let it find it at $PFS"
    return f"only pipelines that use S3 for input and output can run here: {no_pfs}; {offer}"


def _find_engine(config: Config) -> Engine | None:
    if config.runner != "container":
        return None
    return open_engine(config.engine, config.environment, config.data)


def _make_doors(
    store: Store,
    launcher: Launcher,
    engine: Engine | None,
    secret_values: Secrets,
    config: Config,
    mount: Path | None,
    no_pfs: str | None,
    openings: Openings,
) -> Doors:
    scratch = config.data / "scratch"
    remove_tree(scratch)
    scratch.mkdir(mode=0o700, exist_ok=True)
    store.write(debugging.drop_copies)
    return Doors(
        store=store,
        runner=launcher if engine is None else Containers(launcher, engine),
        open_sidecar=partial(_open_sidecar, store, config.strict),
        open_view=partial(_open_view, store, config.view, mount, no_pfs is not None),
        find_secret=lambda name: secret_values.get(name).data,
        scratch=scratch,
        environment=base_environment(config.environment) if engine is None else container_environment(),
        strict=config.strict,
        no_pfs=no_pfs,
        pfs_variable=config.pfs_variable,
        openings=openings,
    )


def _open_view(
    store: Store,
    usual: View,
    mount: Path | None,
    copy: bool,
    scratch: Path,
    inputs: Sequence[DatumInput],
    wanted: View | None,
) -> tuple[Bind, ...]:
    """Lay inputs out in the view that is wanted, or in the appliance's; without a mount there is only the other."""
    if copy or mount is None or (wanted or usual) == "files":
        return file_binds(store, scratch, inputs, copy=copy)
    return fuse_binds(store, mount, scratch, inputs)


@asynccontextmanager
async def _open_sidecar(
    store: Store, strict: bool, inputs: Sequence[DatumInput], datum_row: int | None, on_read: Callable[[int, str], None]
) -> AsyncIterator[Sidecar]:
    """Open a job's own gateway on a free loopback port. The literal address: `localhost` may be ::1.

    With authentication on it has a key of its own, which no other job and nobody else knows.
    """
    found, active = await trio.to_thread.run_sync(_sidecar_buckets, store, strict, inputs, datum_row, on_read)
    buckets = SidecarBuckets(found)
    key = secrets.token_hex(16) if active else None
    entrance = await listen("127.0.0.1", 0)
    admit = JobKey(buckets, key).admit if key is not None else None
    async with serving(store, buckets, [entrance], strict=strict, admit=admit):
        yield Sidecar(entrance.url) if key is None else Sidecar(entrance.url, key)


def _sidecar_buckets(
    store: Store, strict: bool, inputs: Sequence[DatumInput], datum_row: int | None, on_read: Callable[[int, str], None]
) -> tuple[dict[str, Bucket], bool]:
    """Return the buckets of a job, and whether authentication is on."""
    with store.snapshot() as db:
        created = {item.repo: repos.get_created_ns(db, item.repo) for item in inputs}
        buckets: dict[str, Bucket] = {
            item.name: InputBucket(item.name, item.repo, CommitId(item.commit), created[item.repo], on_read)
            for item in inputs
        }
        if datum_row is not None:
            buckets["out"] = OutBucket(datum_row, max(created.values(), default=0), write_only=strict)
        return buckets, auth.is_active(db)


def _copy_out(
    profiles: Profiles,
    secret_values: Secrets,
    wanted: Egress,
    output: Callable[[], Iterator[Entry]],
    read: Callable[[Content], Iterator[bytes]],
    stop: Callable[[], bool],
) -> None:
    """Copy a job's output to another store or a database; see `runner.Egress`."""
    if wanted.sql_database is not None:
        _fill_tables(secret_values, wanted.sql_database, output, read, stop)
        return
    address = parse_url(wanted.object_url)
    upload_all(address, profiles, (outgoing(entry, read) for entry in output()), stop=stop)
    if wanted.mirror:
        delete_others(address, profiles, (entry.path for entry in output()), stop=stop)


def _fill_tables(
    secret_values: Secrets,
    wanted: SqlDatabaseEgress,
    output: Callable[[], Iterator[Entry]],
    read: Callable[[Content], Iterator[bytes]],
    stop: Callable[[], bool],
) -> None:
    """Put a job's output into the tables of a database."""
    password = secret_values.get_value(wanted.secret.name, wanted.secret.key) if wanted.secret else ""
    database = parse_database(wanted.url, wanted.file_format.type, wanted.file_format.columns, password)
    from appliance.external.tables import fill_tables  # an extra, which `parse_database` has found

    fill_tables(database, lambda: (TableFile(entry.path, partial(read, entry.content)) for entry in output()), stop=stop)


def outgoing(entry: Entry, read: Callable[[Content], Iterator[bytes]]) -> Outgoing:
    """A file as other stores take it, with its metadata but for what says where we have it from."""
    metadata = {
        name[len(_META) :]: value
        for name, value in entry.metadata.items()
        if name.startswith(_META) and not name.startswith(_OUR_SOURCE)
    }
    metadata |= {name.title(): entry.metadata[name] for name in _HEADERS if name in entry.metadata}
    return Outgoing(
        path=entry.path.removeprefix("/"),
        size_bytes=entry.content.size_bytes,
        etag=entry.content.etag,
        open=partial(read, entry.content),
        content_type=entry.metadata.get("content-type"),
        metadata=metadata,
    )
