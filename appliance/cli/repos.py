"""Repos."""

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import one_or_all, styled
from appliance.cli.output import Facts, Style, print_list, print_one, size

_HEADER = ("NAME", "CREATED", "SIZE (MASTER)", "DESCRIPTION")

_description = click.option("-d", "--description", default="", help="What the repo is for.")


@verbs.create.command("repo")
@click.argument("repo")
@_description
def create_repo(repo: str, description: str) -> None:
    """Make a repo."""
    call("create_repo", repo=repo, description=description)


@verbs.update.command("repo")
@click.argument("repo")
@_description
def update_repo(repo: str, description: str) -> None:
    """Change the description of a repo."""
    call("create_repo", repo=repo, description=description, update=True)


@verbs.inspect.command("repo")
@click.argument("repo")
@styled
def inspect_repo(repo: str, style: Style) -> None:
    """Show a repo."""
    print_one(style, call("inspect_repo", repo=repo), lambda found: _describe(found, style))


@verbs.list_.command("repo")
@click.argument("repo", required=False)
@click.option("--all", "everything", is_flag=True, help="Those of every type.")
@click.option("--type", "kind", default="user", metavar="TYPE", help="Only those of a type, user (default) or meta.")
@styled
def list_repo(repo: str | None, everything: bool, kind: str, style: Style) -> None:
    """List all repos of users, newest first, or one repo.

    Those of type meta show what the datums of a pipeline saw and wrote, and are called PIPELINE.meta.
    """
    wanted = "" if everything else kind
    found = iterate("list_repo", kind=wanted, repo=repo)
    print_list(
        style,
        _HEADER,
        found,
        lambda repo: (repo["name"], style.when(repo["created_ns"]), size(repo["size_bytes"]), repo["description"]),
    )


@verbs.delete.command("repo")
@one_or_all("repo")
@click.option("-f", "--force", is_flag=True, help="Also if branches or commits elsewhere were made from it.")
def delete_repo(name: str | None, force: bool) -> None:
    """Delete a repo with all its commits, or all repos."""
    if name is None:
        call("delete_all_repos", force=force)
    else:
        call("delete_repo", repo=name, force=force)


def _describe(repo: Facts, style: Style) -> dict[str, str | None]:
    return {
        "Name": repo["name"],
        "Description": repo["description"] or None,
        "Created": style.when(repo["created_ns"]),
        "Size of HEAD on master": size(repo["size_bytes"]),
        "Branches": " ".join(repo["branches"]) or None,
    }
