"""Specs from jsonnet templates: a function, whose arguments are given on the command line, that returns a spec or several."""

from collections.abc import Sequence
from typing import NoReturn

import click

from appliance.errors import InvalidSpec, Unsupported


def render(name: str, template: str, given: Sequence[str]) -> str:
    """Return what a template comes to with arguments `name=value`, as JSON. Raises InvalidSpec, Unsupported."""
    arguments = {}
    for argument in given:
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise click.UsageError(f'invalid argument "{argument}": expected name=value')
        if key in arguments:
            raise click.UsageError(f'argument "{key}" is given twice')
        arguments[key] = value
    try:
        import _jsonnet  # an extra
    except ImportError:
        raise Unsupported("jsonnet templates need the extra `jsonnet`: pip install 'pfs-appliance[jsonnet]'") from None
    try:
        text: str = _jsonnet.evaluate_snippet(name, template, tla_vars=arguments, import_callback=_refuse_import)
    except RuntimeError as error:
        raise InvalidSpec(f"malformed pipeline spec: {' '.join(str(error).split())}") from None
    return text


def _refuse_import(_directory: str, path: str) -> NoReturn:
    """As for Pachyderm, a template is all there is: the files beside it are not there where it is rendered."""
    raise RuntimeError(f"{path} can not be imported: a template is one file")
