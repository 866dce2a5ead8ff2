"""What a run comes to: every call is booked here once, and the figures are read from it.

A call that was offered is answered, refused by the gate with a reason, left unanswered as its behaviour plans, or
failed.  An answered call in which something went wrong counts as answered and as failed, with the first fault found.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.call import CREDIT_CAUSE, Call
from loadtest.histogram import Histogram
from loadtest.line import WireTally
from loadtest.series import Series

MAX_KINDS: Final = 200
"""Different faults or codes counted apart: a gate that makes up a new one each time must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Increments:
    """Where talk may be cut: after the first increment and then after each next one, in seconds (MONEY 2)."""

    first_s: int = 1
    next_s: int = 1

    def nearest_s(self, talk_s: float) -> float:
        """The boundary nearest to ``talk_s``."""
        steps = round((talk_s - self.first_s) / self.next_s)
        return self.first_s + max(0, steps) * self.next_s


@dataclass(slots=True)
class Tally:
    """Counts calls as they end.

    ``due_s`` is the talk the money is known to pay for, None: a cut is measured against the nearest boundary of
    ``increments``.
    """

    series: Series
    increments: Increments
    due_s: float | None = None
    offered: int = 0
    answered: int = 0
    answered_in_order: int = 0
    talk_s: float = 0.0
    refused_by: dict[str, int] = field(default_factory=dict)
    unanswered_by: dict[str, int] = field(default_factory=dict)
    failed_by: dict[str, int] = field(default_factory=dict)
    cut_by: dict[str, int] = field(default_factory=dict)
    status_by: dict[str, int] = field(default_factory=dict)
    setup: Histogram = field(default_factory=Histogram)
    post_dial: Histogram = field(default_factory=Histogram)
    cut_error: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    held_back: Histogram = field(default_factory=Histogram)

    def offer(self, call: Call, live: int) -> None:
        """The INVITE of ``call`` has left; ``live`` calls are under way with it."""
        assert call.invite_sent is not None
        self.offered += 1
        self.lateness.add(call.invite_sent - call.due_s)
        if call.slot_s is not None:
            self.held_back.add(call.due_s - call.intended_s)
        now = self.series.at(call.intended_s)
        now.offered += 1
        now.live = max(now.live, live)

    def book(self, call: Call) -> None:
        """The call is over on both legs."""
        self._time(call)
        if call.status:
            _count(self.status_by, str(call.status))
        moment = self.series.at(call.intended_s)
        if call.answer_heard is not None:
            self._answered(call)
            moment.answered += 1
        elif not call.fault and call.code:
            _count(self.refused_by, call.code)
            moment.refused += 1
        elif not call.fault and call.status == call.behaviour.expected_status:
            _count(self.unanswered_by, str(call.status))
        elif not call.fault:
            call.complain(f"status {call.status} without a reason")
        if call.fault:
            _count(self.failed_by, call.fault)
            moment.failed += 1

    def figures(self, wire: WireTally, span_s: float, held_back: int) -> dict[str, Any]:
        """The figures as one JSON document; ``span_s`` is the time over which calls were meant to arrive."""
        per_s = 1 / span_s if span_s > 0 else 0.0
        return {
            "offered": self.offered,
            "offered_cps": round(self.offered * per_s, 3),
            "carried_cps": round(self.answered_in_order * per_s, 3),
            "answered": self.answered,
            "refused": sum(self.refused_by.values()),
            "refused_by": _sorted(self.refused_by),
            "unanswered": sum(self.unanswered_by.values()),
            "unanswered_by": _sorted(self.unanswered_by),
            "failed": sum(self.failed_by.values()),
            "failed_by": _sorted(self.failed_by),
            "cut": sum(self.cut_by.values()),
            "cut_by": _sorted(self.cut_by),
            "status_by": _sorted(self.status_by),
            "talk_s": round(self.talk_s, 3),
            "held_back": held_back,
            "retransmissions": wire.retransmissions,
            "repeats_heard": wire.repeats_heard,
            "strays": wire.strays,
            "malformed": wire.malformed,
            "malformed_examples": wire.malformed_examples,
            "unsent": wire.unsent,
            "setup_delay_ms": self.setup.summary(),
            "post_dial_delay_ms": self.post_dial.summary(),
            "cut_error_ms": self.cut_error.summary(),
            "held_back_ms": self.held_back.summary(),
            "lateness_ms": self.lateness.summary(),
        }

    def _time(self, call: Call) -> None:
        if call.setup_s is not None:
            self.setup.add(call.setup_s)
            self.series.at(call.intended_s).setup.add(call.setup_s)
        if call.post_dial_s is not None:
            self.post_dial.add(call.post_dial_s)

    def _answered(self, call: Call) -> None:
        self.answered += 1
        began = call.answer_sent or call.answer_heard
        assert began is not None
        ends = [
            moment
            for moment in (call.caller_bye_sent, call.callee_bye_sent, call.caller_bye_heard, call.callee_bye_heard)
            if moment is not None
        ]
        self.talk_s += max(0.0, min(ends) - began) if ends else 0.0
        if call.cause:
            self._cut(call, began)
        self.answered_in_order += not call.fault

    def _cut(self, call: Call, began: float) -> None:
        _count(self.cut_by, str(call.cause))
        heard = [moment for moment in (call.caller_bye_heard, call.callee_bye_heard) if moment is not None]
        if call.caller_cause != call.callee_cause and call.invite_heard is not None and not _crossed(call):
            call.complain("cut, but the legs did not both hear why")
        self.series.at(min(heard)).cut += 1
        if call.cause != CREDIT_CAUSE:
            return
        due_s = self.due_s if self.due_s is not None else self.increments.nearest_s(min(heard) - began)
        for moment in heard:
            self.cut_error.add(moment - began - due_s)
            self.series.at(moment).cut_error.add(moment - began - due_s)


def no_figures() -> dict[str, Any]:
    """The figures of a run without calls: every key there is."""
    return Tally(Series(0.0), Increments()).figures(WireTally(), 1.0, 0)


def _crossed(call: Call) -> bool:
    """Whether a leg hung up by itself while the gate's BYE was on its way."""
    return call.caller_bye_sent is not None or call.callee_bye_sent is not None


def _count(counts: dict[str, int], kind: str) -> None:
    if kind not in counts and len(counts) >= MAX_KINDS:
        kind = "others"
    counts[kind] = counts.get(kind, 0) + 1


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
