"""The way to a tenant's partition, and what is made of an answer that is none.

Redis may be away, a partition may wait for its epoch, a script may have been forgotten: whoever sends commands, for
calls that go on and for those that are over, asks here where they go and tells here what came back instead of a result.
"""

from time import monotonic
from typing import Any, Final

from hiredis import ReplyError

from gateway.call.commands import Away
from gateway.credit.keys import Keyspace
from gateway.credit.owner import StoreObserver
from gateway.credit.requests import is_cutting
from gateway.credit.resp import LOST, Link
from gateway.credit.tie import Tie

SAME_ALERT_S: Final = 10.0
"""An alert that repeats is told once in this time: a full disk refuses every write."""


class Way:
    """Where the commands of one store go, over ``tie``; ``keys`` tells a tenant's partition."""

    __slots__ = ("_alerted", "_keys", "_observer", "_tie")

    def __init__(self, tie: Tie, keys: Keyspace, observer: StoreObserver) -> None:
        self._tie, self._keys, self._observer = tie, keys, observer
        self._alerted: dict[str, float] = {}

    def to(self, tenant_id: str) -> tuple[Link, str] | Away:
        """The link to a tenant's partition and the epoch to name there, or why there is none."""
        tie, number = self._tie, self._keys.partition(tenant_id).number
        link = tie.links[number]
        if link is None or link.crowded:
            return Away.UNREACHABLE
        epoch = tie.open_epochs[number]
        return (link, epoch) if epoch else Away.STALE

    def link(self, tenant_id: str) -> Link | None:
        """The link to a tenant's partition, whatever epoch that is in; None where it cannot be used."""
        link = self._tie.links[self._keys.partition(tenant_id).number]
        return None if link is None or link.crowded else link

    def why(self, tenant_id: str, reply: Any) -> Away:
        """Why a command was not carried out; sees to it that the cause is looked into."""
        number = self._keys.partition(tenant_id).number
        if type(reply) is list:
            self._tie.stale(number)
            return Away.STALE
        if isinstance(reply, ReplyError):
            self.alert("REDIS_ERROR", f"Redis answered: {reply}")
            link = self._tie.links[number]
            if is_cutting(reply) and link is not None:
                link.cut()
        return Away.UNREACHABLE

    def time(self, op: str, reply: Any, seconds: float) -> None:
        """An answer to ``op`` took ``seconds``; a lost connection is no answer."""
        if reply is not LOST:
            self._observer.timed(op, seconds)

    def alert(self, code: str, text: str) -> None:
        """Tell whoever watches, once in SAME_ALERT_S for each code."""
        now = monotonic()
        if now - self._alerted.get(code, -SAME_ALERT_S) >= SAME_ALERT_S:
            self._alerted[code] = now
            self._observer.alert(code, text)
