"""What was changed through the mount: see it, commit it, give it up."""

import click

from appliance.cli.connection import call, iterate
from appliance.cli.options import styled
from appliance.cli.output import Style, print_list
from appliance.cli.verbs import root

_HEADER = ("BRANCH", "CHANGE", "PATH")


@root.command()
@styled
def status(style: Style) -> None:
    """Show what was changed in the mount and is not committed."""
    print_list(
        style, _HEADER, iterate("list_staged"), lambda one: (f"{one['repo']}@{one['branch']}", one["what"], one["path"])
    )


@root.command()
@click.argument("branch", metavar="[REPO[@BRANCH]]", required=False)
@click.option("--overwrite", is_flag=True, help="Also where others have committed something else meanwhile.")
def commit(branch: str | None, overwrite: bool) -> None:
    """Commit what was changed in the mount, in one branch or in all, and print each commit.

    Nothing is committed in a branch where others changed the same paths meanwhile, or where a file is open for writing.
    """
    for made in call("commit_staged", target=branch, overwrite=overwrite):
        click.echo(f"{made['branch']}={made['commit']}")


@root.command()
@click.argument("branch", metavar="REPO[@BRANCH]")
def discard(branch: str) -> None:
    """Give up what was changed in the mount in a branch."""
    call("discard_staged", target=branch)
