"""The live calls of a worker that is gone go on with another: the next one in its slot, or else any that works.

A worker that starts takes over the calls of its slot before a word is heard.

What peers send meanwhile waits in the sockets, so a BYE finds its call.  Where Redis is away, or is being made ready,
the worker starts all the same (SIP.md 4) and adopts when it can; until then requests in dialogs that it does not know
wait in the call machine.  While it works it looks each second for slots, of this gate or another one on the same Redis,
whose holder is gone for good (gateway.credit.heirs), and takes over what they left, unless it is to end itself.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from gateway.call.adoption import StoredCall
from gateway.call.b2bua import B2bua
from gateway.credit.store import CreditStore
from gateway.telemetry.logs import get_logger

CALLS_A_TURN: Final = 50
"""Calls built again before the loop has its turn: some 5 ms, where a worker adopts while it carries others."""

RETRY_S: Final = 0.1
"""How often Redis is looked for: a peer repeats its request within half a second."""

OTHERS_LOOK_S: Final = 1.0
"""How often it is looked whether another slot is gone: a tenth of what its claim must be gone for."""

TICKS_WAIT_S: Final = 1.0
"""How long a start waits for the store's word on ticks, also those of talk that was had while no gate was up, so that a
BYE which waits in the socket is charged for it; as long as the store allows itself for an answer."""

log = get_logger("worker")


class Takeover:
    """Brings the calls of this slot's last worker from the store into the call machine.

    ``end_turn(now)`` hands out what that leads to.
    """

    def __init__(
        self, store: CreditStore, b2bua: B2bua, monotonic: Callable[[], float], end_turn: Callable[[float], None]
    ) -> None:
        self._store = store
        self._b2bua = b2bua
        self._monotonic = monotonic
        self._end_turn = end_turn
        self.running: Collection[str] = ()
        """The slots (``node/slot``) of this installation, once it is known that no others of it have charges to say."""
        b2bua.expect_adoption()

    async def at_start(self) -> bool:
        """Adopt what there is, while nothing is heard; False where Redis could not say all: then :meth:`later`."""
        await self._take_over()
        until_s = self._monotonic() + TICKS_WAIT_S
        while self._b2bua.asks and self._monotonic() < until_s:  # noqa: ASYNC110  once, at the start
            await asyncio.sleep(0.002)
        return self._is_over()

    async def later(self) -> None:
        """Adopt the rest as soon as Redis lets us."""
        log.warning("calls of the last worker not adopted yet", redis_up=self._store.up)
        while not self._is_over():
            await asyncio.sleep(RETRY_S)
            await self._take_over()

    async def of_others(self, stopping: asyncio.Event) -> None:
        """Adopt the calls of slots that are gone for good, until this worker drains."""
        while not (stopping.is_set() or self._b2bua.draining):
            if self._store.open:
                await self._adopt_all(await self._store.inherit(self.running))
                await self._store.inherited()
            await asyncio.sleep(OTHERS_LOOK_S)

    def _is_over(self) -> bool:
        if not self._store.adopted:
            return False
        now = self._monotonic()
        self._b2bua.end_adoption(now)
        self._end_turn(now)
        return True

    async def _take_over(self) -> None:
        await self._adopt_all(await self._store.take_over())

    async def _adopt_all(self, taken: Sequence[StoredCall]) -> None:
        began_s, adopted = time.monotonic(), 0
        for number, stored in enumerate(taken, 1):
            adopted += self._adopt(stored)
            if number % CALLS_A_TURN == 0:
                self._end_turn(self._monotonic())
                await asyncio.sleep(0)
        self._end_turn(self._monotonic())
        if taken:
            seconds = round(time.monotonic() - began_s, 3)
            left_by = sorted({stored.former[0] for stored in taken} - {""})
            log.info("calls adopted", calls=adopted, of=len(taken), seconds=seconds, left_by=left_by)

    def _adopt(self, stored: StoredCall) -> bool:
        """One call that causes a fault must not keep the others from being adopted."""
        try:
            adopted = self._b2bua.adopt(stored, self._monotonic())
        except Exception:
            log.exception("adoption caused a fault", call_id=stored.call_id)
            self._store.decline(stored)
            return False
        if adopted:
            self._store.adopt(stored)
        else:
            self._store.decline(stored)
            log.error(
                "call not adopted: its record cannot be read",
                call_id=stored.call_id,
                doing="left to the sweep" if stored.answered_ms else "released",
            )
        return adopted
