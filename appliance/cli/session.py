"""The token that this user is known by, kept beside the data, as Pachyderm keeps it in its configuration."""

import os
from pathlib import Path

from appliance.config import find_data

_OWNER_ONLY = 0o600


def session_token() -> str | None:
    """Return the token, None without one."""
    try:
        return _file().read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def set_session_token(token: str | None) -> None:
    """Be known by a token, or by none."""
    _file().unlink(missing_ok=True)
    if token is not None:
        descriptor = os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")


def _file() -> Path:
    return find_data(os.environ) / "session-token"
