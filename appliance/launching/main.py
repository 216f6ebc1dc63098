"""What the launcher is started for."""

from __future__ import annotations

import json
import os
import socket
import sys

from appliance.launching.entering import enter
from appliance.launching.isolation import own_namespace
from appliance.launching.kernel import StepFailed, adopt_orphans
from appliance.launching.launcher import Launcher
from appliance.launching.pfs import private_pfs
from appliance.launching.processes import prepare_signals


def main(arguments: list[str]) -> int:
    """Serve the socket on standard input, or do what the arguments say.

    `probe` only tries a private /pfs and prints why it does not work. `enter` runs one command, a request as JSON on the
    descriptor that follows, on our own streams and terminal, and returns as it ends.
    """
    if arguments[:1] == ["enter"]:
        with open(int(arguments[1])) as file:
            return enter(json.load(file))
    if arguments == ["probe"]:
        try:
            own_namespace()
            private_pfs([], [], "")
        except StepFailed as error:
            sys.stdout.write(f"{error}\n")
            return 1
        return 0
    os.chdir("/")
    prepare_signals()
    adopt_orphans()
    Launcher(socket.socket(fileno=0)).serve()
    return 0
