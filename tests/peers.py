"""Where the real peer programs are that some tests need: on PATH, or where Debian keeps those that it leaves off it."""

import shutil
from pathlib import Path

BESIDE_PATH = {"postgres": "usr/lib/postgresql/*/bin/postgres"}
"""Programs that Debian keeps in one folder for each version."""


def find_program(name: str) -> Path | None:
    """The program on PATH, else the newest of those beside it."""
    if found := shutil.which(name):
        return Path(found).resolve()
    beside = Path("/").glob(BESIDE_PATH[name]) if name in BESIDE_PATH else ()
    return max(beside, key=lambda path: float(path.parts[-3]), default=None)
