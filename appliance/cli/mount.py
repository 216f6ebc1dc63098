"""Further mount points; and what was changed through any: see it, commit it, give it up."""

import sys
from pathlib import Path

import click

from appliance.cli.connection import call, iterate
from appliance.cli.options import is_sure, styled
from appliance.cli.output import Style, print_list
from appliance.cli.verbs import root
from appliance.errors import InvalidRequest

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
    lost = [one for one in iterate("list_staged") if one["what"] == "not kept"]
    for made in call("commit_staged", target=branch, overwrite=overwrite):
        click.echo(f"{made['branch']}={made['commit']}")
        for one in lost:
            if f"{one['repo']}@{one['branch']}" == made["branch"]:
                click.echo(f"Not kept: {made['branch']}:{one['path']}", err=True)


@root.command()
@click.argument("branch", metavar="REPO[@BRANCH]")
def discard(branch: str) -> None:
    """Give up what was changed in the mount in a branch."""
    call("discard_staged", target=branch)


@root.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "-r",
    "--repos",
    multiple=True,
    metavar="REPO[@BRANCH[=COMMIT]][:PATH][+r|+w|+rw]",
    help="What to show, by the repo's name; w means that it can be changed. Repeatable [default: all repos, their master].",
)
@click.option("-w", "--write", is_flag=True, help="Let all repos be changed that no pipeline writes to (without --repos).")
def mount(directory: Path, repos: tuple[str, ...], write: bool) -> None:
    """Show repos at a further directory, which must exist, until `unmount` or the end of the appliance."""
    call("mount_view", directory=str(directory.absolute()), specs=list(repos), write=write)


@root.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="All that were mounted with `mount`.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def unmount(directory: Path | None, everything: bool, yes: bool) -> None:
    """Commit what was changed at a further mount point, print each commit, and take the mount away.

    It stays while that can not be committed: `commit --overwrite` or `discard` first.
    """
    if directory is not None:
        _unmount(str(directory.absolute()))
    elif everything:
        _unmount_all(yes=yes)
    else:
        raise InvalidRequest("nothing to unmount specify a mounted filesystem or --all")


def _unmount(directory: str) -> None:
    for made in call("unmount_view", directory=directory):
        click.echo(f"{made['branch']}={made['commit']}")


def _unmount_all(*, yes: bool) -> None:
    found = call("list_views")
    if not found:
        click.echo("No mounts found.")
        return
    click.echo("This will unmount the following filesystems:")
    for directory in found:
        click.echo(directory)
    if not yes and not is_sure():
        click.echo("unmount aborted")
        sys.exit(1)
    for directory in found:
        _unmount(directory)
