"""Blind transfers: the way to the third party is a call that who refers pays; what talked goes on, at its own price."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call.commands import Release, Settle
from gateway.call.record import CallRecord, decode_record
from gateway.call.settings import CallSettings
from gateway.sip.dialog import Dialog
from gateway.sip.endpoint import ALLOWED
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request
from policy.verdict import Allow, Route
from tests.gateway.call.world import (
    CALLER,
    CARRIER,
    GATE,
    NUMBER,
    OFFER,
    REPLY,
    SPARE,
    Headers,
    Options,
    Phone,
    World,
    allow,
)

NEW = "+442079460000"
TRANSFERS = CallSettings(tick_s=10, session_expires_s=0, referrers=frozenset({"pbx"}))
INSIDE = (Route("pbx", f"sip:{CARRIER[0]}:{CARRIER[1]}", NUMBER),)
IN = allow(kind="user_in", trunk="incoming", payer="none", tariff=None, routes=INSIDE)
OUT = allow()
WAY = allow(
    kind="user_out_transfer", trunk="pbx", number=NEW, routes=(Route("out", f"sip:{SPARE[0]}:{SPARE[1]}", NEW),)
)
THIRD = REPLY.replace(b"10.0.0.3", b"10.0.0.4")
TO_NEW = (("Refer-To", f"<sip:{NEW}@10.0.0.1>"),)


class Referring(World):
    """A call in which a PBX may have the other side transferred to ``spare``.

    ``inbound``: it comes from outside, and the PBX is called; else the PBX calls.
    """

    def __init__(
        self, *, inbound: bool = True, balance: int = 1_000_000_000, way: Allow = WAY, config: CallSettings = TRANSFERS
    ) -> None:
        first = IN if inbound else OUT
        super().__init__(Options(first, config, balance, (*ALLOWED, "REFER")))
        self.way, self.first, self.inbound = way, first, inbound
        self.asked: list[tuple[Request, Flow]] = []
        self.decide = self._decide
        self.refers, self.stays = (self.called, self.caller) if inbound else (self.caller, self.called)

    def _decide(self, request: Request, flow: Flow) -> Allow:
        self.asked.append((request, flow))
        return self.way if flow.transport == LOOP else self.first

    def begin(self) -> tuple[Dialog, Dialog]:
        """A call that talks: the dialog of who may refer, and of who stays.  Another phone of the called side rang
        first, so that the dialog that is left is the second one."""
        self.caller.invite()
        self.called.answer("INVITE", 180, tag="b0")
        transaction = self.called.answer("INVITE", 200, tag="b1", body=REPLY)
        caller, called = self.caller.dialog(), self.called.served(transaction)
        self.caller.ack(caller)
        return (called, caller) if self.inbound else (caller, called)

    def refer(self, dialog: Dialog, headers: Headers = TO_NEW) -> None:
        self.refers.send(dialog, "REFER", headers=headers)
        self.polite()

    def polite(self) -> None:
        """Everybody says 200 to all but INVITE."""
        for phone in self.phones.values():
            for waiting in [each for each in phone.waiting if each.method != "INVITE"]:
                phone.waiting.remove(waiting)
                phone.say(waiting, 200)
        self.settle()

    def told(self) -> list[str]:
        """What who refers was told: status and state of the subscription."""
        told = [seen.message for seen in self.refers.got("NOTIFY")]
        states = [(notify.get("Subscription-State") or "").partition(";")[0] for notify in told]
        return [f"{notify.body.decode().split()[1]} {state}" for notify, state in zip(told, states, strict=True)]

    def take_up(self) -> None:
        """The third party answers, and the side that stays agrees."""
        self.spare.answer("INVITE", 180, tag="s1")
        self.spare.answer("INVITE", 200, tag="s1", body=THIRD)
        self.stays.answer("INVITE", 200, body=OFFER)
        self.polite()

    def records(self) -> list[CallRecord]:
        found = [decode_record(command.record) for command in self.store.closed.values()]
        return sorted(found, key=lambda record: record.kind)

    def hang_on(self) -> None:
        """Time passes, and nobody takes any call."""
        for _ in range(5):
            self.run(200)
            for phone in self.phones.values():
                while any(each.method == "INVITE" for each in phone.waiting):
                    phone.answer("INVITE", 487)
            self.polite()

    def adds_up(self, units: int) -> None:
        """Each call was closed once, of what there was is left what was not charged, and nothing is left of any."""
        assert self.store.held == {}
        charged = sum(each.charge_micros for each in self.records())
        assert self.store.balances["contoso"] == units * 1_000_000 - charged >= 0
        closing = [command for command in self.store.commands if isinstance(command, Settle | Release)]
        assert len(closing) == len(self.store.closed)
        assert self.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_the_other_side_is_connected_with_the_third_party_and_who_refers_pays_for_the_way(inbound: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.run(10)
    world.refer(dialog, (*TO_NEW, ("Referred-By", "<sip:boss@pbx.example>")))
    assert world.refers.response(202, "REFER").contact is not None
    asked, flow = world.asked[1]
    assert flow == Flow(LOOP, "pbx", 0)
    assert asked.from_.uri == f"sip:{NUMBER if inbound else CALLER}@{GATE[0]}"
    assert (asked.get("X-Callgate-Kind"), asked.get("Referred-By")) == ("transfer", "<sip:boss@pbx.example>")
    invite = world.spare.request("INVITE")
    assert (invite.uri, invite.body) == (f"sip:{NEW}@{SPARE[0]}:{SPARE[1]}", b"")
    assert invite.get("X-Callgate-Kind") is None
    world.spare.answer("INVITE", 180, tag="s1")
    world.polite()
    transaction = world.spare.answer("INVITE", 200, tag="s1", body=THIRD)
    assert world.stays.request("INVITE").body == THIRD
    world.stays.answer("INVITE", 200, body=OFFER)
    assert world.spare.request("ACK").body == OFFER
    assert world.refers.got("BYE")
    world.polite()
    assert world.told() == ["100 active", "180 active", "200 terminated"]
    world.run(15)
    world.spare.send(world.spare.served(transaction), "INFO", body=b"5")
    assert world.stays.request("INFO").body == b"5"
    world.polite()
    world.stays.send(staying, "BYE")
    assert world.spare.got("BYE")
    world.polite()
    assert [(each.kind, each.talk_ms, each.charge_micros) for each in world.records()] == [
        ("user_in", 25_000, 0) if inbound else ("user_out", 25_000, 25_000_000),
        ("user_out_transfer", 15_000, 15_000_000),
    ]
    assert world.store.held == {}
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_where_the_third_party_does_not_answer_they_talk_on_and_may_try_another(inbound: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.spare.answer("INVITE", 486)
    world.polite()
    assert world.told() == ["100 active", "486 terminated"]
    assert world.stays.got("BYE") == []
    world.refer(dialog)
    world.take_up()
    assert world.told()[2:] == ["100 active", "180 active", "200 terminated"]
    world.stays.send(staying, "BYE")
    world.polite()
    assert world.is_clean()


def test_a_third_party_that_rings_for_ever_is_given_up() -> None:
    world = Referring()
    dialog, _ = world.begin()
    world.refer(dialog)
    world.spare.answer("INVITE", 180, tag="s1")
    world.run(200)
    world.spare.answer("INVITE", 487)
    world.polite()
    assert world.spare.got("CANCEL")
    assert world.told()[-1].endswith("terminated")
    world.refers.send(dialog, "BYE")
    world.polite()
    assert world.is_clean()


def test_money_that_does_not_do_for_the_way_is_told_and_charges_nothing() -> None:
    world = Referring(balance=0)
    dialog, staying = world.begin()
    world.refer(dialog)
    assert world.told() == ["100 active", "402 terminated"]
    world.stays.send(staying, "BYE")
    world.polite()
    assert [each.charge_micros for each in world.records()] == [0]
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("taken", [True, False])
def test_who_refers_may_hang_up_at_once(inbound: bool, taken: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.refers.send(dialog, "BYE")
    assert world.stays.got("BYE") == []
    if not taken:
        world.spare.answer("INVITE", 486)
        assert world.stays.got("BYE")
        world.polite()
    else:
        world.take_up()
        assert world.told() == ["100 active"]
        world.stays.send(staying, "BYE")
        world.polite()
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("answered", [True, False])
def test_where_the_side_that_stays_hangs_up_the_third_party_is_let_go(inbound: bool, answered: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.spare.answer("INVITE", 180, tag="s1")
    if answered:
        world.spare.answer("INVITE", 200, tag="s1", body=THIRD)
    world.stays.send(staying, "BYE")
    assert world.refers.got("BYE")
    if answered:
        assert world.spare.got("ACK")
        assert world.spare.got("BYE")
    else:
        assert world.spare.got("CANCEL")
        world.spare.answer("INVITE", 487)
    world.polite()
    world.run(40)
    assert world.store.held == {}
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_a_side_that_will_not_talk_with_the_third_party_talks_on(inbound: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.spare.answer("INVITE", 200, tag="s1", body=THIRD)
    world.stays.answer("INVITE", 488)
    assert world.spare.got("BYE")
    world.polite()
    assert world.told() == ["100 active", "488 terminated"]
    world.stays.send(staying, "INVITE", body=REPLY)
    assert world.refers.got("INVITE"), "an offer gets through again"
    world.refers.answer("INVITE", 200, body=OFFER)
    world.refers.send(dialog, "BYE")
    world.polite()
    world.run(70)
    assert world.is_clean()


def test_a_side_that_takes_too_long_to_agree_is_told_again_of_whom_it_talked_with() -> None:
    """The third party's answer waits for an ACK for 64·T1 at most; the agreement comes after that."""
    world = Referring()
    dialog, _ = world.begin()
    world.refer(dialog)
    world.spare.answer("INVITE", 200, tag="s1", body=THIRD)
    world.stays.answer("INVITE", 180)
    for _ in range(20):
        world.run(2)
        world.polite()
    assert world.spare.got("BYE")
    assert world.told()[-1] == "480 terminated"
    world.stays.answer("INVITE", 200, body=OFFER)
    assert len(world.stays.got("INVITE")) == 2
    assert world.stays.request("INVITE").body == REPLY
    world.stays.answer("INVITE", 200, body=OFFER)
    world.refers.send(dialog, "BYE")
    world.polite()
    assert world.is_clean()


