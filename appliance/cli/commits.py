"""Commits, and sets of commits that share one id."""

import sys
from collections.abc import Iterable
from itertools import islice

import click

from appliance.cli import verbs
from appliance.cli.connection import ask_until, call, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, bar, print_list, print_objects, print_one, size, table
from appliance.cli.references import parse_branch, parse_commit, parse_file, parse_revision_of
from appliance.names import is_commit_id

_HEADER = ("REPO", "BRANCH", "COMMIT", "FINISHED", "SIZE", "ORIGIN", "DESCRIPTION")
_SET_HEADER = ("ID", "SUBCOMMITS", "PROGRESS", "CREATED", "MODIFIED")

_TOUCHING_HEADER = ("OP", "COMMIT", "BRANCH", "TIME", "SIZE")

_recursive = click.option("-r", "--recursive", is_flag=True, help="Also all commits that were made from it.")
_all = click.option("--all", "everything", is_flag=True, help="Whoever made them (the default).")
_origin = click.option(
    "--origin", type=click.Choice(["USER", "AUTO"], case_sensitive=False), help="Only those made by users, or by propagation."
)
_message = click.option("-m", "--message", "--description", "message", default="", help="What the commit is about.")


@verbs.start.command("commit")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("-p", "--parent", metavar="COMMIT", help="The commit before it, as a branch or an id; else the head.")
@_message
def start_commit(branch: str, parent: str | None, message: str) -> None:
    """Start a commit on a branch and print its id."""
    repo, name = parse_branch(branch)
    revision = parse_revision_of(repo, parent) if parent is not None else None
    click.echo(call("start_commit", repo=repo, branch=name, description=message, parent=revision))


@verbs.finish.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT")
@_message
def finish_commit(commit: str, message: str) -> None:
    """Finish a commit that was started: from now on it can not change."""
    repo, revision = parse_commit(commit)
    call("finish_commit", repo=repo, revision=revision, description=message)


@verbs.inspect.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT|ID")
@styled
def inspect_commit(commit: str, style: Style) -> None:
    """Show a commit and what it was made from; by an id alone, all commits that share it."""
    if is_commit_id(commit):
        print_commits(style, list(iterate("list_commit_set", commit_id=commit)))
    else:
        repo, revision = parse_commit(commit)
        _print_commit(style, call("inspect_commit", repo=repo, revision=revision))


@verbs.list_.command("commit")
@click.argument("commit", metavar="[REPO[@BRANCH-OR-COMMIT]|ID]", required=False)
@click.option("-f", "--from", "after", metavar="COMMIT", help="Only those after this commit.")
@click.option("-n", "--number", type=click.IntRange(min=0), default=0, help="At most so many; 0 for all.")
@click.option("--all", "everything", is_flag=True, help="Whoever made them (the default).")
@click.option(
    "--origin", type=click.Choice(["USER", "AUTO"], case_sensitive=False), help="Only those made by users, or else."
)
@click.option("-x", "--expand", is_flag=True, help="Without a repo: every commit, not the ids that they share.")
@styled
def list_commit(
    commit: str | None,
    after: str | None,
    number: int,
    everything: bool,
    origin: str | None,
    expand: bool,
    style: Style,
) -> None:
    """List commits, newest first: of a repo, of a branch's history, of one id; without an argument the ids themselves."""
    if everything and origin:
        raise click.UsageError("cannot specify both --all and --origin")
    if commit is None and after is not None:
        raise click.UsageError("cannot use 'from' commit without 'to' commit")
    wanted = {"origin": origin, "number": number}
    if commit is None and not expand:
        sets = iterate("list_commit_sets", number=number)
        print_list(style, _SET_HEADER, sets, lambda found: _set_row(found, style))
    elif commit is None:
        print_commits(style, iterate("list_commit", **wanted))
    elif is_commit_id(commit):
        print_commits(style, islice(iterate("list_commit_set", commit_id=commit), number or None))
    else:
        repo, revision = parse_commit(commit)
        chosen = revision if "@" in commit else None
        last = parse_revision_of(repo, after) if after is not None else None
        print_commits(style, iterate("list_commit", repo=repo, revision=chosen, after=last, **wanted))


@verbs.subscribe.command("commit")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("--from", "after", metavar="COMMIT", help="Only those after this commit.")
@click.option("--new", is_flag=True, help="Only those that are not finished yet.")
@click.option("--all", "everything", is_flag=True, help="Whoever made them (the default).")
@click.option(
    "--origin", type=click.Choice(["USER", "AUTO"], case_sensitive=False), help="Only those made by users, or else."
)
@styled
def subscribe_commit(branch: str, after: str | None, new: bool, everything: bool, origin: str | None, style: Style) -> None:
    """Print the commits of a branch, oldest first, each as soon as it is finished, until interrupted."""
    if new and after:
        raise click.UsageError("--new and --from cannot be used together")
    if everything and origin:
        raise click.UsageError("cannot specify both --all and --origin")
    repo, name = parse_branch(branch)
    last = parse_revision_of(repo, after) if after is not None else None
    first = True
    for commit in iterate("subscribe_commit", repo=repo, branch=name, after=last, new=new, origin=origin):
        if style.raw:
            print_objects(style, [commit])
        else:
            shown = table(_HEADER, [_row(commit, style)])
            click.echo(shown if first else shown.partition("\n")[2], nl=False)
            first = False
        sys.stdout.flush()


