"""Calls of a worker that died go on with the next one in its slot (SIP.md 5, MONEY 5).

An answered call is built again from what stands in the store: both dialogs under the tags the peers know, session
timers, and the money where it stood.  Its CSeq numbers go on well above those that may have been used.  What happened
while nobody was there is found out at once: the store is asked for ticks that elapsed, and both peers are asked whether
they are still there.  Until both were heard the talk is *doubted*: where one turns out to be gone, the call ended at
its last proven moment.

That the caller acknowledged the answer is not written for its own sake, so a record from the first moments leaves it
open: such a call counts as answered until the ACK comes, which is then relayed, but nothing waits for it, and a 2xx
that the called side repeats is acknowledged.

A peer that believes the gate to be at another place (another gate's calls were taken over, or this one hears on another
address now) is moved: instead of a question it gets a target refresh with our Contact, by UPDATE where it takes one,
else by a re-INVITE with the session description that it got last (RFC 3261 12.2, RFC 3311).  An ACK that is on its way
to the old place is not heard, so the called side is given one.

An unanswered call cannot be carried on, for its INVITEs are known by their heads only.  It is built as far as needed to
be refused like any other: 500 to the caller, CANCEL to the called side, the reservation released.
"""

from typing import TYPE_CHECKING, Final, Literal, cast

from gateway.call.adoption import Side, StoredCall, Talking, Unanswered, decode
from gateway.call.call import UNLIMITED_S, Call
from gateway.call.called import CalledLeg
from gateway.call.caller import CallerLeg
from gateway.call.commands import Release
from gateway.call.record import CallRecord, decode_record
from gateway.call.records import Ending, invited_tariff, unanswered
from gateway.call.states import State
from gateway.sip.events import LOOP, Flow
from gateway.sip.revival import heard_invite, sent_invite
from policy.reasons import REASONS
from policy.verdict import Allow

if TYPE_CHECKING:
    from gateway.call.b2bua import B2bua

CSEQ_GAP: Final = 100
"""How far our CSeq numbers jump (gaps are legal, RFC 3261 12.2.2): above all that may have been sent since the number
was stored (asking.SEQ_STORED_EVERY)."""

PROBE_EVERY_S: Final = 0.002
"""Between the questions to the peers of two calls: 500 calls a second cost less than a third of a worker's time, so
that of 10,000 all are asked within 20 s, and no peer gets a burst that its buffers drop."""

ACK_WAIT_S: Final = 32.0
"""64·T1: an answer that is older was acknowledged, or the call would have been ended (RFC 3261 13.3.1.4)."""


def rebuild(core: "B2bua", stored: StoredCall, now: float) -> Call:
    """The call as it stood, known to nobody yet; :func:`go_on` with it.  Raises ValueError where it cannot be read."""
    record, adoption = decode_record(stored.usage), decode(stored.adoption)
    opening = stored.usage.decode().rstrip()[:-1]
    if isinstance(adoption, Talking) and stored.answered_ms:
        call = Call(core, stored.call_id, _verdict(stored, record, adoption.longest_s), opening, now, stored.terms)
        _seat_answered(call, adoption)
        _settle_in(call, stored, adoption, now)
    elif isinstance(adoption, Unanswered) and not stored.answered_ms:
        call = Call(core, stored.call_id, _verdict(stored, record, None), opening, now, stored.terms)
        _seat_unanswered(call, adoption)
        call.state = State.DIALLING
    else:
        raise ValueError("its adoption record is not of its answer")
    call.placed_before()
    return call


def go_on(call: Call, now: float, probe_at: float) -> None:
    """Take part again: refuse what was unanswered; carry on what talks, and ask both peers at ``probe_at``."""
    if call.state is State.DIALLING:
        call.stop(REASONS["RESTARTED"], now)
        return
    if call.state is State.ANSWERED and call.caller.astray:
        call.called.acknowledge_anew()
        call.caller.acked, call.state = True, State.TALKING
    call.resume(now)
    for leg in (call.caller, call.called):
        call.clock.wait(leg.bell, probe_at)


