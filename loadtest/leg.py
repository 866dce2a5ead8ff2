"""What a calling and a called telephone have in common: legs by Call-ID, requests in a dialog, hanging up."""

from collections.abc import Callable
from enum import Enum, auto
from secrets import token_hex
from typing import Final

from gateway.sip.deadlines import Deadline
from loadtest.call import Call
from loadtest.line import GIVE_UP_S, Line, Repeat
from loadtest.wire import Address, Dialog, Heard, request, response, sdp, sip_cause

LINGER_S: Final = 5.0
"""How long an ended leg still answers repeated requests: Timer F's first few repeats, not all of its 32 s, so that
a fast run does not carry half a minute of ended calls."""


class State(Enum):
    """Where a leg is; the same for both sides."""

    TRYING = auto()
    CANCELLING = auto()
    REFUSED = auto()
    ANSWERED = auto()
    UP = auto()
    ENDING = auto()
    OVER = auto()


class Leg:
    """One side of a call: its dialog, what it is sending again and the one moment it waits for."""

    __slots__ = ("ack", "branch", "call", "dialog", "invite", "repeat", "reply", "state", "timer")

    def __init__(self, call: Call, dialog: Dialog, branch: str) -> None:
        self.call = call
        self.dialog = dialog
        self.branch = branch
        self.state = State.TRYING
        self.repeat: Repeat | None = None
        self.timer: Deadline | None = None
        self.invite: Heard | None = None
        self.reply = b""
        self.ack = b""


class Telephones:
    """All legs of one side of a run, on one line; ``ended`` is told when a leg of a call is over."""

    name = ""

    def __init__(self, line: Line, prefix: str, ended: Callable[[Call, float], None]) -> None:
        self.line = line
        self.legs: dict[str, Leg] = {}
        self._ended = ended
        self._prefix = f"{prefix}{token_hex(6)}"  # not of the seed: a run made again must be new calls to the gate
        self._tokens = 0

    def token(self) -> str:
        """A name never used before: for tags, branches and Call-IDs."""
        self._tokens += 1
        return f"{self._prefix}{self._tokens:x}"

    def branch(self) -> str:
        """A branch of its own for a transaction (8.1.1.7)."""
        return f"z9hG4bK{self.token()}"

    def hang_up(self, leg: Leg, now: float) -> None:
        """Send BYE and wait for its answer."""
        leg.state = State.ENDING
        self.note_bye_sent(leg.call, now)
        leg.dialog.cseq += 1
        self.say(leg, request(leg.dialog, "BYE", self.branch()), now, "no answer to BYE")

    def say(self, leg: Leg, datagram: bytes, now: float, fault: str, cap_s: float = 4.0) -> None:
        """Send and keep sending; where nobody answers, the leg is over with ``fault``."""
        self.hush(leg)

        def give_up(moment: float) -> None:
            leg.call.complain(f"{fault} at the {self.name}")
            self.end(leg, moment)

        leg.repeat = Repeat(self.line, datagram, leg.dialog.next_hop, now, give_up, cap_s)

    def hush(self, leg: Leg) -> None:
        """Stop sending again."""
        if leg.repeat is not None:
            leg.repeat.stop()
            leg.repeat = None

    def wait(self, leg: Leg, until_s: float, fire: Callable[[Leg, float], None]) -> None:
        """Do ``fire`` at ``until_s``, in place of what the leg waited for until now."""
        self.line.deadlines.cancel(leg.timer)
        leg.timer = self.line.deadlines.at(until_s, lambda now: fire(leg, now))

    def end(self, leg: Leg, now: float) -> None:
        """The leg is over; it lingers to answer repeated requests, then it is forgotten."""
        if leg.state is State.OVER:
            return
        leg.state = State.OVER
        self.hush(leg)
        self.line.deadlines.cancel(leg.timer)
        leg.timer = self.line.deadlines.at(now + LINGER_S, lambda _: self._forget(leg))
        self._ended(leg.call, now)

    def give_up_all(self, now: float) -> None:
        """The run ends: hang up what is up, end the rest."""
        for leg in list(self.legs.values()):
            if leg.state is State.UP:
                self.hang_up(leg, now)
            elif leg.state not in (State.ENDING, State.OVER):
                self.abandon(leg, now)

    def abandon(self, leg: Leg, now: float) -> None:
        """End a leg that is not up yet."""
        leg.call.complain("not over when the run ended")
        self.end(leg, now)

    def in_dialog(self, leg: Leg, heard: Heard, sender: Address, now: float) -> None:
        """Answer a request inside a dialog: BYE ends it, the rest is agreed to (12.2.2)."""
        if heard.method == "BYE":
            self._hear_bye(leg, heard, sender, now)
            return
        agreed = heard.method in ("INVITE", "UPDATE", "OPTIONS", "INFO", "MESSAGE", "NOTIFY")
        body = sdp(self.line.here, leg.call.place) if heard.method == "INVITE" else ""
        self.line.send(response(heard, 200 if agreed else 405, contact=leg.dialog.contact, body=body), sender)

    def note_bye_sent(self, call: Call, now: float) -> None:
        """This side hung up."""
        raise NotImplementedError

    def note_bye_heard(self, call: Call, now: float, cause: int) -> bool:
        """The far side hung up; False where that was known already."""
        raise NotImplementedError

    def _hear_bye(self, leg: Leg, heard: Heard, sender: Address, now: float) -> None:
        self.line.send(response(heard, 200), sender)
        if not self.note_bye_heard(leg.call, now, sip_cause(heard)):
            self.line.tally.repeats_heard += 1
        elif leg.state is not State.ENDING:  # crossing BYEs: ours still wants its answer
            self.end(leg, now)

    def _forget(self, leg: Leg) -> None:
        self.legs.pop(leg.dialog.call_id, None)


UNANSWERED_S: Final = GIVE_UP_S
"""How long a side waits for the far end to finish what it has agreed to (the 487 after a CANCEL; RFC 3261 9.1)."""
