"""What a worker tells who rebuilds Redis: that it has said all it knows, and that a charge came too late (MONEY 6).

A rebuild's leader waits for every worker that lives, so each says which epoch it has said everything in: once every
partition has that epoch, and Redis has answered for each call, whatever the answer was.  A charge that was said after
the leader had counted is judged by the settler, who is told in which partition to look.
"""

from collections.abc import Set as AbstractSet
from typing import Any

from gateway.credit.keys import DOUBTFUL_KEY, HEARD_KEY
from gateway.credit.resp import Link, pack


class Acknowledgement:
    """What one worker, ``owner``, has still to say, and the epoch it has acknowledged."""

    __slots__ = ("_number", "_owner", "unsaid")

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._number = 0
        self.unsaid: set[str] = set()
        """Calls that Redis has not answered for since the last rebuild began."""

    def begin(self) -> None:
        """Redis is back, or in another epoch: what was acknowledged may be lost."""
        self._number = 0

    def keep(self, known: AbstractSet[str]) -> None:
        """Wait no more for calls that are not ``known`` any longer."""
        self.unsaid &= known

    def send(self, link: Link, number: int) -> None:
        """Acknowledge epoch ``number`` where everything is said and that is news."""
        if not self.unsaid and number > self._number:
            self._number = number
            link.send(pack(("HSET", HEARD_KEY, self._owner, number)), _nothing)

    @staticmethod
    def ask_settler(link: Link, partition: int) -> None:
        """Have the charges that were said in a partition looked up in the ledger."""
        if not link.crowded:
            link.send(pack(("SADD", DOUBTFUL_KEY, partition)), _nothing)


def _nothing(_subject: object, _reply: Any, _seconds: float) -> None:
    """Where a note is lost, the connection is too, and all is said again on the next."""
