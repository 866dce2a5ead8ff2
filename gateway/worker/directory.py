"""The directory a worker decides by: read from the ledger off the loop, swapped whole, kept for a start without stores.

A thread with a loop of its own reads the directory when it is told that a newer version is published in Redis, or finds
one itself where nobody could publish it: a large deck takes seconds to read, and no SIP message waits for it.  The last
directory is also kept in the data folder, so that a gate started while its ledger is away knows its tenants and lets
emergency calls pass (SIP.md 4).
"""

import asyncio
import contextlib
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.ledger import Ledger, LedgerError
from gateway.telemetry.logs import get_logger
from policy.directory import Directory, Trunk

POLL_S: Final = 5.0
"""How often the ledger is asked for its version although nobody said that it had changed."""

AWAY_POLL_S: Final = 0.5
"""How often it is asked while it is away."""

FORMAT: Final = 2
"""Raised when Directory changes so that an older snapshot cannot be used."""

SNAPSHOT_FILE: Final = "directory.snapshot"

NEVER_READ: Final = -1
"""The version of a directory that holds the settings' trunks alone; the ledger counts from 0."""

log = get_logger("worker")


def save_snapshot(path: Path, directory: Directory) -> None:
    """Write the directory whole and by rename.  Raises OSError."""
    following = path.with_suffix(".new")
    following.write_bytes(pickle.dumps((FORMAT, directory), protocol=pickle.HIGHEST_PROTOCOL))
    following.replace(path)


def load_snapshot(path: Path) -> Directory | None:
    """The directory saved last; None where there is none that this release can read."""
    try:
        found = pickle.loads(path.read_bytes())  # noqa: S301  written by this gate into its own data folder
    except FileNotFoundError:
        return None
    except Exception as error:  # a snapshot of another release may fail in any way; it is only a spare
        log.warning("directory snapshot unreadable", file=str(path), error=repr(error))
        return None
    if isinstance(found, tuple) and len(found) == 2 and found[0] == FORMAT and isinstance(found[1], Directory):
        return found[1]
    return None


class DirectoryWatch:
    """Reads the directory whenever it changes and calls ``changed(directory)`` on the worker's loop.

    ``keep`` True: this worker writes the snapshot (one of a gate's workers is enough).
    """

    def __init__(
        self,
        ledger_url: str,
        trunks: Mapping[str, Trunk],
        data_dir: Path,
        changed: Callable[[Directory], None],
        *,
        keep: bool = True,
    ) -> None:
        self._ledger_url = ledger_url
        self._trunks = dict(trunks)
        self._file = data_dir / SNAPSHOT_FILE
        self._changed = changed
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._their_loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.Event | None = None
        self._stopping = False
        self.ledger_up = False
        """Whether the last question was answered."""
        self.read = asyncio.Event()
        """Set once a directory has been read from the ledger."""

    def start(self) -> None:
        """Use the snapshot, or where there is none the trunks alone, and begin to read.

        Trunks stand in the settings: with them an emergency call finds its carrier although neither ledger nor
        snapshot has ever been read (SIP.md 4).
        """
        spare = load_snapshot(self._file) or Directory(NEVER_READ)
        self._changed(replace(spare, trunks=self._trunks))
        self._our_loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Ask for the version now: somebody said that it has changed."""
        self._poke()

    async def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._poke()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def _poke(self) -> None:
        if self._their_loop is not None and self._look is not None:
            with contextlib.suppress(RuntimeError):  # their loop has just been closed
                self._their_loop.call_soon_threadsafe(self._look.set)

    # on the thread

    def _run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        self._look = asyncio.Event()
        self._their_loop = asyncio.get_running_loop()
        version: int | None = None
        async with Ledger(self._ledger_url) as ledger:
            while not self._stopping:
                with contextlib.suppress(LedgerError):
                    version = await self._read_if_changed(ledger, version)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), POLL_S if self.ledger_up else AWAY_POLL_S)
                self._look.clear()

    async def _read_if_changed(self, ledger: Ledger, version: int | None) -> int:
        """Read the directory where its version is another than ``version``; the version that is in use now."""
        try:
            current = await ledger.directory_version()
            directory = None if current == version else await ledger.directory(self._trunks)
        except LedgerError as error:
            if self.ledger_up or version is None:
                log.warning("ledger away", error=str(error), doing="deciding by the directory read last")
            self.ledger_up = False
            raise
        self.ledger_up = True
        if directory is None:
            return current
        self._publish(directory)
        return directory.version

    def _publish(self, directory: Directory) -> None:
        self._our_loop.call_soon_threadsafe(self._take, directory)
        if self._keep:
            try:
                save_snapshot(self._file, directory)
            except OSError as error:
                log.error("directory snapshot not written", file=str(self._file), error=str(error))

    # on the worker's loop

    def _take(self, directory: Directory) -> None:
        self._changed(directory)
        self.read.set()
        log.info("directory read", version=directory.version, tenants=len(directory.tenants))
