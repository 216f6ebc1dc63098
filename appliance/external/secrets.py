"""Named secrets, each some keys with a value: for user code, and for the password of a database that egress goes to.

Like profiles they are in one private file and nowhere else: nothing here gives a value but `get`.
"""

import binascii
import re
import threading
import time
from base64 import b64decode
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from appliance.errors import InvalidName, InvalidRequest, NotFound, StoreDamaged
from appliance.external.private import write_private

_FILE: Final = "secrets.json"
# Kubernetes' rules for the two.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret; `data` has the value of each key. Raises InvalidName, InvalidRequest for what Kubernetes would not take."""

    name: str
    data: dict[str, str] = field(repr=False)
    type: str = "Opaque"
    created_ns: int = field(default_factory=time.time_ns)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidName(f"secret name ({self.name}) invalid: only lower case letters, digits, - and . inside")
        for key in self.data:
            if not _KEY.fullmatch(key):
                raise InvalidRequest(f"secret {self.name}: malformed key: only letters, digits, -, _ and .")
        if sum(len(value) for value in self.data.values()) > _MOST_BYTES:
            raise InvalidRequest(f"secret {self.name} is larger than 1 MiB")


@dataclass(slots=True)
class _Saved:
    version: int
    secrets: list[Secret]


class Secrets:
    """The secrets kept in one directory. Thread-safe; every look-up reads the file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._writing = threading.Lock()

    def put(self, secret: Secret) -> None:
        """Keep a secret, in place of one with its name. On return it is durable."""
        with self._writing:
            self._save([*(kept for kept in self.list_secrets() if kept.name != secret.name), secret])

    def delete(self, name: str) -> None:
        """Forget a secret. Raises NotFound."""
        with self._writing:
            found = self.get(name)
            self._save([kept for kept in self.list_secrets() if kept != found])

    def get(self, name: str) -> Secret:
        """Raises NotFound."""
        for secret in self.list_secrets():
            if secret.name == name:
                return secret
        raise NotFound(f"secret {name} not found")

    def get_value(self, name: str, key: str) -> str:
        """Raises NotFound, also for a key that the secret has not."""
        data = self.get(name).data
        if key not in data:
            raise NotFound(f"secret {name} has no key {key}")
        return data[key]

    def list_secrets(self) -> list[Secret]:
        """All secrets, the latest put last. Raises StoreDamaged if the file can not be understood."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, InvalidRequest, InvalidName, UnicodeDecodeError):
            # What the library says may quote what is there.
            raise StoreDamaged(f"{self._path} is damaged") from None
        if saved.version != 1:
            raise StoreDamaged(f"{self._path} has version {saved.version}, this program knows 1")
        return saved.secrets

    def _save(self, kept: list[Secret]) -> None:
        saved = {"version": 1, "secrets": [asdict(secret) for secret in kept]}
        write_private(self._path, msgspec.json.format(msgspec.json.encode(saved), indent=2))


class _Metadata(msgspec.Struct):
    name: str


class _Manifest(msgspec.Struct):
    """What counts of Kubernetes' object; the rest is for Kubernetes."""

    kind: str
    metadata: _Metadata
    type: str = "Opaque"
    data: dict[str, str] = {}
    stringData: dict[str, str] = {}


def parse_secret(text: str) -> Secret:
    """Read a Kubernetes Secret, JSON or YAML. Raises InvalidRequest and InvalidName; no message repeats a value."""
    try:
        # YAML has JSON in it.
        given: Any = yaml.safe_load(text)
        manifest = msgspec.convert(given, _Manifest)
    except yaml.YAMLError:
        raise InvalidRequest("a secret is a Kubernetes Secret in JSON or YAML: this is neither") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"a secret is a Kubernetes Secret: {error}") from None
    if manifest.kind != "Secret":
        raise InvalidRequest(f"a secret is a Kubernetes object of kind Secret, not {manifest.kind[:40]!r}")
    decoded = {key: _decoded(key, value) for key, value in manifest.data.items()}
    return Secret(manifest.metadata.name, decoded | manifest.stringData, manifest.type)


def _decoded(key: str, value: str) -> str:
    try:
        return b64decode("".join(value.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidRequest(f"the value of {key[:253]!r} in `data` is not base64 of text") from None
