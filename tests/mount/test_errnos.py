"""The table of answers."""

import errno
from collections.abc import Iterator

import pytest

from appliance import errors
from appliance.mount.errnos import ERRNOS, errno_of


def _iter_kinds(kind: type[errors.ApplianceError]) -> Iterator[type[errors.ApplianceError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _iter_kinds(below)


KINDS = [kind for kind in _iter_kinds(errors.ApplianceError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_an_answer_of_its_own_or_of_its_kind(kind):
    assert any(base in ERRNOS for base in kind.__mro__ if base is not errors.ApplianceError)
    assert errno_of(kind("reason")) in errno.errorcode


def test_error_of_another_module_is_an_input_output_error():
    class Other(errors.ApplianceError):
        pass

    assert errno_of(Other()) == errno.EIO


def test_no_error_makes_the_kernel_stop_asking():
    assert errno.ENOSYS not in ERRNOS.values()