def test_an_offer_that_is_open_is_waited_for() -> None:
    world = Referring()
    dialog, staying = world.begin()
    world.refer(dialog)
    world.stays.send(staying, "INVITE", body=OFFER)
    world.spare.answer("INVITE", 200, tag="s1", body=THIRD)
    assert world.stays.got("INVITE") == []
    world.refers.answer("INVITE", 200, body=REPLY)
    world.stays.ack(staying, seq=staying.local_seq)
    world.run(3.5)
    assert world.stays.request("INVITE").body == THIRD
    world.stays.answer("INVITE", 200, body=OFFER)
    world.polite()
    assert world.told()[-1] == "200 terminated"
    world.stays.send(staying, "BYE")
    world.polite()
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_when_money_ends_all_are_cut(inbound: bool) -> None:
    world = Referring(inbound=inbound, balance=40_000_000)
    dialog, _ = world.begin()
    world.refer(dialog)
    world.take_up()
    world.run(60)
    world.polite()
    assert "cause=402" in (world.stays.request("BYE").get("Reason") or "")
    assert "cause=402" in (world.spare.request("BYE").get("Reason") or "")
    assert 0 <= world.store.balances["contoso"] < 40_000_000
    assert len(world.records()) == 2
    assert world.store.held == {}
    assert world.is_clean()


