"""Asking the appliance that runs on the data directory of this environment."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.config import find_data

if TYPE_CHECKING:
    from appliance.control.client import Client

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


def connect() -> "Client":
    """Return the client for this environment; nothing is sent yet."""
    from appliance.control.client import Client  # a third of a command's start, and `--help` can do without

    return Client(find_data(os.environ))


def call(name: str, **arguments: Any) -> Any:
    """Make one call and return its result; arguments of None are left out."""
    return connect().call(name, **arguments)


def ask_until(ask: Callable[[], T], done: Callable[[T], bool]) -> T:
    """Ask again and again, with growing pauses, until an answer is `done`, and return that."""
    pause_s = _FIRST_PAUSE_S
    while not done(answer := ask()):
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return answer
