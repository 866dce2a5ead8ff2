"""The called telephones: 180, a final answer after the ring time, and BYE, as RFC 3261's user agent server does it."""

from collections.abc import Callable

from loadtest.call import Call, Pairing
from loadtest.leg import Leg, State, Telephones
from loadtest.line import Line
from loadtest.wire import Address, Dialog, Heard, response, routes_in, sdp, tag_of, uri_in, user_of


class Callees(Telephones):
    """Every call leg that arrived here; calls of strangers are refused."""

    name = "called side"

    def __init__(
        self,
        line: Line,
        pairing: Pairing,
        ended: Callable[[Call, float], None],
        *,
        hang_up: bool,
        ring_s: float,
    ) -> None:
        super().__init__(line, "u", ended)
        self._pairing = pairing
        self._hang_up = hang_up
        self._ring_s = ring_s
        line.listen(self.hear)

    def hear(self, heard: Heard, sender: Address, now: float) -> None:
        """Take a message that came in on this line."""
        leg = self.legs.get(heard.call_id)
        if heard.status:
            if leg is not None and heard.method == "BYE" and heard.status >= 200 and leg.state is State.ENDING:
                self.end(leg, now)
        elif leg is None:
            self._hear_first(heard, sender, now)
        elif heard.method == "ACK":
            self._hear_ack(leg, now)
        elif heard.method == "CANCEL":
            self._hear_cancel(leg, heard, sender, now)
        elif heard.method == "INVITE" and heard.branch == leg.branch:
            self.line.tally.repeats_heard += 1
            self.line.send(leg.reply, sender)
        else:
            self.in_dialog(leg, heard, sender, now)

    def note_bye_sent(self, call: Call, now: float) -> None:
        """The called side hung up."""
        call.callee_bye_sent = now

    def note_bye_heard(self, call: Call, now: float, cause: int) -> bool:
        """The called side heard BYE."""
        if call.callee_bye_heard is not None:
            return False
        call.callee_bye_heard, call.callee_cause = now, cause
        return True

    def _hear_first(self, heard: Heard, sender: Address, now: float) -> None:
        opening = heard.method == "INVITE" and not tag_of(heard.headers["to"][0])
        call = self._pairing.take(user_of(heard.uri), heard.body) if opening else None
        if call is not None:
            self._ring(call, heard, sender, now)
        elif heard.method == "OPTIONS":  # the gate's keep-alive pings
            self.line.send(response(heard, 200, self.token()), sender)
        elif heard.method != "ACK":
            self.line.tally.strays += 1
            self.line.send(response(heard, 480 if opening else 481, self.token()), sender)

    def _ring(self, call: Call, heard: Heard, sender: Address, now: float) -> None:
        here = self.line.here
        tag = self.token()
        dialog = Dialog(
            here=here,
            call_id=heard.call_id,
            local=f"{heard.headers['to'][0]};tag={tag}",
            remote=heard.headers["from"][0],
            contact=f"sip:{call.number}@{here}",
            target=uri_in(heard.first("contact")),
            next_hop=sender,
        )
        leg = Leg(call, dialog, heard.branch)
        leg.invite = heard
        self.legs[heard.call_id] = leg
        call.invite_heard = now
        if call.behaviour.rings:
            call.ring_sent = now
            leg.reply = response(heard, 180, tag, dialog.contact)
            self.line.send(leg.reply, sender)
        if not call.behaviour.final_status:
            return
        if self._ring_s > 0 and call.behaviour.rings:
            self.wait(leg, now + self._ring_s, self._answer)
        else:
            self._answer(leg, now)

    def _answer(self, leg: Leg, now: float) -> None:
        status = leg.call.behaviour.final_status
        if status >= 300:
            self._refuse(leg, status, now)
            return
        leg.state = State.ANSWERED
        leg.call.answer_sent = now
        self._reply(leg, status, now, sdp(self.line.here, leg.call.place))
        assert leg.invite is not None
        leg.dialog.learn(uri_in(leg.invite.first("contact")), routes_in(leg.invite))

    def _refuse(self, leg: Leg, status: int, now: float) -> None:
        leg.state = State.REFUSED
        self._reply(leg, status, now)

    def _reply(self, leg: Leg, status: int, now: float, body: str = "") -> None:
        """A final answer, repeated until its ACK comes (13.3.1.4, 17.2.1 timer G)."""
        assert leg.invite is not None
        leg.reply = response(leg.invite, status, tag_of(leg.dialog.local), leg.dialog.contact, body)
        self.say(leg, leg.reply, now, f"no ACK to {status}")

    def _hear_ack(self, leg: Leg, now: float) -> None:
        if leg.state is State.REFUSED:
            self.end(leg, now)
        elif leg.state is State.ANSWERED:
            self.hush(leg)
            leg.state = State.UP
            if self._hang_up and leg.call.answer_sent is not None:
                self.wait(leg, leg.call.answer_sent + leg.call.hold_s, self.hang_up)

    def _hear_cancel(self, leg: Leg, heard: Heard, sender: Address, now: float) -> None:
        self.line.send(response(heard, 200, tag_of(leg.dialog.local)), sender)
        if leg.state is State.TRYING:
            self.line.deadlines.cancel(leg.timer)
            self._refuse(leg, 487, now)
