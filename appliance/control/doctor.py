"""What this machine allows: mounts, private directories for user code, containers; and what to do about the rest.

Needs no appliance that runs: it is asked when one would not start, or not as wished.
"""

import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from appliance.mount import mountpoint
from appliance.pipelines.container import ENGINES, find_problem_of_engine
from appliance.pipelines.process import probe_namespaces

_OPEN_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, what it is good for, and what is wrong with it: None if nothing is."""

    what: str
    purpose: str
    problem: str | None


def iter_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is found, one by one: some of it takes a second. Blocks."""
    for what, purpose, find in _list_checks(environment):
        yield Finding(what, purpose, find())


def _list_checks(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Callable[[], str | None]]]:
    yield "pyfuse3", "the mount", mountpoint.find_problem_of_module
    yield "/dev/fuse", "the mount", mountpoint.find_problem_of_device
    yield "mounting", "the mount", mountpoint.find_problem_of_rights
    yield "bind mounts", "further mount points", mountpoint.find_problem_of_binding
    yield "namespaces", "pipelines with plain inputs", probe_namespaces
    for name in ENGINES:
        yield name, "serve --runner container", partial(find_problem_of_engine, name, environment)
    yield "open files", "many clients and open files", _find_problem_of_limit


def _find_problem_of_limit() -> str | None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= _OPEN_FILES:
        return None
    return f"at most {most} at a time: raise the hard limit (ulimit -Hn, LimitNOFILE=) to {_OPEN_FILES} or more"
