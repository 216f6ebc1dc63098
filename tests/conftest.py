"""Fixtures that several directories share, and how hypothesis behaves here: the same examples every time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from store.checks import check

from appliance.store import Store
from appliance.store.collecting import collect

settings.register_profile("appliance", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("appliance")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real store in a directory of its own; checked as a whole afterwards, and once more without its garbage."""
    opened = Store(tmp_path / "data", "fast")
    try:
        yield opened
        check(opened)
        collect(opened)
        assert check(opened) == []
    finally:
        opened.close()