@verbs.wait.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT|ID")
@styled
def wait_commit(commit: str, style: Style) -> int:
    """Wait until a commit is finished, or by an id alone all commits that share it, and show them.

    The exit status is 1 if any of them has failed.
    """
    if is_commit_id(commit):
        ended = ask_until(lambda: list(iterate("list_commit_set", commit_id=commit)), _is_finished)
        print_commits(style, ended)
        return _status(ended)
    repo, revision = parse_commit(commit)
    fixed = call("inspect_commit", repo=repo, revision=revision)["commit"]["id"]  # the branch may move on
    found = ask_until(lambda: call("inspect_commit", repo=repo, revision=fixed), lambda info: _is_finished([info["commit"]]))
    _print_commit(style, found)
    return _status([found["commit"]])


@verbs.squash.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT|ID")
@_recursive
def squash_commit(commit: str, recursive: bool) -> None:
    """Fold a commit into those after it, which keep what it brought; by an id alone, all commits that share it."""
    _take_out("squash_commit", "squash_commit_set", commit, recursive=recursive)


@verbs.delete.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT|ID")
@_recursive
def delete_commit(commit: str, recursive: bool) -> None:
    """Remove the last commit of some history with its data; by an id alone, all commits that share it."""
    _take_out("drop_commit", "drop_commit_set", commit, recursive=recursive)


def _take_out(one: str, whole_set: str, commit: str, *, recursive: bool) -> None:
    if is_commit_id(commit):
        call(whole_set, commit_id=commit)
    else:
        repo, revision = parse_commit(commit)
        call(one, repo=repo, revision=revision, recursive=recursive)


@verbs.clear.command("commit")
@click.argument("commit", metavar="REPO@BRANCH-OR-COMMIT")
def clear_commit(commit: str) -> None:
    """Undo everything that was written into a commit that is not finished."""
    repo, revision = parse_commit(commit)
    call("clear_commit", repo=repo, revision=revision)


@verbs.find.command("commit")
@click.argument("file", metavar="REPO@BRANCH-OR-COMMIT:PATH")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many; 0 for all.")
@styled
def find_commit(file: str, limit: int, style: Style) -> None:
    """List the commits in which a file was added (+), changed (*) or deleted (-), newest first."""
    repo, revision, path = parse_file(file)
    found = list(iterate("find_commit", repo=repo, revision=revision, path=path, limit=limit))
    if not found and not style.raw:
        click.echo("no commits found.")
        return
    print_list(style, _TOUCHING_HEADER, found, lambda touching: _touching_row(touching, style))


def _touching_row(touching: Facts, style: Style) -> tuple[str, ...]:
    commit, size_bytes = touching["commit"], touching["size_bytes"]
    when = style.when(commit["finished_ns"] or commit["started_ns"])
    return (touching["op"], commit["id"], commit["branch"], when, "-" if size_bytes is None else size(size_bytes))


def _is_finished(commits: Iterable[Facts]) -> bool:
    return all(commit["finished_ns"] is not None for commit in commits)


def _status(commits: Iterable[Facts]) -> int:
    return int(any(commit["error"] is not None for commit in commits))


def _print_commit(style: Style, found: Facts) -> None:
    print_one(style, found, lambda info: _describe(info, style))


def print_commits(style: Style, found: Iterable[Facts]) -> None:
    """Print commits as a table, or raw."""
    print_list(style, _HEADER, found, lambda commit: _row(commit, style))


def _row(commit: Facts, style: Style) -> tuple[str, ...]:
    return (
        commit["repo"],
        commit["branch"],
        commit["id"],
        style.when(commit["finished_ns"]),
        size(commit["size_bytes"]),
        commit["origin"],
        commit["description"],
    )


def _describe(info: Facts, style: Style) -> dict[str, str | None]:
    commit = info["commit"]
    return {
        "Commit": f"{commit['repo']}@{commit['id']}",
        "Original Branch": commit["branch"] or None,
        "Description": commit["description"] or None,
        "Parent": info["parent_id"],
        "Started": style.when(commit["started_ns"]),
        "Finished": style.when(commit["finished_ns"]) if commit["finished_ns"] else None,
        "Error": commit["error"],
        "Origin": commit["origin"],
        "Size": size(commit["size_bytes"]),
        "Files": str(commit["file_count"]),
        "Provenance": " ".join(info["provenance"]) or None,
    }


def _set_row(found: Facts, style: Style) -> tuple[str, ...]:
    finished = found["commits"] - found["unfinished"] - found["failed"]
    return (
        found["id"],
        str(found["commits"]),
        bar(finished, found["unfinished"], found["failed"]),
        style.when(found["started_ns"]),
        style.when(found["changed_ns"]),
    )
