"""`debug datum`: a datum once more, in everything as when it ran, on this terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.comparing import choose_diff
from appliance.cli.connection import iterate
from appliance.cli.output import size, table
from appliance.cli.references import parse_job

_NOTHING = "/dev/null"


@verbs.debug.command("datum")
@click.argument("job", metavar="PIPELINE@ID")
@click.argument("datum")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--shell", is_flag=True, help="Open a shell; so it is without a command and --diff.")
@click.option("--diff", is_flag=True, help="Then show how what it wrote differs from what is recorded.")
@click.option("--name-only", is_flag=True, help="With --diff: list what differs; do not look into it.")
@click.option("--diff-command", metavar="COMMAND", help="Compares two files; by default git diff --no-index, or diff -u.")
def debug_datum(
    job: str, datum: str, command: tuple[str, ...], shell: bool, diff: bool, name_only: bool, diff_command: str | None
) -> int:
    """Run a datum of a job once more: a command, a shell, or with --diff alone the pipeline's own command.

    It sees the /pfs, environment, working directory and sidecar that the datum had, however the datum ended and however
    long ago. /pfs/out is empty and is thrown away afterwards. The exit status is the command's.
    """
    if shell and command:
        raise click.UsageError("a shell and a command exclude each other")
    chosen = os.environ.get("SHELL", "/bin/sh") if shell or not (command or diff) else None
    comparing = choose_diff(diff_command) if diff and not name_only else None
    pipeline, job_id = parse_job(job)
    terminal = os.environ.get("TERM") if sys.stdin.isatty() else None
    wanted = {"command": list(command) or None, "shell": chosen, "terminal": terminal}
    opened = iterate("debug_datum", pipeline=pipeline, job=job_id, datum=datum, **wanted)
    with closing(opened):  # type: ignore[type-var]
        laid = next(opened)
        if sys.stdin.isatty() and chosen:
            click.echo(f"The command of {pipeline} is: {subprocess.list2cmdline(laid['own_command'])}", err=True)
        status = _run(laid, given=not (command or chosen))
        if diff:
            _print_changes(iterate("debug_changes", number=laid["number"]), laid["directory"], comparing)
    return status


def _run(laid: dict[str, Any], *, given: bool) -> int:
    """Run what was laid out, here; `given` means its standard input is that of the pipeline and not ours."""
    request = _in_memory(laid["request"])
    stdin = _in_memory(laid["stdin"]) if given else None
    argv = [*laid["argv"], str(request)] if laid["request"] else laid["argv"]
    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is typed is meant for the command
    try:
        return subprocess.run(argv, stdin=stdin, pass_fds=(request,), check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _in_memory(text: str) -> int:
    descriptor = os.memfd_create("request")
    with open(descriptor, "w", closefd=False) as file:
        file.write(text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _print_changes(changes: Iterable[dict[str, Any]], directory: str, comparing: list[str] | None) -> None:
    if comparing is None:
        rows = [(change["op"], change["path"], size(change["size_bytes"])) for change in changes]
        click.echo(table(("OP", "PATH", "SIZE"), rows), nl=False)
        return
    for change in changes:
        pair = [change["old"] or _NOTHING, change["new"] or _NOTHING]
        sys.stdout.flush()
        subprocess.run([*comparing, *pair], cwd=directory, check=False, stdin=subprocess.DEVNULL)
