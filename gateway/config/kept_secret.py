"""A secret that the gate makes for itself where the settings give none: kept in a file that only its owner reads."""

import contextlib
import os
import secrets
from pathlib import Path
from tempfile import mkstemp
from typing import Final

SECRET_BYTES: Final = 32
"""256 bits of randomness: nobody tries them all."""


class KeptSecretError(Exception):
    """The file cannot be read or made; the text says why and what to do."""


def kept_secret(path: Path, setting: str) -> str:
    """What stands in the file at ``path``, made now if need be; ``setting`` could give it instead.

    Raises KeptSecretError.
    """
    try:
        with contextlib.suppress(FileExistsError):
            if not path.exists():
                _make(path)
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeptSecretError(f"cannot use {path}: {error}; make it readable, or set {setting}") from error
    if not found:
        raise KeptSecretError(f"{path} is empty; remove it, so that a new one is made, or set {setting}")
    return found


def _make(path: Path) -> None:
    """Write a new secret, whole or not at all.  Raises FileExistsError where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, following = mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600 from its first moment
    try:
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(SECRET_BYTES) + "\n")
        os.link(following, path)  # refuses where another process was first, and nobody reads half a secret
    finally:
        os.unlink(following)
