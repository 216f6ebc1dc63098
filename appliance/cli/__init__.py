"""The command line: `appliance <verb> <noun> …`, and the same program under Pachyderm's name `pachctl`.

Commands parse, call and print; what a call does is decided on the other side of the control socket. One file for each noun;
beside them:

    verbs        the grammar: verbs, and nouns in singular and plural; loads the module of a noun when it is used
    arguments    hiding secrets among them
    references   what people write for branches, commits, files and jobs (pure)
    connection   asking the running appliance
    output       tables, raw objects, sizes and times (pure)
    options      options that many commands share
    progress     a bar for what takes long on a terminal
    sending      files to the appliance, ahead of the commit that takes them
    receiving    files from the appliance: one, a directory, an archive
    tars         archives read and written from front to back

Only `serve` opens an appliance. Everything else starts in a fraction of its time, so what is slow to import is imported late.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import click

from appliance.cli.arguments import hide_secrets
from appliance.cli.verbs import root
from appliance.errors import ApplianceError

__all__ = ["main", "run"]

INTERRUPTED = 130


def main() -> None:
    """Run the program and leave with its exit status."""
    hide_secrets(_program(), sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths are UTF-8, terminals not always
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status: 0, what the error says, 2 for wrong usage, 130 when interrupted.

    An error is one line on stderr. Anything else that is raised is our own fault and passes.
    """
    try:
        status = root.main(list(arguments), prog_name=_program(), standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ApplianceError as error:
        return _fail(str(error), error.exit_status)
    except BrokenPipeError:
        return _leave_quietly()
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return _fail(f"{name}{error.strerror}", 1)
    except SystemExit as error:  # click's answer to a pipe that nobody reads
        _leave_quietly()
        return error.code if isinstance(error.code, int) else 1
    return status if isinstance(status, int) else 0


def _program() -> str:
    name = Path(sys.argv[0]).name
    return name if name == "pachctl" else "appliance"


def _fail(message: str, status: int) -> int:
    click.echo(" ".join(message.splitlines()), err=True)
    return status


def _leave_quietly() -> int:
    """Give what is still buffered to nobody: the interpreter would complain about the broken pipe on its way out."""
    with suppress(OSError, ValueError):
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
        os.close(nobody)
    return 1
