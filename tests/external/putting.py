"""Looking at what a put into a repo has left."""

from typing import Any

from cli.helpers import Serving, Shell


def commits(sh: Shell, repo: str) -> list[Any]:
    return sh("list", "commit", repo).rows


def check_nothing_came(sh: Shell, repo: str, appliance: Serving) -> None:
    """No commit, and no bytes that wait for one."""
    assert commits(sh, repo) == []
    assert list((appliance.data / "staging").iterdir()) == []
