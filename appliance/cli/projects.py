"""What Pachyderm has for several projects and clusters, and one appliance has not: refused, each with a sentence."""

from collections.abc import Sequence

import click

from appliance.cli import verbs
from appliance.errors import Unsupported

_DEFAULTS = "there are no defaults for specs here: a spec says all that is not Pachyderm's own default"
_VERBS = (verbs.create, verbs.update, verbs.inspect, verbs.list_, verbs.delete)
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def _refuse(verb: click.Group, noun: str, text: str) -> None:
    @verb.command(noun, hidden=True, context_settings=_ANYTHING, help=f"Not offered: {text}.")
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def refused(rest: Sequence[str]) -> None:
        raise Unsupported(text)


for _verb in _VERBS:
    _refuse(_verb, "project", verbs.NO_PROJECTS)
    _refuse(_verb, "defaults", _DEFAULTS)
