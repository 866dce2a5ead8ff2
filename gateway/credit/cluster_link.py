"""A connection to one node of Redis Cluster: a command that another node has to carry out is said again, there.

MOVED names the node that serves the key's slot, ASK the one that may have the key already while a slot is moved, and
TRYAGAIN says that a script's keys are just between the two.  What is said again has the same id, so it has one effect
(MONEY 3).  Whoever asked hears nothing of it: a new call is not refused because a node was replaced.

Order is kept among what has to be said again: a charge must not overtake the reservation that it follows.  So while one
command waits, each that fails in the same way waits behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from hiredis import ReplyError

from gateway.credit.resp import LOST, Link, OnReply, Waiting, pack

HOPS_MAX: Final = 5
"""How often one command is sent on: more means that two nodes each name the other."""

PATIENCE_S: Final = 0.5
"""How long a command is said again where no connection to the right node stands yet: less than a caller would notice,
and less than a node needs to be taken for dead, so this is for slots that move and for replicas that just took over."""

AGAIN_S: Final = 0.02

_ASKING: Final = pack(("ASKING",))

Reroute = Callable[[str, int], Link | None]
"""Gives the link to a node by host and port; None where there is none (yet)."""


class _Said:
    """A command under way, and how often it was sent on."""

    __slots__ = ("at_s", "hops", "on_reply", "packed", "subject")

    def __init__(self, packed: bytes, on_reply: OnReply, subject: Any) -> None:
        self.packed, self.on_reply, self.subject = packed, on_reply, subject
        self.at_s = monotonic()
        self.hops = 0


class ClusterLink(Link):
    """As a :class:`~gateway.credit.resp.Link`; ``reroute`` knows the links to the other nodes."""

    __slots__ = ("_held", "_reroute")

    def __init__(self, on_lost: Callable[[Link], None], reroute: Reroute) -> None:
        super().__init__(on_lost)
        self._reroute = reroute
        self._held: deque[_Said] = deque()

    @property
    def oldest(self) -> Waiting | None:
        """The oldest unanswered command, as whoever sent it gave it."""
        waiting = super().oldest
        if waiting is None:
            return None
        said = waiting[1]
        return said.on_reply, said.subject, waiting[2]

    def send(self, packed: bytes, on_reply: OnReply, subject: Any = None) -> None:
        """As Link's."""
        super().send(packed, self._on_any, _Said(packed, on_reply, subject))

    def send_soon(self, packed: bytes, on_reply: OnReply, subject: Any = None) -> None:
        """As Link's; here nothing waits for company, for its order is worth more than a system call."""
        self.send(packed, on_reply, subject)

    def cut(self) -> None:
        """As Link's; what waits to be said again fails too."""
        super().cut()
        held, self._held = self._held, deque()
        for said in held:
            said.on_reply(said.subject, LOST, 0.0)

    def _on_any(self, said: _Said, reply: Any, seconds: float) -> None:
        if isinstance(reply, ReplyError) and str(reply).startswith(("MOVED ", "ASK ", "TRYAGAIN ")):
            if self._held or not self._send_on(said, str(reply)):
                self._hold(said)
        else:
            said.on_reply(said.subject, reply, seconds)

    def _send_on(self, said: _Said, error: str) -> bool:
        """Say it to the node that was named; False where it cannot be said there now."""
        kind, _, rest = error.partition(" ")
        host, _, port = rest.rpartition(" ")[2].rpartition(":")
        link = self._reroute(host, int(port)) if kind != "TRYAGAIN" and port.isdecimal() else None
        if link is None or link is self or link.crowded or not isinstance(link, ClusterLink) or said.hops >= HOPS_MAX:
            return False
        said.hops += 1
        if kind == "ASK":
            link.send(_ASKING, _nothing)
        Link.send(link, said.packed, link._on_any, said)
        return True

    def _hold(self, said: _Said) -> None:
        if not self._held:
            asyncio.get_running_loop().call_later(AGAIN_S, self._say_held)
        self._held.append(said)

    def _say_held(self) -> None:
        """Ask this node again: it carries the command out, or names another one, to which there is a link by now."""
        held, self._held = self._held, deque()
        for said in held:
            if monotonic() - said.at_s > PATIENCE_S or self.crowded:
                said.on_reply(said.subject, ReplyError("TRYAGAIN the node of this key is not known yet"), 0.0)
            else:
                Link.send(self, said.packed, self._on_any, said)


def _nothing(_subject: object, _reply: Any, _seconds: float) -> None:
    """What comes after it tells."""
