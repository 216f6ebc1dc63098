"""`edit pipeline`: a spec in the user's editor."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from appliance.cli import verbs
from appliance.cli.connection import call
from appliance.cli.output import objects
from appliance.cli.specs import send_spec
from appliance.errors import ApplianceError


@verbs.edit.command("pipeline")
@click.argument("pipeline")
@click.option("--editor", help="By default $EDITOR, else vim.")
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="json", help="Format of the spec.")
@click.option("--reprocess", is_flag=True, help="Process datums again that were processed before.")
def edit_pipeline(pipeline: str, editor: str | None, output: str, reprocess: bool) -> None:
    """Change the spec of a pipeline in an editor. If the new one is refused, it is kept in a file."""
    before = objects([call("inspect_pipeline", pipeline=pipeline)["spec"]], yaml=output == "yaml")
    command = editor or os.environ.get("EDITOR") or "vim"
    after = click.edit(before, editor=command, extension=f".{output}", require_save=False)
    if after is None or after.rstrip("\n") == before.rstrip("\n"):
        click.echo("Pipeline unchanged, no update will be performed.")
        return
    try:
        send_spec(after, update=True, reprocess=reprocess)
    except ApplianceError:
        click.echo(f"what was written is in {_keep(pipeline, after, output)}", err=True)
        raise


def _keep(pipeline: str, text: str, output: str) -> Path:
    with NamedTemporaryFile("w", prefix=f"{pipeline}-", suffix=f".{output}", delete=False) as file:
        file.write(text)
    return Path(file.name)
