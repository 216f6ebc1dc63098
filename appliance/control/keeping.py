"""What commands can ask about secrets. No answer has a value in it."""

from dataclasses import dataclass

from appliance.app import App
from appliance.external.secrets import Secret, parse_secret


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret without its values."""

    name: str
    type: str
    created_ns: int
    keys: tuple[str, ...]


class SecretCalls:
    """The calls about secrets. Every public method is one."""

    def __init__(self, app: App) -> None:
        self._secrets = app.secrets

    def create_secret(self, text: str = "", secret: str = "", data: dict[str, str] | None = None) -> SecretInfo:
        """Keep a secret, in place of one with its name: a Kubernetes Secret's text, or a name and values."""
        made = Secret(secret, data) if data is not None else parse_secret(text)
        self._secrets.put(made)
        return _describe(made)

    def inspect_secret(self, secret: str) -> SecretInfo:
        return _describe(self._secrets.get(secret))

    def list_secret(self) -> list[SecretInfo]:
        return [_describe(secret) for secret in self._secrets.list_secrets()]

    def delete_secret(self, secret: str) -> None:
        self._secrets.delete(secret)


def _describe(secret: Secret) -> SecretInfo:
    return SecretInfo(secret.name, secret.type, secret.created_ns, tuple(sorted(secret.data)))
