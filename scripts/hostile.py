"""What `scripts/hostile` does: user code that behaves as badly as it can, and what the appliance makes of it.

Each case has an appliance of its own, whose gateway is asked for a put and a get all the time. A case is well if its job ends
as it should, nothing of its processes is left, the next job runs as ever, and neither an answer nor memory went beyond the
limits.
"""

import argparse
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench_pipelines import MIB, PipelinesFailed, serving

from appliance.control.client import Client
from appliance.errors import ApplianceError

WAIT_S = 1800
MOST_MIB = 300
LONGEST_ANSWER_S = 2.0
KILL_S = 10
MARK = f"hostile-mark-{os.getpid()}"


@dataclass(frozen=True)
class Case:
    """`script` may contain `{many}`; `ends` is how its job's state and reason begin. `disk` is the size of its disk."""

    name: str
    script: str
    ends: str = "success"
    many: int = 0
    few: int = 0
    stop: bool = False
    disk: str = ""


DAEMON = f"trap '' TERM HUP INT; while :; do sleep 1; done; : {MARK}"
CASES = (
    Case("log", "yes 0123456789012345678901234567890123456789012345678 | head -c {many}", many=10**9, few=10**8),
    Case("lines", "yes | head -n {many}", many=10**8, few=10**6),
    Case("one line", "head -c {many} /dev/zero", many=10**9, few=10**7),
    Case("files", "mkdir /pfs/out/d; cd /pfs/out/d; seq {many} | xargs -n 20000 touch", many=10**6, few=10**4),
    Case("files that fail", "cd /pfs/out; seq {many} | xargs -n 20000 touch; exit 3", "failure", 10**6, 10**4),
    Case("full disk", "cat /dev/zero > /pfs/out/big", "failure", disk="96m"),
    Case(
        "full of files", "cd /pfs/out; for n in $(seq 2000); do head -c 100000 /dev/urandom > $n; done", "failure", disk="96m"
    ),
    Case("daemons", f'for n in $(seq 50); do setsid sh -c "({DAEMON}) &" & done; wait; echo done'),
    Case("deaf", f"{DAEMON}", "killed", stop=True),
    Case("no text", "head -c {many} /dev/urandom", many=10**8, few=10**6),
    Case("closed", "exec 0<&- 1>&- 2>&-; sleep 0.1"),
)


class Prober(threading.Thread):
    """Puts and gets a small object over and over."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self._netloc = urlsplit(endpoint).netloc
        self._done = threading.Event()
        self.longest = {"PUT": 0.0, "GET": 0.0}
        self.answers = self.refused = 0

    def run(self) -> None:
        while not self._done.wait(0.05):
            for method in self.longest:
                self._ask(method)

    def _ask(self, method: str) -> None:
        begun = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(self._netloc, timeout=120)) as connection:
            connection.request(method, "/master.probe/object", body=b"x" if method == "PUT" else None)
            status = connection.getresponse().status
        self.longest[method] = max(self.longest[method], time.monotonic() - begun)
        self.answers += 1
        self.refused += status != 200

    def stop(self) -> None:
        self._done.set()
        self.join()


def run_case(case: Case, directory: Path, *, quick: bool) -> str:
    """Run one case and return what is wrong with it, nothing if all is well; print a line about it."""
    begun = time.monotonic()
    with serving(directory, iter(["/input"])) as appliance:
        client = Client(directory)
        client.call("create_repo", repo="probe")
        client.call("create_branch", repo="probe", branch="master")
        prober = Prober(client.call("inspect_appliance")["s3_endpoint"])
        prober.start()
        script = case.script.replace("{many}", str(case.few if quick else case.many))
        appliance.create("hostile", ["sh", "-c", script], datum_tries=1)
        if case.stop:
            _stop(client)
        ended = _wait(client, "hostile")
        appliance.create("after", ["sh", "-c", "cp $in /pfs/out"])
        after = _wait(client, "after")
        prober.stop()
        peak_mib, left = appliance.peak_bytes() / MIB, _left()
    put, get = prober.longest["PUT"], prober.longest["GET"]
    print(
        f"{case.name:16} {time.monotonic() - begun:6.1f} s  {ended[:60]:60}  longest put {put:.2f} s, get {get:.2f} s"
        f" of {prober.answers} ({prober.refused} refused), {peak_mib:.0f} MiB",
        flush=True,
    )
    wrong = {
        f"it ended as {ended}": not ended.startswith(case.ends),
        f"the next job ended as {after}": not after.startswith("success"),
        f"processes are left: {left}": bool(left),
        "an answer took too long": max(put, get) > LONGEST_ANSWER_S,
        "gets or puts were refused": prober.refused > 0 and not case.disk,
        "too much memory": peak_mib > MOST_MIB,
    }
    return "; ".join(text for text, is_so in wrong.items() if is_so)


def _wait(client: Client, pipeline: str) -> str:
    """Return how the newest job of a pipeline ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job = next(client.iterate("list_job", pipeline=pipeline))
        if job["finished_ns"] is not None:
            return f"{job['state']} {job['reason']}".strip()
        time.sleep(0.1)
    raise PipelinesFailed(f"{pipeline} takes more than {WAIT_S} s")


def _stop(client: Client) -> None:
    while not _processes():
        time.sleep(0.05)
    job = next(client.iterate("list_job", pipeline="hostile"))
    client.call("stop_job", pipeline="hostile", job=job["id"])


def _left() -> list[str]:
    """Return what is left of user code once it had the time to be killed."""
    deadline = time.monotonic() + KILL_S
    while (left := _processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _processes() -> list[str]:
    """Return the processes of user code that has the mark."""
    found = subprocess.run(["pgrep", "-f", MARK], capture_output=True, text=True, check=False)
    return found.stdout.split()


@contextlib.contextmanager
def disk(case: Case, parent: Path) -> Iterator[Path]:
    """Give a directory for a case, on a small disk if it wants one."""
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        place = Path(directory)
        if case.disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={case.disk}", "none", directory], check=True)
        try:
            yield place
        finally:
            if case.disk:
                subprocess.run(["umount", directory], check=True)


def main() -> int:
    """Run the cases; the exit status says whether all is well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the same in small")
    parser.add_argument("--only", help="one case")
    parser.add_argument("--directory", type=Path, help="where the data directories are made")
    options = parser.parse_args()
    failed = 0
    for case in CASES:
        if options.only not in (None, case.name) or (case.disk and os.geteuid() != 0):
            continue
        with disk(case, options.directory) as place:
            try:
                wrong = run_case(case, place / "data", quick=options.quick)
            except (ApplianceError, OSError) as error:
                wrong = str(error)
        if wrong:
            failed += 1
            print(f"{case.name}: {wrong}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
