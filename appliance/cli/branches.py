"""Branches."""

from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, print_list, print_one
from appliance.cli.references import parse_branch, parse_revision_of

_HEADER = ("BRANCH", "HEAD", "TRIGGER")
_TRIGGER_FIELDS = {
    "trigger_size": "size",
    "trigger_commits": "commits",
    "trigger_rate_limit": "rate_limit_spec",
    "trigger_cron": "cron_spec",
}
_CONDITIONS = (("Cron", "cron_spec"), ("RateLimit", "rate_limit_spec"), ("Size", "size"), ("Commits", "commits"))


@verbs.create.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("-p", "--provenance", multiple=True, metavar="REPO@BRANCH", help="A branch this one is made from. Repeatable.")
@click.option("--head", metavar="COMMIT", help="The commit it points at, as a branch or an id.")
@click.option("-t", "--trigger", "watched", metavar="BRANCH", help="Take over the head of this branch of the repo, when:")
@click.option("--trigger-size", metavar="SIZE", help="it has grown by so much (100M).")
@click.option("--trigger-commits", type=click.IntRange(min=1), help="so many commits have come.")
@click.option("--trigger-rate-limit", metavar="SCHEDULE", help="this was due since the last time (@hourly).")
@click.option("--trigger-cron", metavar="SCHEDULE", help="this is due; then only the clock counts.")
@click.option("--trigger-all", is_flag=True, help="All of these together, not any.")
def create_branch(
    branch: str, provenance: tuple[str, ...], head: str | None, watched: str | None, trigger_all: bool, **conditions: Any
) -> None:
    """Make a branch, or point one at another commit."""
    repo, name = parse_branch(branch)
    given = {_TRIGGER_FIELDS[key]: value for key, value in conditions.items() if value is not None}
    is_triggered = watched is not None or trigger_all or given
    call(
        "create_branch",
        repo=repo,
        branch=name,
        head=parse_revision_of(repo, head) if head is not None else None,
        provenance=[parse_branch(source) for source in provenance] or None,
        trigger={"branch": watched or "", "all": trigger_all, **given} if is_triggered else None,
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
    print_list(style, _HEADER, iterate("list_branch", repo=repo), _row)


@verbs.delete.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("-f", "--force", is_flag=True, help="Also if other branches are made from it.")
def delete_branch(branch: str, force: bool) -> None:
    """Delete a branch; its commits stay."""
    repo, name = parse_branch(branch)
    call("delete_branch", repo=repo, branch=name, force=force)


def _row(branch: Facts) -> tuple[str, ...]:
    return branch["name"], branch["head"]["id"], _shorten(branch["trigger"]) or "-"


def _shorten(trigger: Facts | None) -> str | None:
    """Return a trigger in one line: `master on Size(100M) or Commits(3)`."""
    if trigger is None:
        return None
    given = [f"{word}({trigger[field]})" for word, field in _CONDITIONS if trigger[field]]
    return f"{trigger['branch']} on {(' and ' if trigger['all'] else ' or ').join(given)}"


def _describe(branch: Facts, style: Style) -> dict[str, str | None]:
    return {
        "Name": f"{branch['repo']}@{branch['name']}",
        "Head Commit": f"{branch['repo']}@{branch['head']['id']}",
        "Provenance": " ".join(f"{repo}@{name}" for repo, name in branch["provenance"]) or None,
        "Trigger": _shorten(branch["trigger"]),
        "Created at": style.when(branch["created_ns"]),
    }
