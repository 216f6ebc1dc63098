"""Writes wait for the kernel, but not for ever."""

import trio
from trio.testing import MockClock

from appliance.mount.awaited import Awaited


def run(main) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0.01))


def test_a_write_waits_until_it_is_released():
    awaited = Awaited()
    future = awaited.add()
    assert (awaited.take(), future.done(), bool(awaited)) == ([future], False, True)
    awaited.release([future])
    assert (awaited.take(), future.done(), bool(awaited)) == ([], True, False)


def test_who_waits_too_long_is_released(caplog):
    """As when somebody is held up in the middle of listing the mount point."""
    awaited = Awaited()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(awaited.run)
            late = awaited.add()
            awaited.take()
            await trio.sleep(4)
            assert not late.done()
            await trio.sleep(10)
            assert late.done()
            awaited.release([late])  # the kernel has heard after all
            nursery.cancel_scope.cancel()

    run(main)
    assert "has not taken back" in caplog.text
    caplog.clear()


def test_nobody_waits_for_a_mount_that_has_ended():
    awaited = Awaited()
    before = awaited.add()
    awaited.close()
    assert before.done()
    assert awaited.add().done()
