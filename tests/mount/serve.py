"""Serve the store at the first argument at the second until standard input ends, the branches behind that writable."""

import sys
from pathlib import Path

import trio

from appliance.mount.session import open_mount
from appliance.store import Store


async def main() -> None:
    async with open_mount(Store(Path(sys.argv[1]), "fast"), Path(sys.argv[2]), frozenset(sys.argv[3:])):
        sys.stdout.write("mounted\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


trio.run(main)
