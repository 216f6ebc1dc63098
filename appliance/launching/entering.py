"""One command run as runs are run, but in our session and on our terminal."""

from __future__ import annotations

import contextlib
import os
import signal

from appliance.launching.isolation import Isolation, own_namespace, own_proc
from appliance.launching.kernel import StepFailed, clone, die_with_parent
from appliance.launching.pfs import private_pfs
from appliance.launching.processes import wait_for
from appliance.launching.usercode import become, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def enter(request: dict[str, Any]) -> int:
    """Run a command as runs are run, but in our session, on our terminal; its exit code, or 128 and the signal.

    It has the terminal's foreground meanwhile: a shell in a PID namespace can not see our group, let alone give it that back.
    """
    terminal = next((fd for fd in range(3) if os.isatty(fd)), None)
    ours = os.tcgetpgrp(terminal) if terminal is not None else 0
    isolation = Isolation()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    pid = clone(isolation.flags) if isolation.flags else os.fork()
    if pid == 0:
        enter_first(request, isolation, terminal)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):  # of the terminal, meant for the command
        signal.signal(number, signal.SIG_IGN)
    status = os.waitpid(pid, 0)[1]
    if terminal is not None:
        _put_in_front(terminal, ours)
    return _as_shells_tell(status)


def _put_in_front(terminal: int, group: int) -> None:
    """Give a process group the terminal, which the kernel lets one behind do only if it does not mind being stopped."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # it is not the terminal of our session, or hung up
        os.tcsetpgrp(terminal, group)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def enter_first(request: dict[str, Any], isolation: Isolation, terminal: int | None) -> NoReturn:
    """In the child: prepare the namespaces, run the command in them, and end as it does."""
    status = 126
    try:
        if isolation.flags:
            isolation.enter()
        else:
            own_namespace()
        private_pfs(request["binds"], request["outside"], request["variables"])
        if isolation.flags:
            own_proc()
        die_with_parent()
        pid = os.fork()
        if pid == 0:
            if terminal is not None:
                os.setpgid(0, 0)
                _put_in_front(terminal, os.getpgrp())
            become(request["user"])
            execute(request)
        status = _as_shells_tell(wait_for(pid))
    except StepFailed as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _as_shells_tell(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
