"""What the supervisor keeps in the data folder: the lock of each role, the installation's own text, run files.

The lock matters because the installation's text lets a restarted gate take over its own name in Redis at once
(credit.store.Owner): two gates on one data folder would each believe to be the restart of the other.
"""

import fcntl
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from gateway.worker.plan import RUN_FOLDER, ready_file

INSTANCE_FILE: Final = "instance"


class FolderError(Exception):
    """The data folder cannot be used; the text says why and what to do."""


class Folder:
    """The data folder of a gate, locked for the roles that this supervisor runs until :meth:`close`."""

    def __init__(self, path: Path, roles: Iterable[str]) -> None:
        """Make the folder where it is missing and lock it.  Raises FolderError."""
        self.path = path
        self.run = path / RUN_FOLDER
        self.metrics = self.run / "metrics"
        self._locks: list[IO[str]] = []
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            for role in roles:
                self._lock(role)
            self.instance = self._instance()
        except OSError as error:
            self.close()
            raise FolderError(
                f"cannot use the data folder {path}: {error.strerror or error}; give a folder that can be written "
                "as node.data_dir in callgate.toml"
            ) from error
        except FolderError:
            self.close()
            raise

    def _lock(self, role: str) -> None:
        lock = (self.run / f"{role}.lock").open("a+")
        self._locks.append(lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(
                f"another `callgate serve` runs the role {role} with the data folder {self.path}; stop it, or give "
                "this one a folder and a node name of its own"
            ) from None

    def _instance(self) -> str:
        file = self.path / INSTANCE_FILE
        try:
            return file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            pass
        fresh = uuid.uuid4().hex
        following = file.with_suffix(".new")
        with following.open("w", encoding="ascii") as written:
            written.write(fresh + "\n")
            written.flush()
            os.fsync(written.fileno())
        following.replace(file)
        return fresh

    def forget_ready(self, slot: int) -> None:
        """A worker has died: it is not ready any more."""
        ready_file(self.path, slot).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the locks back."""
        for lock in self._locks:
            lock.close()
