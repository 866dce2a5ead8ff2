"""The calling telephones: INVITE, ACK, hold, BYE or CANCEL, as RFC 3261's user agent client does it."""

from collections.abc import Callable
from typing import Final

from loadtest.call import Call
from loadtest.leg import UNANSWERED_S, Leg, State, Telephones
from loadtest.line import GIVE_UP_S, Line
from loadtest.wire import Address, Dialog, Heard, reason_code, request, response, routes_in, sdp, uri_in

MAX_EXTRA: Final = 2_000
"""Octets of header lines a user may add to each INVITE: the datagram must stay below the gate's size limit."""


class Callers(Telephones):
    """Every call leg that this run placed.  ``ring_s`` is the patience of callers that give up."""

    name = "caller"

    def __init__(
        self,
        line: Line,
        target: Address,
        ended: Callable[[Call, float], None],
        *,
        hang_up: bool,
        ring_s: float,
        extra: str,
    ) -> None:
        super().__init__(line, "c", ended)
        self._target = target
        self._hang_up = hang_up
        self._ring_s = ring_s
        self._extra = extra
        line.listen(self.hear)

    def place(self, call: Call, now: float) -> None:
        """Send the INVITE of ``call``."""
        here, target = self.line.here, self._target
        dialog = Dialog(
            here=here,
            call_id=f"{self.token()}@{here.host}",
            local=f"<sip:{call.caller}@{here}>;tag={self.token()}",
            remote=f"<sip:{call.number}@{target}>",
            contact=f"sip:{call.caller}@{here}",
            target=f"sip:{call.number}@{target}",
            next_hop=target,
            cseq=1,
        )
        leg = Leg(call, dialog, self.branch())
        self.legs[dialog.call_id] = leg
        call.invite_sent = now
        body = sdp(here, call.place)
        invite = request(dialog, "INVITE", leg.branch, body, f"Allow: INVITE, ACK, CANCEL, BYE\r\n{self._extra}")
        self.say(leg, invite, now, "no answer to INVITE", cap_s=GIVE_UP_S)  # timer A knows no ceiling (17.1.1.2)

    def hear(self, heard: Heard, sender: Address, now: float) -> None:
        """Take a message that came in on this line."""
        leg = self.legs.get(heard.call_id)
        if leg is None:
            self._hear_stray(heard, sender)
        elif not heard.status:
            if heard.method != "ACK":
                self.in_dialog(leg, heard, sender, now)
        elif heard.method == "INVITE":
            self._hear_answer(leg, heard, now)
        elif heard.status >= 200 and heard.method == "BYE" and leg.state is State.ENDING:
            self.end(leg, now)
        elif heard.status >= 200 and heard.method == "CANCEL" and leg.state is State.CANCELLING:
            self.hush(leg)

    def abandon(self, leg: Leg, now: float) -> None:
        """The run is over: cancel what is still ringing, but never before a provisional answer (RFC 3261 9.1)."""
        leg.call.complain("not over when the run ended")
        if leg.state is State.TRYING and leg.repeat is None:
            self._cancel(leg, now)
        elif leg.state is State.TRYING:
            self.end(leg, now)

    def note_bye_sent(self, call: Call, now: float) -> None:
        """The caller hung up."""
        call.caller_bye_sent = now

    def note_bye_heard(self, call: Call, now: float, cause: int) -> bool:
        """The caller heard BYE."""
        if call.caller_bye_heard is not None:
            return False
        call.caller_bye_heard, call.caller_cause = now, cause
        return True

    def _hear_stray(self, heard: Heard, sender: Address) -> None:
        self.line.tally.strays += 1
        if not heard.status and heard.method != "ACK":
            self.line.send(response(heard, 481), sender)

    def _hear_answer(self, leg: Leg, heard: Heard, now: float) -> None:
        if heard.branch != leg.branch or leg.state not in (State.TRYING, State.CANCELLING):
            self._hear_repeat(leg, heard)
        elif heard.status < 200:
            self._hear_provisional(leg, heard, now)
        elif heard.status < 300:
            self._hear_success(leg, heard, now)
        else:
            self._hear_refusal(leg, heard, now)

    def _hear_repeat(self, leg: Leg, heard: Heard) -> None:
        if heard.status >= 200:
            self.line.tally.repeats_heard += 1
            self.line.send(leg.ack, leg.dialog.next_hop)

    def _hear_provisional(self, leg: Leg, heard: Heard, now: float) -> None:
        if leg.state is State.TRYING:
            self.hush(leg)
            if leg.call.behaviour.caller_gives_up and leg.timer is None:
                self.wait(leg, now + self._ring_s, self._cancel)
        if heard.status > 100 and leg.call.ring_heard is None:
            leg.call.ring_heard = now

    def _hear_success(self, leg: Leg, heard: Heard, now: float) -> None:
        self.hush(leg)
        leg.call.status = heard.status
        leg.call.answer_heard = now
        leg.dialog.remote = heard.headers["to"][0]
        leg.dialog.learn(uri_in(heard.first("contact")), routes_in(heard)[::-1])  # 12.1.2: reversed at the caller
        leg.ack = request(leg.dialog, "ACK", self.branch())
        self.line.send(leg.ack, leg.dialog.next_hop)
        cancelled = leg.state is State.CANCELLING
        leg.state = State.UP
        if cancelled:  # the answer crossed the CANCEL (RFC 3261 9.1): hang up at once
            self.hang_up(leg, now)
        elif self._hang_up:
            self.wait(leg, now + leg.call.hold_s, self.hang_up)

    def _hear_refusal(self, leg: Leg, heard: Heard, now: float) -> None:
        leg.call.status = heard.status
        leg.call.code = reason_code(heard)
        leg.dialog.remote = heard.headers["to"][0]
        leg.ack = request(leg.dialog, "ACK", leg.branch)  # 17.1.1.3: the ACK belongs to the INVITE's transaction
        self.line.send(leg.ack, self._target)
        self.end(leg, now)

    def _cancel(self, leg: Leg, now: float) -> None:
        leg.state = State.CANCELLING
        self.say(leg, request(leg.dialog, "CANCEL", leg.branch), now, "no answer to CANCEL")
        self.wait(leg, now + UNANSWERED_S, self._never_refused)

    def _never_refused(self, leg: Leg, now: float) -> None:
        leg.call.complain("no final answer after CANCEL")
        self.end(leg, now)
