"""Looking after what is kept: the checker and the collector."""

from collections.abc import Iterator
from typing import Any

import click

from appliance.cli.connection import connect
from appliance.cli.output import size
from appliance.cli.progress import Steps
from appliance.cli.verbs import root
from appliance.errors import StoreDamaged


@root.command()
@click.option("--deep", is_flag=True, help="Read every byte that is kept.")
def fsck(deep: bool) -> None:
    """Check everything that is kept, while it is in use; the exit status is 3 if something is wrong.

    What is damaged is named with the files and commits it is part of, and given to nobody any more. Putting the same bytes
    again, in any file, repairs it.
    """
    errors = 0
    for found in _iterate("fsck", deep=deep):
        click.echo(found["problem"])
        errors += 1
    if errors:
        raise StoreDamaged(f"{errors} error{'s' * (errors != 1)} found")
    click.echo("No errors found.")


@root.command("garbage-collect")
def garbage_collect() -> None:
    """Remove what nothing refers to any more, and give its space back, while everything is in use.

    That also happens by itself, slowly, some time after something was deleted.
    """
    for found in _iterate("garbage_collect"):
        collected = found["collected"]
        number, content = collected["blobs"], size(collected["size_bytes"])
        click.echo(f"{number} blob{'s' * (number != 1)} of {content} removed, {size(collected['freed_bytes'])} given back")


def _iterate(name: str, **arguments: Any) -> Iterator[Any]:
    """Yield what a call says besides its steps, and show those."""
    with Steps() as steps:
        for found in connect().iterate(name, **arguments):
            if "what" in found:
                steps.show(found["what"], found["done"], found["total"])
            else:
                yield found
