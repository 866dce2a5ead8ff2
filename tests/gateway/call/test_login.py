"""Peers that want credentials of the gate: the INVITE, and every request inside the call, is answered when asked."""

from dataclasses import replace

import pytest

from gateway.call.settings import CallSettings
from gateway.call.states import State
from gateway.sip.digest import Credentials, Guard, Outcome
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction
from tests.gateway.call.world import REPLY, Options, Phone, World, allow, both_targets

GATE_USER = Credentials("gate", "s3cret")
SETTINGS = CallSettings(tick_s=10, session_expires_s=0, credentials={"carrier": GATE_USER})


class Picky:
    """Makes a phone ask for credentials, each time anew or only where there are none that are right."""

    def __init__(self, phone: Phone, methods: tuple[str, ...], password: str = "s3cret") -> None:
        self.phone = phone
        self.methods = methods
        self.guard = Guard(b"0123456789abcdef", "carrier.example", {"gate": Credentials("gate", password)})
        self.outcomes: list[tuple[str, Outcome]] = []
        self.stale = False
        phone.on_request = self

    def __call__(self, transaction: ServerTransaction, request: Request) -> bool:
        if request.method not in self.methods:
            return False
        now_s = int(self.phone.world.now)
        outcome = self.guard.check(request, transaction.flow.host, now_s, ["gate"]).outcome
        self.outcomes.append((request.method, outcome))
        if outcome is Outcome.RIGHT and not self.stale:
            return False
        headers = self.guard.challenge(
            request, transaction.flow.host, self.phone.world.token(), now_s, ["gate"], stale=self.stale
        )
        self.stale = False
        self.phone.endpoint.respond(transaction, 401, headers=headers, now=self.phone.world.now)
        return True


def world(settings: CallSettings = SETTINGS, **changed: object) -> World:
    return World(Options(verdict=allow(**changed), settings=settings))


def test_an_invite_that_is_challenged_is_sent_again_in_the_same_call() -> None:
    gate = world()
    picky = Picky(gate.called, ("INVITE",))
    gate.talk()
    first, second = (seen.message for seen in gate.called.got("INVITE"))
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE, Outcome.RIGHT]
    assert first.call_id == second.call_id
    assert (first.from_.tag, first.cseq[0] + 1) == (second.from_.tag, second.cseq[0])
    assert first.top_via.branch != second.top_via.branch
    assert first.body == second.body != b""
    assert not gate.caller.got(401)


def test_its_ack_carries_the_same_credentials() -> None:
    gate = world()
    Picky(gate.called, ("INVITE",))
    gate.talk()
    ack = gate.called.got("ACK")[-1].message
    assert ack.get("Authorization") == gate.called.got("INVITE")[-1].message.get("Authorization") is not None


def test_the_bye_and_what_is_asked_before_it_are_answered_too() -> None:
    gate = world()
    picky = Picky(gate.called, ("INVITE", "INFO", "BYE"))
    dialog, _ = gate.talk()
    gate.caller.send(dialog, "INFO")
    gate.ok(gate.called, "INFO")
    assert gate.caller.response(200, "INFO")
    gate.caller.send(dialog, "BYE")
    gate.ok(gate.called, "BYE")
    gate.run(40)
    # credentials go along before they are asked for, with a higher count
    assert picky.outcomes[2:] == [("INFO", Outcome.RIGHT), ("BYE", Outcome.RIGHT)]
    assert gate.is_clean()


def test_a_bye_is_answered_where_nothing_was_asked_before() -> None:
    gate = world()
    picky = Picky(gate.called, ("BYE",))
    dialog, _ = gate.talk()
    gate.caller.send(dialog, "BYE")
    gate.ok(gate.called, "BYE")
    gate.run(40)
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE, Outcome.RIGHT]
    assert gate.is_clean()


def test_a_re_invite_is_answered_and_its_ack_fits() -> None:
    gate = world()
    Picky(gate.called, ("INVITE",))
    dialog, _ = gate.talk()
    gate.called.on_request = None
    Picky(gate.called, ("INVITE",)).stale = True
    gate.caller.send(dialog, "INVITE", body=REPLY)
    transaction = gate.called.answer("INVITE", 200, body=REPLY)
    gate.caller.ack(dialog, seq=dialog.local_seq)
    ack = gate.called.got("ACK")[-1].message
    assert ack.cseq[0] == transaction.request.cseq[0]
    assert ack.get("Authorization") == transaction.request.get("Authorization") is not None
    gate.run(40)
    assert len(gate.b2bua) == 1


