"""Keeping secrets among a command's arguments from others, who can read these while it runs (`ps`, /proc/PID/cmdline)."""

from collections.abc import Sequence
from typing import Final

# The verbs and nouns whose further words may be secrets.
_WITH_SECRETS: Final = (("deploy", "storage"), ("create", "secret"))


def hide_secrets(program: str, arguments: Sequence[str]) -> None:
    """Show only the program, verb and noun from now on, if anything behind them may be a secret.

    Until the interpreter has come this far, about a twentieth of a second, the arguments can be read.
    """
    words = [argument for argument in arguments if not argument.startswith("-")][:2]
    if tuple(words) in _WITH_SECRETS or any(map(_is_private, arguments)):
        from setproctitle import setproctitle

        setproctitle(" ".join([program, *words]))


def _is_private(argument: str) -> bool:
    """Whether this is an address with a password, or with a query that may sign it."""
    scheme, mark, rest = argument.partition("://")
    return bool(mark) and scheme.isalnum() and ("?" in rest or "@" in rest.partition("/")[0])
