"""Options that many commands share."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from appliance.cli.output import Style

Command = Callable[..., Any]


def styled(command: Command) -> Command:
    """Give a command `--raw`, `--output` and `--full-timestamps`; it gets them as a `Style`."""

    @click.option("--raw", is_flag=True, help="Print objects instead of a table or lines.")
    @click.option("-o", "--output", type=click.Choice(["json", "yaml"]), help="Format of the objects (with --raw).")
    @click.option("--full-timestamps", is_flag=True, help="Print times in RFC 3339 instead of how long ago.")
    @functools.wraps(command)
    def wrapped(*, raw: bool, output: str | None, full_timestamps: bool, **arguments: Any) -> Any:
        if output is not None and not raw:
            raise click.UsageError("cannot set --output (-o) without --raw")
        return command(style=Style(raw=raw, yaml=output == "yaml", full_timestamps=full_timestamps), **arguments)

    return wrapped


def one_or_all(noun: str) -> Callable[[Command], Command]:
    """Give a command that deletes `name`, or with `--all` every one after a question; the command gets None for all."""

    def decorate(command: Command) -> Command:
        @click.argument("name", metavar=noun.upper(), required=False)
        @click.option("--all", "everything", is_flag=True, help=f"Delete every {noun}.")
        @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
        @functools.wraps(command)
        def wrapped(*, name: str | None, everything: bool, yes: bool, **arguments: Any) -> Any:
            if everything and name:
                raise click.UsageError("cannot use the --all flag with an argument")
            if not everything and not name:
                raise click.UsageError(f"either a {noun} name or the --all flag needs to be provided")
            if everything and not yes and not is_sure():
                return None
            return command(name=name, **arguments)

        return wrapped

    return decorate


def history_option(*, default: str) -> Callable[[Command], Command]:
    """Give a command `--history`; it gets that as a number of versions before the newest, None for all."""
    text = f"Also those of earlier versions of pipelines, so many versions back; {default} by default."
    return click.option("--history", metavar="none|all|N", callback=_parse_history, default=default, help=text)


def _parse_history(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value in ("none", "all"):
        return 0 if value == "none" else None
    if not value.isdecimal():
        raise click.UsageError(f'invalid history "{value}": it is none, all, or a number of versions')
    return int(value)


def is_sure() -> bool:
    """Ask a person whether to go on. Raises ClickException where nobody answers."""
    click.echo("Are you sure you want to do this? (y/N): ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        raise click.ClickException("no answer: say --yes where nobody can be asked")
    return answer[:1] in ("y", "Y")
