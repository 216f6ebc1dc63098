"""The error tree: drawn as it is, and with an exit status everywhere."""

import inspect
import re

import pytest

from appliance import errors
from appliance.errors import ApplianceError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, ApplianceError)]


def drawn() -> dict[str, str]:
    """Return each class named in the tree of the docstring with the one it hangs from."""
    parents: dict[str, str] = {}
    levels = {0: "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}([│ ]*(?:[├└]── )?)([A-Z]\w+(?:, [A-Z]\w+)*)(?: {2}|$)", line):
            depth = len(found[1]) // 4
            for name in found[2].split(", "):
                parents[name] = levels[depth]
                levels[depth + 1] = name
    return parents


def test_tree_in_the_docstring_is_the_tree() -> None:
    assert drawn() == {found.__name__: found.__bases__[0].__name__ for found in CLASSES}


@pytest.mark.parametrize("error", CLASSES)
def test_error_has_a_sentence_and_an_exit_status(error: type[ApplianceError]) -> None:
    assert error.__doc__
    assert error.exit_status in (1, 2, 3)


def test_exit_status_tells_wrong_arguments_and_damage_apart() -> None:
    found = {error.__name__: error.exit_status for error in CLASSES if error.exit_status != 1}
    assert found == {
        "InvalidName": 2,
        "InvalidPath": 2,
        "PathTooLong": 2,
        "InvalidSpec": 2,
        "InvalidRequest": 2,
        "StoreDamaged": 3,
    }
