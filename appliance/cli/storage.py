"""Credentials for other people's object stores."""

from pathlib import Path
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import call
from appliance.cli.options import Command, styled
from appliance.cli.output import Style, lines, print_list
from appliance.errors import InvalidRequest

_HEADER = ("NAME", "PROVIDER", "REGION", "ENDPOINT")


@verbs.deploy.group("storage")
def storage() -> None:
    """Credentials that `put file` with a URL and the egress of pipelines use.

    The latest for a provider and endpoint counts, unless a URL names one: `s3://bucket/key?profile=NAME`.
    """


def _kept(command: Command) -> Command:
    for decorate in (
        click.option("--dry-run", is_flag=True, help="Check and show what would be kept, without the secrets."),
        click.option("--name", help="A name of its own, to keep several for one provider and endpoint."),
        click.option("--endpoint", metavar="URL", help="Of a store that speaks the provider's protocol elsewhere."),
    ):
        command = decorate(command)
    return command


@storage.command("amazon")
@click.argument("region")
@click.argument("access-key-id")
@click.argument("secret-access-key")
@click.argument("session-token", required=False)
@_kept
def deploy_amazon(access_key_id: str, secret_access_key: str, **rest: Any) -> None:
    """Keep credentials for Amazon S3 or, with --endpoint, another store that speaks S3."""
    _keep("amazon", access_key_id, secret_access_key, **rest)


@storage.command("google")
@click.argument("credentials-file")
@_kept
def deploy_google(credentials_file: str, **rest: Any) -> None:
    """Keep credentials for Google Cloud Storage."""
    try:
        content = Path(credentials_file).read_text()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"error reading credentials file {credentials_file}") from None
    _keep("google", "", content, **rest)


@storage.command("microsoft")
@click.argument("account-name")
@click.argument("account-key")
@_kept
def deploy_microsoft(account_name: str, account_key: str, **rest: Any) -> None:
    """Keep credentials for Azure Blob Storage."""
    _keep("microsoft", account_name, account_key, **rest)


@storage.command("list")
@styled
def list_storage(style: Style) -> None:
    """List what is kept, without secrets."""
    print_list(
        style,
        _HEADER,
        call("list_storage"),
        lambda kept: (kept["name"], kept["provider"], kept["region"] or "-", kept["endpoint"] or "-"),
    )


@storage.command("delete")
@click.argument("name")
def delete_storage(name: str) -> None:
    """Forget credentials."""
    call("delete_storage", profile=name)


def _keep(
    provider: str, key: str, secret: str, *, name: str | None, endpoint: str | None, dry_run: bool, **rest: Any
) -> None:
    kept = call(
        "deploy_storage",
        provider=provider,
        access_key_id=key,
        secret_access_key=secret,
        profile=name,
        endpoint=endpoint,
        dry_run=dry_run,
        **rest,
    )
    shown = {"Profile": kept, "Provider": provider, "Region": rest.get("region"), "Endpoint": endpoint}
    click.echo(lines(shown), nl=False)
