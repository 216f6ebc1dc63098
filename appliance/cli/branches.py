"""Branches."""

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one
from appliance.cli.references import parse_branch, parse_revision_of

_HEADER = ("BRANCH", "HEAD", "TRIGGER")


@verbs.create.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("-p", "--provenance", multiple=True, metavar="REPO@BRANCH", help="A branch this one is made from. Repeatable.")
@click.option("--head", metavar="COMMIT", help="The commit it points at, as a branch or an id.")
def create_branch(branch: str, provenance: tuple[str, ...], head: str | None) -> None:
    """Make a branch, or point one at another commit."""
    repo, name = parse_branch(branch)
    call(
        "create_branch",
        repo=repo,
        branch=name,
        head=parse_revision_of(repo, head) if head is not None else None,
        provenance=[parse_branch(source) for source in provenance] or None,
    )


@verbs.inspect.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
@styled
def inspect_branch(branch: str, style: Style) -> None:
    """Show a branch."""
    repo, name = parse_branch(branch)
    print_one(style, call("inspect_branch", repo=repo, branch=name), lambda found: _describe(found, style))


@verbs.list_.command("branch")
@click.argument("repo")
@styled
def list_branch(repo: str, style: Style) -> None:
    """List the branches of a repo."""
    print_list(style, _HEADER, iterate("list_branch", repo=repo), lambda branch: (branch["name"], branch["head"]["id"], "-"))


@verbs.delete.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
def delete_branch(branch: str) -> None:
    """Delete a branch; its commits stay."""
    repo, name = parse_branch(branch)
    call("delete_branch", repo=repo, branch=name)


def _describe(branch: Facts, style: Style) -> dict[str, str | None]:
    return {
        "Name": f"{branch['repo']}@{branch['name']}",
        "Head Commit": f"{branch['repo']}@{branch['head']['id']}",
        "Provenance": " ".join(f"{repo}@{name}" for repo, name in branch["provenance"]) or None,
        "Created at": style.when(branch["created_ns"]),
    }
