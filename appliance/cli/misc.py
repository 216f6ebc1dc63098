"""About the appliance itself: its doors, its version, and how to reach it."""

import os
import shlex
import time
from dataclasses import asdict

import click

from appliance import __version__
from appliance.cli import verbs
from appliance.cli.connection import ask_until, call, iterate, set_active_transaction
from appliance.cli.options import is_sure, styled
from appliance.cli.output import Facts, Style, print_list, print_one, table
from appliance.cli.session import session_token
from appliance.cli.verbs import root
from appliance.errors import ApplianceError, InvalidRequest

_KEY = "appliance"
_REGION = "us-east-1"


@verbs.inspect.command("appliance")
@styled
def inspect_appliance(style: Style) -> None:
    """Show where the appliance keeps its data and which doors are open."""
    print_one(style, call("inspect_appliance"), describe)


@verbs.delete.command("all")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete_all(yes: bool) -> None:
    """Delete all repos, commits, files, pipelines and jobs, after a question."""
    if not yes:
        for noun in ("repo", "pipeline"):
            for found in iterate(f"list_{noun}"):
                click.echo(f"{noun} {found['name']}", err=True)
        if not is_sure():
            return
    call("delete_all")
    set_active_transaction(None)


@verbs.wait.command("appliance")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=30, show_default=True, metavar="SECONDS")
def wait_appliance(timeout_s: float) -> None:
    """Wait until the appliance of this data directory answers; the exit status is 1 if it does not in time."""
    deadline = time.monotonic() + timeout_s
    ask_until(lambda: _is_running(give_up=time.monotonic() > deadline), bool)


def _is_running(*, give_up: bool) -> bool:
    try:
        call("inspect_appliance")
    except ApplianceError:
        if give_up:
            raise
        return False
    return True


def describe(facts: Facts) -> dict[str, str | None]:
    """Return the lines about a running appliance."""
    return {
        "Data": facts["data"],
        "S3 endpoint": facts["s3_endpoint"],
        "S3 endpoint, TLS": facts["tls_endpoint"],
        "Mount": facts["mount"] or "none",
        "Durability": facts["durability"],
        "Authentication": "on" if facts["auth"] else None,
        "Strict": "true" if facts["strict"] else None,
        "Notice": "\nNotice: ".join(facts["notices"]) or None,
    }


@root.command()
def env() -> None:
    """Print variables for S3 clients, for a shell: eval "$(appliance env)".

    Without authentication any pair of equal keys will do; with it the keys are the token that `auth use-auth-token` keeps.
    """
    facts = call("inspect_appliance")
    endpoint, key = facts["s3_endpoint"], _KEY
    if facts["auth"] and (key := session_token() or "") == "":
        raise InvalidRequest("authentication is on: `auth use-auth-token` first")
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@root.command()
@styled
def doctor(style: Style) -> None:
    """Show what this machine allows, and what to do about the rest; also while no appliance runs."""
    from appliance.control.doctor import iter_findings

    header = ("WHAT", "FOR", "STATE")
    print_list(
        style,
        header,
        (asdict(found) for found in iter_findings(os.environ)),
        lambda one: (one["what"], one["purpose"], one["problem"] or "ok"),
    )


@root.command()
@click.option("--client-only", is_flag=True, help="Do not ask the appliance.")
def version(client_only: bool) -> None:
    """Print the versions of this program and of the appliance that runs; the exit status is 1 if none does."""
    header, own = ("COMPONENT", "VERSION"), ("pachctl", __version__)
    if client_only:
        click.echo(table(header, [own]), nl=False)
        return
    try:
        running = call("inspect_appliance")["version"]
    except ApplianceError:
        click.echo(table(header, [own]), nl=False)
        raise
    click.echo(table(header, [own, ("pachd", running)]), nl=False)
