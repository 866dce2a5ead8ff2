"""The ladder of one call: its SIP messages in order, kept on demand, drawn as arrows between the peers and the gate.

With ``telemetry.ladder_calls`` a worker keeps the messages of its latest calls, a bounded ring for each, and writes
them into the data folder when it gets SIGUSR1; ``callgate trace`` asks for that and draws.  Messages are kept by the
Call-ID of their leg: the called leg's is the gate's own call id, the caller's stands in the call record.  Where the
setting is 0 nothing is kept and the hot path has no tap to call.
"""

import json
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from gateway.sip.events import Flow
from gateway.telemetry.logs import hide

MESSAGES_MAX: Final = 200
"""Messages kept of one leg: a call with hours of session refreshes keeps the newest."""
MESSAGE_BYTES_MAX: Final = 4096
"""Bytes kept of one message: header fields nearly always fit, a body is not what a ladder is read for."""
LABEL_CHARS_MAX: Final = 44
"""Width of an arrow: a method and a number, or a status and its reason."""

_CALL_ID: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\s]+)", re.IGNORECASE)


class Rung(NamedTuple):
    """One message: ``at_ms`` Unix milliseconds, ``sent`` by the gate or received, ``peer`` as ``udp:ADDRESS:PORT``.

    ``order`` counts a worker's messages: within a millisecond it says which came first.
    """

    at_ms: int
    order: int
    sent: bool
    peer: str
    text: str


class Ladder:
    """The messages of the latest ``legs_max`` legs, by Call-ID; oldest legs go first."""

    def __init__(self, legs_max: int) -> None:
        self._legs_max = legs_max
        self._legs: OrderedDict[str, deque[Rung]] = OrderedDict()

    def keep(self, sip_call_id: str, rung: Rung) -> None:
        """Keep one message of a leg."""
        leg = self._legs.get(sip_call_id)
        if leg is None:
            leg = self._legs[sip_call_id] = deque(maxlen=MESSAGES_MAX)
            if len(self._legs) > self._legs_max:
                self._legs.popitem(last=False)
        leg.append(rung)

    def rungs(self, sip_call_ids: Iterable[str]) -> list[Rung]:
        """What was kept of these legs, in the order of time; empty where nothing was."""
        return sorted(rung for each in set(sip_call_ids) for rung in self._legs.get(each, ()))

    def write(self, path: Path) -> None:
        """Write everything kept into a file, whole and by rename.  Raises OSError."""
        following = path.with_suffix(".new")
        following.write_text(json.dumps({leg: list(rungs) for leg, rungs in self._legs.items()}), encoding="utf-8")
        following.replace(path)

    def read(self, path: Path) -> None:
        """Take in what another process wrote.  Raises OSError, ValueError."""
        for leg, rungs in json.loads(path.read_text(encoding="utf-8")).items():
            for rung in rungs:
                self.keep(leg, Rung(*rung))


class LadderTap:
    """Sees every message of a worker and keeps it on its leg's ladder; ``wall_ms`` turns the loop's time into Unix."""

    def __init__(self, ladder: Ladder, wall_ms: Callable[[float], int]) -> None:
        self.ladder = ladder
        self._wall_ms = wall_ms
        self._seen = 0

    def __call__(self, flow: Flow, data: bytes, now: float, *, sent: bool) -> None:
        """One message came in on ``flow`` or goes out on it."""
        found = _CALL_ID.search(data)
        if found:
            self._seen += 1
            head = data[:MESSAGE_BYTES_MAX].decode("utf-8", "replace")
            peer = f"{flow.transport}:{flow.host}:{flow.port}"
            self.ladder.keep(
                found[1].decode("utf-8", "replace"), Rung(self._wall_ms(now), self._seen, sent, peer, head)
            )


def draw(rungs: Iterable[Rung]) -> str:
    """The ladder as text: the gate on the left, a column per peer, an arrow per message.

    Times are seconds since the first message.
    """
    rows = list(rungs)
    if not rows:
        return ""
    peers = list(dict.fromkeys(rung.peer for rung in rows))
    width = LABEL_CHARS_MAX + 4
    lines = [" " * 10 + "gate" + "".join(peer.rjust(width + 1) for peer in peers)[3:]]
    for rung in rows:
        lines.append(_row(rung, rows[0].at_ms, peers.index(rung.peer), len(peers), width))
    return "\n".join(lines)


def _row(rung: Rung, start_ms: int, column: int, columns: int, width: int) -> str:
    """One message: the arrow runs from the gate's line to its peer's, past the peers between."""
    label = f" {summary(rung.text)} "
    reach = width * (column + 1) + column
    line = label.center(reach - 2, "─")
    arrow = f"─{line}►" if rung.sent else f"◄{line}─"
    beyond = "".join(" " * width + "│" for _ in range(columns - column - 1))
    return f"{(rung.at_ms - start_ms) / 1000:9.3f} │{arrow}│{beyond}"


def summary(text: str) -> str:
    """A message in a few words: ``INVITE sip:+4420…``, ``180 Ringing (INVITE)``."""
    first = text.split("\r\n", 1)[0]
    if first.startswith("SIP/2.0 "):
        method = next((line.split()[-1] for line in text.split("\r\n") if line.lower().startswith("cseq:")), "")
        words = f"{first[8:]} ({method})" if method else first[8:]
    else:
        words = first.removesuffix(" SIP/2.0")
    words = hide(words)
    return words if len(words) <= LABEL_CHARS_MAX else words[: LABEL_CHARS_MAX - 1] + "…"
