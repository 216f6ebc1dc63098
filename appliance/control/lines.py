"""Answers that come bit by bit: a line of JSON for each, `{"result": …}` as ordinary calls have it.

The last line is an error or `{"end": true}`, so that nobody takes a broken connection for the end.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
import trio

from appliance.errors import ApplianceError

END_LINE = b'{"end": true}\n'


async def iter_lines(results: Iterator[Any], *, abandon: bool) -> AsyncIterator[bytes]:
    """Yield the lines of what takes long. If the client leaves, the step that is running is its last."""
    end = object()
    try:
        while (result := await trio.to_thread.run_sync(next, results, end, abandon_on_cancel=abandon)) is not end:
            yield answer_line(result)
    except ApplianceError as error:
        yield msgspec.json.encode(describe_error(error)) + b"\n"
    else:
        yield END_LINE


async def iter_ended(lines: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Yield lines that come as things happen, and what their end was."""
    async with aclosing(lines):
        try:
            async for line in lines:
                yield line
        except ApplianceError as error:
            yield msgspec.json.encode(describe_error(error)) + b"\n"
        else:
            yield END_LINE


def answer_line(result: Any) -> bytes:
    """Return a line of an answer that has many."""
    return msgspec.json.encode({"result": result}) + b"\n"


def describe_error(error: ApplianceError) -> dict[str, Any]:
    """Return what is answered for an error."""
    return {"error": str(error), "kind": type(error).__name__, "exit_status": error.exit_status}
