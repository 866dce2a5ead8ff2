"""The ladder of one call: its SIP messages in order, kept on demand, drawn as arrows between the peers and the gate.

A worker keeps the messages of the calls it is told to watch, or of the latest N calls (``telemetry.ladder_calls``);
both are bounded, so that a long call or a flood of messages costs a known amount of memory.  Nothing is kept unless it
is wanted: the hot path asks :attr:`Ladder.wanted`, one attribute, before it builds anything.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.telemetry.logs import hide

MESSAGES_MAX: Final = 200
"""Messages kept of one call: a call with hours of session refreshes keeps the newest."""
MESSAGE_BYTES_MAX: Final = 4096
"""Bytes kept of one message: header fields nearly always fit, a body is not what a ladder is read for."""
WATCHED_MAX: Final = 100
"""Calls that can be watched by name at once, beside the latest ones."""
LABEL_CHARS_MAX: Final = 44
"""Width of an arrow: a method and a number, or a status and its reason."""


class Rung(NamedTuple):
    """One message: ``at_ms`` Unix milliseconds, ``sent`` by the gate or received, ``peer`` as ``udp:ADDRESS:PORT``."""

    at_ms: int
    sent: bool
    peer: str
    data: bytes


class Ladder:
    """The messages of the latest ``calls_max`` calls and of those watched by name."""

    def __init__(self, calls_max: int = 0) -> None:
        self._calls_max = calls_max
        self._latest: OrderedDict[str, deque[Rung]] = OrderedDict()
        self._watched: OrderedDict[str, deque[Rung]] = OrderedDict()

    @property
    def wanted(self) -> bool:
        """Whether any message need be kept at all."""
        return self._calls_max > 0 or bool(self._watched)

    def watch(self, call_id: str) -> None:
        """Keep this call's messages from now on; the oldest watch ends where there are too many."""
        self._watched.setdefault(call_id, deque(self._latest.get(call_id, ()), MESSAGES_MAX))
        if len(self._watched) > WATCHED_MAX:
            self._watched.popitem(last=False)

    def keep(self, call_id: str, at_ms: int, peer: str, data: bytes, *, sent: bool) -> None:
        """Keep one message of a call, if its call is wanted."""
        rung = Rung(at_ms, sent, peer, data[:MESSAGE_BYTES_MAX])
        if call_id in self._watched:
            self._watched[call_id].append(rung)
        if not self._calls_max:
            return
        if call_id not in self._latest:
            self._latest[call_id] = deque(maxlen=MESSAGES_MAX)
            if len(self._latest) > self._calls_max:
                self._latest.popitem(last=False)
        self._latest[call_id].append(rung)

    def rungs(self, call_id: str) -> list[Rung]:
        """What was kept of a call, oldest first; empty where nothing was."""
        return list(self._watched.get(call_id) or self._latest.get(call_id) or ())


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
    label = f" {summary(rung.data)} "
    reach = width * (column + 1) + column
    line = label.center(reach - 2, "─")
    arrow = f"─{line}►" if rung.sent else f"◄{line}─"
    beyond = "".join(" " * width + "│" for _ in range(columns - column - 1))
    return f"{(rung.at_ms - start_ms) / 1000:9.3f} │{arrow}│{beyond}"


def summary(data: bytes) -> str:
    """A message in a few words: ``INVITE sip:+4420…``, ``180 Ringing (INVITE)``; secrets are never in it."""
    text = data.decode("utf-8", "replace")
    first = text.split("\r\n", 1)[0]
    if first.startswith("SIP/2.0 "):
        method = next((line.split()[-1] for line in text.split("\r\n") if line.lower().startswith("cseq:")), "")
        words = f"{first[8:]} ({method})" if method else first[8:]
    else:
        words = first.removesuffix(" SIP/2.0")
    words = hide(words)
    return words if len(words) <= LABEL_CHARS_MAX else words[: LABEL_CHARS_MAX - 1] + "…"
