"""`serve`: the appliance in the foreground. The only command that opens one."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.misc import describe
from appliance.cli.output import lines
from appliance.cli.verbs import root
from appliance.config import DEFAULT_MOUNT, S3_PORT, TLS_PORT, UPLOAD_DAYS, Config, Tls, find_data, parse_address
from appliance.errors import ApplianceError, InvalidRequest
from appliance.names import check_name

if TYPE_CHECKING:
    from appliance.app import App

log = logging.getLogger(__name__)

_LOG_BYTES = 8 * 1024 * 1024
_Path = click.Path(path_type=Path)


@root.command()
@click.option("--data", type=_Path, metavar="DIR", help="Where everything is kept [default: $APPLIANCE_HOME].")
@click.option(
    "--s3-address", default=f"127.0.0.1:{S3_PORT}", show_default=True, metavar="HOST:PORT", help="Port 0: a free one."
)
@click.option("--tls-cert", type=_Path, metavar="FILE", help="Speak TLS too, with this certificate (chain) in PEM form.")
@click.option("--tls-key", type=_Path, metavar="FILE", help="The key of it.")
@click.option(
    "--tls-address",
    default=f"127.0.0.1:{TLS_PORT}",
    show_default=True,
    metavar="HOST:PORT",
    help="Where TLS is spoken; the other address stays plain.",
)
@click.option("--anyone", is_flag=True, help="Let other machines in although authentication is off.")
@click.option("--mount", type=_Path, metavar="DIR", help=f"Where repos are shown as files [default: {DEFAULT_MOUNT}].")
@click.option(
    "--write",
    multiple=True,
    is_flag=False,
    flag_value="*",
    metavar="[REPO[@BRANCH]]",
    help="What can be changed in the mount; without a repo, master of all. May be repeated.",
)
@click.option(
    "--commit-on",
    type=click.Choice(["command", "close"]),
    default="command",
    show_default=True,
    help="What was changed in the mount is committed by `commit` and at the end, or each time a file is closed too.",
)
@click.option("--no-mount", is_flag=True, help="Do not mount.")
@click.option(
    "--durability",
    type=click.Choice(["durable", "fast"]),
    default="durable",
    show_default=True,
    help="What was answered survives a power cut, or only the end of the process.",
)
@click.option(
    "--plain-buckets",
    is_flag=True,
    help="List master of a repo by the repo's name alone, and say versions only where versioning was turned on.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="NAME",
    help="Take what stands before .NAME in the Host header for the bucket. Repeatable; localhost and 127.0.0.1 always.",
)
@click.option("--strict", is_flag=True, help="Refuse what Pachyderm would refuse.")
@click.option(
    "--view",
    type=click.Choice(["fuse", "files"]),
    default="fuse",
    show_default=True,
    help="How user code sees its inputs: through the mount, or as linked files.",
)
@click.option(
    "--runner",
    type=click.Choice(["process", "container"]),
    default="process",
    show_default=True,
    help="Run user code on this machine, or in containers of its pipeline's image.",
)
@click.option(
    "--pfs-variable",
    is_flag=True,
    help="Where user code can not have its own /pfs, run it with $PFS naming another place.",
)
@click.option("--engine", metavar="PROGRAM", help="What runs containers [default: podman, else docker].")
@click.option(
    "--upload-days",
    type=click.FloatRange(min=0, min_open=True),
    default=UPLOAD_DAYS,
    show_default=True,
    help="After which multipart uploads that are not finished are forgotten.",
)
@click.option(
    "--allow-files", type=_Path, multiple=True, metavar="DIR", help="Let file:// URLs be below this directory. Repeatable."
)
@click.option("--ready-file", type=_Path, metavar="FILE", help="Written when every door is open, gone when they close.")
def serve(
    data: Path | None,
    s3_address: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_address: str,
    mount: Path | None,
    write: tuple[str, ...],
    commit_on: str,
    no_mount: bool,
    domains: tuple[str, ...],
    allow_files: tuple[Path, ...],
    ready_file: Path | None,
    **rest: Any,
) -> None:
    """Run the appliance until it is interrupted."""
    if mount is not None and no_mount:
        raise click.UsageError("--mount and --no-mount exclude each other")
    host, port = parse_address(s3_address)
    config = Config(
        data=data.absolute() if data else find_data(os.environ),
        s3_host=host,
        s3_port=port,
        tls=_parse_tls(tls_cert, tls_key, tls_address),
        mount=None if no_mount else _make_mount_point(mount or DEFAULT_MOUNT),
        writable=frozenset(map(_parse_writable, write)),
        autocommit=commit_on == "close",
        ready_file=ready_file.absolute() if ready_file else None,
        domains=tuple(domain.lower().strip(".") for domain in domains),
        file_roots=tuple(root.absolute() for root in allow_files),
        environment=dict(os.environ),
        **rest,
    )
    _run(config)


def _parse_tls(certificate: Path | None, key: Path | None, address: str) -> Tls | None:
    if (certificate is None) != (key is None):
        raise InvalidRequest("--tls-cert and --tls-key belong together")
    return None if certificate is None or key is None else Tls(*parse_address(address), certificate, key)


def _parse_writable(text: str) -> str:
    """Return what can be changed as it is named in the mount."""
    if text != "*":
        repo, at, branch = text.partition("@")
        check_name("repo", repo)
        if at:
            check_name("branch", branch)
    return text


def _make_mount_point(place: Path) -> Path:
    """Make the directory if that is possible; if it is not, or nothing can be mounted there, the appliance will say so."""
    with suppress(OSError):
        place.mkdir(exist_ok=True)
    return place.absolute()


def _run(config: Config) -> None:
    import trio

    from appliance.control.server import serve as serve_appliance

    _set_up_logging(config.data)
    try:
        trio.run(serve_appliance, config, _announce)
    except BaseExceptionGroup as group:
        ours, others = group.split(ApplianceError)
        if ours is None or others is not None:
            raise
        raise _first(ours) from None


def _first(group: BaseExceptionGroup[ApplianceError]) -> ApplianceError:
    """Return the error inside: nurseries wrap what ends them."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _set_up_logging(data: Path) -> None:
    """Log warnings to stderr, and more to a file in the data directory, which is made."""
    from logging.handlers import RotatingFileHandler

    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    stderr = logging.StreamHandler()
    stderr.setLevel(logging.WARNING)
    stderr.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    # Opened at the first line: until then another appliance may be using the directory.
    file = RotatingFileHandler(data / "log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[stderr, file])
    logging.captureWarnings(True)


def _announce(app: "App") -> None:
    config = app.config
    elsewhere = config.data != find_data(os.environ)
    facts = {
        "data": str(config.data),
        "s3_endpoint": app.s3_endpoint,
        "tls_endpoint": app.tls_endpoint,
        "mount": str(app.mount) if app.mount else None,
        "durability": config.durability,
        "strict": config.strict,
        "auth": app.is_auth_active(),
        "notices": [*app.notices, *([f"other commands need APPLIANCE_HOME={quote(str(config.data))}"] if elsewhere else [])],
    }
    log.info("ready: S3 at %s, mount at %s", app.s3_endpoint, app.mount or "none")
    click.echo(lines(describe(facts)), nl=False)
