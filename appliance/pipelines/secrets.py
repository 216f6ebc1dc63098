"""A transform's secrets: as variables, and as files in a directory of their own.

As in Kubernetes a `mount_path` has a file for each key, whatever `key` says; that is for `env_var`.
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from appliance.errors import ApplianceError, InvalidSpec, NotFound
from appliance.pipelines.process import Bind
from appliance.pipelines.spec.model import SecretMount

FindSecret = Callable[[str], Mapping[str, str]]
"""Returns the values of a secret by their keys. Raises NotFound."""


def check_secrets(find: FindSecret, wanted: Sequence[SecretMount]) -> None:
    """Raise NotFound for a secret or key that there is not."""
    for secret in wanted:
        values = _find(find, secret.name)
        if secret.key and secret.key not in values:
            raise NotFound(f"Kubernetes secret {secret.name} missing key {secret.key}")


def _find(find: FindSecret, name: str) -> Mapping[str, str]:
    try:
        return find(name)
    except NotFound:
        raise NotFound(f"missing Kubernetes secret {name}") from None


def secret_variables(find: FindSecret, wanted: Sequence[SecretMount]) -> dict[str, str]:
    """Return the variables that carry secrets. Raises NotFound, ApplianceError for a value that no variable can have."""
    check_secrets(find, wanted)
    found = {}
    for secret in wanted:
        if secret.env_var:
            found[secret.env_var] = value = _find(find, secret.name)[secret.key]
            if "\0" in value:
                raise ApplianceError(f"the value of {secret.key} in secret {secret.name} can not be that of a variable")
    return found


def secret_binds(find: FindSecret, wanted: Sequence[SecretMount], scratch: Path) -> tuple[Bind, ...]:
    """Write the secrets that are wanted as files below `scratch`, and return what to bind where. Blocks."""
    binds = []
    for number, secret in enumerate(secret for secret in wanted if secret.mount_path):
        directory = scratch / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        for key, value in _find(find, secret.name).items():
            (directory / key).write_text(value)
            (directory / key).chmod(0o444)
        binds.append(_bind(directory, secret.mount_path))
    return tuple(binds)


def _bind(directory: Path, mount_path: str) -> Bind:
    path = posixpath.normpath(mount_path)
    try:
        return Bind(directory, path, outside=not path.startswith("/pfs/"))
    except ValueError:
        raise InvalidSpec(f"a secret can not be mounted at {mount_path}") from None
