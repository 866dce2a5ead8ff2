"""Host names that stand where an address should: in a trunk's target or a peer's Contact.

Looked up in a thread of the loop's pool, once, and remembered for a minute; what is to be sent waits meanwhile.  A
and AAAA only: NAPTR and SRV (RFC 3263) are not asked for.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

REMEMBER_S: Final = 60.0
"""How long an answer, also "no such name", is used: getaddrinfo does not tell the record's own lifetime."""

NAMES_MAX: Final = 1024
"""Names remembered; a peer that invents names in Contact makes us forget, not grow."""

WAITING_MAX: Final = 64
"""Messages that wait for one name; more of them fail at once."""

Then = Callable[[str | None], None]


class Names:
    """Addresses of host names, looked up off the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: dict[str, tuple[float, str | None]] = {}
        self._waiting: dict[str, list[Then]] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def find(self, name: str, then: Then) -> None:
        """Call ``then`` with the address of ``name``, or None where it has none: at once if it is known."""
        known = self._known.get(name)
        if known is not None and known[0] > self._loop.time():
            then(known[1])
            return
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = [then]
            task = self._loop.create_task(self._look_up(name))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        elif len(waiting) < WAITING_MAX:
            waiting.append(then)
        else:
            then(None)

    async def _look_up(self, name: str) -> None:
        address: str | None = None
        try:
            found = await self._loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
            address = str(found[0][4][0]) if found else None
        except (OSError, UnicodeError):  # UnicodeError: a label that IDNA cannot encode
            address = None
        if len(self._known) >= NAMES_MAX:
            self._known.clear()
        self._known[name] = (self._loop.time() + REMEMBER_S, address)
        for then in self._waiting.pop(name, []):
            then(address)

    async def close(self) -> None:
        """Give up what is still being looked up."""
        for task in list(self._lookups):
            task.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)
