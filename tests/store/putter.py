"""A process to be killed: puts files from several threads and prints each commit once it is acknowledged."""

import hashlib
import itertools
import sys
import threading
from pathlib import Path

from store.helpers import create_repos, put

from appliance.store import Store


def content(number: int) -> bytes:
    """Return what file `number` holds: sometimes small, sometimes large, never twice the same."""
    digest = hashlib.sha256(str(number).encode()).digest()
    return digest * (1 + digest[0] * 16)


def main() -> None:
    store = Store(Path(sys.argv[1]), "fast")
    create_repos(store, "images")
    numbers = itertools.count()

    def put_for_ever() -> None:
        for number in numbers:
            commit = put(store, "images", f"/{number % 7}/{number}", content(number))
            sys.stdout.write(f"{number} {commit}\n")
            sys.stdout.flush()

    for _ in range(4):
        threading.Thread(target=put_for_ever).start()


if __name__ == "__main__":
    main()
