"""The directory a worker decides by: read from the ledger off the loop, swapped whole, kept for a start without stores.

A thread with a loop of its own reads the directory when it is told that a newer version is published in Redis, or finds
one itself where nobody could publish it: a large deck takes seconds to read, and no SIP message waits for it.  The last
directory is also kept in the data folder, so that a gate started while its ledger is away knows its tenants and lets
emergency calls pass (SIP.md 4).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from gateway.ledger import Ledger, LedgerBehind, LedgerError
from gateway.telemetry.logs import get_logger
from gateway.worker.spare import REST_S, Spare
from policy.directory import Directory, Trunk
from policy.layers import base_of

POLL_S: Final = 5.0
"""How often the ledger is asked for its version although nobody said that it had changed."""

AWAY_POLL_S: Final = 0.5
"""How often it is asked while it is away."""

TAKEN_S: Final = 5.0
"""How long the loop may take to put a directory in its place; after that the one before is left to the loop."""

PIECE: Final = 1_000
"""Entries let go at once."""

KEEP_AFTER_S: Final = 1.0
"""A directory is kept for the next start when so long no newer one has been spoken of: reading that one comes first."""

NEVER_READ: Final = -1
"""The version of a directory that holds the settings' trunks alone; the ledger counts from 0."""

log = get_logger("worker")


class DirectoryWatch:
    """Reads the directory whenever it changes and calls ``changed(directory)`` on the worker's loop.

    ``keep`` True: this worker writes the snapshot (one of a gate's workers is enough).  ``failure_policy`` is the
    gate's own.  The directory comes whole: on the loop it takes no work beyond being put in its place.
    """

    def __init__(
        self,
        ledger_url: str,
        trunks: Mapping[str, Trunk],
        data_dir: Path,
        changed: Callable[[Directory], None],
        *,
        keep: bool = True,
        failure_policy: Literal["terminate", "continue", "retry"] = "terminate",
    ) -> None:
        self._ledger_url = ledger_url
        self._trunks = dict(trunks)
        self._failure_policy = failure_policy
        self._spare = Spare(data_dir)
        self._changed = changed
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._their_loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.Event | None = None
        self._latest: Directory | None = None
        self._unkept: Directory | None = None
        self._taken = threading.Event()
        self._stopping = False
        self._waits_for_upgrade = False
        self.ledger_up = False
        """Whether the last question was answered."""
        self.read = asyncio.Event()
        """Set once a directory has been read from the ledger."""
        self.missed = asyncio.Event()
        """Set when the ledger gave no answer; one that is being upgraded does answer."""

    def start(self) -> None:
        """Use the snapshot, or where there is none the trunks alone, and begin to read.

        Trunks stand in the settings: with them an emergency call finds its carrier although neither ledger nor
        snapshot has ever been read (SIP.md 4).
        """
        spare = self._spare.load() or Directory(NEVER_READ)
        self._changed(replace(spare, trunks=self._trunks, failure_policy=self._failure_policy))
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
                if self._unkept is not None and not await self._is_told(KEEP_AFTER_S):
                    self._keep_spare()
                await self._is_told(POLL_S if self.ledger_up else AWAY_POLL_S)
                self._look.clear()
        self._keep_spare()

    async def _is_told(self, within_s: float) -> bool:
        """Whether somebody says within this time that the directory has changed."""
        assert self._look is not None
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._look.wait(), within_s)
        return False

    async def _read_if_changed(self, ledger: Ledger, version: int | None) -> int:
        """Read the directory where its version is another than ``version``; the version that is in use now."""
        try:
            current = await ledger.directory_version()
            directory = None if current == version else await ledger.directory(self._trunks, self._failure_policy)
        except LedgerError as error:
            if isinstance(error, LedgerBehind):
                self._say_behind()
            else:
                self._our_loop.call_soon_threadsafe(self.missed.set)
                if self.ledger_up or version is None:
                    log.warning("ledger away", error=str(error), doing="deciding by the directory read last")
            self.ledger_up = False
            raise
        self.ledger_up = True
        if directory is None:
            return current
        self._publish(directory)
        return directory.version

    def _say_behind(self) -> None:
        """Once: it is no fault, and over in a moment."""
        if not self._waits_for_upgrade:
            log.info("the ledger is being upgraded", doing="deciding by the directory read last")
        self._waits_for_upgrade = True

    def _publish(self, directory: Directory) -> None:
        before, self._latest = self._latest, directory
        self._taken.clear()
        self._our_loop.call_soon_threadsafe(self._take, directory)
        self._unkept = directory if self._keep else None
        if before is not None and self._taken.wait(TAKEN_S):
            _take_apart(before, directory)

    def _keep_spare(self) -> None:
        """Write the spare, where it is another one than was written last."""
        directory, self._unkept = self._unkept, None
        if directory is None:
            return
        try:
            self._spare.save(directory)
        except OSError as error:
            log.error("directory snapshot not written", error=str(error))

    # on the worker's loop

    def _take(self, directory: Directory) -> None:
        self._changed(directory)
        self._taken.set()
        self.read.set()
        log.info("directory read", version=directory.version, tenants=len(directory.tenants))


def _take_apart(before: Directory, after: Directory) -> None:
    """Let go of the users of a directory that nobody decides by any more, in pieces: at one stroke it would hold the
    interpreter, and with it the loop, for as long as it takes to touch each of them.

    What the one after it goes on with stays.
    """
    _empty(base_of(before.users), base_of(after.users))
    _empty(base_of(before.users_by_number), base_of(after.users_by_number))


def _empty(people: object, kept: object) -> None:
    if people is kept:
        return
    assert isinstance(people, dict)
    while people:
        for _ in range(min(PIECE, len(people))):
            people.popitem()
        time.sleep(REST_S)
