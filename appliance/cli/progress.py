"""A bar on the terminal, for what takes more than a second."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_PATIENCE_S = 1.0


class Progress:
    """Counts bytes from any thread and shows them on stderr, if that is a terminal, once a second has passed."""

    def __init__(self, label: str, total_bytes: int | None = None, *, quiet: bool = False) -> None:
        self._label, self._total = label, total_bytes
        self._done = 0
        self._started = time.monotonic()
        self._shown = not quiet and sys.stderr.isatty()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stop(self) -> None:
        """Make whoever counts next give up."""
        self._stopped.set()

    def add(self, size_bytes: int) -> None:
        """Count bytes that have been moved. Raises ApplianceError after `stop`."""
        if self._stopped.is_set():
            raise ApplianceError("stopped")
        with self._lock:
            self._reach(self._done + size_bytes)

    def reach(self, size_bytes: int) -> None:
        """Tell how many bytes have been moved by now, where somebody else counts them."""
        with self._lock:
            self._reach(size_bytes)

    def _reach(self, size_bytes: int) -> None:
        self._done = size_bytes
        if self._shown:
            if self._bar is None and time.monotonic() - self._started > _PATIENCE_S:
                self._bar = _open_bar(self._label, self._total)
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done)


class Steps:
    """Shows on stderr, if that is a terminal, how far something on the other side is, once a second has passed."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` things of this kind are done."""
        if self._bar is None and sys.stderr.isatty() and time.monotonic() - self._started > _PATIENCE_S:
            self._bar = _open_steps()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=what, completed=done, total=total)


def _open_steps() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Bar(*shown, console=Console(stderr=True), transient=True)
    bar.add_task("", total=None)
    bar.start()
    return bar


def _open_bar(label: str, total_bytes: int | None) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    shown = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Bar(*shown, console=Console(stderr=True), transient=True)
    bar.add_task(label, total=total_bytes)
    bar.start()
    return bar
