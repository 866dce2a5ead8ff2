"""The call as a literal table: in each state, what each happening makes the call do and which state follows.

There is no other place where the course of a call is decided.  A happening that has no entry in the present state
changes nothing: a ringing that arrives after the answer, a grant that arrives after the end.  The actions are
methods of :class:`gateway.call.call.Call`; the documentation's drawing is made from this table by :func:`drawing`.

Dead ends are impossible by construction: every state but OVER has a deadline that leads out of it (RESERVING and
DIALLING the setup deadline, ANSWERING the store's answer and paid-until, ANSWERED 64·T1, TALKING paid-until, the
longest call and the session timers, REDIRECTED the longest announcement, ENDING the end of its BYEs).
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a call stands; the values are what ``callgate calls`` shows."""

    RESERVING = "reserving"
    """The credit store was asked for the first tick; nothing has been dialled."""
    DIALLING = "dialling"
    """The called side is invited and may be ringing; no target has answered."""
    ANSWERING = "answering"
    """The called side answered; the store writes it down before the caller hears of it (SIP.md 5 b)."""
    ANSWERED = "answered"
    """The caller has the 200 and has not acknowledged it."""
    TALKING = "talking"
    """Both sides talk."""
    REDIRECTED = "redirected"
    """The money is settled, the called side hung up; the caller is connected with who says so."""
    ENDING = "ending"
    """The money is settled; a leg still waits for its ACK or for the answer to its BYE."""
    OVER = "over"
    """Nothing is left to do."""


class Happening(StrEnum):
    """What can happen to a call, whoever it comes from."""

    GRANTED = "first tick granted"
    DENIED = "first tick refused"
    STORE_AWAY = "store away"
    PROGRESS = "called side rings"
    ANSWERED = "called side answers"
    FAILED = "no target took the call"
    WRITTEN = "answer written"
    GAVE_UP = "caller gives up"
    ACKED = "caller acknowledges"
    NO_ACK = "no ACK for 64·T1"
    PASSED = "request or answer inside a dialog"
    HUNG_UP = "a side hangs up"
    STOPPED = "the gate ends the call"
    DRY = "money ends, and somebody says so"
    FENCED = "the call belongs to another worker"
    CLEARED = "a leg is done"


Step = tuple[str, State]
"""The action, a method of Call, and the state that follows."""

TABLE: Final[dict[State, dict[Happening, Step]]] = {
    State.RESERVING: {
        Happening.GRANTED: ("dial", State.DIALLING),
        Happening.DENIED: ("refuse", State.OVER),
        Happening.STORE_AWAY: ("refuse", State.OVER),
        Happening.GAVE_UP: ("give_up", State.OVER),
        Happening.STOPPED: ("refuse", State.OVER),
        Happening.FENCED: ("refuse", State.OVER),
    },
    State.DIALLING: {
        Happening.PROGRESS: ("show_progress", State.DIALLING),
        Happening.PASSED: ("pass_on", State.DIALLING),
        Happening.ANSWERED: ("write_answer", State.ANSWERING),
        Happening.FAILED: ("relay_failure", State.OVER),
        Happening.GAVE_UP: ("give_up", State.OVER),
        Happening.STOPPED: ("refuse", State.OVER),
        Happening.FENCED: ("refuse", State.OVER),
    },
    State.ANSWERING: {
        Happening.WRITTEN: ("connect", State.ANSWERED),
        Happening.STORE_AWAY: ("connect", State.ANSWERED),
        Happening.PASSED: ("pass_on", State.ANSWERING),
        Happening.GAVE_UP: ("give_up", State.ENDING),
        Happening.HUNG_UP: ("refuse", State.ENDING),
        Happening.STOPPED: ("refuse", State.ENDING),
        Happening.FENCED: ("refuse", State.ENDING),
    },
    State.ANSWERED: {
        Happening.ACKED: ("acknowledge", State.TALKING),
        Happening.PASSED: ("pass_on", State.ANSWERED),
        Happening.NO_ACK: ("hang_up_both", State.ENDING),
        Happening.HUNG_UP: ("hang_up_other", State.ENDING),
        Happening.STOPPED: ("hang_up_both", State.ENDING),
        Happening.FENCED: ("drop", State.OVER),
    },
    State.TALKING: {
        Happening.ACKED: ("acknowledge", State.TALKING),
        Happening.PASSED: ("pass_on", State.TALKING),
        Happening.NO_ACK: ("hang_up_both", State.ENDING),
        Happening.HUNG_UP: ("hang_up_other", State.ENDING),
        Happening.STOPPED: ("hang_up_both", State.ENDING),
        Happening.DRY: ("redirect", State.REDIRECTED),
        Happening.FENCED: ("drop", State.OVER),
    },
    State.REDIRECTED: {
        Happening.ANSWERED: ("offer_to_caller", State.REDIRECTED),
        Happening.ACKED: ("acknowledge", State.REDIRECTED),
        Happening.PASSED: ("pass_on", State.REDIRECTED),
        Happening.FAILED: ("part", State.ENDING),
        Happening.NO_ACK: ("part", State.ENDING),
        Happening.HUNG_UP: ("part", State.ENDING),
        Happening.STOPPED: ("part", State.ENDING),
        Happening.FENCED: ("drop", State.OVER),
    },
    State.ENDING: {
        Happening.CLEARED: ("forget", State.OVER),
        Happening.FENCED: ("drop", State.OVER),
    },
    State.OVER: {},
}


def drawing() -> str:
    """The table as a Mermaid state diagram, for the documentation; a line for each entry, in the table's order."""
    lines = ["stateDiagram-v2", "    [*] --> reserving"]
    for state, row in TABLE.items():
        for happening, (action, following) in row.items():
            lines.append(f"    {state.value} --> {following.value}: {happening.value} / {action}")
    lines.append("    over --> [*]")
    return "\n".join(lines)
