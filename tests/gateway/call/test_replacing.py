"""Attended transfers: a PBX has the far sides of its two calls talk with each other; both go on as they are paid."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import replacing
from gateway.call.record import decode_record
from gateway.sip.dialog import Dialog
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request
from policy.verdict import Allow
from tests.gateway.call.test_referring import IN, NEW, THIRD, TRANSFERS, WAY, Referring
from tests.gateway.call.world import CARRIER, GATE, OFFER, REPLY, Phone, allow

OUT = allow(kind="user_out", trunk="pbx", number=NEW, routes=WAY.routes)


def replaces(dialog: Dialog) -> str:
    """A dialog as Refer-To names it, from its other end's point of view (RFC 5589 7.1)."""
    return quote(f"{dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}", safe="")


class Attended(Referring):
    """``caller`` has called the PBX (``called``), which has then called ``spare``."""

    def __init__(self, balance: int = 1_000_000_000) -> None:
        super().__init__(balance=balance, config=TRANSFERS)
        self.first_side, self.second_side = self.begin()
        self.called.invite(NEW)
        self.spare.answer("INVITE", 180, tag="s0")  # another phone of theirs: what answers is the second dialog
        self.third = self.spare.answer("INVITE", 200, tag="s1", body=THIRD)
        self.second = self.called.dialog()
        self.called.ack(self.second)

    def _decide(self, request: Request, flow: Flow) -> Allow:
        self.asked.append((request, flow))
        assert flow.transport != LOOP, "nothing new is placed"
        return OUT if (flow.host, flow.port) == CARRIER else IN

    def join(self, by_second: bool = False) -> None:
        """The PBX refers its one call to the other."""
        inside, named = (self.second, self.first_side) if by_second else (self.first_side, self.second)
        self.refer(inside, (("Refer-To", f"<sip:{NEW}@{GATE[0]}?Replaces={replaces(named)}>"),))

    def sides(self, by_second: bool) -> tuple[Phone, Phone]:
        """Who is asked for an offer first, and who is offered it."""
        return (self.caller, self.spare) if by_second else (self.spare, self.caller)


@pytest.mark.parametrize("by_second", [False, True])
def test_the_two_far_sides_talk_and_each_call_goes_on_at_its_own_price(by_second: bool) -> None:
    world = Attended()
    asked = len(world.asked)
    world.run(10)
    world.join(by_second)
    offers, takes = world.sides(by_second)
    assert world.called.response(202, "REFER")
    assert offers.request("INVITE").body == b""
    offers.answer("INVITE", 200, body=THIRD)
    assert takes.request("INVITE").body == THIRD
    takes.answer("INVITE", 200, body=OFFER)
    assert offers.request("ACK").body == OFFER
    assert len(world.called.got("BYE")) == 2
    world.polite()
    assert world.told() == ["100 active", "200 terminated"]
    assert len(world.asked) == asked
    world.run(5)
    world.spare.send(world.spare.served(world.third), "INFO", body=b"5")
    assert world.caller.request("INFO").body == b"5"
    world.polite()
    world.caller.send(world.second_side, "BYE")
    assert world.spare.got("BYE")
    world.polite()
    records = [decode_record(command.record) for command in world.store.closed.values()]
    assert {(each.kind, each.talk_ms, each.charge_micros) for each in records} == {
        ("user_in", 15_000, 0),
        ("user_out", 15_000, 15_000_000),
    }
    assert world.store.held == {}
    assert world.is_clean()


@pytest.mark.parametrize("by_second", [False, True])
def test_a_far_side_that_makes_no_offer_leaves_all_as_it_was(by_second: bool) -> None:
    world = Attended()
    world.join(by_second)
    offers, takes = world.sides(by_second)
    offers.answer("INVITE", 488)
    world.polite()
    assert world.told() == ["100 active", "488 terminated"]
    assert [phone.got("BYE") for phone in (world.caller, world.called, world.spare)] == [[], [], []]
    assert takes.got("INVITE", "INVITE") == takes.got("INVITE")
    world.join(by_second)
    offers.answer("INVITE", 200, body=THIRD)
    takes.answer("INVITE", 200, body=OFFER)
    assert len(world.called.got("BYE")) == 2


def test_a_far_side_that_takes_no_offer_talks_on_and_the_other_one_is_let_go() -> None:
    world = Attended()
    world.join()
    world.spare.answer("INVITE", 200, body=THIRD)
    world.caller.answer("INVITE", 488)
    world.polite()
    assert world.told() == ["100 active", "488 terminated"]
    assert world.spare.got("BYE")
    assert world.caller.got("BYE") == []
    world.called.send(world.first_side, "BYE")
    world.polite()
    assert world.is_clean()


