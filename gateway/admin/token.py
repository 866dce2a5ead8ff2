"""The admin token: what the settings give, else one made on the first start and kept where only the owner reads it."""

import contextlib
import os
import secrets
from pathlib import Path
from tempfile import mkstemp
from typing import Final

from gateway.config.settings import Settings

TOKEN_FILE: Final = "admin-token"  # noqa: S105  the name of a file
TOKEN_BYTES: Final = 32
"""256 bits of randomness: nobody tries them all."""


class TokenError(Exception):
    """The token's file cannot be read or made; the text says why and what to do."""


def admin_token(settings: Settings) -> str:
    """The bearer token of the API: ``admin.token``, else that of ``data_dir/admin-token``, made now if need be.

    Raises TokenError.
    """
    if given := settings.admin.token.get_secret_value():
        return given
    path = settings.data_dir / TOKEN_FILE
    try:
        with contextlib.suppress(FileExistsError):
            _make(path)
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"cannot use {path}: {error}; make it readable, or set admin.token") from error
    if not found:
        raise TokenError(f"{path} is empty; remove it, so that a new token is made, or set admin.token")
    return found


def _make(path: Path) -> None:
    """Write a new token, whole or not at all.  Raises FileExistsError where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, following = mkstemp(prefix=f".{TOKEN_FILE}.", dir=path.parent)  # mode 0600 from its first moment
    try:
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        os.link(following, path)  # refuses where another process was first, and nobody reads half a token
    finally:
        os.unlink(following)