def test_a_transferred_call_may_be_transferred_on() -> None:
    """The PBX's own extension is the third party, and refers in its turn; the number of times is bounded."""
    world = Referring(inbound=False)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.take_up()
    assert world.refers.got("BYE")
    world.refers.send(dialog, "REFER", headers=TO_NEW)
    assert world.refers.response(481, "REFER"), "it is in no call any more"
    world.stays.send(staying, "BYE")
    world.polite()
    assert world.is_clean()


@pytest.mark.parametrize("inbound", [True, False])
def test_a_gate_that_is_restarted_goes_on_with_a_transferred_call(inbound: bool) -> None:
    world = Referring(inbound=inbound)
    dialog, staying = world.begin()
    world.refer(dialog)
    world.take_up()
    world.die()
    assert world.restart() == [True, True]
    world.polite()
    world.run(5)
    world.polite()
    world.stays.send(staying, "BYE")
    assert world.spare.got("BYE")
    world.polite()
    assert len(world.store.closed) == 2
    assert world.is_clean()


NOWHERE = (
    ((("Refer-To", "<sip:+44@x?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>"),), 603),
    ((("Refer-To", f"<sip:{NEW}@10.0.0.1;method=BYE>"),), 603),
    ((("Refer-To", "<sip:10.0.0.1>"),), 603),
    ((("Refer-To", "<http://example.org>"),), 400),
    ((("Refer-To", "<"),), 400),
    ((), 400),
)


