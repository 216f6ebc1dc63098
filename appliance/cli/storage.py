"""Credentials for other people's object stores."""

import sys
from pathlib import Path
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import call
from appliance.cli.options import Command, styled
from appliance.cli.output import Style, lines, print_list
from appliance.errors import InvalidRequest

_HEADER = ("NAME", "PROVIDER", "REGION", "ENDPOINT", "BUCKET")


@verbs.deploy.group("storage")
def storage() -> None:
    """Credentials that `put file` and `get file` with a URL and the egress of pipelines use.

    What is for the bucket alone comes first, then the latest for its endpoint, unless a URL names one:
    `s3://bucket/key?profile=NAME`. While a command runs, everybody on this machine can read its arguments: a secret can
    also be `-` (a line of standard input) or `@FILE`, and is asked for where it is left out.
    """


def _kept(command: Command) -> Command:
    for decorate in (
        click.option("--dry-run", is_flag=True, help="Check and show what would be kept, without the secrets."),
        click.option("--name", help="A name of its own, to keep several for one provider and endpoint."),
        click.option("--bucket", help="Use them for this bucket or container only."),
        click.option("--ca-certificate", metavar="FILE", help="PEM file of an authority to trust at the endpoint."),
        click.option("--endpoint", metavar="URL", help="Of a store that speaks the provider's protocol elsewhere."),
    ):
        command = decorate(command)
    return command


@storage.command("amazon")
@click.argument("region")
@click.argument("access-key-id")
@click.argument("secret-access-key", required=False)
@click.argument("session-token", required=False)
@click.option("--virtual-host", is_flag=True, help="The endpoint has the bucket in its host name, not in the path.")
@_kept
def deploy_amazon(
    access_key_id: str, secret_access_key: str | None, session_token: str | None, virtual_host: bool, **rest: Any
) -> None:
    """Keep credentials for Amazon S3 or, with --endpoint, another store that speaks S3."""
    secret = _read_secret(secret_access_key, "Secret access key")
    token = _read_secret(session_token, "Session token") if session_token else None
    _keep("amazon", access_key_id, secret, session_token=token, path_style=False if virtual_host else None, **rest)


@storage.command("google")
@click.argument("credentials-file")
@_kept
def deploy_google(credentials_file: str, **rest: Any) -> None:
    """Keep credentials for Google Cloud Storage: the JSON file of a service account."""
    _keep("google", "", _read(credentials_file, "credentials file"), **rest)


@storage.command("microsoft")
@click.argument("account-name")
@click.argument("account-key", required=False)
@_kept
def deploy_microsoft(account_name: str, account_key: str | None, **rest: Any) -> None:
    """Keep credentials for Azure Blob Storage."""
    _keep("microsoft", account_name, _read_secret(account_key, "Account key"), **rest)


@storage.command("list")
@styled
def list_storage(style: Style) -> None:
    """List what is kept, without secrets."""
    columns = ("name", "provider", "region", "endpoint", "bucket")
    print_list(style, _HEADER, call("list_storage"), lambda kept: tuple(kept[column] or "-" for column in columns))


@storage.command("delete")
@click.argument("name")
def delete_storage(name: str) -> None:
    """Forget credentials."""
    call("delete_storage", profile=name)


def _read_secret(given: str | None, asked: str) -> str:
    """The secret an argument is or stands for; see `storage`."""
    if given is None:
        return str(click.prompt(asked, hide_input=True, err=True))
    if given == "-":
        secret = sys.stdin.readline().rstrip("\r\n")
    elif given.startswith("@"):
        secret = _read(given[1:], "file").strip()
    else:
        secret = given
    if not secret:
        raise InvalidRequest(f"{asked.lower()} is empty")
    return secret


def _read(name: str, kind: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"error reading {kind} {name}") from None


def _keep(
    provider: str, key: str, secret: str, *, name: str | None, ca_certificate: str | None, dry_run: bool, **rest: Any
) -> None:
    kept = call(
        "deploy_storage",
        provider=provider,
        access_key_id=key,
        secret_access_key=secret,
        profile=name,
        ca_certificate=_read(ca_certificate, "certificate") if ca_certificate else None,
        dry_run=dry_run,
        **rest,
    )
    shown = {"Profile": kept, "Provider": provider, "Region": rest.get("region"), "Endpoint": rest["endpoint"]}
    click.echo(lines({**shown, "Bucket": rest["bucket"]}), nl=False)
