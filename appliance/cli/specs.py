"""Specs as commands take them: from a file, standard input or a web server."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from appliance.cli.connection import call
from appliance.cli.templates import render
from appliance.errors import InvalidSpec

Command = Callable[..., Any]


def spec_file_option(*, required: bool) -> Callable[[Command], Command]:
    """Give a command `--file`; it gets that as `spec_file`."""
    text = "Specs in JSON or YAML, one or several; - is stdin."
    return click.option("-f", "--file", "spec_file", required=required, metavar="FILE|URL|-", help=text)


def specs_option(command: Command) -> Command:
    """Give a command `--file`, or a template and its arguments; it gets the text of specs as `specs`."""

    @spec_file_option(required=False)
    @click.option("--jsonnet", metavar="FILE|URL|-", help="A jsonnet template that gives a spec, or an array of them.")
    @click.option("--arg", "given", multiple=True, metavar="NAME=VALUE", help="An argument of the template; may be repeated.")
    @functools.wraps(command)
    def wrapped(*, spec_file: str | None, jsonnet: str | None, given: tuple[str, ...], **arguments: Any) -> Any:
        if (spec_file is None) == (jsonnet is None):
            raise click.UsageError("either --file (-f) or --jsonnet needs to be provided")
        if given and jsonnet is None:
            raise click.UsageError("--arg is for a template: --jsonnet")
        specs = read_spec(spec_file or jsonnet or "")
        if jsonnet is not None:
            specs = render(jsonnet, specs, given)
        return command(specs=specs, **arguments)

    return wrapped


def images_refused(command: Command) -> Command:
    """Give a command the options of Pachyderm's that build or push images, each refused."""

    def refuse(_context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            raise click.UsageError(
                "images are neither built nor pushed here: the command runs on this machine, with what is there"
            )

    flags = (("-p", "--push-images"), ("-b", "--build"))
    texts = (("-r", "--registry"), ("-u", "--username"))
    for names, is_flag in (*((names, True) for names in flags), *((names, False) for names in texts)):
        command = click.option(*names, is_flag=is_flag, hidden=True, expose_value=False, callback=refuse)(command)
    return command


def read_spec(spec_file: str) -> str:
    """Return the text of a spec. Raises InvalidSpec, OSError, and ControlError for a URL that gives none."""
    if "://" in spec_file:
        text: str = call("read_spec", url=spec_file)
        return text
    content = sys.stdin.buffer.read() if spec_file == "-" else Path(spec_file).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidSpec(f"malformed pipeline spec: {spec_file} is not UTF-8 text") from None


def send_spec(text: str, **how: Any) -> None:
    """Create or update the pipelines of a text and print what there is to know about them."""
    for notice in call("create_pipeline", text=text, **how):
        click.echo(notice, err=True)
