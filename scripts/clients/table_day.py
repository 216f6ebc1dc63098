"""The day of a client that keeps a table: 2,000 rows in the morning, 1,000 more later, and the first ones still there.

Imported by the days beside it, each in an environment of its own; what the steps are is said in `days.py`.
"""

import os
import sys
from collections.abc import Callable


def spend(write: Callable[[str, int], None], total: Callable[[str], int], **more: Callable[[], None]) -> None:
    """Do the step of the command line: `write(part, first)` adds a thousand numbers, `total(bucket)` adds up all of them."""
    match sys.argv[1]:
        case "write":
            write("a", 0)
            write("b", 1000)
        case "read":
            print(total(os.environ["BUCKET"]))
        case "more":
            write("c", 2000)
        case "old":
            print(total(os.environ["OLD"]))
        case step if step in more:
            more[step]()
        case step:
            sys.exit(f"{step!r} is no step of this day")
    sys.stdout.flush()
    os._exit(0)  # threads of some clients outlive the interpreter and abort it