@pytest.mark.parametrize("who", ["caller", "spare", "called first", "called second"])
@pytest.mark.parametrize("answered", [False, True])
def test_whoever_hangs_up_meanwhile(who: str, answered: bool) -> None:
    world = Attended()
    world.join()
    if answered:
        world.spare.answer("INVITE", 200, body=THIRD)
    if who == "caller":
        world.caller.send(world.second_side, "BYE")
    elif who == "spare":
        world.spare.send(world.spare.served(world.third), "BYE")
    else:
        world.called.send(world.first_side if who == "called first" else world.second, "BYE")
    for phone in (world.spare, world.caller):
        while any(each.method == "INVITE" for each in phone.waiting):
            phone.answer("INVITE", 487)
        world.polite()
    world.run(80)
    world.polite()
    if len(world.b2bua):
        for dialog in (world.first_side, world.second):
            world.called.send(dialog, "BYE")
        world.caller.send(world.second_side, "BYE")
        world.polite()
    world.run(40)
    assert world.store.held == {}
    assert world.is_clean()


def test_money_that_ends_cuts_both() -> None:
    world = Attended(balance=20_000_000)
    world.join()
    world.spare.answer("INVITE", 200, body=THIRD)
    world.caller.answer("INVITE", 200, body=OFFER)
    world.polite()
    world.run(30)
    world.polite()
    for phone in (world.caller, world.spare):
        assert "cause=402" in (phone.request("BYE").get("Reason") or "")
    assert world.store.balances["contoso"] == 0
    assert world.is_clean()


def test_a_gate_that_is_restarted_goes_on_with_both() -> None:
    world = Attended()
    world.join()
    world.spare.answer("INVITE", 200, body=THIRD)
    world.caller.answer("INVITE", 200, body=OFFER)
    world.polite()
    world.die()
    assert world.restart() == [True, True]
    world.polite()
    world.run(5)
    world.polite()
    world.caller.send(world.second_side, "BYE")
    assert world.spare.got("BYE")
    world.polite()
    assert len(world.store.closed) == 2
    assert world.is_clean()


def test_nobody_but_the_gate_takes_the_place_of_a_call_and_no_dialog_but_the_pbxs_own_is_named() -> None:
    world = Attended()
    named = replaces(world.second)
    header = (
        ("Replaces", f"{world.second.call_id};to-tag={world.second.remote_tag};from-tag={world.second.local_tag}"),
    )
    world.caller.invite(headers=header)
    assert len(world.called.got("INVITE")) == 2, "a call like any other"
    for wrong in (named.replace("to-tag", "tag"), replaces(world.first_side), f"{named}&Subject=x", "nonsense"):
        world.refer(world.first_side, (("Refer-To", f"<sip:{NEW}@{GATE[0]}?Replaces={wrong}>"),))
        assert world.called.last(603, "REFER")
    assert len(world.called.got(603, "REFER")) == 4


def test_of_what_is_named_nothing_but_the_dialog_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Request] = []
    monkeypatch.setattr(replacing, "hear", lambda core, transaction, request, now: said.append(request))
    world = Attended()
    more = quote(";x=1\r\nX-Callgate-Kind: conference\r\nSubject: x", safe="")
    world.refer(world.first_side, (("Refer-To", f"<sip:{NEW}@{GATE[0]}?Replaces={replaces(world.second)}{more}>"),))
    (invite,), named = said, world.second
    assert invite.get("Replaces") == f"{named.call_id};to-tag={named.remote_tag};from-tag={named.local_tag}"
    assert (invite.get("X-Callgate-Kind"), invite.get("Subject")) == (None, None)


ACTIONS = st.sampled_from(
    ["join", "join back", "offer", "no offer", "take", "take not", "caller", "spare", "first", "second", "wait"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=12), st.integers(3, 40))
def test_in_whatever_order_each_call_is_closed_once_and_nothing_stays_held(order: list[str], units: int) -> None:
    world = Attended(balance=units * 1_000_000)
    for action in order:
        _act(world, action)
        world.polite()
    world.hang_on()
    if len(world.b2bua):
        for act in ("caller", "spare", "first", "second"):
            _act(world, act)
            world.polite()
        world.run(200)
    world.adds_up(units)


def _act(world: Attended, action: str) -> None:
    ends = {
        "caller": lambda: world.caller.send(world.second_side, "BYE"),
        "spare": lambda: world.spare.send(world.spare.served(world.third), "BYE"),
        "first": lambda: world.called.send(world.first_side, "BYE"),
        "second": lambda: world.called.send(world.second, "BYE"),
    }
    if action in ends:
        ends[action]()
    elif action in ("join", "join back"):
        world.join(action == "join back")
    elif action == "wait":
        world.run(2)
    else:
        phone = world.spare if "offer" in action else world.caller
        if any(each.method == "INVITE" for each in phone.waiting):
            body = REPLY if "offer" in action else OFFER
            yes = action in ("offer", "take")
            phone.answer("INVITE", 200 if yes else 488, body=body if yes else b"")
