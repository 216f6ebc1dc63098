"""`flush`: wait for what commits cause, as in Pachyderm 1; in 2 that is `wait` with the id that they share."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import click

from appliance.cli import verbs
from appliance.cli.commits import print_commits
from appliance.cli.connection import ask_until, call, iterate
from appliance.cli.jobs import print_jobs
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style
from appliance.cli.references import parse_commit

_commits = click.argument("commits", metavar="REPO@COMMIT...", nargs=-1, required=True)


@verbs.flush.command("commit")
@_commits
@click.option("-r", "--repos", multiple=True, metavar="REPO", help="Only wait for commits in this repo; may be repeated.")
@styled
def flush_commit(commits: tuple[str, ...], repos: tuple[str, ...], style: Style) -> None:
    """Wait until everything that pipelines make of some commits is finished, and show that."""

    def ask(commit_id: str) -> list[Facts]:
        made = (found for found in iterate("list_commit_set", commit_id=commit_id) if found["origin"] == "AUTO")
        return [found for found in made if not repos or found["repo"] in repos]

    print_commits(style, _wait(commits, ask))


@verbs.flush.command("job")
@_commits
@click.option(
    "-p", "--pipeline", "pipelines", multiple=True, metavar="PIPELINE", help="Only jobs of this one; may be repeated."
)
@styled
def flush_job(commits: tuple[str, ...], pipelines: tuple[str, ...], style: Style) -> None:
    """Wait until all jobs that some commits have caused have ended, and show them."""

    def ask(commit_id: str) -> list[Facts]:
        return [found for found in iterate("list_job", job=commit_id) if not pipelines or found["pipeline"] in pipelines]

    print_jobs(style, _wait(commits, ask))


def _wait(commits: Sequence[str], ask: Callable[[str], list[Facts]]) -> Iterable[Facts]:
    """Yield what `ask` finds for the id of each commit once all of it has ended."""
    for commit in commits:
        repo, revision = parse_commit(commit)
        commit_id: str = call("inspect_commit", repo=repo, revision=revision)["commit"]["id"]
        yield from ask_until(partial(ask, commit_id), _have_ended)


def _have_ended(found: list[Facts]) -> bool:
    return all(one["finished_ns"] is not None for one in found)