def test_a_stale_nonce_is_renewed() -> None:
    gate = world()
    picky = Picky(gate.called, ("INVITE",))
    gate.caller.invite()
    picky.stale = True
    assert len(gate.called.got("INVITE")) == 2
    gate.called.answer("INVITE", 180)
    gate.called.answer("INVITE", 200, body=REPLY)
    assert gate.caller.response(200)


def test_a_wrong_password_fails_the_call_after_one_more_try() -> None:
    gate = world()
    picky = Picky(gate.called, ("INVITE",), password="another")
    gate.caller.invite()
    gate.run(1)
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE, Outcome.WRONG]
    # the challenge is the gate's own affair, and is not relayed (RFC 3261 16.7)
    assert gate.caller.response(500)
    gate.run(40)
    assert gate.is_clean()


def test_without_credentials_a_challenge_is_a_refusal() -> None:
    gate = world(replace(SETTINGS, credentials={"another": GATE_USER}))
    Picky(gate.called, ("INVITE",))
    gate.caller.invite()
    gate.run(1)
    assert len(gate.called.got("INVITE")) == 1
    assert gate.caller.response(500)


def test_the_next_target_is_asked_without_the_challenge_of_the_last() -> None:
    gate = world(routes=both_targets())
    Picky(gate.called, ("INVITE",))
    gate.caller.invite()
    gate.called.answer("INVITE", 503)
    assert gate.spare.request("INVITE").get("Authorization") is None


def test_a_target_that_is_silent_after_its_challenge_gives_way() -> None:
    gate = world(routes=both_targets())
    Picky(gate.called, ("INVITE",))
    gate.lose = lambda source, target, data: target == gate.called.address and b"Authorization" in data
    gate.caller.invite()
    gate.run(10)
    assert gate.spare.request("INVITE")


@pytest.mark.parametrize("credentials", [{}, {"carrier": GATE_USER}])
def test_a_call_that_is_taken_over_can_still_answer(credentials: dict[str, Credentials]) -> None:
    gate = world(replace(SETTINGS, credentials=credentials))
    gate.talk()
    gate.die()
    assert gate.restart() == [True]
    for phone in (gate.caller, gate.called):
        gate.ok(phone, "OPTIONS")
    picky = Picky(gate.called, ("BYE",))
    call_id = next(gate.b2bua.calls(gate.now)).id
    gate.b2bua.hang_up(call_id, gate.now)
    gate.settle()
    gate.ok(gate.caller, "BYE")
    if credentials:
        gate.ok(gate.called, "BYE")
        assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE, Outcome.RIGHT]
    gate.run(40)
    assert gate.is_clean()


def test_after_the_answer_talk_is_paid_as_ever() -> None:
    gate = world()
    Picky(gate.called, ("INVITE", "BYE"))
    dialog, _ = gate.talk()
    gate.run(3)
    assert next(gate.b2bua.calls(gate.now)).state == State.TALKING.value
    gate.caller.send(dialog, "BYE")
    gate.run(1)
    assert gate.store.available("contoso") == 1_000_000_000 - 3_000_000


def reflecting() -> CallSettings:
    """The gate challenges both trunks in the realm ``carrier.example``, and takes these credentials for right."""
    both = {"pbx": GATE_USER, "carrier": GATE_USER}
    return replace(SETTINGS, credentials=both, guarded=frozenset(both), realm="carrier.example")


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_who_calls_is_not_shown_the_credentials_that_it_has_to_show_itself(method: str) -> None:
    """A host that hands a challenge of the gate's back to it would be told the answer, in any realm."""
    gate = world(replace(reflecting(), realm="callgate"))
    _, called = gate.talk()
    picky = Picky(gate.caller, (method,))
    gate.called.send(called, method, body=REPLY if method == "INVITE" else b"")
    gate.run(1)
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE]


def test_a_pbx_that_is_called_is_not_answered_in_the_gates_own_realm() -> None:
    gate = world(reflecting())
    picky = Picky(gate.called, ("INVITE",))
    gate.caller.invite()
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE]
    assert gate.caller.response(500)


@pytest.mark.parametrize("change", [{"guarded": frozenset({"pbx"})}, {"realm": "callgate"}])
def test_a_carrier_and_a_pbx_with_a_realm_of_its_own_are_answered(change: dict[str, object]) -> None:
    """The carrier may be a gate like this one, with the same realm."""
    gate = world(replace(reflecting(), **change))  # type: ignore[arg-type]
    picky = Picky(gate.called, ("INVITE",))
    gate.talk()
    assert [outcome for _, outcome in picky.outcomes] == [Outcome.NONE, Outcome.RIGHT]
