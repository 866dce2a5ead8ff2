"""One test call as both ears heard it: every moment on one clock, and what can be told from them.

Both legs write into the same :class:`Call`.  They are joined by the called number, since the Call-ID does not cross
a B2BUA (SIP.md 1); of several calls to one number the session description tells which it is, as it passes unchanged.
"""

from dataclasses import dataclass
from typing import Final

from loadtest.behaviour import Behaviour
from loadtest.wire import origin_of

CREDIT_CAUSE: Final = 402
"""The cause a cut for want of credit gives on both legs (CONTRACT 6)."""

Moment = float | None
"""Monotonic seconds, or None where it did not happen."""


@dataclass(slots=True, eq=False)
class Call:
    """A call and its moments: ``…_sent`` and ``…_heard`` are the tester's own, on either leg.

    ``intended_s`` is when the call was meant to arrive, ``slot_s`` when there was room for one that ``--concurrent``
    held back.  ``status`` is the final answer the caller heard, ``code`` its ``Warning: 399``; ``fault`` says what went
    wrong.  The causes are those of ``Reason: SIP`` on a BYE the leg heard.
    """

    place: int
    number: str
    caller: str
    behaviour: Behaviour
    hold_s: float
    intended_s: float
    slot_s: Moment = None
    invite_sent: Moment = None
    invite_heard: Moment = None
    ring_sent: Moment = None
    ring_heard: Moment = None
    answer_sent: Moment = None
    answer_heard: Moment = None
    caller_bye_sent: Moment = None
    caller_bye_heard: Moment = None
    callee_bye_sent: Moment = None
    callee_bye_heard: Moment = None
    caller_cause: int = 0
    callee_cause: int = 0
    status: int = 0
    code: str = ""
    fault: str = ""
    caller_over: bool = False
    callee_over: bool = False

    @property
    def over(self) -> bool:
        """Whether both legs have ended; a called leg that never began has."""
        return self.caller_over and (self.callee_over or self.invite_heard is None)

    @property
    def due_s(self) -> float:
        """When the call could have started: every delay counts from here, however late the INVITE really left.

        That is its intended arrival.  Only the limit that the tester set itself moves it, never the gate or the loop.
        """
        return self.intended_s if self.slot_s is None else max(self.intended_s, self.slot_s)

    @property
    def setup_s(self) -> Moment:
        """What the way through the gate added: due → called side has it, and its ringing → caller."""
        if self.invite_heard is None:
            return None
        back = self.ring_heard - self.ring_sent if self.ring_heard and self.ring_sent else 0.0
        return self.invite_heard - self.due_s + back

    @property
    def post_dial_s(self) -> Moment:
        """Due → first ringing or answer at the caller."""
        first = self.ring_heard or self.answer_heard
        return None if first is None else first - self.due_s

    @property
    def cause(self) -> int:
        """The cause the gate cut this call with; 0 where it did not."""
        return self.caller_cause or self.callee_cause

    def complain(self, fault: str) -> None:
        """Remember what went wrong first; what follows from it is not counted again."""
        self.fault = self.fault or fault


class Pairing:
    """Calls that have left the caller and wait for the called side to hear them, by the digits of the number."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Call]] = {}

    def expect(self, call: Call) -> None:
        """A call is on its way."""
        self._waiting.setdefault(_digits(call.number), []).append(call)

    def take(self, number: str, body: str) -> Call | None:
        """The call that arrives under ``number`` with this session description; None for a stranger's."""
        calls = self._waiting.get(_digits(number))
        if not calls:
            return None
        origin = origin_of(body)
        call = next((waiting for waiting in calls if waiting.place == origin), calls[0])
        self.forget(call)
        return call

    def forget(self, call: Call) -> None:
        """The call is not waited for any more; harmless when it is not here."""
        digits = _digits(call.number)
        calls = self._waiting.get(digits, [])
        if call in calls:
            calls.remove(call)
        if not calls:
            self._waiting.pop(digits, None)


def _digits(number: str) -> str:
    return number.removeprefix("+")
