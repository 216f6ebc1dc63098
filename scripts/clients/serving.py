"""The appliance that clients are run against: a process with a directory of its own, over HTTP and TLS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

APPLIANCE = [sys.executable, "-m", "appliance"]


@dataclass
class Server:
    """An appliance that runs, and the authority that its certificate is of."""

    data: Path
    plain: str
    tls: str
    ca: Path

    def ask(self, *arguments: str) -> bytes:
        """Run a command of the appliance and return what it prints."""
        environment = {**os.environ, "APPLIANCE_HOME": str(self.data)}
        return subprocess.run([*APPLIANCE, *arguments], env=environment, capture_output=True, check=True).stdout

    def head(self, bucket: str) -> str:
        """Return the id of the commit that a bucket shows."""
        branch, _, repo = bucket.partition(".")
        found: str = json.loads(self.ask("inspect", "commit", f"{repo}@{branch}", "--raw"))["commit"]["id"]
        return found

    def token(self, user: str) -> str:
        """Return a new token of a user."""
        return self.ask("auth", "get-auth-token", "--quiet", user).decode().strip()

    def make(self, repo: str, owner: str | None) -> None:
        """Make a repo with its branch, and somebody its owner."""
        self.ask("create", "repo", repo)
        self.ask("create", "branch", f"{repo}@master")
        if owner:
            self.ask("auth", "set", "repo", repo, "repoOwner", f"user:{owner}")


@contextmanager
def serving(scratch: Path) -> Iterator[Server]:
    """Run an appliance while the context is open."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost", "*.localhost")
    ca, chain, key, ready = (scratch / name for name in ("ca.pem", "chain.pem", "key.pem", "ready"))
    authority.cert_pem.write_to_path(str(ca))
    certificate.private_key_pem.write_to_path(str(key))
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    doors = ["--s3-address", "127.0.0.1:0", "--tls-address", "127.0.0.1:0", "--tls-cert", str(chain), "--tls-key", str(key)]
    command = [*APPLIANCE, "serve", "--data", str(scratch / "data"), "--no-mount", "--ready-file", str(ready), *doors]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        environment = {**os.environ, "APPLIANCE_HOME": str(scratch / "data")}
        subprocess.run([*APPLIANCE, "wait", "appliance"], env=environment, check=True)
        facts = json.loads(ready.read_text())
        yield Server(scratch / "data", facts["s3_endpoint"], facts["tls_endpoint"], ca)
    finally:
        process.terminate()
        process.wait()
