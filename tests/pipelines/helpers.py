"""A whole appliance in a thread, and pipelines in a line: what these tests arrange, wait for and look at."""

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import trio
from store.checks import check
from store.helpers import create_repos, put_all, tree

from appliance.app import App, open_app
from appliance.config import Config
from appliance.control.calls import Calls
from appliance.control.requests import Requests
from appliance.store import Db, Store, datums, jobs, logs, repos
from appliance.store.datums import StoredDatum
from appliance.store.jobs import Job

T = TypeVar("T")

LONGEST_S = 30
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
COPY = "cp -r /pfs/images/. /pfs/out"
"""Makes the output what the input is."""


def wait_until(store: Store, find: Callable[[Db], T | None], longest_s: float = LONGEST_S) -> T:
    """Return what `find` finds in the store, once it finds something; asks again after each change."""
    changed = threading.Event()
    forget = store.listen(lambda _changes: changed.set())
    deadline = time.monotonic() + longest_s
    try:
        while True:
            changed.clear()
            with store.snapshot() as db:
                if found := find(db):
                    return found
            assert changed.wait(deadline - time.monotonic()), "what a test waits for did not happen"
    finally:
        forget()


def images(glob: str) -> dict[str, Any]:
    """Return an input that reads the repo of all these tests."""
    return {"pfs": {"repo": "images", "glob": glob}}


def spec_text(script: str, name: str = "edges", **fields: Any) -> str:
    """Return the spec of a pipeline that runs a shell script once for each file of `images`; `transform` is added to."""
    fields.setdefault("input", images("/*"))
    transform = {"cmd": ["sh", "-ec", script], **fields.pop("transform", {})}
    return json.dumps({"pipeline": {"name": name}, "transform": transform, "datum_tries": 1, **fields})


class Lab:
    """An open appliance as tests use it; `images` is a repo, and what pipelines read unless told otherwise."""

    def __init__(self, app: App) -> None:
        self.store, self.calls, self.requests = app.store, Calls(app), Requests(app)
        self.secrets = app.secrets
        self.scratch, self.s3_endpoint = app.config.data / "scratch", app.s3_endpoint
        with self.store.snapshot() as db:
            fresh = not repos.exists(db, "images")
        if fresh:
            create_repos(self.store, "images")

    def put(self, files: Mapping[str, bytes], repo: str = "images", branch: str = "master") -> str:
        """Put files in one commit and return its id, which is that of the jobs it causes."""
        return put_all(self.store, repo, files, branch)

    def pipeline(self, script: str, name: str = "edges", *, update: bool = False, **fields: Any) -> None:
        """Create or update a pipeline; see `spec_text`."""
        text = spec_text(script, name, **fields)
        self.store.write(self.requests.create_pipeline(text, update=update))

    def stop_job(self, job_id: str, pipeline: str = "edges") -> None:
        """Stop a job."""
        self.store.write(self.requests.stop_job(pipeline, job_id))

    def run(self, script: str, files: Mapping[str, bytes], **fields: Any) -> Job:
        """Put files, create a pipeline over them and return its first job, which has ended."""
        self.put(files)
        self.pipeline(script, **fields)
        return self.ended()

    def ended(self, job_id: str | None = None, pipeline: str = "edges", longest_s: float = LONGEST_S) -> Job:
        """Wait until a job, the newest if none is named, has ended."""

        def find(db: Db) -> Job | None:
            newest = jobs.list_jobs(db, pipeline=pipeline, job_id=job_id)
            return newest[0] if newest and newest[0].finished_ns is not None else None

        return wait_until(self.store, find, longest_s)

    def succeeded(self, job_id: str | None = None, pipeline: str = "edges", longest_s: float = LONGEST_S) -> Job:
        """Wait until a job has ended, which it must do well."""
        job = self.ended(job_id, pipeline, longest_s)
        assert job.state == "success", job.reason
        return job

    def newest(self, pipeline: str = "edges") -> Job:
        with self.store.snapshot() as db:
            return jobs.list_jobs(db, pipeline=pipeline)[0]

    def datums(self, job: Job) -> list[StoredDatum]:
        with self.store.snapshot() as db:
            return list(datums.iter_datums(db, job.row))

    def logs(self, job: Job, stream: str = "stdout") -> list[str]:
        """Return what user code printed, or with the stream `job` our own remarks."""
        with self.store.snapshot() as db:
            return [line.message for line in logs.list_log_lines(db, job.row, limit=10_000) if line.stream == stream]

    def output(self, pipeline: str = "edges") -> dict[str, bytes]:
        """Return what readers of the output see."""
        return tree(self.store, pipeline)


class Serving:
    """An appliance with a trio loop in a thread of its own. Leaving it, nothing may be left lying about."""

    def __init__(self, data: Path, environment: Mapping[str, str] = ENVIRONMENT, **settings: Any) -> None:
        self._config = Config(data, s3_port=0, durability="fast", view="files", environment=environment, **settings)
        self._up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> App:
        self._thread.start()
        assert self._up.wait(LONGEST_S)
        if self._error is not None:
            raise self._error
        return self._app

    def __exit__(self, *_exception: object) -> None:
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._down.set, trio_token=self._token)
        self._thread.join(LONGEST_S)
        if self._error is not None:
            raise self._error
        assert not self._thread.is_alive()
        data = self._config.data
        assert [path for place in ("staging", "scratch") for path in (data / place).iterdir()] == []
        store = Store(data, "fast")
        check(store)
        store.close()

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self._error = error
        self._up.set()

    async def _serve(self) -> None:
        async with open_app(self._config) as self._app:
            self._token, self._down = trio.lowlevel.current_trio_token(), trio.Event()
            self._up.set()
            await self._down.wait()


def kill_launcher() -> None:
    """Kill the process of ours that starts user code."""
    lists = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    (launcher,) = [pid for pids in lists for pid in pids if "appliance/launching" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(launcher), signal.SIGKILL)


class Gate:
    """Where user code waits for a test: it says a word, then goes no further before it is let through."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / name for name in ("arrived", "through", "held")]
        for path in self._paths:
            os.mkfifo(path)
        # Open for both, so that neither side ever waits for the other; but what tells of the end is only read.
        modes = (os.O_RDWR, os.O_RDWR, os.O_RDONLY | os.O_NONBLOCK)
        self._arrived, self._through, self._held = map(os.open, self._paths, modes)
        self.held = self._paths[2]

    def close(self) -> None:
        for descriptor in (self._arrived, self._through, self._held):
            os.close(descriptor)

    def at(self, word: str = "here") -> str:
        """Return what user code does at the gate; until its process ends it holds a FIFO open."""
        arrived, through, held = self._paths
        return f"exec 9> {held}; echo {word} > {arrived}; read _ < {through}"

    def wait(self, count: int = 1) -> list[str]:
        """Wait for so many to arrive, and return what they said, sorted."""
        words: list[str] = []
        while len(words) < count:
            assert select.select([self._arrived], [], [], LONGEST_S)[0], f"only {words} arrived"
            words += os.read(self._arrived, 4096).decode().splitlines()
        return sorted(words)

    def open(self, count: int = 1) -> None:
        """Let so many through, now or when they come."""
        os.write(self._through, b"go\n" * count)

    def wait_gone(self) -> None:
        """Wait until no process of user code lives that came here."""
        poll = select.poll()
        poll.register(self._held, 0)  # hanging up is always told
        assert poll.poll(LONGEST_S * 1000), "user code still lives"