@pytest.mark.parametrize(("headers", "status"), NOWHERE)
def test_what_leads_nowhere_is_refused(headers: Headers, status: int) -> None:
    world = Referring()
    dialog, _ = world.begin()
    world.refers.send(dialog, "REFER", headers=headers)
    assert world.refers.response(status, "REFER")
    assert world.told() == []
    assert len(world.asked) == 1


def test_a_carrier_refers_nobody_and_a_second_transfer_waits() -> None:
    world = Referring()
    dialog, staying = world.begin()
    world.stays.send(staying, "REFER", headers=TO_NEW)
    assert world.stays.response(603, "REFER")
    world.refer(dialog)
    world.refers.send(dialog, "REFER", headers=TO_NEW)
    assert world.refers.response(491, "REFER")


def test_outside_a_call_nobody_is_transferred() -> None:
    world = Referring()
    alone: Phone = world.caller
    alone.endpoint.request(
        "REFER", f"sip:{NUMBER}@{GATE[0]}", Flow("udp", *GATE), from_=f"<sip:{CALLER}@10.0.0.2>;tag=r",
        to=f"<sip:{NUMBER}@{GATE[0]}>", call_id="r", cseq=1, contact=alone.endpoint.contact(Flow("udp", *GATE)),
        headers=TO_NEW, now=world.now,
    )  # fmt: skip
    world.settle()
    assert alone.response(603, "REFER")


def test_who_wants_to_hear_nothing_hears_nothing() -> None:
    world = Referring()
    dialog, _ = world.begin()
    world.refer(dialog, (*TO_NEW, ("Refer-Sub", "false")))
    world.take_up()
    assert world.told() == []
    assert world.refers.got("BYE")


ACTIONS = st.sampled_from(
    [
        "refer",
        "ring",
        "answer",
        "busy",
        "agree",
        "refuse",
        "refers hangs up",
        "stays hangs up",
        "spare hangs up",
        "wait",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=12), st.integers(0, 60), st.booleans())
def test_in_whatever_order_each_call_is_closed_once_and_nothing_stays_held(
    order: list[str], units: int, inbound: bool
) -> None:
    world = Referring(inbound=inbound, balance=units * 1_000_000)
    if not inbound and units < 10:
        return
    dialog, staying = world.begin()
    for action in order:
        _act(world, dialog, staying, action)
        world.polite()
    world.hang_on()
    if len(world.b2bua):
        world.stays.send(staying, "BYE")
        world.polite()
        world.run(200)
    world.adds_up(units)


def _act(world: Referring, dialog: Dialog, staying: Dialog, action: str) -> None:
    def waits(phone: Phone) -> bool:
        return any(each.method == "INVITE" for each in phone.waiting)

    if action == "wait":
        world.run(3)
    elif action == "refer":
        world.refers.send(dialog, "REFER", headers=TO_NEW)
    elif action in ("ring", "answer", "busy") and waits(world.spare):
        status = {"ring": 180, "answer": 200, "busy": 486}[action]
        world.spare.answer("INVITE", status, tag="s1", body=THIRD if status == 200 else b"")
    elif action in ("agree", "refuse") and waits(world.stays):
        world.stays.answer("INVITE", 200 if action == "agree" else 488, body=OFFER if action == "agree" else b"")
    elif action == "refers hangs up":
        world.refers.send(dialog, "BYE")
    elif action == "stays hangs up":
        world.stays.send(staying, "BYE")
    elif action == "spare hangs up" and world.spare.got("ACK"):
        world.spare.send(Dialog.as_server(world.spare.request("INVITE"), "s1"), "BYE")
