"""Secrets: what is in them goes in, and never comes out."""

import sys
from pathlib import Path

import click

from appliance.cli import verbs
from appliance.cli.connection import call
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one
from appliance.errors import InvalidRequest

_HEADER = ("NAME", "TYPE", "CREATED")


@verbs.create.command("secret")
@click.argument("name", required=False)
@click.argument("values", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("-f", "--file", metavar="FILE|-", help="A Kubernetes Secret, JSON or YAML; - is stdin.")
def create_secret(name: str | None, values: tuple[str, ...], file: str | None) -> None:
    """Keep a secret, for user code and for the egress of pipelines to databases: a file, or a name with `key=value` words.

    A value may also be `-` (a line of standard input) or `@FILE`: everybody on this machine can read a command's arguments
    while it runs.
    """
    if file is not None and name is None:
        call("create_secret", text=_read(file))
    elif file is None and name is not None and values:
        call("create_secret", secret=name, data=dict(map(_parse_pair, values)))
    else:
        raise InvalidRequest("create secret takes either -f FILE, or a name and key=value")


@verbs.list_.command("secret")
@styled
def list_secret(style: Style) -> None:
    """List secrets, without what is in them."""
    print_list(style, _HEADER, call("list_secret"), lambda kept: (kept["name"], kept["type"], style.when(kept["created_ns"])))


@verbs.inspect.command("secret")
@click.argument("name")
@styled
def inspect_secret(name: str, style: Style) -> None:
    """Show a secret's keys, without their values."""
    print_one(style, call("inspect_secret", secret=name), lambda kept: _describe(kept, style))


@verbs.delete.command("secret")
@click.argument("name")
def delete_secret(name: str) -> None:
    """Forget a secret."""
    call("delete_secret", secret=name)


def _describe(kept: Facts, style: Style) -> dict[str, str | None]:
    keys = ", ".join(kept["keys"])
    return {"Name": kept["name"], "Type": kept["type"], "Created": style.when(kept["created_ns"]), "Keys": keys}


def _parse_pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise InvalidRequest("a value is given as key=value")
    if value == "-":
        return key, sys.stdin.readline().rstrip("\r\n")
    return key, _read(value[1:]).strip() if value.startswith("@") else value


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"error reading file {name}") from None
