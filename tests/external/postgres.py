"""A PostgreSQL of a test's own, on a free loopback port, run by an ordinary user: it refuses to be root."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

PASSWORD = "a-password-that-is-never-shown"
USER = "appliance"


@dataclass(frozen=True)
class Postgres:
    """A server with one user, who has a password."""

    port: int

    @property
    def url(self) -> str:
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def shown(self) -> str:
        return f"postgres://127.0.0.1:{self.port}/postgres"

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows, if it has any."""
        where: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "user": USER, "dbname": "postgres"}
        with psycopg.connect(**where, password=PASSWORD) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server until the end. Skips the test where PostgreSQL is not installed."""
    programs = _find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    someone: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    # Not below pytest's directories, which nobody else can enter.
    with tempfile.TemporaryDirectory(prefix="appliance-postgres-") as directory:
        (Path(directory) / "password").write_text(PASSWORD)
        if someone:
            shutil.chown(directory, "nobody")
            shutil.chown(Path(directory) / "password", "nobody")
        data = f"{directory}/data"
        made = [programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={directory}/password", "-N"]
        subprocess.run(made, check=True, capture_output=True, cwd=directory, **someone)
        with _serving(programs / "postgres", data, _free_port(), someone) as port:
            yield Postgres(port)


def _find_programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def _serving(program: Path, data: str, port: int, someone: dict[str, Any]) -> Iterator[int]:
    settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "lc_messages=C"]
    command = [str(program), "-D", data, "-p", str(port), *(word for setting in settings for word in ("-c", setting))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=data, **someone) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                break
        assert process.poll() is None, said
        reader = threading.Thread(target=_read_on, args=(process.stderr,))
        reader.start()
        try:
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
            reader.join()


def _read_on(output: IO[str]) -> None:
    """A full pipe would stop the server."""
    for _ in output:
        pass
