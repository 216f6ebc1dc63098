"""Tasks that wait for requests at a device, here a pipe: each byte is one."""

import os
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from appliance.mount.requests import Answer, Requests


class Device:
    """A pipe and the tasks that answer what comes through it."""

    def __init__(self) -> None:
        self.requests = Requests()
        self.reading, self.writing = os.pipe()
        self.answered: list[bytes] = []
        self.ended = 0

    def ask(self, what: bytes) -> None:
        os.write(self.writing, what)

    async def work(self, gates: dict[bytes, trio.Event]) -> None:
        """Answer requests as a task of pyfuse3 does; some wait for an event."""
        while True:
            try:
                await self.requests.wait(self.reading)
            except trio.ClosedResourceError:
                self.ended += 1
                return
            await Answer(self.requests, self._answer(gates))

    async def _answer(self, gates: dict[bytes, trio.Event]) -> None:
        asked = os.read(self.reading, 1)
        if asked in gates:
            await gates[asked].wait()
        self.answered.append(asked)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    os.close(made.reading)
    os.close(made.writing)


async def reach(device: Device, *expected: bytes) -> None:
    with trio.fail_after(20):
        while device.answered != list(expected):
            await trio.lowlevel.checkpoint()


def test_requests_are_answered_in_their_order_by_however_many_tasks(device):
    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(device.work, {})
            device.ask(b"ab")
            await reach(device, b"a", b"b")
            await trio.testing.wait_all_tasks_blocked()
            device.ask(b"c")
            await reach(device, b"a", b"b", b"c")
            device.requests.close(device.reading)
        assert device.ended == 3

    trio.run(main)


def test_others_are_answered_while_a_handler_waits(device):
    async def main():
        gates = {b"a": trio.Event(), b"b": trio.Event()}
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(device.work, gates)
            await trio.testing.wait_all_tasks_blocked()
            device.ask(b"abc")
            await reach(device, b"c")
            device.ask(b"d")
            await reach(device, b"c", b"d")
            gates[b"b"].set()
            await reach(device, b"c", b"d", b"b")
            gates[b"a"].set()
            await reach(device, b"c", b"d", b"b", b"a")
            device.requests.close(device.reading)

    trio.run(main)


def test_the_loop_has_its_turn_however_many_requests_there_are(device):
    async def main():
        turns = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.work, {})
            device.ask(bytes(60_000))
            while len(device.answered) < 60_000:
                await trio.lowlevel.checkpoint()
                turns += 1
            device.requests.close(device.reading)
        assert turns > 10

    trio.run(main)


def test_errors_of_handlers_arrive_whether_they_have_waited_or_not():
    async def fail(wait: bool) -> None:
        if wait:
            await trio.lowlevel.checkpoint()
        raise ValueError(str(wait))

    async def main():
        for wait in (False, True):
            with pytest.raises(ValueError, match=str(wait)):
                await Answer(Requests(), fail(wait))

    trio.run(main)


def test_a_handler_that_waits_can_be_cancelled():
    async def wait() -> None:
        await trio.sleep_forever()

    async def main():
        with trio.move_on_after(0) as scope:
            await Answer(Requests(), wait())
        assert scope.cancelled_caught

    trio.run(main)