def give_back(core: "B2bua", stored: StoredCall, now: float) -> None:
    """An unanswered call that cannot be read: nobody can be told, but its reservation goes back."""
    opening = stored.usage.decode(errors="replace").rstrip()[:-1] or f'{{"call_id":"{stored.call_id}"'
    reason = REASONS["RESTARTED"]
    record = unanswered(opening, "", core.wall_ms(now), Ending(reason.code, reason.sip_status, "gate"))
    core.submit(Release(stored.call_id, stored.tenant_id, record))


def _verdict(stored: StoredCall, record: CallRecord, longest_s: int | None) -> Allow:
    """What policy had said, as far as it matters once a call is placed; no other call may last as long as one of
    emergency, whose kind is that of any call by the same caller."""
    return Allow(
        tenant_id=stored.tenant_id,
        currency=record.currency,
        kind=record.kind,
        caller=record.caller,
        dialled=record.dialled,
        number=record.number,
        routes=(),
        payer=cast(Literal["credits", "pool", "none"], record.payer),
        tariff=invited_tariff(stored.tariff, record),
        emergency=longest_s == UNLIMITED_S,
        user_id=record.user_id,
        max_call_s=longest_s,
        trunk=record.trunk,
    )


def _seat_answered(call: Call, adoption: Talking) -> None:
    for side in (adoption.caller, adoption.called):
        side.dialog.local_seq += CSEQ_GAP
    call.caller = CallerLeg(call, _flow_of(call.core, adoption.caller), None)
    call.caller.resume(adoption.caller)
    call.called = CalledLeg(call, (), _flow_of(call.core, adoption.called))
    call.called.resume(adoption.called)
    call.called.resume_attempt(adoption.called.dialog, adoption.carrier, adoption.sent_cseq)


def _flow_of(core: "B2bua", side: Side) -> Flow:
    """Where a side is spoken, as far as it means something here.  Raises ValueError for what is not spoken here."""
    identity = core.endpoint.identity
    if side.flow.transport not in identity.ports and side.flow.transport != LOOP:
        raise ValueError(f"its peer speaks {side.flow.transport}, and the gate does not")
    return side.flow if side.place == identity.place else side.flow._replace(local=0)


def _settle_in(call: Call, stored: StoredCall, adoption: Talking, now: float) -> None:
    """The moment of the answer is turned into monotonic time once (MONEY 9), and is never later than what is proven."""
    ago_s = (call.core.wall_ms(now) - stored.answered_ms) / 1000
    answered_at = now - max(ago_s, float(stored.proven_s))
    acked = call.caller.acked = adoption.acked or now - answered_at > ACK_WAIT_S
    call.state = State.TALKING if acked else State.ANSWERED
    call.answered_ms = stored.answered_ms
    call.money.resume(stored, answered_at, now)


def _seat_unanswered(call: Call, adoption: Unanswered) -> None:
    endpoint, target = call.core.endpoint, adoption.target_uri
    here = adoption.sent_by == endpoint.identity.sent_by(adoption.target_flow)
    flow = adoption.flow if here else adoption.flow._replace(local=0)
    transaction = heard_invite(endpoint, _head_of(adoption), flow)
    call.caller = CallerLeg(call, transaction.flow, transaction)
    call.called = CalledLeg(call, (), adoption.target_flow)
    attempt = call.called.resume_unanswered(adoption)
    attempt.transaction = sent_invite(
        endpoint, target, adoption.target_flow, from_=f"{adoption.local};tag={adoption.local_tag}", to=f"<{target}>",
        call_id=adoption.sent_call_id, cseq=adoption.sent_cseq, branch=adoption.branch,
        sent_by=adoption.sent_by, owner=attempt,
    )  # fmt: skip


def _head_of(adoption: Unanswered) -> bytes:
    """What an answer to the caller's INVITE repeats of it (RFC 3261 8.2.6.2), as a message."""
    vias = "".join(f"Via: {via}\r\n" for via in adoption.vias)
    return (
        f"INVITE {adoption.target_uri} SIP/2.0\r\n{vias}From: {adoption.from_}\r\nTo: {adoption.to}\r\n"
        f"Call-ID: {adoption.call_id}\r\nCSeq: {adoption.cseq}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()
