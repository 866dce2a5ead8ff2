"""Slots whose holder is gone for good, and who has their calls from then on (SIP.md 5).

Every worker claims its slot again each few seconds (``tie``), so a claim that ran out says that nobody speaks for the
slot.  A restart is there in a second and takes its own calls over (``succession``); where none has come for some
seconds more, whoever sees it first becomes the heir of the name: scripts/inherit.lua takes it in one step, which
fences a holder that was only cut off, and lets there be one heir.  He moves the calls to himself, each by a script that
gives it to one taker, whatever else goes on.  When nothing is left he says so (scripts/inherited.lua); a new start of
the slot may have its name back at any time.

Redis being away makes every claim look old.  So no other gate's slot is taken for gone before this process has itself
been connected for as long as a claim has to be gone, and time enough for the others to come back.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from gateway.call.adoption import StoredCall
from gateway.credit import lua
from gateway.credit.keys import OWNERS_KEY
from gateway.credit.owner import Owner
from gateway.credit.requests import MS_PER_S
from gateway.credit.resp import Link
from gateway.credit.succession import Holder, Succession

NAMES_AT_ONCE: Final = 8
"""Slots looked through in one turn, those first that were heard last: a gate has a few, and what is left comes next."""

RETURN_S: Final = 5.0
"""What others get at least to claim their slots again after Redis was away: ten times the longest pause between their
attempts to connect."""

NEVER_MS: Final = 2**52
"""A claim that has to be gone for so long never is."""


class Heirs:
    """What one worker takes over of slots that are gone; ``succession`` makes the search through one more of them."""

    def __init__(self, owner: Owner, after_s: float, succession: Callable[[], Succession]) -> None:
        """``after_s``: how long a claim must have run out; 0: other slots are never taken for gone."""
        self._owner = owner
        self._after_s = after_s
        self._succession = succession
        self._from_s = 0.0
        self._searches: dict[Holder, Succession] = {}

    def redis_returned(self, now: float) -> None:
        """Redis is back at ``now`` (monotonic seconds): give the others time to claim their slots again."""
        self._from_s = now + max(RETURN_S, self._after_s)

    async def inherit(
        self,
        link: Link,
        links: Sequence[Link | None],
        generation: int,
        epochs: Sequence[str],
        running: Collection[str],
        now: float,
    ) -> list[StoredCall]:
        """Calls of slots that are gone, which are this worker's from now on; to be asked again and again.

        ``link`` goes to the node of the claims, ``links`` to those of the partitions, in their ``epochs``.
        ``running`` are the slots that this installation has, all others of it being gone at once; empty: it does not
        say.  Raises ConnectionError and ReplyError as Succession.take_over.
        """
        left = await self._look(link, running, now)
        self._searches = {holder: self._searches.get(holder) or self._succession() for holder in left}
        heir, taken = Holder(self._owner.name, generation), dict[str, StoredCall]()
        try:
            for holder, search in self._searches.items():
                for stored in await search.take_over(links, holder, heir, epochs):
                    taken.setdefault(stored.call_id, stored)  # one that is ours by now is found by every search
        except BaseException:
            self._searches.clear()  # what was taken and is not given now is found again: it is ours and not known
            raise
        return list(taken.values())

    async def leave(self, link: Link) -> None:
        """Say of every slot that was looked through to its end that nothing of it is left.

        To be called when its calls are this process' own: until then the same calls would be found again.
        """
        for holder in [holder for holder, search in self._searches.items() if not search.open]:
            await link.ask("EVAL", lua.INHERITED.text, 1, OWNERS_KEY, *holder, self._owner.name)
            del self._searches[holder]

    async def _look(self, link: Link, running: Collection[str], now: float) -> list[Holder]:
        after_ms = NEVER_MS if now < self._from_s else int(self._after_s * MS_PER_S) or NEVER_MS
        instance = self._owner.instance if running else ""
        reply = await link.ask(
            "EVAL", lua.INHERIT.text, 1, OWNERS_KEY, self._owner.name, after_ms, instance, *sorted(running)
        )
        found = sorted(reply, key=lambda row: -int(row[2]))[:NAMES_AT_ONCE]
        return [Holder(name.decode(), epoch) for name, epoch, _ in found]
