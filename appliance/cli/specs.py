"""Specs as commands take them: from a file, standard input or a web server."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from appliance.cli.connection import call
from appliance.errors import InvalidSpec

Command = Callable[..., Any]


def spec_file_option(*, required: bool) -> Callable[[Command], Command]:
    """Give a command `--file`; it gets that as `spec_file`."""
    text = "Specs in JSON or YAML, one or several; - is stdin."
    return click.option("-f", "--file", "spec_file", required=required, metavar="FILE|URL|-", help=text)


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
